//! The way to the shard: two queues, drained together.
//!
//! What comes from outside is bounded: a full queue makes peers' streams wait and answers clients `Busy`. What
//! comes back from work that the shard itself started never waits, or the log thread and the shard could wait
//! for each other; there is at most one such report for each batch and each piece of work or read under
//! way, and one a second for each copy.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use proto::OperationKind;
use replica_core::LogSequence;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use words::{Envelope, Gpid, MetaToNode, NodeId};

use crate::hosted::{ReadDone, WorkDone};
use crate::replies::ReplyTo;
use crate::watchers::Pull;

/// Letters (batches, mostly) that wait at most.
const CAPACITY: usize = 1024;
/// Letters taken in one turn at most.
pub(crate) const TURN_LIMIT: usize = CAPACITY;

/// What comes from outside.
pub(crate) enum Mail {
    /// From another node; for one stream in the order in which it was sent.
    Peer(Vec<Envelope>),
    /// Nobody listens at that node's address.
    PeerUnreachable(NodeId),
    /// A session with the meta server began.
    MetaConnected,
    /// From the meta server.
    Meta(MetaToNode),
    /// From clients.
    Requests(Vec<Request>),
    /// From a client that wants what this replica has, whatever its role.
    LocalRead {
        /// Of which partition.
        gpid: Gpid,
        /// What it asks the app.
        request: Bytes,
        /// Whom to answer.
        reply: ReplyTo,
    },
    /// From a client that watches.
    Watch(Pull),
    /// How full the data directory's file system is, in bytes.
    DiskMeasured {
        /// Its size.
        capacity: u64,
        /// What can still be written.
        available: u64,
    },
    /// The process is to end: hand over what can be.
    Stop,
    /// End the shard.
    Exit,
}

/// One client request.
pub(crate) struct Request {
    /// For which partition.
    pub(crate) gpid: Gpid,
    /// What it asks for.
    pub(crate) operation: OperationKind,
    /// How long the client waits, if it says so.
    pub(crate) patience: Option<Duration>,
    /// Whom to answer.
    pub(crate) reply: ReplyTo,
}

/// What comes back from work that the shard started.
pub(crate) enum Report {
    /// All records up to this one are durable.
    LogDurable(LogSequence),
    /// A piece of long work ended.
    Work(WorkDone),
    /// A read ended that was not answered from memory.
    Read(ReadDone),
}

/// Where mail is put.
pub(crate) type MailSender = mpsc::Sender<Mail>;
/// Where reports are put.
pub(crate) type ReportSender = mpsc::UnboundedSender<Report>;

/// The shard's end of both queues.
pub(crate) struct Mailbox {
    /// From outside.
    pub(crate) mail: mpsc::Receiver<Mail>,
    /// From within.
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    alarm: Alarm,
}

/// The shard's timer. A turn mostly moves its time to a later one, and then it is left alone: it goes off too early once,
/// finds nothing due, and is set anew. A new timer each turn would be the earliest of the process, and for that tokio
/// wakes the thread that waits for events, by a system call, though it is this very thread.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

/// A mailbox and the ways to it.
pub(crate) fn mailbox() -> (MailSender, ReportSender, Mailbox) {
    let (mail_sender, mail) = mpsc::channel(CAPACITY);
    let (report_sender, reports) = mpsc::unbounded_channel();
    (mail_sender, report_sender, Mailbox { mail, reports, alarm: Alarm::default() })
}

impl Mailbox {
    /// Waits until something is there or `span` has passed, for less at times; then takes all that waits, up to the limit.
    pub(crate) async fn take(&mut self, span: Duration, mail: &mut Vec<Mail>, reports: &mut Vec<Report>) {
        tokio::select! {
            biased;
            _ = self.reports.recv_many(reports, TURN_LIMIT) => {}
            count = self.mail.recv_many(mail, TURN_LIMIT) => {
                if count == 0 {
                    // Nobody can send any more.
                    mail.push(Mail::Exit);
                }
            }
            () = self.alarm.set(span) => {}
        }
        // Whoever else is ready comes first, and may put something in: what is taken together is decided, logged and
        // sent together. With nobody else ready this takes one look for events.
        tokio::task::yield_now().await;
        while reports.len() < TURN_LIMIT
            && let Ok(report) = self.reports.try_recv()
        {
            reports.push(report);
        }
        while mail.len() < TURN_LIMIT
            && let Ok(letter) = self.mail.try_recv()
        {
            mail.push(letter);
        }
    }
}

impl Alarm {
    /// Goes off after `span` at the latest.
    fn set(&mut self, span: Duration) -> Pin<&mut Sleep> {
        let due = Instant::now() + span;
        let mut sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due))).as_mut();
        if sleep.is_elapsed() || due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        sleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(20);

    async fn take(mailbox: &mut Mailbox, span: Duration) -> usize {
        let (mut mail, mut reports) = (Vec::new(), Vec::new());
        mailbox.take(span, &mut mail, &mut reports).await;
        mail.len()
    }

    #[tokio::test]
    async fn it_waits_no_longer_than_it_was_asked_to_the_last_time() {
        let (sender, _reports, mut mailbox) = mailbox();
        sender.send(Mail::Stop).await.unwrap();
        assert_eq!(take(&mut mailbox, LONG).await, 1);
        assert_eq!(take(&mut mailbox, SHORT).await, 0);
        assert_eq!(take(&mut mailbox, SHORT).await, 0, "and again");
    }

    #[tokio::test]
    async fn it_goes_off_too_early_at_most_once() {
        let (sender, _reports, mut mailbox) = mailbox();
        sender.send(Mail::Stop).await.unwrap();
        assert_eq!(take(&mut mailbox, SHORT).await, 1);
        assert_eq!(take(&mut mailbox, LONG).await, 0, "by the alarm that was set before");
        let again = tokio::time::timeout(SHORT * 5, take(&mut mailbox, LONG)).await;
        assert!(again.is_err(), "nothing is due");
    }
}
