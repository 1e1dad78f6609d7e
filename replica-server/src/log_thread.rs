//! The thread that writes the prepare log: everything that waits, of all partitions, in one append and one sync
//! (group commit).

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use replica_core::LogSequence;
use replica_log::PrepareLog;
use words::{Decree, Gpid, Record};

use crate::mailbox::{Report, ReportSender};

/// Tasks that wait at most. What waits is bounded before that: by the windows of the partitions.
const CAPACITY: usize = 1024;

/// Between two tries to write to a disk that is full.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);

/// What the shard wants of the log.
pub(crate) enum LogTask {
    /// Append and sync, then report.
    Append {
        /// The records, in order.
        records: Vec<Record>,
        /// The number of the last one.
        last: LogSequence,
    },
    /// Cut below these decrees.
    Collect(Vec<(Gpid, Decree)>),
}

/// Starts the thread. It ends once the sender is dropped and all that was sent is done.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start(
    mut log: PrepareLog,
    reports: ReportSender,
) -> io::Result<(SyncSender<LogTask>, JoinHandle<()>)> {
    let (sender, tasks) = sync_channel(CAPACITY);
    let thread = thread::Builder::new()
        .name("prepare-log".to_owned())
        .spawn(move || run(&mut log, &tasks, &reports))?;
    Ok((sender, thread))
}

fn run(log: &mut PrepareLog, tasks: &Receiver<LogTask>, reports: &ReportSender) {
    let mut records = Vec::new();
    while let Ok(first) = tasks.recv() {
        let (mut durable, mut collect) = (None, None);
        for task in std::iter::once(first).chain(tasks.try_iter().take(CAPACITY)) {
            match task {
                LogTask::Append { records: more, last } => {
                    records.extend(more);
                    durable = Some(last);
                }
                LogTask::Collect(decrees) => collect = Some(decrees),
            }
        }
        if let Some(durable) = durable {
            append(log, &records);
            log.sync().unwrap_or_else(|error| stop_the_process(&error));
            records.clear();
            // Nobody to report to: the shard has ended.
            let _ = reports.send(Report::LogDurable(durable));
        }
        if let Some(decrees) = collect {
            match log.collect(&decrees) {
                Ok(0) => {}
                Ok(segments) => tracing::info!(segments, "cut the prepare log"),
                Err(error) => tracing::warn!(%error, "can't cut the prepare log; it is tried again later"),
            }
        }
    }
}

/// Appends, and waits as long as only space is missing: nothing is acknowledged meanwhile, and nothing is lost
/// (§7.6).
fn append(log: &mut PrepareLog, records: &[Record]) {
    let mut told = false;
    while let Err(error) = log.append(records) {
        let only_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if log.has_failed() || !only_full {
            stop_the_process(&error);
        }
        if !told {
            tracing::error!(%error, "the prepare log waits for space: make room on its disk, no restart is needed");
            told = true;
        }
        thread::sleep(FULL_DISK_PAUSE);
    }
    if told {
        tracing::info!("the prepare log goes on");
    }
}

/// After a failed sync nobody knows what is on the disk, and a second sync that works proves nothing: the kernel
/// may have dropped the pages. So the node ends, and what is on the disk decides at the next start (§7.1).
fn stop_the_process(error: &io::Error) -> ! {
    tracing::error!(%error, "the prepare log can't be written: this node stops; check the disk, then start it again");
    eprintln!(
        "replica-server: the prepare log can't be written ({error}): check the disk, then start it again"
    );
    std::process::abort();
}
