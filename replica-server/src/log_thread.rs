//! The thread that writes the prepare log: everything that waits, of all partitions, in one append and one sync
//! (group commit).

use std::io;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use replica_core::LogSequence;
use replica_log::PrepareLog;
use words::{Decree, Gpid, Record};

use crate::mailbox::{Report, ReportSender};

/// Tasks that wait at most. What waits is bounded before that: by the windows of the partitions.
const CAPACITY: usize = 1024;

/// Between two tries to write what the system had no room or no handle for.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);

/// Between two segments that are removed, if nothing is to be written.
const CUTTING_PAUSE: Duration = Duration::from_millis(20);

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

/// Since when the thread has been at the disk: a disk that hangs lets nobody say so who waits for it.
#[derive(Clone, Default)]
pub(crate) struct AtDisk(Arc<Mutex<Option<Instant>>>);

impl AtDisk {
    pub(crate) fn set(&self, since: Option<Instant>) {
        *self.0.lock().expect("no holder panics") = since;
    }

    /// For how long it has been there without coming back.
    pub(crate) fn lasts(&self) -> Duration {
        self.0.lock().expect("no holder panics").map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Starts the thread. It ends once the sender is dropped and all that was sent is done.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start(
    mut log: PrepareLog,
    reports: ReportSender,
    at_disk: AtDisk,
) -> io::Result<(SyncSender<LogTask>, JoinHandle<()>)> {
    let (sender, tasks) = sync_channel(CAPACITY);
    let thread = thread::Builder::new()
        .name("prepare-log".to_owned())
        .spawn(move || run(&mut log, &tasks, &reports, &at_disk))?;
    Ok((sender, thread))
}

fn run(log: &mut PrepareLog, tasks: &Receiver<LogTask>, reports: &ReportSender, at_disk: &AtDisk) {
    let mut waiting = Waiting::default();
    let mut cutting = None;
    while let Ok(first) = next(tasks, pause(&waiting, cutting.as_ref())) {
        for task in first.into_iter().chain(tasks.try_iter().take(CAPACITY)) {
            match task {
                LogTask::Append { records, last } => waiting.add(records, last),
                LogTask::Collect(durable) => cutting = Some(Cutting { durable, removed: 0 }),
            }
        }
        at_disk.set(Some(Instant::now()));
        waiting.write(log, reports);
        cutting = cutting.and_then(|cutting| cutting.go_on(log));
        at_disk.set(None);
    }
}

/// The log is being cut, a segment at a time: what is to be written meanwhile waits for one at most.
struct Cutting {
    durable: Vec<(Gpid, Decree)>,
    removed: usize,
}

impl Cutting {
    /// Removes a segment; `None` if there is none left to remove, or it can't be done.
    fn go_on(mut self, log: &mut PrepareLog) -> Option<Self> {
        match log.collect_one(&self.durable) {
            Ok(true) => {
                self.removed += 1;
                return Some(self);
            }
            Ok(false) if self.removed == 0 => {}
            Ok(false) => tracing::info!(segments = self.removed, "cut the prepare log"),
            Err(error) if log.has_failed() => stop_the_process(&error),
            Err(error) => tracing::warn!(%error, "can't cut the prepare log; it is tried again later"),
        }
        None
    }
}

/// How long to wait for a task before what is under way goes on; `None`: there is nothing.
fn pause(waiting: &Waiting, cutting: Option<&Cutting>) -> Option<Duration> {
    let short = (!waiting.records.is_empty()).then_some(SHORTAGE_PAUSE);
    cutting.map(|_| CUTTING_PAUSE).or(short)
}

/// The next task; `None` when it is time to go on with what is under way.
///
/// # Errors
/// The shard has ended.
fn next(tasks: &Receiver<LogTask>, pause: Option<Duration>) -> Result<Option<LogTask>, RecvError> {
    let Some(pause) = pause else { return tasks.recv().map(Some) };
    match tasks.recv_timeout(pause) {
        Ok(task) => Ok(Some(task)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(RecvError),
    }
}

/// What is not written yet.
#[derive(Default)]
struct Waiting {
    records: Vec<Record>,
    last: LogSequence,
    is_short: bool,
}

impl Waiting {
    fn add(&mut self, records: Vec<Record>, last: LogSequence) {
        self.records.extend(records);
        self.last = last;
    }

    /// Appends, syncs and reports. While only space or a file handle is missing it stays as it is, to be tried
    /// again: nothing is acknowledged meanwhile, nothing is lost, and cutting the log may make room (§7.6).
    fn write(&mut self, log: &mut PrepareLog, reports: &ReportSender) {
        if self.records.is_empty() {
            return;
        }
        match log.append(&self.records) {
            Ok(()) => {}
            Err(error) if passes(&error) && !log.has_failed() => {
                if !std::mem::replace(&mut self.is_short, true) {
                    tracing::error!(%error, "the prepare log waits until it can be written; no restart is needed");
                }
                return;
            }
            Err(error) => stop_the_process(&error),
        }
        log.sync().unwrap_or_else(|error| stop_the_process(&error));
        if std::mem::take(&mut self.is_short) {
            tracing::info!("the prepare log goes on");
        }
        self.records.clear();
        // Nobody to report to: the shard has ended.
        let _ = reports.send(Report::LogDurable(self.last));
    }
}

/// Whether it is a shortage, which ends by itself or by an operator's hand.
fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use replica_log::{MemoryFolder, Options};
    use words::Ballot;

    use super::*;
    use crate::mailbox::mailbox;

    fn record(partition: u32) -> Record {
        Record::Ballot { gpid: Gpid::new(1, partition), ballot: Ballot(1) }
    }

    #[test]
    fn what_waits_for_a_handle_is_written_once_there_is_one() {
        let disk = Arc::new(MemoryFolder::new());
        let (mut log, _) =
            PrepareLog::open(disk.clone(), Options { segment_bytes: 0, ..Options::default() }).unwrap();
        let (_, reports, mut mailbox) = mailbox();
        let mut waiting = Waiting::default();
        waiting.add(vec![record(1)], 1);
        waiting.write(&mut log, &reports);
        assert!(mailbox.reports.try_recv().is_ok());
        disk.set_out_of_handles(true);
        waiting.add(vec![record(2)], 2);
        waiting.write(&mut log, &reports);
        assert!(mailbox.reports.try_recv().is_err(), "nothing is durable");
        disk.set_out_of_handles(false);
        waiting.write(&mut log, &reports);
        assert!(mailbox.reports.try_recv().is_ok());
    }

    #[test]
    fn what_waits_for_space_is_written_in_order_once_there_is_some() {
        let disk = Arc::new(MemoryFolder::new());
        let (mut log, _) = PrepareLog::open(disk.clone(), Options::default()).unwrap();
        let (_, reports, mut mailbox) = mailbox();
        let mut waiting = Waiting::default();
        disk.set_capacity(Some(0));
        for sequence in 1..=2 {
            waiting.add(vec![record(sequence)], sequence.into());
            waiting.write(&mut log, &reports);
        }
        assert!(mailbox.reports.try_recv().is_err(), "nothing is durable");
        disk.set_capacity(None);
        waiting.write(&mut log, &reports);
        assert!(matches!(mailbox.reports.try_recv(), Ok(Report::LogDurable(2))));
        drop(log);
        let (_, opened) = PrepareLog::open(disk, Options::default()).unwrap();
        assert_eq!(opened.records, [record(1), record(2)]);
    }
}
