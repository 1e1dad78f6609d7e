//! Long work, away from the shard: bounded in how much of it runs at once.

use std::io;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use replicated_app::{AppAnswer, ReadJob};
use words::Decree;

use crate::hosted::{ReadDone, WorkDone};
use crate::mailbox::{Report, ReportSender};

/// Checkpoints written and logs read at once. More would only make the disk's head (or queue) go back and forth,
/// and the prepare log's syncs wait behind them.
const DISK_WORK: usize = 2;
/// Checkpoints fetched at once.
const FETCHES: usize = 2;
/// Reads at once that are not answered from memory: as many as a disk takes up with profit. Those that wait are
/// bounded by what clients may have under way.
const READS: usize = 8;

/// Starts work, and reports its end to the shard.
#[derive(Clone)]
pub(crate) struct Workers {
    pub(crate) runtime: Handle,
    reports: ReportSender,
    disk: Arc<Semaphore>,
    network: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(runtime: Handle, reports: ReportSender) -> Self {
        Self {
            runtime,
            reports,
            disk: Arc::new(Semaphore::new(DISK_WORK)),
            network: Arc::new(Semaphore::new(FETCHES)),
            reads: Arc::new(Semaphore::new(READS)),
        }
    }

    /// Starts work that uses the disk; `done` makes a report of its result.
    pub(crate) fn use_disk<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
        done: impl FnOnce(io::Result<T>) -> WorkDone + Send + 'static,
    ) {
        self.start(Arc::clone(&self.disk), job, |result| Report::Work(done(result)));
    }

    /// Starts work that mostly waits for another node.
    pub(crate) fn use_network<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
        done: impl FnOnce(io::Result<T>) -> WorkDone + Send + 'static,
    ) {
        self.start(Arc::clone(&self.network), job, |result| Report::Work(done(result)));
    }

    /// Starts the slow part of a read.
    pub(crate) fn read(
        &self,
        job: ReadJob,
        done: impl FnOnce(io::Result<(Decree, AppAnswer)>) -> ReadDone + Send + 'static,
    ) {
        self.start(Arc::clone(&self.reads), job, |result| Report::Read(done(result)));
    }

    /// Says something before the work has ended.
    pub(crate) fn report(&self, done: WorkDone) {
        // Nobody to report to: the shard has ended.
        let _ = self.reports.send(Report::Work(done));
    }

    fn start<T: Send + 'static>(
        &self,
        places: Arc<Semaphore>,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
        done: impl FnOnce(io::Result<T>) -> Report + Send + 'static,
    ) {
        let reports = self.reports.clone();
        self.runtime.spawn(async move {
            let _place = places.acquire().await;
            // A job that panics (an app's, say) is a job that failed: somebody waits for its end.
            let result = tokio::task::spawn_blocking(job)
                .await
                .unwrap_or_else(|panic| Err(io::Error::other(format!("it panicked: {panic}"))));
            let _ = reports.send(done(result));
        });
    }
}
