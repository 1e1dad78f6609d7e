//! What is lost, and what is left of it (rDSN's `ddd_diagnose`): partitions that no member can lead any more (§4.8),
//! and replicas of partitions that this meta server never heard of (PITFALLS 37).

use std::collections::BTreeSet;
use std::time::Duration;

use words::{Configuration, Gpid, NodeAddress, NodeId, ReplicaReport, RoleName, Time};

use crate::guardian::{Standing, View};
use crate::loss::can_go_on;
use crate::partition::Partition;
use crate::{AppStatus, MetaCore};

/// What waits for an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Partitions that no member can lead any more.
    pub lost: Vec<LostPartition>,
    /// Replicas of partitions that this meta server does not know.
    pub unknown: Vec<UnknownReplica>,
    /// Every node that is named in both.
    pub nodes: Vec<NodeAddress>,
}

/// A partition whose members are all dead, or have lost their data (§4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostPartition {
    /// The partition.
    pub gpid: Gpid,
    /// Its app.
    pub app_name: String,
    /// Its last configuration.
    pub configuration: Configuration,
    /// What every member and every other node had when it last said so; the safest to go on with first.
    pub copies: Vec<ReplicaCopy>,
    /// What to do, for people, with the exact command.
    pub advice: String,
}

/// One node's copy of a lost partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaCopy {
    /// The node.
    pub node: NodeId,
    /// Whether it is heard.
    pub alive: bool,
    /// Whether it is a member of the last configuration: then it has all that was acknowledged.
    pub is_member: bool,
    /// Whether a declared loss could go on with it.
    pub can_lead: bool,
    /// What it last reported; `None` if nothing was heard of it since the meta server started.
    pub report: Option<ReplicaReport>,
    /// How many milliseconds old that is.
    pub age_ms: u64,
}

/// A replica of a partition that the meta server does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownReplica {
    /// The node that holds it.
    pub node: NodeId,
    /// Whether that is heard.
    pub alive: bool,
    /// What it last reported.
    pub report: ReplicaReport,
    /// How many milliseconds old that is.
    pub age_ms: u64,
}

impl MetaCore {
    /// Everything that waits for an operator.
    #[must_use]
    pub fn diagnose(&self, now: Time) -> Diagnosis {
        let available = self.state.apps().filter(|app| app.status == AppStatus::Available);
        let lost: Vec<LostPartition> =
            available.flat_map(|app| self.lost_partitions(now, &app.info)).collect();
        let unknown = self.unknown_replicas(now);
        let mut named: BTreeSet<NodeId> = unknown.iter().map(|replica| replica.node).collect();
        named.extend(lost.iter().flat_map(|partition| &partition.copies).map(|copy| copy.node));
        Diagnosis { nodes: self.addresses(&named), lost, unknown }
    }

    fn lost_partitions<'a>(
        &'a self,
        now: Time,
        app: &'a words::AppInfo,
    ) -> impl Iterator<Item = LostPartition> + 'a {
        self.configurations_of(app).filter_map(move |(gpid, configuration)| {
            let partition = self.partitions.get(&gpid).filter(|partition| partition.pending.is_none())?;
            if configuration.members().any(|node| self.is_well(node, partition)) {
                return None;
            }
            let view = self.view(now, gpid, app, partition);
            let is_lost = |node: NodeId| view.node(node).is_none_or(|node| node.why_lost().is_some());
            if configuration.is_empty() || !configuration.members().all(is_lost) {
                return None;
            }
            let copies = self.copies(now, gpid, &view);
            let advice = advice(gpid, &copies);
            Some(LostPartition {
                gpid,
                app_name: app.name.clone(),
                configuration: configuration.clone(),
                advice: self.state.with_names(&advice),
                copies,
            })
        })
    }

    /// A cheap look that spares most partitions the whole view: the node is not dead, and its replica not broken.
    fn is_well(&self, node: NodeId, partition: &Partition) -> bool {
        let Some(entry) = self.nodes.get(node) else { return false };
        let broken = |report: &ReplicaReport| report.role == RoleName::Error;
        !matches!(entry.standing(), Standing::Dead(_))
            && partition.reports.get(&node).is_some_and(|r| !broken(r))
    }

    /// Every member, and every other node that reported a replica; the safest first.
    fn copies(&self, now: Time, gpid: Gpid, view: &View<'_>) -> Vec<ReplicaCopy> {
        let reports = &self.partitions[&gpid].reports;
        let nodes: BTreeSet<NodeId> = view.configuration.members().chain(reports.keys().copied()).collect();
        let mut copies: Vec<ReplicaCopy> = nodes
            .into_iter()
            .map(|node| ReplicaCopy {
                node,
                alive: view.is_alive(node),
                is_member: view.configuration.is_member(node),
                can_lead: view.node(node).is_some_and(can_go_on),
                report: reports.get(&node).cloned(),
                age_ms: self.report_age(now, node),
            })
            .collect();
        copies.sort_by_key(|copy| std::cmp::Reverse((copy.can_lead, copy.progress())));
        copies
    }

    /// How old what a node said last is, at least.
    pub(crate) fn report_age(&self, now: Time, node: NodeId) -> u64 {
        let age = self.nodes.get(node).map(|entry| now.since(entry.reported.unwrap_or(entry.heard)));
        millis(age.unwrap_or_default())
    }

    fn unknown_replicas(&self, now: Time) -> Vec<UnknownReplica> {
        let replicas = self.strangers.values().flatten();
        replicas
            .map(|(&node, stranger)| UnknownReplica {
                node,
                alive: self.nodes.session_of(node).is_some(),
                report: stranger.report.clone(),
                age_ms: self.report_age(now, node),
            })
            .collect()
    }
}

impl ReplicaCopy {
    /// How far it is; what nobody reported is nowhere.
    fn progress(&self) -> (words::Ballot, words::Decree) {
        self.report.as_ref().map(|report| (report.ballot, report.last_prepared)).unwrap_or_default()
    }
}

/// The next thing to do, for people: a member that returns costs nothing, so that comes first.
fn advice(gpid: Gpid, copies: &[ReplicaCopy]) -> String {
    let trusted = |report: &ReplicaReport| report.role != RoleName::Error;
    let missing: Vec<String> = copies
        .iter()
        .filter(|copy| copy.is_member && !copy.alive && copy.report.as_ref().is_none_or(trusted))
        .map(|copy| copy.node.to_string())
        .collect();
    let back = match &missing[..] {
        [] => "no member can return with its data".to_owned(),
        [one] => format!("start {one} with its data, then nothing is lost"),
        [several @ .., last] => {
            format!("start {} or {last} with its data, then nothing is lost", several.join(", "))
        }
    };
    match copies.first().filter(|copy| copy.can_lead) {
        Some(copy) => format!(
            "{back}; or give up what only the others had: admin accept-loss {gpid} {} --the-others-are-stopped",
            copy.node
        ),
        None => format!("{back}; no live node has a copy that could be gone on with"),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
