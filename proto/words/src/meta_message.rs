//! Messages between a replica server and the meta server. Each can be lost; whoever needs an outcome asks
//! again until it knows (§4.2).

use serde::{Deserialize, Serialize};

use crate::{AppInfo, AppTerms, Ballot, Configuration, Decree, Gpid, Life, NodeId, RoleName};

/// What a node says to the meta server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeToMeta {
    /// "I am alive", at once when the session begins and then at every beacon interval.
    Beacon {
        /// Who.
        node: NodeId,
        /// In which life.
        life: Life,
        /// Its name in `config.ini`, for people.
        name: String,
        /// Where it can be reached, `host:port`.
        address: String,
        /// It is stopping: it wants to lead nothing and join nothing.
        leaving: bool,
        /// The file system of its data directory.
        disk: DiskSpace,
    },
    /// All replicas that the node holds: when a session begins, when something changed, and now and then.
    Report {
        /// Who.
        node: NodeId,
        /// In which life.
        life: Life,
        /// Every replica, also the inactive ones.
        replicas: Vec<ReplicaReport>,
    },
    /// A primary asks for the next configuration (§4.2). Answered with the current one, whatever it is.
    Propose(Proposal),
    /// Asks for a partition's configuration.
    Query {
        /// The partition.
        gpid: Gpid,
    },
    /// Answers [`MetaToNode::Describe`].
    Describe(ReplicaDescription),
}

/// A proposed change of configuration: compare-and-set on the ballot (§4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The partition.
    pub gpid: Gpid,
    /// The node that proposes; the primary of the configuration that it is based on.
    pub node: NodeId,
    /// What it wants; its ballot is one above the ballot that it is based on.
    pub proposed: Configuration,
}

/// One replica, as its node describes it. Printed `{r1,pri,3,17}` with the node's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaReport {
    /// The partition.
    pub gpid: Gpid,
    /// Its role.
    pub role: RoleName,
    /// Its ballot.
    pub ballot: Ballot,
    /// Its last committed decree.
    pub last_committed: Decree,
    /// Its last prepared decree.
    pub last_prepared: Decree,
    /// What its app has made durable.
    pub last_durable: Decree,
    /// For a primary: its learners.
    pub learners: Vec<NodeId>,
    /// For a learner that copies a checkpoint: how far it is.
    pub copying: Option<CopyProgress>,
}

/// How much of a checkpoint a learner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Bytes that are here: fetched, or still there from a copy that broke off.
    pub bytes: u64,
    /// All of its bytes.
    pub of_bytes: u64,
}

/// All that a replica knows of itself, for a meta server that lost its state (§4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaDescription {
    /// What it reports always.
    pub report: ReplicaReport,
    /// The app that it is a part of, as it last heard.
    pub app: AppInfo,
    /// On what terms it serves; those that it begins with if it restarted and has not heard of them since.
    pub terms: AppTerms,
    /// The configuration of its ballot; a primary's with those that it proposed to add, for they count (§4.3). Without members if it restarted and has not heard of one since; with the
    /// primary alone if it knows it from a prepare.
    pub configuration: Configuration,
    /// Up to where its log is known to equal that of the primary of its ballot.
    pub confirmed: Decree,
}

/// What the meta server says to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaToNode {
    /// Answers a beacon.
    BeaconAck,
    /// Where nodes can be reached: all of them when a session begins, then what changed.
    Nodes(Vec<NodeAddress>),
    /// A partition's current configuration: the answer to a proposal or a query, and pushed to members when it
    /// changes.
    Configuration(PartitionConfiguration),
    /// The guardian, the balancer or an operator wants something that only the primary can do.
    Command {
        /// The partition.
        gpid: Gpid,
        /// The ballot that it was decided on; one for another ballot is ignored.
        ballot: Ballot,
        /// What.
        command: Command,
    },
    /// The replica is not needed any more: its data may be deleted (§4.7). Decided on this ballot.
    Collect {
        /// The partition.
        gpid: Gpid,
        /// The configuration's ballot when that was decided.
        ballot: Ballot,
    },
    /// The partition is not known here: all that the replica knows is wanted (§4.9).
    Describe {
        /// The partition.
        gpid: Gpid,
    },
}

/// A partition's configuration with what a node needs to take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfiguration {
    /// The partition.
    pub gpid: Gpid,
    /// Its app.
    pub app: AppInfo,
    /// On what terms it serves.
    pub terms: AppTerms,
    /// Who.
    pub configuration: Configuration,
}

/// Where a node is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Who.
    pub node: NodeId,
    /// Its name in `config.ini`.
    pub name: String,
    /// `host:port`.
    pub address: String,
}

/// The file system of a node's data directory, as the node last measured it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size in bytes; 0 as long as it was not measured.
    pub capacity: u64,
    /// Bytes that can still be written.
    pub available: u64,
    /// Less is available than the node wants to have: it takes no client's writes and no new replicas.
    pub is_low: bool,
}

/// What a primary is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Let this node learn, then propose it as a secondary (rDSN's `add_secondary`).
    AddSecondary(NodeId),
    /// Propose the configuration without this secondary, or stop its learning (`remove`, `downgrade_to_inactive`).
    Remove(NodeId),
    /// Hand over to this secondary (§5.5; `move_pri`, `upgrade_to_primary`).
    HandOver(NodeId),
}
