//! Commands in, changes out: what the meta server's durable state is asked to do, and what comes of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use words::{AppId, AppInfo, BadEnv, Configuration, Gpid, IllegalStep, NodeAddress, NodeId};

use crate::{AppRecord, Event, Level, MAX_NAME_BYTES, MAX_PARTITIONS, MAX_REPLICAS, Step};

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
    /// The app serves nobody any more. It can be recalled for a while; then it is gone.
    DropApp {
        /// Its name.
        name: String,
        /// How long it can be recalled, in seconds.
        hold_seconds: u64,
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
    /// A dropped app is there again, as it was.
    RecallApp {
        /// The app.
        id: AppId,
        /// What it is called from now on, if not as before.
        new_name: Option<String>,
    },
    /// A dropped app can't be recalled any more; its replicas will be collected.
    ExpireApp {
        /// The app.
        id: AppId,
        /// When it expires, as it was when this was decided: it can have been recalled and dropped again.
        expires: WallTime,
    },
    /// The app is called so from now on.
    RenameApp {
        /// Its name.
        name: String,
        /// Its new name, not that of another app.
        new_name: String,
    },
    /// The app's environment changes.
    ChangeEnvs {
        /// The app's name.
        name: String,
        /// What changes.
        change: EnvChange,
    },
    /// Everything on a node shall go elsewhere, or may stay.
    Drain {
        /// The node.
        node: NodeId,
        /// Whether it is drained from now on.
        drained: bool,
    },
    /// A node is forgotten. It is a member of nothing.
    RemoveNode(NodeId),
}

/// A change of an app's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvChange {
    /// A key gets this value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A key is set no more.
    Remove {
        /// The key.
        key: String,
    },
    /// Nothing is set any more.
    Clear,
}

/// One value of the durable state that is new; storage keeps one key for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An app was created or changed.
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
    /// Everything on these nodes shall go elsewhere.
    Drained(BTreeSet<NodeId>),
    /// A node is forgotten.
    NodeRemoved(NodeId),
}

/// Why a command is refused; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An app of that name is there.
    AppExists(String),
    /// No app of that name is there.
    NoSuchApp(String),
    /// The app was not dropped, or there never was one of that number.
    NotDropped(AppId),
    /// The dropped app can't be recalled any more.
    Expired {
        /// Its number.
        id: AppId,
        /// Its name.
        name: String,
    },
    /// The dropped app has not expired yet, or not in this way.
    NotExpired(AppId),
    /// No such key of an environment, or no such value of it.
    Env(BadEnv),
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
    /// A node that is a member can't be forgotten.
    StillMember {
        /// The node.
        node: NodeId,
        /// Of one of its partitions.
        gpid: Gpid,
    },
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppExists(name) => {
                write!(f, "app `{name}` exists already; choose another name or drop it first")
            }
            Self::NoSuchApp(name) => write!(f, "no app `{name}`; `admin ls` lists the apps"),
            Self::NotDropped(id) => {
                write!(f, "no dropped app has the number {id}; `admin apps --all` lists them")
            }
            Self::Expired { id, name } => {
                write!(
                    f,
                    "app {id} (`{name}`) can't be recalled any more: its time is over, and its data is gone"
                )
            }
            Self::NotExpired(id) => write!(f, "app {id} has not expired"),
            Self::Env(bad) => write!(f, "{bad}"),
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
            Self::StillMember { node, gpid } => write!(
                f,
                "{node} is a member of {gpid}; drain it (`admin node drain`), or wait until others have replaced it"
            ),
        }
    }
}
