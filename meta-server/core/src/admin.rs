//! What an operator can ask for, and what the answer is.

use std::fmt;
use std::str::FromStr;

use words::{
    AppEnvs, AppId, AppInfo, Configuration, Decree, DiskSpace, Gpid, Life, NodeAddress, NodeId, ReplicaReport,
};

use crate::diagnosis::Diagnosis;
use crate::recovery::RecoveryPlan;
use crate::{EnvChange, Explanation, Level, LevelStatus, WallTime};

/// A request of the cluster's administration. Nodes are named by name, address or id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// All nodes.
    ListNodes,
    /// All apps that are there.
    ListApps {
        /// With those that were dropped and can be recalled.
        all: bool,
    },
    /// One app with its partitions.
    DescribeApp {
        /// Its name.
        name: String,
    },
    /// A new app.
    CreateApp {
        /// Its name.
        name: String,
        /// Its type.
        app_type: String,
        /// Number of partitions.
        partition_count: u32,
        /// Replicas for each partition.
        replica_count: u32,
    },
    /// The app that a new cluster begins with. Made once nodes are there and none holds anything: an empty meta server
    /// may be one that lost its state (§4.9). Answered then.
    CreateFirstApp {
        /// Its name.
        name: String,
        /// Its type.
        app_type: String,
        /// Number of partitions.
        partition_count: u32,
        /// Replicas for each partition.
        replica_count: u32,
    },
    /// An app shall serve nobody any more, and later be gone with its data.
    DropApp {
        /// Its name.
        name: String,
        /// How long it can be recalled, in seconds; `None`: as the settings say.
        hold_seconds: Option<u64>,
    },
    /// A dropped app shall be there again.
    RecallApp {
        /// The app.
        id: AppId,
        /// What it shall be called, if not as before.
        new_name: Option<String>,
    },
    /// An app shall be called otherwise.
    RenameApp {
        /// Its name.
        name: String,
        /// Its new name.
        new_name: String,
    },
    /// An app's environment shall change.
    ChangeEnvs {
        /// The app's name.
        name: String,
        /// What.
        change: EnvChange,
    },
    /// Each partition of an app shall have so many replicas.
    SetReplicaCount {
        /// The app's name.
        name: String,
        /// Replicas for each partition.
        count: u32,
    },
    /// The members of a partition are lost; a node leads with what it has (§4.8).
    AcceptLoss {
        /// The partition.
        gpid: Gpid,
        /// Who shall lead.
        node: String,
        /// The admin states that nobody else who had the partition runs, or is merely cut off.
        others_are_stopped: bool,
    },
    /// One step of reconfiguration.
    Propose {
        /// The partition.
        gpid: Gpid,
        /// Which.
        kind: ProposalKind,
        /// For which node.
        node: String,
    },
    /// One balancing action.
    Balance {
        /// The partition.
        gpid: Gpid,
        /// Which.
        kind: BalanceKind,
        /// From which node.
        from: String,
        /// To which node.
        to: String,
    },
    /// What the guardian last decided for a partition, and why.
    Why {
        /// The partition.
        gpid: Gpid,
    },
    /// What has changed, when and why.
    History {
        /// Of this partition's configuration; `None` for all that is no configuration.
        gpid: Option<Gpid>,
        /// The newest so many.
        limit: u32,
    },
    /// How much the meta server does by itself.
    GetLevel,
    /// The meta server shall do so much by itself.
    SetLevel {
        /// How much.
        level: Level,
    },
    /// A node shall get no new replicas, or may have them again.
    BlackList {
        /// The node.
        node: String,
        /// Whether it shall be on the list.
        listed: bool,
    },
    /// What is lost, and what is left of it.
    Diagnose,
    /// What an empty meta server could be rebuilt to (§4.9).
    PlanRecovery {
        /// Apps to leave alone, by name or number.
        leave_out: Vec<String>,
    },
    /// ... and shall be.
    Recover {
        /// Apps to leave alone, by name or number.
        leave_out: Vec<String>,
        /// The admin states that whoever had a replica and has not reported is stopped.
        others_are_stopped: bool,
    },
    /// What would move if the balancer could move everything now.
    BalancePlan,
    /// What the balancer does.
    BalancerStatus,
    /// Everything on a node shall go elsewhere, or may stay.
    Drain {
        /// The node.
        node: String,
        /// Whether it is drained from now on.
        drained: bool,
    },
    /// A node that is gone and is a member of nothing shall be forgotten.
    RemoveNode {
        /// The node.
        node: String,
    },
}

/// A step of reconfiguration, by rDSN's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalKind {
    /// A node shall lead a partition that has no primary.
    AssignPrimary,
    /// A secondary shall lead.
    UpgradeToPrimary,
    /// A node shall learn and become a secondary.
    AddSecondary,
    /// The same.
    UpgradeToSecondary,
    /// The primary shall follow another one.
    DowngradeToSecondary,
    /// A member shall be one no more; its data stays for now.
    DowngradeToInactive,
    /// The same.
    Remove,
}

/// A balancing action, by rDSN's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalanceKind {
    /// The primary's role moves to a secondary.
    MovePrimary,
    /// The primary's replica moves to a node that has none.
    CopyPrimary,
    /// A secondary's replica moves to a node that has none.
    CopySecondary,
}

/// A type of proposal or balancing action that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind {
    given: String,
    known: Vec<&'static str>,
}

impl std::error::Error for UnknownKind {}

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown type `{}`; write one of {}", self.given, self.known.join(", "))
    }
}

const PROPOSALS: [(&str, ProposalKind); 7] = [
    ("assign_primary", ProposalKind::AssignPrimary),
    ("upgrade_to_primary", ProposalKind::UpgradeToPrimary),
    ("add_secondary", ProposalKind::AddSecondary),
    ("upgrade_to_secondary", ProposalKind::UpgradeToSecondary),
    ("downgrade_to_secondary", ProposalKind::DowngradeToSecondary),
    ("downgrade_to_inactive", ProposalKind::DowngradeToInactive),
    ("remove", ProposalKind::Remove),
];

const BALANCES: [(&str, BalanceKind); 3] = [
    ("move_pri", BalanceKind::MovePrimary),
    ("copy_pri", BalanceKind::CopyPrimary),
    ("copy_sec", BalanceKind::CopySecondary),
];

pub(crate) fn by_name<T: Copy>(table: &[(&'static str, T)], given: &str) -> Result<T, UnknownKind> {
    let found = table.iter().find(|(name, _)| *name == given).map(|&(_, kind)| kind);
    found.ok_or_else(|| UnknownKind {
        given: given.to_owned(),
        known: table.iter().map(|&(name, _)| name).collect(),
    })
}

impl FromStr for ProposalKind {
    type Err = UnknownKind;

    fn from_str(given: &str) -> Result<Self, UnknownKind> {
        by_name(&PROPOSALS, given)
    }
}

impl fmt::Display for BalanceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = BALANCES.iter().find(|(_, kind)| kind == self).expect("every kind has a name");
        f.write_str(name)
    }
}

impl FromStr for BalanceKind {
    type Err = UnknownKind;

    fn from_str(given: &str) -> Result<Self, UnknownKind> {
        by_name(&BALANCES, given)
    }
}

/// The answer to an [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminReply {
    /// To [`AdminRequest::ListNodes`].
    Nodes {
        /// By id.
        nodes: Vec<NodeStatus>,
        /// What the meta server does by itself.
        level: LevelStatus,
    },
    /// To [`AdminRequest::ListApps`].
    Apps {
        /// By number.
        apps: Vec<AppSummary>,
        /// What the meta server does by itself.
        level: LevelStatus,
    },
    /// To [`AdminRequest::Why`].
    Why(Box<Explanation>),
    /// To [`AdminRequest::History`], the newest last.
    History {
        /// What changed, when and why.
        changes: Vec<PastChange>,
        /// Every node that is named in a configuration.
        nodes: Vec<NodeAddress>,
    },
    /// To [`AdminRequest::GetLevel`].
    Level(LevelStatus),
    /// To [`AdminRequest::DescribeApp`].
    App(AppDescription),
    /// To [`AdminRequest::CreateApp`]: it is durable.
    Created(AppInfo),
    /// To [`AdminRequest::DropApp`]: it is durable.
    Dropped {
        /// The app.
        app: AppInfo,
        /// Until when it can be recalled.
        expires: WallTime,
    },
    /// To [`AdminRequest::RecallApp`]: it is durable.
    Recalled(AppInfo),
    /// To [`AdminRequest::ChangeEnvs`]: the app's environment now.
    Envs(AppEnvs),
    /// To [`AdminRequest::BalancePlan`].
    BalancePlan(BalancePlan),
    /// To [`AdminRequest::BalancerStatus`].
    Balancer(BalancerStatus),
    /// To any other request for a change: what will happen, for people.
    Accepted(String),
    /// Nothing was done.
    Refused(AdminRefusal),
    /// To [`AdminRequest::Diagnose`].
    Diagnosis(Diagnosis),
    /// To [`AdminRequest::PlanRecovery`].
    Recovery(RecoveryPlan),
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChange {
    /// When, by the clock of the meta server that led.
    pub at: WallTime,
    /// What held before, of a partition; not known if it is no longer kept.
    pub before: Option<Configuration>,
    /// What held from then on, of a partition.
    pub after: Option<Configuration>,
    /// Which rule of the guardian, which node's proposal, or which operator's request, and why; or what changed.
    pub cause: String,
}

/// Why an operator's request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminRefusal {
    /// What kind of mistake it is.
    pub kind: RefusalKind,
    /// One line for people: what is wrong and what to do.
    pub message: String,
}

/// Kinds of refusals, as gRPC's conventions tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request makes no sense in any state.
    InvalidArgument,
    /// The app, partition or node is not there.
    NotFound,
    /// The app is there already.
    AlreadyExists,
    /// The present state forbids it.
    FailedPrecondition,
}

/// One node, as the meta server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Who and where.
    pub node: NodeAddress,
    /// Whether it has a session and is heard.
    pub alive: bool,
    /// The highest life that it named; 0 if it was not heard since the meta server started.
    pub life: Life,
    /// Partitions that it leads.
    pub primaries: u32,
    /// Partitions in which it is a secondary.
    pub secondaries: u32,
    /// Milliseconds since it was last heard.
    pub silent_ms: u64,
    /// The file system of its data directory, as its last beacon said.
    pub disk: DiskSpace,
    /// It gets no new replicas.
    pub black_listed: bool,
    /// Replicas that it holds of partitions that this meta server does not know.
    pub unknown: u32,
    /// Everything on it goes elsewhere.
    pub drained: bool,
}

/// One move of the balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedMove {
    /// Of which partition.
    pub gpid: Gpid,
    /// What moves.
    pub kind: BalanceKind,
    /// From where.
    pub from: NodeId,
    /// To where.
    pub to: NodeId,
    /// Why, for people.
    pub reason: String,
}

/// What would move if it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancePlan {
    /// The first moves, in their order.
    pub moves: Vec<PlannedMove>,
    /// How many there are in all.
    pub count: usize,
    /// Replicas on drained nodes that no other node can take.
    pub stuck: usize,
    /// Why nothing is balanced now, if so.
    pub in_the_way: Option<String>,
    /// Every node that is named in `moves`.
    pub nodes: Vec<NodeAddress>,
}

/// What the balancer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerStatus {
    /// Why nothing is balanced now, if so. Drains may go on.
    pub in_the_way: Option<String>,
    /// What is moving.
    pub under_way: Vec<PlannedMove>,
    /// Moves of the plan that have not begun.
    pub left: usize,
    /// Replicas on drained nodes that no other node can take.
    pub stuck: usize,
    /// Every node that is named in `under_way`.
    pub nodes: Vec<NodeAddress>,
}

/// One app in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSummary {
    /// The app.
    pub app: AppInfo,
    /// Partitions with all replicas that they should have, alive.
    pub healthy: u32,
    /// Partitions with a live primary.
    pub readable: u32,
    /// Until when it can be recalled, if it was dropped.
    pub expires: Option<WallTime>,
}

/// One app with its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDescription {
    /// The app.
    pub app: AppInfo,
    /// Its environment.
    pub envs: AppEnvs,
    /// By index.
    pub partitions: Vec<PartitionStatus>,
    /// Every node that is named in `partitions`.
    pub nodes: Vec<NodeAddress>,
    /// What the meta server does by itself.
    pub level: LevelStatus,
}

/// One partition, as the meta server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub gpid: Gpid,
    /// Its configuration.
    pub configuration: Configuration,
    /// Who is learning.
    pub learners: Vec<NodeId>,
    /// What the primary last reported as committed.
    pub last_committed: Decree,
    /// Every replica that a node last reported, members or not.
    pub replicas: Vec<(NodeId, ReplicaReport)>,
    /// What the guardian last decided for it, and why.
    pub decision: String,
    /// Whether all replicas that there should be are there, alive.
    pub healthy: bool,
}

/// What a client needs to find an app's partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRoute {
    /// The app.
    pub app: AppInfo,
    /// By index.
    pub partitions: Vec<Configuration>,
    /// Every node that is named in `partitions`.
    pub nodes: Vec<NodeAddress>,
}
