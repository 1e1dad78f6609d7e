//! What has changed, when and why: kept beside what changed, and with it.
//!
//! A step is written in the same batch as the configuration that it is about, so the two can't disagree, and the way
//! to the disk is longer by one record. What is kept is bounded: a record's place in storage is its number modulo
//! how many are kept, so a new one takes the place of the oldest.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use words::{Configuration, Gpid};

use crate::{Change, Command, EnvChange, WallTime};

/// Steps kept of one partition. About 200 bytes each in memory: 20 MB for ten thousand partitions that have all
/// changed as often. A failover and its cure take three or four.
pub const STEPS_KEPT: u64 = 10;

/// Events kept of the whole cluster. Operators make them, and nodes when they first come.
pub const EVENTS_KEPT: u64 = 1000;

/// One change of one partition's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, by the clock of the meta server that led.
    pub at: WallTime,
    /// What held from then on.
    pub configuration: Configuration,
    /// Which rule of the guardian, which node's proposal, or which operator's request; and why.
    pub cause: String,
}

/// One change of something else than a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// 1, 2, 3, without gaps.
    pub number: u64,
    /// When, by the clock of the meta server that led.
    pub at: WallTime,
    /// What, for people.
    pub what: String,
}

/// What is kept of all changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// The newest last.
    steps: BTreeMap<Gpid, VecDeque<Step>>,
    /// The newest last.
    events: VecDeque<Event>,
}

impl History {
    /// What is to be kept of a command that changes something.
    pub(crate) fn record(&self, command: &Command, at: WallTime) -> Change {
        match command {
            Command::SetConfiguration { gpid, configuration, cause }
            | Command::AcceptLoss { gpid, configuration, cause } => {
                let (configuration, cause) = (configuration.clone(), cause.clone());
                Change::Step { gpid: *gpid, step: Step { at, configuration, cause } }
            }
            other => {
                let number = self.events.back().map_or(0, |event| event.number) + 1;
                Change::Event(Event { number, at, what: other.told() })
            }
        }
    }

    /// Takes in a step, in whatever order they are read back.
    pub(crate) fn put_step(&mut self, gpid: Gpid, step: Step) {
        let steps = self.steps.entry(gpid).or_default();
        let ballot = |step: &Step| step.configuration.ballot;
        let place = steps.partition_point(|earlier| ballot(earlier) < ballot(&step));
        steps.insert(place, step);
        if steps.len() as u64 > STEPS_KEPT {
            steps.pop_front();
        }
    }

    /// ... and an event.
    pub(crate) fn put_event(&mut self, event: Event) {
        let place = self.events.partition_point(|earlier| earlier.number < event.number);
        self.events.insert(place, event);
        if self.events.len() as u64 > EVENTS_KEPT {
            self.events.pop_front();
        }
    }

    /// All that is kept, as it was put.
    pub(crate) fn values(&self) -> impl Iterator<Item = Change> + '_ {
        let step = |gpid: Gpid| move |step: &Step| Change::Step { gpid, step: step.clone() };
        let steps = self.steps.iter().flat_map(move |(&gpid, steps)| steps.iter().map(step(gpid)));
        steps.chain(self.events.iter().cloned().map(Change::Event))
    }

    /// A partition's steps, the newest last.
    pub(crate) fn steps(&self, gpid: Gpid) -> impl DoubleEndedIterator<Item = &Step> {
        self.steps.get(&gpid).into_iter().flatten()
    }

    /// The cluster's events, the newest last.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }
}

impl Command {
    /// What it does, for people: the log says it, and so does the history.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::CreateApp { name, partition_count, replica_count, .. } => {
                format!("app `{name}` created, {partition_count} partitions, {replica_count} replicas each")
            }
            Self::DropApp { name, hold_seconds } => {
                format!("app `{name}` dropped; it can be recalled for {hold_seconds} s")
            }
            Self::RecallApp { id, new_name: None } => format!("app {id} recalled"),
            Self::RecallApp { id, new_name: Some(name) } => format!("app {id} recalled as `{name}`"),
            Self::ExpireApp { id, .. } => format!("app {id} has expired: its replicas are collected"),
            Self::RenameApp { name, new_name } => format!("app `{name}` is called `{new_name}` now"),
            Self::ChangeEnvs { name, change: EnvChange::Set { key, value } } => {
                format!("app `{name}`: {key} = {value}")
            }
            Self::ChangeEnvs { name, change: EnvChange::Remove { key } } => {
                format!("app `{name}`: {key} is not set any more")
            }
            Self::ChangeEnvs { name, change: EnvChange::Clear } => {
                format!("app `{name}`: its environment is cleared")
            }
            Self::SetConfiguration { gpid, configuration, cause }
            | Self::AcceptLoss { gpid, configuration, cause } => format!("{gpid} {configuration}: {cause}"),
            Self::SetReplicaCount { name, count } => format!("app `{name}`: {count} replicas wanted"),
            Self::SetLevel(level) => format!("the level is {level}: {}", level.leaves_out()),
            Self::BlackList { node, listed: true } => format!("{node} is put on the black list"),
            Self::BlackList { node, listed: false } => format!("{node} is taken off the black list"),
            Self::Recover { apps, configurations } => format!(
                "rebuilt from what nodes hold: {} apps, {} partitions",
                apps.len(),
                configurations.len()
            ),
            Self::Drain { node, drained: true } => format!("{node} is being drained"),
            Self::Drain { node, drained: false } => format!("{node} is not drained any more"),
            Self::RemoveNode(node) => format!("{node} is forgotten"),
            Self::RegisterNode(node) => format!("{} is {} at {}", node.node, node.name, node.address),
        }
    }
}
