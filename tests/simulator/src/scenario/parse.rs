//! From the text of a scenario to its statements: one a line, the verb first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use meta_core::{BalanceKind, ProposalKind};
use words::{Ballot, Command};

use super::arms::{Arm, Failure, Order, Pattern, StrikeKind};
use super::calm::Setup;
use super::expect::{Condition, Wanted, When, labels};
use super::operations::Asked;
use super::words::{Line, Link, Parsed, Party};
use crate::tally_app::Request;

/// One line's meaning.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// The cluster and its app come into being on these machines.
    Form(Vec<usize>),
    Start(Vec<Party>),
    Stop(usize),
    Strike {
        party: Party,
        kind: StrikeKind,
        at: Option<Pattern>,
    },
    LoseData(Party),
    LoseApp(usize),
    Cut(Link),
    Heal,
    Arm(Arm),
    Release(String),
    Disarm,
    FailSync(usize),
    FailWrite(usize),
    FailWork(Failure, usize),
    RotLog(usize),
    DelaySync(usize, Duration),
    SlowDisk(usize, Duration),
    Propose {
        kind: ProposalKind,
        node: String,
        refused: bool,
    },
    Balance {
        kind: BalanceKind,
        from: String,
        to: String,
        refused: bool,
    },
    AcceptLoss {
        node: String,
        others_are_stopped: bool,
        refused: bool,
    },
    Recover {
        others_are_stopped: bool,
        refused: bool,
    },
    /// A diagnosis finds so many partitions lost.
    Diagnose(usize),
    SetReplicas(u32),
    Drop,
    Tell {
        machine: usize,
        command: Command,
        ballot: Ballot,
    },
    /// An operation that must come to something before the next line.
    Do {
        asked: Asked,
        /// How often, one after the other.
        times: u64,
        wanted: Option<Wanted>,
    },
    Begin {
        labels: Vec<String>,
        asked: Asked,
    },
    Retry {
        label: String,
        at: Option<usize>,
    },
    OpenSession {
        name: String,
        asked: Asked,
    },
    Expect {
        condition: Condition,
        when: When,
    },
    Advance(Duration),
    Mark,
    Settle,
    LeaveAsIs,
}

type Parser = fn(&mut Line<'_>) -> Parsed<Statement>;

/// Every verb, with its parser.
const VERBS: [(&str, Parser); 32] = [
    ("form", |line| Ok(Statement::Form(line.machines()?))),
    ("start", start),
    ("stop", |line| Ok(Statement::Stop(line.machine()?))),
    ("kill", |line| strike(line, StrikeKind::Kill)),
    ("power-cut", |line| strike(line, StrikeKind::PowerCut)),
    ("pause", |line| strike(line, StrikeKind::Pause(Duration::ZERO))),
    ("lose-data", |line| Ok(Statement::LoseData(line.party()?))),
    ("lose-app", |line| Ok(Statement::LoseApp(line.machine()?))),
    ("cut", |line| Ok(Statement::Cut(line.link()?))),
    ("heal", |_| Ok(Statement::Heal)),
    ("lose", |line| arm(line, |_| Ok(Order::Lose))),
    ("delay", |line| arm(line, |line| by(line).map(Order::Delay))),
    ("repeat", |line| arm(line, |line| after(line).map(Order::Repeat))),
    ("hold", |line| arm(line, name)),
    ("release", |line| Ok(Statement::Release(line.next("the name of what is held")?.to_owned()))),
    ("disarm", |_| Ok(Statement::Disarm)),
    ("fail-sync", |line| Ok(Statement::FailSync(line.machine()?))),
    ("fail-write", |line| Ok(Statement::FailWrite(line.machine()?))),
    ("fail-checkpoint", |line| Ok(Statement::FailWork(Failure::GetCheckpoint, line.machine()?))),
    ("break-transfer", |line| Ok(Statement::FailWork(Failure::Transfer, line.machine()?))),
    ("fail-install", |line| Ok(Statement::FailWork(Failure::ApplyCheckpoint, line.machine()?))),
    ("rot-log", |line| Ok(Statement::RotLog(line.machine()?))),
    ("delay-sync", |line| Ok(Statement::DelaySync(line.machine()?, by(line)?))),
    ("slow-disk", slow_disk),
    ("admin", admin),
    ("tell", tell),
    ("write", operate),
    ("read", operate),
    ("begin", begin),
    ("retry", retry),
    ("session", session),
    ("expect", expect),
];

/// Those that have no parameters worth a function.
const PLAIN: [(&str, Statement); 3] =
    [("mark", Statement::Mark), ("settle", Statement::Settle), ("leave-as-is", Statement::LeaveAsIs)];

/// A scenario, read and understood.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name.
    pub name: String,
    /// The first line of its head comment.
    pub title: String,
    pub(super) setup: Setup,
    pub(super) lines: Vec<(usize, Statement)>,
    pub(super) text: Vec<String>,
}

impl Scenario {
    /// Reads a scenario from its file.
    ///
    /// # Errors
    /// If it can't be read, or as [`parse`](Self::parse).
    pub fn open(file: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &text)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// `NAME:LINE: what is wrong`, for the first line that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut setup = Setup::new();
        let mut lines = Vec::new();
        let title = text.lines().next().and_then(|line| line.strip_prefix('#')).map(str::trim);
        let title = title.filter(|title| !title.is_empty());
        let title =
            title.ok_or_else(|| format!("{name}:1: the first line is a comment: what it is about"))?;
        for (index, written) in text.lines().enumerate() {
            let code = written.split('#').next().unwrap_or_default().trim();
            if code.is_empty() {
                continue;
            }
            let mut line = Line::new(code);
            let parsed = if line.take("set") {
                match lines.is_empty() {
                    true => setup.set(&mut line),
                    false => Err("`set` belongs to the head, before anything happens".to_owned()),
                }
            } else {
                statement(&mut line).map(|statement| lines.push((index + 1, statement)))
            };
            let parsed = parsed.and_then(|()| line.end());
            parsed.map_err(|what| format!("{name}:{}: {what}", index + 1))?;
        }
        if lines.is_empty() {
            return Err(format!("{name}: nothing happens in it"));
        }
        let text = text.lines().map(str::to_owned).collect();
        Ok(Self { name: name.to_owned(), title: title.to_owned(), setup, lines, text })
    }

    /// Every verb of the language, as a scenario begins its lines.
    pub fn verbs() -> impl Iterator<Item = &'static str> {
        let verbs = VERBS.iter().map(|&(verb, _)| verb);
        verbs.chain(PLAIN.iter().map(|(verb, _)| *verb)).chain(["advance", "set"])
    }

    /// Every setting that a head can have.
    #[must_use]
    pub fn settings() -> Vec<&'static str> {
        super::calm::names()
    }
}

/// Every scenario of a folder, in the order of their names.
///
/// # Errors
/// If the folder can't be read, or has none.
pub fn scenario_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        files.extend(path.extension().is_some_and(|it| it == "scn").then_some(path.clone()));
    }
    files.sort();
    if files.is_empty() {
        Err(format!("{}: no scenario (*.scn) is there", folder.display()))
    } else {
        Ok(files)
    }
}

fn statement(line: &mut Line<'_>) -> Parsed<Statement> {
    let verb = line.next("a verb")?;
    if let Some((_, parse)) = VERBS.iter().find(|(known, _)| *known == verb) {
        return parse(line);
    }
    if let Some((_, statement)) = PLAIN.iter().find(|(known, _)| *known == verb) {
        return Ok(statement.clone());
    }
    if verb == "advance" {
        return Ok(Statement::Advance(line.span("how long")?));
    }
    let known: Vec<&str> = Scenario::verbs().collect();
    Err(format!("`{verb}` is no verb; known are {}", known.join(", ")))
}

fn start(line: &mut Line<'_>) -> Parsed<Statement> {
    let mut parties = vec![line.party()?];
    while !line.is_over() {
        parties.push(line.party()?);
    }
    Ok(Statement::Start(parties))
}

/// `kill r1`, `kill meta`, `pause r1 for 2s`, `kill r1 at next prepare r1 -> r2`.
fn strike(line: &mut Line<'_>, kind: StrikeKind) -> Parsed<Statement> {
    let party = line.party()?;
    let kind = match kind {
        StrikeKind::Pause(_) => {
            line.must("for")?;
            StrikeKind::Pause(line.span("how long")?)
        }
        kind => kind,
    };
    if party == Party::Meta && kind != StrikeKind::Kill {
        return Err("the meta server can only be killed".to_owned());
    }
    let at = if line.take("at") {
        line.must("next")?;
        Some(line.pattern()?)
    } else {
        None
    };
    if party == Party::Meta && at.is_some() {
        return Err(
            "`at next` is for replica servers; write `expect sent ...` and then `kill meta`".to_owned()
        );
    }
    Ok(Statement::Strike { party, kind, at })
}

fn arm(line: &mut Line<'_>, order: fn(&mut Line<'_>) -> Parsed<Order>) -> Parsed<Statement> {
    let (pattern, left) = line.which()?;
    Ok(Statement::Arm(Arm { pattern, left, order: order(line)? }))
}

fn by(line: &mut Line<'_>) -> Parsed<Duration> {
    line.must("by")?;
    line.span("how long")
}

fn after(line: &mut Line<'_>) -> Parsed<Duration> {
    line.must("after")?;
    line.span("how long")
}

fn name(line: &mut Line<'_>) -> Parsed<Order> {
    line.must("as")?;
    Ok(Order::Hold(line.next("a name")?.to_owned()))
}

fn slow_disk(line: &mut Line<'_>) -> Parsed<Statement> {
    let machine = line.machine()?;
    line.must("for")?;
    Ok(Statement::SlowDisk(machine, line.span("how long")?))
}

/// `admin propose remove r2`, `admin balance move_pri r1 r2`, `admin drop`; `refused` at the end if it must be.
fn admin(line: &mut Line<'_>) -> Parsed<Statement> {
    match line.next("what an operator asks for")? {
        "propose" => {
            let kind = line.next("a kind of proposal")?.parse().map_err(|e| format!("{e}"))?;
            let node = operator_name(line.machine()?);
            Ok(Statement::Propose { kind, node, refused: line.take("refused") })
        }
        "balance" => {
            let kind = line.next("a kind of balancing")?.parse().map_err(|e| format!("{e}"))?;
            let (from, to) = (operator_name(line.machine()?), operator_name(line.machine()?));
            Ok(Statement::Balance { kind, from, to, refused: line.take("refused") })
        }
        "accept-loss" => {
            let node = operator_name(line.machine()?);
            let others_are_stopped = line.take("others-are-stopped");
            Ok(Statement::AcceptLoss { node, others_are_stopped, refused: line.take("refused") })
        }
        "recover" => {
            let others_are_stopped = line.take("others-are-stopped");
            Ok(Statement::Recover { others_are_stopped, refused: line.take("refused") })
        }
        "ddd" => {
            line.must("=")?;
            Ok(Statement::Diagnose(line.number("how many partitions")? as usize))
        }
        "replicas" => match line.number("how many")?.try_into() {
            Ok(count) => Ok(Statement::SetReplicas(count)),
            Err(_) => Err("that many replicas are too many".to_owned()),
        },
        "drop" => Ok(Statement::Drop),
        other => Err(format!(
            "`{other}` is no request of an operator; known are propose, balance, accept-loss, \
            recover, ddd, replicas, drop"
        )),
    }
}

/// `tell r2 remove r3 ballot 4`: what the meta server would say, said by the scenario.
fn tell(line: &mut Line<'_>) -> Parsed<Statement> {
    let machine = line.machine()?;
    let kinds: [(&str, fn(_) -> _); 3] = [
        ("add_secondary", Command::AddSecondary),
        ("remove", Command::Remove),
        ("hand_over", Command::HandOver),
    ];
    let command = line.one_of("command", &kinds)?;
    let command = command(line.node()?);
    line.must("ballot")?;
    Ok(Statement::Tell { machine, command, ballot: Ballot(line.number("a ballot")?) })
}

/// How operators name nodes.
fn operator_name(machine: usize) -> String {
    crate::power::name(machine)
}

/// `write a +5 [in s.1] [at r2]`, `read a [at r2]`, after the verb.
fn asked(line: &mut Line<'_>, verb: &str) -> Parsed<Asked> {
    let gpid = line.gpid();
    let key = line.key()?;
    let request = match verb {
        "read" => Request::Read { key },
        _ => {
            let word = line.next("how much to add")?;
            let amount = word.strip_prefix('+').unwrap_or(word).parse();
            let amount = amount.map_err(|_| format!("what to add is like +5 or -2, not `{word}`"))?;
            Request::Add { key, amount }
        }
    };
    let session = match line.take("in") {
        false => None,
        true => {
            let word = line.next("a session and a number in it, like s.1,")?;
            let parts = word.split_once('.').and_then(|(name, number)| Some((name, number.parse().ok()?)));
            let wrong = || format!("a session and a number in it are like s.1, not `{word}`");
            parts.map(|(name, number)| Some((name.to_owned(), number))).ok_or_else(wrong)?
        }
    };
    let at = if line.take("at") { Some(line.machine()?) } else { None };
    Ok(Asked { gpid, request: Some(request), session, at })
}

fn operate(line: &mut Line<'_>) -> Parsed<Statement> {
    let verb = line.verb();
    let asked = asked(line, verb)?;
    let times = line.peek().and_then(|word| word.strip_prefix('x')?.parse().ok());
    if times.is_some() {
        line.next("how many times")?;
    }
    let wanted = if line.take("=") { Some(line.outcome()?) } else { None };
    Ok(Statement::Do { asked, times: times.unwrap_or(1), wanted })
}

/// `begin w1 write a +5`: goes on with the next line while the operation is under way.
fn begin(line: &mut Line<'_>) -> Parsed<Statement> {
    let labels = labels(line.next("a label")?)?;
    let verb = line.one_of("operation", &[("write", "write"), ("read", "read")])?;
    let asked = asked(line, verb)?;
    if asked.session.is_some() && labels.len() > 1 {
        return Err("each write of a session has a number of its own; begin them one by one".to_owned());
    }
    Ok(Statement::Begin { labels, asked })
}

fn retry(line: &mut Line<'_>) -> Parsed<Statement> {
    let label = line.next("a label")?.to_owned();
    let at = if line.take("at") { Some(line.machine()?) } else { None };
    Ok(Statement::Retry { label, at })
}

/// `session s`: a client opens a session, which goes by that name.
fn session(line: &mut Line<'_>) -> Parsed<Statement> {
    let name = line.next("a name")?.to_owned();
    let asked = Asked { gpid: line.gpid(), request: None, session: None, at: None };
    Ok(Statement::OpenSession { name, asked })
}

fn expect(line: &mut Line<'_>) -> Parsed<Statement> {
    let condition = line.condition()?;
    let when = line.when()?;
    if matches!((&condition, when), (Condition::Sent(_), When::Now | When::For(_))) {
        return Err("that a message is sent can only be waited for; `= 0` says that none was".to_owned());
    }
    Ok(Statement::Expect { condition, when })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Scenario::parse("x.scn", text).expect_err("it is wrong")
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let said = wrong("# t\nform r1\n\nkick r2 # hard");
        assert!(said.starts_with("x.scn:4: `kick` is no verb; known are form, start"), "{said}");
        assert_eq!(wrong("# t\nkill"), "x.scn:2: a node, or `meta`, is missing");
        assert_eq!(wrong("# t\nheal r1"), "x.scn:2: `r1` is one word too many");
        assert!(wrong("# t\nset color 3").starts_with("x.scn:2: `color` is no setting; known are heartbeat"));
        assert!(wrong("# t\nform r1\nset lease 1s").contains("belongs to the head"));
        assert!(wrong("# t\nlose next promise r1 -> r2").contains("`promise` is no kind of message"));
        assert!(wrong("form r1").contains("the first line is a comment"));
    }

    #[test]
    fn a_range_of_labels_begins_many() {
        let scenario = Scenario::parse("x.scn", "# t\nbegin w1..w3 write a +1").expect("it is right");
        let [(2, Statement::Begin { labels, .. })] = &scenario.lines[..] else { panic!("one statement") };
        assert_eq!(labels.join(" "), "w1 w2 w3");
    }
}
