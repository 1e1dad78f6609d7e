//! What is known of one partition besides its configuration. Volatile: it is learned again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use words::{Ballot, Command as Order, Configuration, Decree, NodeId, ReplicaReport, Time};

use crate::guardian::{Action, Decision};
use crate::plan::Goal;

/// What is known of one partition besides its configuration.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// A change that is being made durable. Until its outcome is known nothing else is decided and nobody is
    /// told the configuration (PITFALLS 3).
    pub(crate) pending: Option<Configuration>,
    /// Nodes that asked meanwhile.
    pub(crate) waiting: BTreeSet<NodeId>,
    /// When the configuration last changed.
    pub(crate) changed: Time,
    /// What nodes last reported of their replicas.
    pub(crate) reports: BTreeMap<NodeId, ReplicaReport>,
    /// Who stopped being a member, and when.
    pub(crate) dropped: BTreeMap<NodeId, Time>,
    /// Who is being added.
    pub(crate) adding: Option<Adding>,
    /// Who was given up on while learning, since the last change.
    pub(crate) avoid: BTreeSet<NodeId>,
    /// What an operator or the balancer wants, the next goal first.
    pub(crate) plan: VecDeque<Goal>,
    /// Who wants it.
    pub(crate) plan_by: String,
    /// When the first goal of the plan became the first.
    pub(crate) goal_since: Time,
    /// What the primary is being asked for.
    pub(crate) asked: Option<Asked>,
    /// Whom the configuration of which ballot was last told, and when.
    pub(crate) told: BTreeMap<NodeId, (Ballot, Time)>,
    /// When a replica was last said to be collectable.
    pub(crate) collected: BTreeMap<NodeId, Time>,
    /// When to look at it again, at the latest.
    pub(crate) wake: Option<Time>,
    /// What was last decided, and why; `None` before the first look.
    pub(crate) decided: Option<Decided>,
}

/// A decision, and since when it has been the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    /// What, and why.
    pub(crate) decision: Decision,
    /// Since when.
    pub(crate) since: Time,
}

/// What the primary is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What.
    pub(crate) order: Order,
    /// On which ballot.
    pub(crate) ballot: Ballot,
    /// When to ask again.
    pub(crate) again_at: Time,
    /// How long after that once more.
    pub(crate) pause: Duration,
}

/// A node that the primary was asked to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adding {
    /// Who.
    pub(crate) node: NodeId,
    ballot: Ballot,
    /// When it last came closer.
    since: Time,
    seen: Seen,
}

/// What shows that learning goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    listed: bool,
    last_committed: Decree,
    last_prepared: Decree,
    last_durable: Decree,
}

/// A transfer of a large checkpoint shows no progress in reports; the primary watches it itself and would not
/// list the learner any more. So one that it lists is given this many times longer.
const PATIENCE_WHILE_LISTED: u32 = 10;

impl Adding {
    pub(crate) fn new(node: NodeId, ballot: Ballot, now: Time) -> Self {
        Self { node, ballot, since: now, seen: Seen::default() }
    }

    /// Takes in what was reported. Returns when its time is up if nothing more is seen; `None` if the primary has
    /// given it up. A changed ballot begins anew: learning goes on under the new one (§6.3).
    pub(crate) fn observe(
        &mut self,
        ballot: Ballot,
        primary: Option<&ReplicaReport>,
        learner: Option<&ReplicaReport>,
        learn_timeout: Duration,
        now: Time,
    ) -> Option<Time> {
        if self.ballot != ballot {
            *self = Self::new(self.node, ballot, now);
        }
        let under_ballot = primary.filter(|report| report.ballot == ballot);
        let seen = Seen {
            listed: under_ballot.is_some_and(|report| report.learners.contains(&self.node)),
            last_committed: learner.map_or(Decree::ZERO, |report| report.last_committed),
            last_prepared: learner.map_or(Decree::ZERO, |report| report.last_prepared),
            last_durable: learner.map_or(Decree::ZERO, |report| report.last_durable),
        };
        let given_up = self.seen.listed && !seen.listed;
        if self.seen != seen {
            self.seen = seen;
            self.since = now;
        }
        let patience = if seen.listed { learn_timeout * PATIENCE_WHILE_LISTED } else { learn_timeout };
        (!given_up).then_some(self.since + patience)
    }
}

impl Partition {
    /// The configuration changed from `before` to `after`.
    pub(crate) fn reconfigured(&mut self, before: &Configuration, after: &Configuration, now: Time) {
        for node in before.members().filter(|&node| !after.is_member(node)) {
            self.dropped.insert(node, now);
        }
        self.dropped.retain(|&node, _| !after.is_member(node));
        self.avoid.clear();
        self.changed = now;
        self.pending = None;
    }

    /// Keeps what was decided, for whoever asks.
    pub(crate) fn decide(&mut self, decision: &Decision, now: Time) {
        if self.decided.as_ref().is_none_or(|decided| decided.decision != *decision) {
            self.decided = Some(Decided { decision: decision.clone(), since: now });
        }
    }

    /// Why, for people.
    pub(crate) fn reason(&self) -> &str {
        self.decided.as_ref().map_or("", |decided| &decided.decision.reason)
    }

    /// Why a primary proposes a configuration: by itself, or since the guardian asked it to. It leaves only where its log
    /// is stuck (§7.6).
    pub(crate) fn proposed_by(&self, node: NodeId, proposed: &Configuration) -> String {
        let decision = self.decided.as_ref().map(|decided| &decided.decision);
        let asked = decision.filter(|decision| match decision.action {
            Action::Ask(Order::AddSecondary(added)) => proposed.is_member(added),
            Action::Ask(Order::Remove(removed)) => !proposed.is_member(removed),
            Action::Ask(Order::HandOver(successor)) => proposed.primary == Some(successor),
            _ => false,
        });
        match asked {
            _ if !proposed.is_member(node) => {
                format!("{node} proposed it, since its log does not get further")
            }
            Some(Decision { rule, reason, .. }) => {
                format!("{node} proposed it, asked by the guardian, {rule}: {reason}")
            }
            None => format!("{node} proposed it"),
        }
    }

    /// Whether a node was told the configuration of this ballot less than `span` ago.
    pub(crate) fn was_told(&self, node: NodeId, ballot: Ballot, now: Time, span: Duration) -> bool {
        self.told.get(&node).is_some_and(|&(told, at)| told == ballot && at + span > now)
    }

    /// Asks to be looked at again at that time, if not before.
    pub(crate) fn wake_at(&mut self, time: Time) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }
}
