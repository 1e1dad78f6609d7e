//! The task that owns the core and the apps: takes what waits, lets the core decide, carries out what it says.
//! The order of the duties is the core's contract (`replica_core`'s front page).
//!
//! It runs on the threads that serve the streams, so that a request is read, decided and sent on without waking
//! another thread.

use std::sync::mpsc::SyncSender;
use std::thread;

use bytes::Bytes;
use replica_core::{ApplyTask, Changes, Event, NodeCore, Output, Token, Work};
use replica_log::LogReader;
use tokio::sync::{mpsc, oneshot};
use tracing::error;
use words::{Gpid, MetaToNode, NodeId, NodeToMeta, Now, Reply, RoleName, Time};

use crate::hosted::{Apps, FetchTask, WorkDone};
use crate::log_thread::LogTask;
use crate::mailbox::{Mail, Mailbox, Report, Request};
use crate::peers::Peers;
use crate::replies::Replies;
use crate::watchers::Watchers;
use crate::workers::Workers;
use crate::{clock, trace};

/// Bytes of mutations in one answer to a learner at most; the frame that carries it has a limit.
const READ_LOG_BYTES: usize = 4 << 20;

/// All that the task owns.
pub(crate) struct Shard {
    pub(crate) node: NodeId,
    pub(crate) core: NodeCore,
    pub(crate) apps: Apps,
    pub(crate) peers: Peers,
    pub(crate) mailbox: Mailbox,
    pub(crate) log: SyncSender<LogTask>,
    pub(crate) log_reader: LogReader,
    pub(crate) meta: mpsc::Sender<Vec<NodeToMeta>>,
    pub(crate) workers: Workers,
    /// Told once when the node may stop.
    pub(crate) stopped: Option<oneshot::Sender<()>>,
    pub(crate) replies: Replies,
    pub(crate) watchers: Watchers,
}

impl Shard {
    /// Runs until `Mail::Exit`; its apps are closed then.
    pub(crate) async fn run(mut self) {
        // A node whose invariants don't hold must not answer anybody, and half of it can't live on.
        let _abort = AbortOnPanic;
        // Kept for their capacity: a turn can be of hundreds of events, and there are thousands a second.
        let (mut mail, mut reports, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut out = Output::default();
        loop {
            // Read after everything was taken, so that nothing in this turn arrived later than "now" (§5.3).
            let now = clock::now();
            for report in reports.drain(..) {
                self.on_report(now, report, &mut out);
            }
            for letter in mail.drain(..) {
                if matches!(letter, Mail::Exit) {
                    self.apps.close();
                    return;
                }
                self.on_mail(now, letter, &mut out);
            }
            if self.core.deadline() <= now.time {
                self.core.step(now, Event::Tick, &mut out);
            }
            self.remind_watchers(now, &mut out);
            self.finish_turn(now, &mut events, &mut out);
            let span = match self.core.deadline().min(self.watchers.deadline()) {
                Time::NEVER => std::time::Duration::from_secs(1),
                due => due.since(clock::now().time),
            };
            self.mailbox.take(span, &mut mail, &mut reports).await;
        }
    }

    fn on_report(&mut self, now: Now, report: Report, out: &mut Output) {
        match report {
            Report::LogDurable(sequence) => {
                trace::durable(self.node, sequence);
                self.core.step(now, Event::LogDurable(sequence), out);
            }
            Report::Work(done) => {
                let mut events = Vec::new();
                self.apps.work_done(done, &mut events);
                self.step_all(now, events, out);
            }
            Report::Read(done) => {
                let mut events = Vec::new();
                let (token, reply) = self.apps.read_done(done, &mut events);
                self.replies.answer(token, reply);
                self.step_all(now, events, out);
            }
        }
    }

    fn on_mail(&mut self, now: Now, letter: Mail, out: &mut Output) {
        let event = match letter {
            Mail::Peer(envelopes) => {
                for envelope in envelopes {
                    trace::received(&envelope);
                    self.core.step(now, Event::Message(envelope), out);
                }
                return;
            }
            Mail::Requests(requests) => {
                for Request { gpid, operation, patience, reply } in requests {
                    let token = self.replies.token(reply);
                    let event = match operation {
                        proto::OperationKind::Write(write) => Event::Write { gpid, write, token, patience },
                        proto::OperationKind::Read(request) => Event::Read { gpid, request, token },
                    };
                    self.core.step(now, event, out);
                }
                return;
            }
            Mail::LocalRead { gpid, request, reply } => {
                // No lease, no role: nothing for the core to decide.
                let (token, mut events) = (self.replies.token(reply), Vec::new());
                self.read(gpid, &request, token, &mut events);
                return self.step_all(now, events, out);
            }
            Mail::Watch(pull) => self.watchers.ask(pull),
            Mail::Meta(message) => {
                if let MetaToNode::Nodes(nodes) = &message {
                    self.peers.note_addresses(nodes);
                }
                Event::Meta(message)
            }
            Mail::MetaConnected => Event::MetaConnected,
            Mail::PeerUnreachable(node) => Event::PeerUnreachable(node),
            Mail::DiskMeasured { capacity, available } => Event::DiskMeasured { capacity, available },
            Mail::Stop => Event::Stop,
            Mail::Exit => return,
        };
        self.core.step(now, event, out);
    }

    fn step_all(&mut self, now: Now, events: impl IntoIterator<Item = Event>, out: &mut Output) {
        for event in events {
            self.core.step(now, event, out);
        }
    }

    /// Lets the core batch what this turn brought and carries out what it says; what came of that (applied
    /// mutations, mostly) goes back to the core within the turn, until nothing is left.
    fn finish_turn(&mut self, now: Now, events: &mut Vec<Event>, out: &mut Output) {
        loop {
            self.core.flush(now, out);
            self.carry_out(now, events, out);
            if events.is_empty() {
                break;
            }
            self.step_all(now, events.drain(..), out);
        }
        self.replies.send();
    }

    /// The duties, in the contract's order; with what the core is to hear of them.
    fn carry_out(&mut self, now: Now, events: &mut Vec<Event>, out: &mut Output) {
        self.append(out);
        for envelope in out.send.drain(..) {
            trace::sent(&envelope);
            self.peers.add(envelope);
        }
        self.peers.send();
        for task in out.apply.drain(..) {
            trace::committed(self.node, task.gpid, &task.mutation);
            events.push(self.apps.apply(&task));
            self.wake_watchers(&task, events);
        }
        for read in out.reads.drain(..) {
            if Watchers::owns(read.token) {
                self.watchers.answer(now.time, read.token, self.apps.changes(read.gpid));
                continue;
            }
            self.read(read.gpid, &read.request, read.token, events);
        }
        for (token, reply) in out.replies.drain(..) {
            match reply {
                Reply::Refused(refusal) if Watchers::owns(token) => self.watchers.refuse(token, refusal),
                reply => self.replies.answer(token, reply),
            }
        }
        if !out.meta.is_empty() {
            // Full, or no session: dropped, the core asks again.
            let _ = self.meta.try_send(std::mem::take(&mut out.meta));
        }
        for work in out.work.drain(..) {
            self.start_work(work, events);
        }
    }

    /// Has an app asked; the reply may come later.
    fn read(&mut self, gpid: Gpid, request: &Bytes, token: Token, events: &mut Vec<Event>) {
        if let Some(reply) = self.apps.read(gpid, request, token, events) {
            self.replies.answer(token, reply);
        }
    }

    /// Changes that a mutation brought go to those who wait for them.
    fn wake_watchers(&mut self, task: &ApplyTask, events: &mut Vec<Event>) {
        if self.watchers.is_watched(task.gpid)
            && let Some(newest) = self.apps.changes(task.gpid).and_then(Changes::newest)
        {
            self.watchers.wake(task.gpid, newest, events);
        }
    }

    fn remind_watchers(&mut self, now: Now, out: &mut Output) {
        let core = &self.core;
        let leads = |gpid| core.replica(gpid).is_some_and(|replica| replica.role() == RoleName::Primary);
        let mut events = Vec::new();
        self.watchers.on_time(now.time, leads, &mut events);
        self.step_all(now, events, out);
    }

    fn append(&mut self, out: &mut Output) {
        let Some(&(last, _)) = out.append.last() else { return };
        let records: Vec<_> = out.append.drain(..).map(|(_, record)| record).collect();
        for record in &records {
            trace::appended(self.node, record);
        }
        self.give_to_log(LogTask::Append { records, last });
    }

    fn give_to_log(&self, task: LogTask) {
        // The log thread ends only after this task, unless it panicked.
        self.log.send(task).expect("the log's thread is there as long as the shard's");
    }

    fn start_work(&mut self, work: Work, events: &mut Vec<Event>) {
        match work {
            Work::Create { gpid, app } => self.apps.create(gpid, app),
            Work::Remove { gpid } => self.apps.remove(gpid),
            Work::Checkpoint { gpid } => self.apps.checkpoint(gpid, events),
            Work::OfferCheckpoint { gpid, signature, at_least } => {
                self.apps.offer(gpid, signature, at_least, events);
            }
            Work::FetchCheckpoint { gpid, signature, from, transfer, checkpoint } => {
                let address = self.peers.address(from);
                self.apps.fetch(FetchTask { gpid, signature, address, transfer, checkpoint }, events);
            }
            Work::ReadLog { gpid, signature, from, to, bytes } => {
                let reader = self.log_reader.clone();
                self.workers.use_disk(
                    move || reader.read(gpid, from, to, bytes.min(READ_LOG_BYTES)),
                    move |result| {
                        let mutations = result.unwrap_or_else(|error| {
                            error!(%gpid, %error, "the prepare log can't be read for a learner");
                            Vec::new()
                        });
                        WorkDone::Event(Event::LogRead { gpid, signature, mutations })
                    },
                );
            }
            Work::CollectLog { durable } => self.give_to_log(LogTask::Collect(durable)),
            Work::Stopped => {
                if let Some(stopped) = self.stopped.take() {
                    let _ = stopped.send(());
                }
            }
        }
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replica-server: an invariant does not hold (see above): this node stops");
            std::process::abort();
        }
    }
}
