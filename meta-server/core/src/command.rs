//! Commands in, changes out: what the meta server's durable state is asked to do, and what comes of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use words::{AppInfo, Configuration, Gpid, IllegalStep, NodeAddress, NodeId};

use crate::{Event, Level, MAX_NAME_BYTES, MAX_PARTITIONS, MAX_REPLICAS, Step};

/// The time of day, in milliseconds since 1970: for people to read, and for what is kept for days. Whoever leads
/// gives it to a command before that is made durable, so that all meta servers apply it with the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WallTime(pub u64);

/// One change of the durable state, to be made durable on a majority of meta servers before anyone hears of it
/// (§4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A new app, all of its partitions at ballot 0.
    CreateApp {
        /// Its name, not that of another app.
        name: String,
        /// Its type.
        app_type: String,
        /// Number of partitions, 1 to [`MAX_PARTITIONS`].
        partition_count: u32,
        /// Replicas for each partition, 1 to [`MAX_REPLICAS`].
        replica_count: u32,
    },
    /// The app is gone; its replicas will be collected.
    DropApp {
        /// Its name.
        name: String,
    },
    /// The next configuration of one partition: compare-and-set on the ballot.
    SetConfiguration {
        /// The partition.
        gpid: Gpid,
        /// What follows the current configuration, by one legal step.
        configuration: Configuration,
        /// Why, for people.
        cause: String,
    },
    /// A node was seen for the first time, or under a new name or address.
    RegisterNode(NodeAddress),
    /// Each partition of the app shall have so many replicas.
    SetReplicaCount {
        /// The app's name.
        name: String,
        /// Replicas for each partition, 1 to [`MAX_REPLICAS`].
        count: u32,
    },
    /// An admin gives up the members of a partition: one node goes on alone with what it has (§4.8).
    AcceptLoss {
        /// The partition.
        gpid: Gpid,
        /// What follows the current configuration: [`Configuration::after_loss`].
        configuration: Configuration,
        /// Why, for people.
        cause: String,
    },
    /// The meta server shall do so much by itself.
    SetLevel(Level),
    /// A node gets no new replicas, or may have them again.
    BlackList {
        /// The node.
        node: NodeId,
        /// Whether it is on the list from now on.
        listed: bool,
    },
    /// An empty state is rebuilt from what replica servers hold (§4.9).
    Recover {
        /// The apps, with the numbers that they had.
        apps: Vec<AppInfo>,
        /// How each of their partitions goes on, above every ballot that was reported.
        configurations: Vec<(Gpid, Configuration)>,
    },
}

/// Whether an app is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppStatus {
    /// It is.
    Available,
    /// It was dropped; what is left of its replicas is collected.
    Dropped,
}

/// An app as the durable state holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// What everybody knows of it.
    pub info: AppInfo,
    /// Whether it is there.
    pub status: AppStatus,
}

/// One value of the durable state that is new; storage keeps one key for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An app was created or dropped.
    App(AppRecord),
    /// A partition has this configuration now.
    Configuration {
        /// The partition.
        gpid: Gpid,
        /// Its configuration.
        configuration: Configuration,
    },
    /// A node can be reached here now.
    Node(NodeAddress),
    /// The meta server does so much by itself.
    Level(Level),
    /// These nodes get no new replicas.
    BlackList(BTreeSet<NodeId>),
    /// A partition's configuration changed so. Kept in place of the step [`STEPS_KEPT`](crate::STEPS_KEPT) before.
    Step {
        /// The partition.
        gpid: Gpid,
        /// What changed, when and why.
        step: Step,
    },
    /// Something else changed. Kept in place of the event [`EVENTS_KEPT`](crate::EVENTS_KEPT) before.
    Event(Event),
}

/// Why a command is refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An app of that name is there.
    AppExists(String),
    /// No app of that name is there.
    NoSuchApp(String),
    /// No such partition, or its app was dropped.
    NoSuchPartition(Gpid),
    /// A name with characters that are not allowed, empty, or too long.
    Name {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
        /// The characters that it may have beside letters and digits.
        marks: &'static str,
    },
    /// Number of partitions out of range.
    PartitionCount(u32),
    /// Number of replicas out of range.
    ReplicaCount(u32),
    /// The configuration does not follow the current one (S5, S6).
    IllegalStep {
        /// The partition.
        gpid: Gpid,
        /// The rule that it breaks.
        why: IllegalStep,
    },
    /// The configuration names a node that nobody has seen.
    UnknownNode(NodeId),
    /// Only an empty state is rebuilt.
    NotEmpty,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppExists(name) => {
                write!(f, "app `{name}` exists already; choose another name or drop it first")
            }
            Self::NoSuchApp(name) => write!(f, "no app `{name}`; `admin ls` lists the apps"),
            Self::NoSuchPartition(gpid) => {
                write!(f, "no partition {gpid}; `admin app NAME -d` lists an app's partitions")
            }
            Self::Name { what, name, marks } => write!(
                f,
                "`{name}` can't be {what}: write 1 to {MAX_NAME_BYTES} of a-z, 0-9 and `{marks}`, beginning with a letter or digit"
            ),
            Self::PartitionCount(count) => {
                write!(f, "{count} partitions: write a number from 1 to {MAX_PARTITIONS}")
            }
            Self::ReplicaCount(count) => {
                write!(f, "{count} replicas: write a number from 1 to {MAX_REPLICAS}")
            }
            Self::IllegalStep { gpid, why } => write!(f, "the configuration of {gpid} is refused: {why}"),
            Self::NotEmpty => {
                f.write_str("the meta server is not empty; only one that lost all of its state is rebuilt")
            }
            Self::UnknownNode(node) => write!(f, "node {node} is not known"),
        }
    }
}
