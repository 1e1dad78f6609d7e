//! The thread that writes the prepare log: everything that waits, of all partitions, in one append and one sync
//! (group commit).

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use replica_core::LogSequence;
use replica_log::PrepareLog;
use words::{Decree, Gpid, Record};

use crate::mailbox::{Report, ReportSender};

/// Tasks that wait at most. What waits is bounded before that: by the windows of the partitions.
const CAPACITY: usize = 1024;

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
            log.append(&records).and_then(|()| log.sync()).unwrap_or_else(|error| stop_the_process(&error));
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

/// After a failed sync nobody knows what is on the disk, and a second sync that works proves nothing: the kernel
/// may have dropped the pages. So the node ends, and what is on the disk decides at the next start (§7.1).
fn stop_the_process(error: &io::Error) -> ! {
    tracing::error!(%error, "the prepare log can't be written: this node stops; check the disk, then start it again");
    eprintln!(
        "replica-server: the prepare log can't be written ({error}): check the disk, then start it again"
    );
    std::process::abort();
}
