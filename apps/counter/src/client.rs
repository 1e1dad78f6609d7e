//! The counter as a caller sees it.

use std::time::Duration;

use client::meta::MetaError;
use client::{App, Cluster, Decree, Failure, Outcome, Watch, Watched};
use settings::Settings;

use crate::request::{self, Request};

/// The request code by which `config.ini` can declare reads to be writes, as in rDSN.
const READ_CODE: &str = "RPC_COUNTER_COUNTER_READ";
const APP_TYPE: &str = "counter";

/// The counters of one app. Clones share connections; calls may run concurrently.
#[derive(Clone, Debug)]
pub struct Counter {
    app: App,
    reads_are_writes: bool,
}

impl Counter {
    /// Opens the app `app_name`.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app, [`MetaError::Invalid`] if it is of another type,
    /// [`MetaError::Unreachable`] if no meta server answers in time.
    pub async fn open(cluster: &Cluster, settings: &Settings, app_name: &str) -> Result<Self, MetaError> {
        let app = App::open_of_type(cluster, app_name, APP_TYPE).await?;
        let reads_are_writes = settings.task(READ_CODE).rpc_request_is_write_operation;
        Ok(Self { app, reads_are_writes })
    }

    /// The same counters, with another time limit for each operation.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { app: self.app.with_timeout(timeout), ..self.clone() }
    }

    /// Adds `operand` to the counter `name`, which is 0 if it is new, exactly once. Returns the sum.
    pub async fn add(&self, name: &str, operand: i64) -> Outcome<i64> {
        if let Err(rejection) = request::check_name(name.as_bytes()) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let request = Request::Add { name, operand }.encode();
        self.app.write(name.as_bytes(), request).await.and_then(|answer| request::decode_value(&answer))
    }

    /// The value of the counter `name`, 0 if there is none. Linearizable. Never ends as unknown.
    pub async fn read(&self, name: &str) -> Outcome<i64> {
        if let Err(rejection) = request::check_name(name.as_bytes()) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let request = Request::Read { name }.encode();
        let outcome = if self.reads_are_writes {
            self.app.read_as_write(name.as_bytes(), request).await
        } else {
            self.app.read(name.as_bytes(), request).await
        };
        outcome.and_then(|answer| request::decode_value(&answer))
    }

    /// Watches the counter `name`: every sum that it has, in order, from a decree on; `None`: from now on.
    #[must_use]
    pub fn watch(&self, name: &str, from: Option<Decree>) -> Watch {
        self.app.watch(name.as_bytes(), from)
    }
}

/// The sums in what a watch brought, each with its decree.
pub fn sums(watched: &Watched) -> impl Iterator<Item = (Decree, i64)> + '_ {
    watched
        .changes
        .iter()
        .filter_map(|(decree, change)| Some((*decree, request::decode_value(&change.value)?)))
}
