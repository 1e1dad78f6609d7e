//! The echo as a caller sees it.

use std::time::Duration;

use bytes::Bytes;
use client::meta::MetaError;
use client::{App, Cluster, Copies, Outcome};

const APP_TYPE: &str = "echo";

/// All is said to one partition, so that it has one order.
const KEY: &[u8] = b"";

/// The echo of one app. Clones share connections; calls may run concurrently.
#[derive(Clone, Debug)]
pub struct Echo {
    app: App,
}

impl Echo {
    /// Opens the app `app_name`.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app, [`MetaError::Invalid`] if it is of another type,
    /// [`MetaError::Unreachable`] if no meta server answers in time.
    pub async fn open(cluster: &Cluster, app_name: &str) -> Result<Self, MetaError> {
        Ok(Self { app: App::open_of_type(cluster, app_name, APP_TYPE).await? })
    }

    /// The same echo, with another time limit for each operation.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { app: self.app.with_timeout(timeout) }
    }

    /// Gets back what was said, once it has its place: the decree says which.
    pub async fn say(&self, value: Bytes) -> Outcome<Bytes> {
        self.app.write(KEY, value).await
    }

    /// What was said last, or nothing. Linearizable. Never ends as unknown.
    pub async fn last(&self) -> Outcome<Bytes> {
        self.app.read(KEY, Bytes::new()).await
    }

    /// Who can answer.
    ///
    /// # Errors
    /// What the meta server says, or that none answers.
    pub async fn copies(&self) -> Result<Copies, MetaError> {
        self.app.copies(KEY).await
    }
}
