//! An app as the cluster knows it, and the roles of its replicas.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AppEnvs, AppId, Gpid};

/// A named, partitioned, replicated service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppInfo {
    /// Its number.
    pub id: AppId,
    /// Its name, for example `counter.instance0`.
    pub name: String,
    /// The app type that replica servers have registered, for example `counter`.
    pub app_type: String,
    /// Number of partitions.
    pub partition_count: u32,
    /// Number of replicas that each partition should have (rDSN's `max_replica_count`).
    pub replica_count: u32,
}

impl AppInfo {
    /// Its partitions.
    pub fn gpids(&self) -> impl Iterator<Item = Gpid> + use<> {
        let app = self.id;
        (0..self.partition_count).map(move |partition| Gpid { app, partition })
    }
}

/// On what terms an app's replicas serve: what operators change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppTerms {
    /// Raised with every change of the app or of these terms, so that what is late changes nothing.
    pub revision: u64,
    /// It was dropped and may be recalled: its replicas serve nobody and keep what they have.
    pub dropped: bool,
    /// Its environment.
    pub envs: AppEnvs,
}

/// A replica's role, for reports and print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoleName {
    /// Orders writes, serves reads.
    Primary,
    /// Acknowledges every write.
    Secondary,
    /// A potential secondary: gets state and new prepares, counts for nothing.
    Learner,
    /// Has state, no part to play.
    Inactive,
    /// Its state can't be trusted.
    Error,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "pri",
            Self::Secondary => "sec",
            Self::Learner => "pot",
            Self::Inactive => "ina",
            Self::Error => "err",
        })
    }
}
