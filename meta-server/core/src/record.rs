//! An app as the durable state holds it.

use serde::{Deserialize, Serialize};
use words::{AppEnvs, AppInfo, AppTerms};

use crate::WallTime;

/// Former names of an app that are kept, the newest ones.
const FORMER_NAMES: usize = 8;

/// Whether an app is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppStatus {
    /// It is.
    Available,
    /// It was dropped and can be recalled: its replicas stay where they are and serve nobody.
    Dropped {
        /// From then on it is gone.
        expires: WallTime,
    },
    /// It was dropped and can't be recalled any more: what is left of its replicas is collected.
    Gone,
}

/// An app as the durable state holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// What everybody knows of it.
    pub info: AppInfo,
    /// Whether it is there.
    pub status: AppStatus,
    /// Raised with every change of the app.
    pub revision: u64,
    /// Its environment.
    pub envs: AppEnvs,
    /// What it was called before, the newest name last.
    pub former_names: Vec<String>,
}

impl AppRecord {
    /// A new app.
    #[must_use]
    pub fn new(info: AppInfo) -> Self {
        let (envs, former_names) = (AppEnvs::default(), vec![]);
        Self { info, status: AppStatus::Available, revision: 1, envs, former_names }
    }

    /// On what terms its replicas serve.
    #[must_use]
    pub fn terms(&self) -> AppTerms {
        let dropped = self.status != AppStatus::Available;
        AppTerms { revision: self.revision, dropped, envs: self.envs.clone() }
    }

    /// The same with one thing changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        changed.revision += 1;
        change(&mut changed);
        changed
    }

    pub(crate) fn rename(&mut self, new_name: &str) {
        let old = std::mem::replace(&mut self.info.name, new_name.to_owned());
        self.former_names.retain(|name| *name != old && name != new_name);
        self.former_names.push(old);
        let surplus = self.former_names.len().saturating_sub(FORMER_NAMES);
        self.former_names.drain(..surplus);
    }
}
