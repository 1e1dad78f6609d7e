//! What a scenario has in store for messages: the next one of a kind on a link is lost, late, doubled, held
//! back, or somebody dies as it leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use words::{Command, Decree, MetaToNode, NodeToMeta, PeerMessage};

use super::words::{Line, Link, Parsed, Party};
use crate::clock::Moment;
use crate::machine::Strike;
use crate::world::{Happening, World, trace};

/// The kinds of messages, as the trace names them.
pub(super) const KINDS: [&str; 27] = [
    "any",
    "hello",
    "welcome",
    "prepare",
    "prepare_ack",
    "prepare_refused",
    "heartbeat",
    "heartbeat_ack",
    "step_down",
    "add_learner",
    "learn",
    "learn_from_list",
    "learn_mutations",
    "learn_checkpoint",
    "learn_start_over",
    "learn_failed",
    "beacon",
    "beacon_ack",
    "report",
    "propose",
    "query",
    "nodes",
    "configuration",
    "add_secondary",
    "remove",
    "hand_over",
    "collect",
];

/// Messages of one kind on one link, perhaps of one decree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    kind: &'static str,
    decree: Option<Decree>,
    pub(super) link: Link,
}

/// What is to become of a message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    Lose,
    Delay(Duration),
    Repeat(Duration),
    Hold(String),
    /// It goes its way, and this befalls the machine right after.
    Strike(usize, StrikeKind),
}

/// A strike, without what only the simulation knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StrikeKind {
    Kill,
    PowerCut,
    Pause(Duration),
}

impl StrikeKind {
    pub(super) fn strike(self) -> Strike {
        match self {
            Self::Kill => Strike::Crash(crate::machine::Loss::Kept),
            Self::PowerCut => Strike::Crash(crate::machine::Loss::Power),
            Self::Pause(span) => Strike::Freeze(span),
        }
    }
}

/// An order for the next messages that match.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arm {
    pub(super) pattern: Pattern,
    pub(super) order: Order,
    /// For so many of them; `u64::MAX` is until the arm is taken off.
    pub(super) left: u64,
}

/// What a scenario keeps beside the world that it drives. In a seed's run it is not there at all.
#[derive(Default)]
pub(crate) struct Script {
    on: bool,
    pub(super) arms: Vec<Arm>,
    pub(super) held: Vec<(String, Happening)>,
    /// Every message that was sent since the last mark.
    sent: Vec<(&'static str, Option<Decree>, Party, Party)>,
    /// Who is to be struck before the next thing happens.
    pub(super) struck: Vec<usize>,
    pub(super) operations: super::operations::Operations,
    pub(super) sync_delays: BTreeMap<usize, Duration>,
    /// Work that is to fail the next time, and on which machine.
    pub(super) failures: BTreeSet<(Failure, usize)>,
    pub(super) admin: Option<meta_core::AdminReply>,
}

/// Work that a scenario can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The app has no checkpoint to give to a learner.
    GetCheckpoint,
    /// The transfer of a checkpoint to this machine breaks.
    Transfer,
    /// The app does not take a checkpoint that arrived.
    ApplyCheckpoint,
}

impl Script {
    pub(super) fn on() -> Self {
        Self { on: true, ..Self::default() }
    }

    /// Whether a scenario drives this world: nothing happens by itself then, no node restarts.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// How much later than usual the next sync of a machine's log is done.
    pub(crate) fn sync_delay(&mut self, machine: usize) -> Duration {
        self.sync_delays.remove(&machine).unwrap_or_default()
    }

    /// Whether work that is about to be finished fails.
    pub(crate) fn fails(&mut self, what: Failure, machine: usize) -> bool {
        self.failures.remove(&(what, machine))
    }

    /// The meta server answered its operator.
    pub(crate) fn on_admin(&mut self, reply: meta_core::AdminReply) {
        self.admin = Some(reply);
    }

    /// From here on messages are counted.
    pub(super) fn mark(&mut self) {
        self.sent.clear();
    }

    /// How many messages of a kind were sent since the last mark.
    pub(super) fn sent(&self, pattern: &Pattern) -> u64 {
        let matching = |&&(kind, decree, from, to): &&_| pattern.matches(kind, decree, from, to);
        self.sent.iter().filter(matching).count() as u64
    }

    /// The order for a message, if there is one.
    fn order(&mut self, kind: &'static str, decree: Option<Decree>, from: Party, to: Party) -> Option<Order> {
        let matches = |arm: &Arm| arm.left > 0 && arm.pattern.matches(kind, decree, from, to);
        let at = self.arms.iter().position(matches)?;
        let arm = &mut self.arms[at];
        let order = arm.order.clone();
        if arm.left < u64::MAX {
            arm.left -= 1;
        }
        if arm.left == 0 {
            self.arms.remove(at);
        }
        Some(order)
    }
}

impl Pattern {
    fn matches(&self, kind: &str, decree: Option<Decree>, from: Party, to: Party) -> bool {
        let on = |link: Link| link.from.is_none_or(|it| it == from) && link.to.is_none_or(|it| it == to);
        let back = Link { from: self.link.to, to: self.link.from, both_ways: false };
        (self.kind == "any" || self.kind == kind)
            && (self.decree.is_none() || self.decree == decree)
            && (on(self.link) || self.link.both_ways && on(back))
    }
}

impl Line<'_> {
    /// `prepare r1 -> r2`, `prepare@5 r1 -> r2`.
    pub(super) fn pattern(&mut self) -> Parsed<Pattern> {
        let word = self.next("a kind of message")?;
        let (name, decree) = word.split_once('@').map_or((word, None), |(name, at)| (name, Some(at)));
        let kind = KINDS.iter().find(|&&kind| kind == name).copied();
        let kind =
            kind.ok_or_else(|| format!("`{name}` is no kind of message; known are {}", KINDS.join(", ")))?;
        let decree = match decree.map(str::parse) {
            None => None,
            Some(Ok(number)) => Some(Decree(number)),
            Some(Err(_)) => return Err(format!("what follows `@` in `{word}` is a decree")),
        };
        Ok(Pattern { kind, decree, link: self.link()? })
    }

    /// `next PATTERN`, `next 3 PATTERN` or `every PATTERN`: which, and how many.
    pub(super) fn which(&mut self) -> Parsed<(Pattern, u64)> {
        let count = if self.take("every") {
            u64::MAX
        } else {
            self.must("next")?;
            if self.peek().is_some_and(|word| word.parse::<u64>().is_ok()) {
                self.number("how many")?
            } else {
                1
            }
        };
        Ok((self.pattern()?, count))
    }
}

fn kind_of_peer_message(message: &PeerMessage) -> (&'static str, Option<Decree>) {
    match message {
        PeerMessage::Hello => ("hello", None),
        PeerMessage::Welcome => ("welcome", None),
        PeerMessage::Prepare(m) => ("prepare", Some(m.mutation.id.decree)),
        PeerMessage::PrepareAck(m) => ("prepare_ack", Some(m.confirmed)),
        PeerMessage::PrepareRefused(m) => ("prepare_refused", Some(m.confirmed)),
        PeerMessage::Heartbeat(_) => ("heartbeat", None),
        PeerMessage::HeartbeatAck(_) => ("heartbeat_ack", None),
        PeerMessage::StepDown(_) => ("step_down", None),
        PeerMessage::AddLearner(_) => ("add_learner", None),
        PeerMessage::Learn(_) => ("learn", None),
        PeerMessage::LearnFromList(_) => ("learn_from_list", None),
        PeerMessage::LearnMutations(_) => ("learn_mutations", None),
        PeerMessage::LearnCheckpoint(m) => ("learn_checkpoint", Some(m.checkpoint.decree)),
        PeerMessage::LearnStartOver(_) => ("learn_start_over", None),
        PeerMessage::LearnFailed(_) => ("learn_failed", None),
    }
}

fn kind_to_meta(message: &NodeToMeta) -> &'static str {
    match message {
        NodeToMeta::Beacon { .. } => "beacon",
        NodeToMeta::Report { .. } => "report",
        NodeToMeta::Propose(_) => "propose",
        NodeToMeta::Query { .. } => "query",
        NodeToMeta::Describe(_) => "describe",
    }
}

fn kind_from_meta(message: &MetaToNode) -> &'static str {
    match message {
        MetaToNode::BeaconAck => "beacon_ack",
        MetaToNode::Nodes(_) => "nodes",
        MetaToNode::Configuration(_) => "configuration",
        MetaToNode::Command { command: Command::AddSecondary(_), .. } => "add_secondary",
        MetaToNode::Command { command: Command::Remove(_), .. } => "remove",
        MetaToNode::Command { command: Command::HandOver(_), .. } => "hand_over",
        MetaToNode::Collect { .. } => "collect",
        MetaToNode::Describe { .. } => "describe",
    }
}

impl World<'_> {
    /// A message sets out and is to arrive then, unless a scenario has other plans for it.
    pub(crate) fn dispatch(&mut self, at: Moment, arrival: Happening) {
        if !self.script.on {
            return self.put(at, arrival);
        }
        let Some((kind, decree, from, to)) = self.addressed(&arrival) else { return self.put(at, arrival) };
        self.script.sent.push((kind, decree, from, to));
        let order = self.script.order(kind, decree, from, to);
        if let Some(order) = &order {
            trace!(self, "scenario", "{order:?}: this {kind}");
        }
        match order {
            None => self.put(at, arrival),
            Some(Order::Lose) => {}
            Some(Order::Delay(by)) => self.put(at + by, arrival),
            Some(Order::Repeat(after)) => {
                if let Some(copy) = arrival.copy() {
                    self.put(at + after, copy);
                }
                self.put(at, arrival);
            }
            Some(Order::Hold(name)) => self.script.held.push((name, arrival)),
            Some(Order::Strike(machine, kind)) => {
                self.machines[machine].strike = Some((kind.strike(), 0));
                self.script.struck.push(machine);
                self.put(at, arrival);
            }
        }
    }

    /// What a message is, from whom and for whom.
    fn addressed(&self, arrival: &Happening) -> Option<(&'static str, Option<Decree>, Party, Party)> {
        match arrival {
            Happening::Arrive { machine, envelope, .. } => {
                let from = *self.places.get(&envelope.from)?;
                let (kind, decree) = kind_of_peer_message(&envelope.body);
                Some((kind, decree, Party::Machine(from), Party::Machine(*machine)))
            }
            Happening::ToMeta { session, message } => {
                let from = self.meta.machine_of(*session)?;
                Some((kind_to_meta(message), None, Party::Machine(from), Party::Meta))
            }
            Happening::FromMeta { machine, message, .. } => {
                Some((kind_from_meta(message), None, Party::Meta, Party::Machine(*machine)))
            }
            _ => None,
        }
    }

    /// Messages that were held back under this name arrive now.
    pub(super) fn release(&mut self, name: Option<&str>) -> usize {
        let held = std::mem::take(&mut self.script.held);
        let (go, stay): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(label, _)| name.is_none_or(|name| name == label));
        self.script.held = stay;
        let count = go.len();
        for (_, arrival) in go {
            self.put(self.now, arrival);
        }
        count
    }
}

impl Happening {
    /// The same message again.
    fn copy(&self) -> Option<Self> {
        match self {
            Self::Arrive { machine, left, envelope } => {
                Some(Self::Arrive { machine: *machine, left: *left, envelope: envelope.clone() })
            }
            Self::ToMeta { session, message } => {
                Some(Self::ToMeta { session: *session, message: message.clone() })
            }
            Self::FromMeta { machine, session, message } => {
                Some(Self::FromMeta { machine: *machine, session: *session, message: message.clone() })
            }
            _ => None,
        }
    }
}
