//! What a scenario expects, and the matcher: an expectation fails when it is not met in time, and at once when
//! what it waits for has been passed by (a higher ballot, a later decree).

use std::fmt;
use std::time::Duration;

use words::{Ballot, Configuration, Decree, Gpid, NodeId, RoleName};

use super::arms::Pattern;
use super::operations::Outcome;
use super::words::{Line, Parsed, WantedConfiguration, WantedState};
use crate::machine::Machine;
use crate::world::World;

/// What is to be so.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Configuration(Gpid, WantedConfiguration),
    States(Gpid, Vec<WantedState>),
    Field {
        gpid: Gpid,
        field: Field,
        of: Selector,
        value: Value,
    },
    Readers(Gpid, Vec<NodeId>),
    Outcome(Vec<String>, Wanted),
    /// So many messages were sent since the last mark.
    SentSoFar(Pattern, u64),
    /// One more message is sent than were before.
    Sent(Pattern),
    Life(usize, u64),
}

/// When it is to be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Some time, and no later than that.
    Within(Duration),
    Now,
    /// From now on, for so long.
    For(Duration),
}

/// What can be asked of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Role,
    Ballot,
    Committed,
    Prepared,
    Applied,
    Durable,
    Sum(u8),
}

/// Whose replicas are asked; all must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Primary,
    Secondaries,
    Members,
    /// Every node that runs and has a replica.
    All,
    Nodes(Vec<NodeId>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Role(String),
}

/// What an operation is to come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Ok { value: Option<i64>, decree: Option<Decree> },
    Refused(String),
    Unknown,
    Pending,
}

/// What the matcher sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Holds,
    /// Not so, but it can become so.
    NotYet(String),
    /// It can't become so any more.
    Never(String),
}

/// As long as anything is waited for if a scenario does not say.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

const FIELDS: [(&str, Field); 6] = [
    ("role", Field::Role),
    ("ballot", Field::Ballot),
    ("committed", Field::Committed),
    ("prepared", Field::Prepared),
    ("applied", Field::Applied),
    ("durable", Field::Durable),
];

impl Line<'_> {
    pub(super) fn condition(&mut self) -> Parsed<Condition> {
        match self.next("what is expected")? {
            "config" => Ok(Condition::Configuration(self.gpid(), self.configuration()?)),
            "state" => Ok(Condition::States(self.gpid(), self.states()?)),
            "readers" => {
                let gpid = self.gpid();
                self.must("=")?;
                Ok(Condition::Readers(gpid, self.nodes_or_none()?))
            }
            "sent" => {
                let pattern = self.pattern()?;
                match self.take("=") {
                    true => Ok(Condition::SentSoFar(pattern, self.number("how many")?)),
                    false => Ok(Condition::Sent(pattern)),
                }
            }
            "life" => {
                self.must("of")?;
                let machine = self.machine()?;
                self.must("=")?;
                Ok(Condition::Life(machine, self.number("a life")?))
            }
            "sum" => {
                let key = self.key()?;
                self.field(Field::Sum(key))
            }
            word => match FIELDS.iter().find(|(name, _)| *name == word) {
                Some(&(_, field)) => self.field(field),
                None => {
                    let labels = labels(word)?;
                    self.must("=")?;
                    Ok(Condition::Outcome(labels, self.outcome()?))
                }
            },
        }
    }

    fn field(&mut self, field: Field) -> Parsed<Condition> {
        let gpid = self.gpid();
        self.must("of")?;
        let of = self.selector()?;
        self.must("=")?;
        let word = self.next("a value")?;
        let value = match field {
            Field::Role => Value::Role(word.to_owned()),
            _ => Value::Number(word.parse().map_err(|_| format!("`{word}` is no number"))?),
        };
        Ok(Condition::Field { gpid, field, of, value })
    }

    fn selector(&mut self) -> Parsed<Selector> {
        let named = match self.peek() {
            Some("primary") => Selector::Primary,
            Some("secondaries") => Selector::Secondaries,
            Some("members") => Selector::Members,
            Some("all") => Selector::All,
            _ => return Ok(Selector::Nodes(self.nodes_or_none()?)),
        };
        self.next("a selector")?;
        Ok(named)
    }

    fn nodes_or_none(&mut self) -> Parsed<Vec<NodeId>> {
        if self.take("none") {
            return Ok(Vec::new());
        }
        let mut nodes = vec![self.node()?];
        while self.peek().is_some_and(|word| word.starts_with('r') && word[1..].parse::<u64>().is_ok()) {
            nodes.push(self.node()?);
        }
        Ok(nodes)
    }

    /// `ok`, `5`, `5@7`, `@7`, `refused busy`, `unknown`, `pending`.
    pub(super) fn outcome(&mut self) -> Parsed<Wanted> {
        let word = self.next("an outcome")?;
        Ok(match word {
            "ok" => Wanted::Ok { value: None, decree: None },
            "refused" => Wanted::Refused(self.next("the code of a refusal")?.to_owned()),
            "unknown" => Wanted::Unknown,
            "pending" => Wanted::Pending,
            _ => {
                let (value, decree) = word.split_once('@').map_or((word, None), |(v, at)| (v, Some(at)));
                let wrong =
                    || format!("an outcome is ok, 5, 5@7, refused CODE, unknown or pending, not `{word}`");
                let value = if value.is_empty() { None } else { Some(value.parse().map_err(|_| wrong())?) };
                let decree = decree.map(str::parse).transpose().map_err(|_| wrong())?.map(Decree);
                Wanted::Ok { value, decree }
            }
        })
    }

    pub(super) fn key(&mut self) -> Parsed<u8> {
        let word = self.next("a key")?;
        match word.as_bytes() {
            [key @ b'a'..=b'z'] => Ok(*key),
            _ => Err(format!("keys are the letters a to z, `{word}` is none")),
        }
    }

    /// Ends an expectation: `now`, `within 5s`, `for 2s`, or nothing.
    pub(super) fn when(&mut self) -> Parsed<When> {
        if self.take("now") {
            Ok(When::Now)
        } else if self.take("within") {
            Ok(When::Within(self.span("how long")?))
        } else if self.take("for") {
            Ok(When::For(self.span("how long")?))
        } else {
            Ok(When::Within(PATIENCE))
        }
    }
}

/// `w1`, or `w1..w5` for five of them.
pub(super) fn labels(word: &str) -> Parsed<Vec<String>> {
    let legal = |label: &str| {
        let letters = label.trim_end_matches(|c: char| c.is_ascii_digit());
        !letters.is_empty() && letters.chars().all(|c| c.is_ascii_lowercase()) && letters != "r"
    };
    let wrong = || format!("`{word}` is no label; write a word and a number, like w1, or w1..w5");
    let Some((first, last)) = word.split_once("..") else {
        return if legal(word) { Ok(vec![word.to_owned()]) } else { Err(wrong()) };
    };
    let stem = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = |label: &str| label.strip_prefix(stem).and_then(|number| number.parse::<u32>().ok());
    match (legal(first), number(first), number(last)) {
        (true, Some(low), Some(high)) if low < high && high - low < 1000 => {
            Ok((low..=high).map(|number| format!("{stem}{number}")).collect())
        }
        _ => Err(wrong()),
    }
}

impl World<'_> {
    /// Whether a condition holds now. `before` is how many messages were sent when it was first looked at.
    pub(super) fn judge(&self, condition: &Condition, before: u64) -> Judgement {
        match condition {
            Condition::Configuration(gpid, wanted) => self.judge_configuration(*gpid, wanted),
            Condition::States(gpid, states) => {
                let judge = |wanted| self.judge_state(*gpid, wanted);
                states.iter().map(judge).find(|it| *it != Judgement::Holds).unwrap_or(Judgement::Holds)
            }
            Condition::Field { gpid, field, of, value } => self.judge_field(*gpid, *field, of, value),
            Condition::Readers(gpid, wanted) => {
                let readers = self.readers(*gpid);
                same(readers == *wanted, || format!("readers are {}", list(&readers)))
            }
            Condition::Outcome(labels, wanted) => {
                let judge = |label: &String| self.judge_outcome(label, wanted);
                labels.iter().map(judge).find(|it| *it != Judgement::Holds).unwrap_or(Judgement::Holds)
            }
            Condition::SentSoFar(pattern, count) => {
                let sent = self.script.sent(pattern);
                let what = format!("{sent} were sent");
                match sent.cmp(count) {
                    std::cmp::Ordering::Less => Judgement::NotYet(what),
                    std::cmp::Ordering::Equal => Judgement::Holds,
                    std::cmp::Ordering::Greater => Judgement::Never(what),
                }
            }
            Condition::Sent(pattern) => {
                same(self.script.sent(pattern) > before, || "no such message was sent".to_owned())
            }
            Condition::Life(machine, wanted) => {
                let life = self.machines[*machine].disk.life;
                same(life == *wanted, || format!("its life is {life}"))
            }
        }
    }

    fn judge_configuration(&self, gpid: Gpid, wanted: &WantedConfiguration) -> Judgement {
        let Some(actual) = self.meta.configuration(gpid) else {
            return Judgement::NotYet(format!("{gpid} does not exist"));
        };
        let is = || format!("it is {actual}");
        if wanted.ballot.is_some_and(|ballot| actual.ballot < ballot) {
            return Judgement::NotYet(is());
        }
        let fits = wanted.ballot.is_none_or(|ballot| actual.ballot == ballot) && wanted.fits(actual);
        match (fits, wanted.ballot) {
            (true, _) => Judgement::Holds,
            (false, None) => Judgement::NotYet(is()),
            (false, Some(_)) => Judgement::Never(is()),
        }
    }

    fn judge_state(&self, gpid: Gpid, wanted: &WantedState) -> Judgement {
        let node = wanted.node;
        let (role, ballot, committed) = self.state(gpid, node);
        let is = format!("{node} is {}", Shown(role, ballot, committed));
        if wanted.ballot.is_some_and(|it| it < ballot)
            || wanted.ballot == Some(ballot) && wanted.committed.is_some_and(|it| it < committed)
        {
            return Judgement::Never(is);
        }
        let fits = wanted.role == role
            && wanted.ballot.is_none_or(|it| it == ballot)
            && wanted.committed.is_none_or(|it| it == committed);
        same(fits, || is)
    }

    /// A node's role, or what it is instead, with ballot and last committed decree.
    fn state(&self, gpid: Gpid, node: NodeId) -> (&'static str, Ballot, Decree) {
        let Some(process) = self.machine_of(node).and_then(|machine| machine.process.as_ref()) else {
            return ("down", Ballot(0), Decree::ZERO);
        };
        let Some(replica) = process.core.replica(gpid) else { return ("none", Ballot(0), Decree::ZERO) };
        (role_name(replica.role()), replica.ballot(), replica.last_committed())
    }

    /// The machine that has a node's data directory.
    fn machine_of(&self, node: NodeId) -> Option<&Machine> {
        let machine = &self.machines[*self.places.get(&node)?];
        (machine.disk.node == node).then_some(machine)
    }

    /// Everything of a partition, on one line: what is shown beside a failure.
    pub(super) fn describe(&self, gpid: Gpid) -> String {
        let configuration = self.meta.configuration(gpid).cloned().unwrap_or_default();
        let states = self.machines.iter().map(|machine| {
            let node = machine.disk.node;
            let (role, ballot, committed) = self.state(gpid, node);
            let prepared = machine.process.as_ref().and_then(|process| process.core.replica(gpid));
            let prepared = prepared.map(|replica| format!(" prepared {}", replica.last_prepared()));
            format!("{node} {}{}", Shown(role, ballot, committed), prepared.unwrap_or_default())
        });
        let states: Vec<String> = states.collect();
        format!("{gpid} {configuration}: {}", states.join(", "))
    }

    /// Who can serve reads now.
    pub(super) fn readers(&self, gpid: Gpid) -> Vec<NodeId> {
        let can_read = |machine: &&Machine| {
            let replica = machine.process.as_ref().and_then(|process| process.core.replica(gpid));
            replica.is_some_and(|replica| replica.can_read(machine.clock.time(self.now)))
        };
        self.machines.iter().filter(can_read).map(|machine| machine.disk.node).collect()
    }

    fn select(&self, gpid: Gpid, of: &Selector) -> Vec<NodeId> {
        let configuration = self.meta.configuration(gpid).cloned().unwrap_or_default();
        match of {
            Selector::Primary => configuration.primary.into_iter().collect(),
            Selector::Secondaries => configuration.secondaries,
            Selector::Members => configuration.members().collect(),
            Selector::All => {
                let runs = |machine: &&Machine| {
                    machine.process.as_ref().is_some_and(|process| process.core.replica(gpid).is_some())
                };
                self.machines.iter().filter(runs).map(|machine| machine.disk.node).collect()
            }
            Selector::Nodes(nodes) => nodes.clone(),
        }
    }

    fn judge_field(&self, gpid: Gpid, field: Field, of: &Selector, value: &Value) -> Judgement {
        let nodes = self.select(gpid, of);
        if nodes.is_empty() {
            return Judgement::NotYet("nobody is meant".to_owned());
        }
        for node in nodes {
            let actual = self.field(gpid, node, field);
            let is = || actual.as_ref().map_or(format!("{node} has none"), |it| format!("{node} has {it}"));
            match (&actual, value) {
                (Some(actual), wanted) if actual == wanted => {}
                (Some(Value::Number(actual)), Value::Number(wanted)) if actual > wanted && field.grows() => {
                    return Judgement::Never(is());
                }
                _ => return Judgement::NotYet(is()),
            }
        }
        Judgement::Holds
    }

    fn field(&self, gpid: Gpid, node: NodeId, field: Field) -> Option<Value> {
        let process = self.machine_of(node)?.process.as_ref()?;
        let replica = process.core.replica(gpid)?;
        let number = match field {
            Field::Role => return Some(Value::Role(role_name(replica.role()).to_owned())),
            Field::Ballot => replica.ballot().0,
            Field::Committed => replica.last_committed().0,
            Field::Prepared => replica.last_prepared().0,
            Field::Applied => replica.applied().0,
            Field::Durable => replica.durable().decree.0,
            Field::Sum(key) => {
                let request = crate::tally_app::Request::Read { key }.encode();
                let answer = process.apps.get(&gpid)?.app.look(&request);
                return crate::tally_app::answered(&answer).map(Value::Number);
            }
        };
        Some(Value::Number(number.cast_signed()))
    }

    fn judge_outcome(&self, label: &str, wanted: &Wanted) -> Judgement {
        let Some(op) = self.script.operations.find(label) else {
            return Judgement::Never(format!("nothing was begun as `{label}`"));
        };
        let outcome = self.script.operations.outcome(op);
        let is = format!("{label} is {outcome}");
        match outcome {
            outcome if wanted.is_met_by(&outcome) => Judgement::Holds,
            Outcome::Pending => Judgement::NotYet(is),
            _ => Judgement::Never(is),
        }
    }
}

impl Wanted {
    pub(super) fn is_met_by(&self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Ok { value, decree }, Outcome::Done { value: actual, decree: at }) => {
                actual.is_some()
                    && value.is_none_or(|value| *actual == Some(value))
                    && decree.is_none_or(|decree| decree == *at)
            }
            (Self::Refused(code), Outcome::Refused(actual)) => code == actual,
            (Self::Unknown, Outcome::Unknown) | (Self::Pending, Outcome::Pending) => true,
            _ => false,
        }
    }
}

impl WantedConfiguration {
    fn fits(&self, actual: &Configuration) -> bool {
        let mut secondaries = actual.secondaries.clone();
        secondaries.sort_unstable();
        self.primary == actual.primary && self.secondaries == secondaries
    }
}

impl Field {
    /// Whether a value that is passed by does not come back.
    fn grows(self) -> bool {
        !matches!(self, Self::Role | Self::Prepared | Self::Sum(_))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Role(role) => role.fmt(f),
        }
    }
}

struct Shown(&'static str, Ballot, Decree);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self("down" | "none", ..) => write!(f, "{{{}}}", self.0),
            Self(role, ballot, committed) => write!(f, "{{{role},{ballot},{committed}}}"),
        }
    }
}

fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Primary => "pri",
        RoleName::Secondary => "sec",
        RoleName::Learner => "pot",
        RoleName::Inactive => "ina",
        RoleName::Error => "err",
    }
}

fn list(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

fn same(holds: bool, what: impl FnOnce() -> String) -> Judgement {
    if holds { Judgement::Holds } else { Judgement::NotYet(what()) }
}
