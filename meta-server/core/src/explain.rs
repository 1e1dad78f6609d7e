//! What the guardian decided for one partition, why, and what it sees: for operators who wonder.

use words::{Configuration, Gpid, NodeAddress, NodeId, Time};

use crate::guardian::{Action, Decision, NodeView, Replica, Standing, View};
use crate::operator::{Checked, refusal};
use crate::partition::Decided;
use crate::{AdminReply, LevelStatus, MetaCore, PartitionStatus, PastChange, RefusalKind, Refused, Step};

/// What the guardian decided for a partition, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The partition as it is.
    pub partition: PartitionStatus,
    /// How many replicas there should be.
    pub replica_count: u32,
    /// The rule that decided; empty if nothing was decided yet.
    pub rule: String,
    /// What it does.
    pub action: String,
    /// Why.
    pub reason: String,
    /// How long it has been the same decision, in milliseconds.
    pub since_ms: u64,
    /// In how many milliseconds the wait ends, or the primary is asked again; `None` if only an event ends it.
    pub until_ms: Option<u64>,
    /// Every node that the guardian knows, by id.
    pub nodes: Vec<NodeOpinion>,
    /// What the meta server does by itself.
    pub level: LevelStatus,
}

/// What the guardian sees of a node, as far as one partition is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOpinion {
    /// The node.
    pub node: NodeAddress,
    /// Whether it can be counted on.
    pub standing: String,
    /// Its replica, as it reported it.
    pub replica: String,
    /// What it is to the partition, or could become, and if not, why not.
    pub opinion: String,
}

impl MetaCore {
    /// What the guardian last decided for a partition, and what it sees now.
    pub(crate) fn explain(&self, now: Time, gpid: Gpid) -> Checked<Explanation> {
        let app = self.state.app_of(gpid).filter(|app| gpid.partition < app.partition_count);
        let app =
            app.ok_or_else(|| refusal(RefusalKind::NotFound, Refused::NoSuchPartition(gpid).to_string()))?;
        let partition = &self.partitions[&gpid];
        let mut view = self.view(now, gpid, app, partition);
        view.goal = partition.plan.front().copied();
        view.adding = partition.adding.as_ref().map(|adding| adding.node);
        let (rule, mut action, reason, since) = match &partition.decided {
            Some(Decided { decision: Decision { rule, action, reason }, since }) => {
                (*rule, action.to_string(), reason.clone(), *since)
            }
            None => ("", String::new(), String::new(), now),
        };
        if let Some(next) = &partition.pending {
            action = format!("wait until {next} is durable");
        }
        let until = match partition.decided.as_ref().map(|decided| &decided.decision.action) {
            Some(Action::Wait(until)) => Some(*until),
            Some(Action::Ask(_)) => partition.asked.map(|asked| asked.again_at),
            _ => None,
        };
        let nodes = view.nodes.iter().filter_map(|node| self.opinion(node, &view)).collect();
        Ok(Explanation {
            partition: self.describe(gpid, view.configuration),
            replica_count: app.replica_count,
            rule: rule.to_owned(),
            action: self.state.with_names(&action),
            reason: self.state.with_names(&reason),
            since_ms: millis(now, since),
            until_ms: until.map(|until| millis(until, now)),
            nodes,
            level: self.level_status(),
        })
    }

    fn opinion(&self, node: &NodeView, view: &View<'_>) -> Option<NodeOpinion> {
        let standing = match node.standing {
            Standing::Alive => "alive".to_owned(),
            Standing::Suspected => "suspected: no session, or not heard yet".to_owned(),
            Standing::Dead(since) => format!("dead for {} s", view.now.since(since).as_secs()),
        };
        let replica = match node.replica {
            Replica::Unknown => "not reported yet".to_owned(),
            Replica::Absent => "none".to_owned(),
            Replica::Held { role, ballot, last_prepared } => format!("{role}, {ballot}.{last_prepared}"),
        };
        let address = self.state.node(node.node)?.clone();
        Some(NodeOpinion { node: address, standing, replica, opinion: node.opinion(view) })
    }

    /// What has changed, the newest last: of a partition's configuration, or all that is none.
    pub(crate) fn past(&self, gpid: Option<Gpid>, limit: usize) -> AdminReply {
        let Some(gpid) = gpid else {
            let newest: Vec<_> = self.state.events().rev().take(limit).collect();
            let change = |event: &&crate::Event| PastChange {
                at: event.at,
                before: None,
                after: None,
                cause: self.state.with_names(&event.what),
            };
            let changes = newest.iter().rev().map(change).collect();
            return AdminReply::History { changes, nodes: vec![] };
        };
        if self.state.configuration(gpid).is_none() {
            return AdminReply::refused(RefusalKind::NotFound, Refused::NoSuchPartition(gpid).to_string());
        }
        let steps: Vec<&Step> = self.state.steps(gpid).collect();
        let before = |index: usize| match index.checked_sub(1) {
            Some(earlier) => Some(steps[earlier].configuration.clone()),
            // Of a longer history the beginning is not kept.
            None => (steps[index].configuration.ballot.0 == 1).then(Configuration::default),
        };
        let change = |(index, step): (usize, &&Step)| PastChange {
            at: step.at,
            before: before(index),
            after: Some(step.configuration.clone()),
            cause: self.state.with_names(&step.cause),
        };
        let left_out = steps.len().saturating_sub(limit);
        let named = steps.iter().flat_map(|step| step.configuration.members()).collect();
        let changes = steps.iter().enumerate().skip(left_out).map(change).collect();
        AdminReply::History { changes, nodes: self.addresses(&named) }
    }
}

impl NodeView {
    /// What it is to the partition, or could become, and if not, why not.
    fn opinion(&self, view: &View<'_>) -> String {
        let is = |node: Option<NodeId>| node == Some(self.node);
        let part = match () {
            () if is(view.configuration.primary) => Some("is the primary"),
            () if view.configuration.is_member(self.node) => Some("is a secondary"),
            () if is(view.adding) => Some("is being added"),
            () => None,
        };
        match (part, self.why_not()) {
            (Some(part), None) => part.to_owned(),
            (Some(part), Some(why)) => format!("{part}; it {why}"),
            (None, Some(why)) => format!("can't be added: it {why}"),
            (None, None) if view.avoid.contains(&self.node) => {
                "is the last choice: it was given up on while it learned".to_owned()
            }
            (None, None) if self.may_have_data(view.dropped) => "can be added first: it has data".to_owned(),
            (None, None) => format!("can be added; it has {} replicas", self.replicas),
        }
    }

    /// Why it is given nothing new.
    fn why_not(&self) -> Option<&'static str> {
        match () {
            () if self.standing != Standing::Alive => Some("is not alive"),
            () if self.leaving => Some("is stopping"),
            () if !self.is_fit() => Some("has a replica that can't be trusted"),
            () if self.black_listed => Some("is on the black list"),
            () if self.unstable_until.is_some() && !self.can_join() => Some("starts again and again"),
            () if !self.can_join() => Some("has a disk that is almost full"),
            () => None,
        }
    }
}

fn millis(later: Time, earlier: Time) -> u64 {
    u64::try_from(later.since(earlier).as_millis()).unwrap_or(u64::MAX)
}
