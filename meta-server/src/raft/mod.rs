//! The meta servers agree on one sequence of commands by Raft (openraft), kept in RocksDB.
//!
//! A command counts once a majority has it on disk (§4.1). Every meta server applies it to its [`MetaState`]; the
//! one that leads also hands it to its core (`crate::owner`).
//!
//! [`MetaState`]: meta_core::MetaState

pub(crate) mod founding;
pub(crate) mod gate;
pub(crate) mod log;
pub(crate) mod machine;
pub(crate) mod membership;
pub(crate) mod network;
pub(crate) mod service;

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use meta_core::{Command, WallTime};
use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use words::Time;

use crate::options::Timers;

/// Commands in one entry of the log at most: what a step of the core leads to may be thousands.
pub(crate) const BATCH: usize = 512;

/// Entries after which a snapshot is made, and those kept before it for servers that are a little behind.
const SNAPSHOT_EVERY: u64 = 2000;
const KEPT_BEFORE_SNAPSHOT: u64 = 1000;

/// How long one try to bring a server a snapshot may take.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Who a meta server is: a number drawn with its data directory. One that lost its disk is another one, since what
/// it had promised is lost with it; its name says which place of `config.ini` it takes.
pub(crate) type MemberId = u64;

openraft::declare_raft_types!(
    /// What openraft is told to replicate.
    pub(crate) Types:
        D = Batch,
        R = (),
        NodeId = MemberId,
        Node = Member,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type LogId = openraft::LogId<MemberId>;
pub(crate) type Membership = openraft::StoredMembership<MemberId, Member>;
pub(crate) type Metrics = openraft::RaftMetrics<MemberId, Member>;

/// Commands that are committed and applied together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// The time of day when the one that leads had them committed.
    pub(crate) at: WallTime,
    pub(crate) commands: Vec<Command>,
}

/// A meta server as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// `meta1`
    pub(crate) name: String,
    /// `host:port`
    pub(crate) address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

/// When this server last heard the one that leads, and what had been committed then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) at: Time,
    pub(crate) committed: Option<u64>,
}

/// openraft's configuration.
pub(crate) fn config(timers: &Timers) -> Arc<Config> {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "meta".to_owned(),
        // openraft looks at its timers every one and a half of these, and sends what is due then.
        heartbeat_interval: millis(timers.heartbeat * 2 / 3),
        election_timeout_min: millis(timers.election_timeout / 2),
        election_timeout_max: millis(timers.election_timeout),
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: KEPT_BEFORE_SNAPSHOT,
        ..Config::default()
    };
    Arc::new(config.validate().expect("the settings are checked against each other"))
}

#[cfg(test)]
mod tests;
