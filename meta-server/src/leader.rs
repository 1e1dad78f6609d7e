//! What the meta server that leads has beyond the others: the core, the sessions of nodes, and operators who wait.
//! All of it goes when it does not lead any more: sessions end, and whoever waits is told that the outcome is unknown.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use meta_core::{
    AdminReply, AdminRequest, AdminToken, Command, MetaCore, MetaEvent, MetaOutput, MetaSettings, SessionId,
};
use openraft::LeaderId;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tracing::warn;
use words::MetaToNode;

use crate::clock::{now, wall_time};
use crate::options::FirstApp;
use crate::owner::Input;
use crate::raft::machine::{Committed, View};
use crate::raft::{BATCH, Batch, Member, MemberId, Raft};
use crate::session::Told;

/// How an attempt to commit ended.
pub(crate) type Written = Result<(), RaftError<MemberId, ClientWriteError<MemberId, Member>>>;

/// An attempt to commit that is under way.
pub(crate) type Writing = Pin<Box<dyn Future<Output = Written> + Send>>;

/// Has a batch committed; done once it is applied here.
pub(crate) fn write(raft: &Raft, batch: Batch) -> Writing {
    let raft = raft.clone();
    Box::pin(async move { raft.client_write(batch).await.map(drop) })
}

/// The core and what its output goes to.
pub(crate) struct Leader {
    /// In which term it leads. What was committed in another one is not the core's.
    term: LeaderId<MemberId>,
    /// The core began with all up to this entry.
    since: Option<u64>,
    core: MetaCore,
    /// Commands to be committed, after those that are under way.
    queue: VecDeque<Command>,
    pub(crate) writing: Option<Writing>,
    sessions: BTreeMap<SessionId, mpsc::Sender<Told>>,
    waiting: BTreeMap<AdminToken, oneshot::Sender<AdminReply>>,
    next_token: AdminToken,
    out: MetaOutput,
    /// What it had to do first is done.
    is_ready: bool,
}

impl Leader {
    /// Begins with a state that holds all that was committed before this term. Every node known gets a fresh grace.
    pub(crate) fn new(
        term: LeaderId<MemberId>,
        view: &View,
        settings: MetaSettings,
        first_app: Option<FirstApp>,
    ) -> Self {
        let mut leader = Self {
            term,
            since: view.last.map(|last| last.index),
            core: MetaCore::new(view.state.clone(), settings, now()),
            queue: VecDeque::new(),
            writing: None,
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            out: MetaOutput::default(),
            is_ready: false,
        };
        if let Some(app) = first_app.filter(|_| view.state.apps().next().is_none()) {
            leader.create_first_app(app);
        }
        leader
    }

    pub(crate) fn term(&self) -> LeaderId<MemberId> {
        self.term
    }

    /// Whether it serves: what it decided at once is durable before anybody asks.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn create_first_app(&mut self, FirstApp { name, app_type, partition_count, replica_count }: FirstApp) {
        let (reply, outcome) = oneshot::channel();
        let request =
            AdminRequest::CreateFirstApp { name: name.clone(), app_type, partition_count, replica_count };
        self.take(Input::Admin { request, reply });
        tokio::spawn(async move {
            if let Ok(AdminReply::Refused(refusal)) = outcome.await {
                warn!("the app `{name}` of [replication.app] is not created: {}", refusal.message);
            }
        });
    }

    pub(crate) fn until_due(&self) -> Duration {
        self.core.deadline() - now()
    }

    fn step(&mut self, event: MetaEvent) {
        self.core.step(now(), event, &mut self.out);
    }

    /// Under a constant load nothing would be due otherwise.
    pub(crate) fn tick(&mut self) {
        if self.until_due().is_zero() {
            self.step(MetaEvent::Tick);
        }
    }

    pub(crate) fn take(&mut self, input: Input) {
        match input {
            Input::SessionOpened { session, outbound } => {
                self.sessions.insert(session, outbound);
                self.step(MetaEvent::SessionOpened { session });
            }
            Input::SessionClosed { session } => self.close(session),
            Input::Message { session, message } => {
                // Of a session with this server when it led before.
                if self.sessions.contains_key(&session) {
                    self.step(MetaEvent::Message { session, message });
                }
            }
            Input::Admin { request, reply } => {
                let token = self.next_token;
                self.next_token += 1;
                self.waiting.insert(token, reply);
                self.step(MetaEvent::Admin { token, request });
            }
        }
    }

    fn close(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            self.step(MetaEvent::SessionClosed { session });
        }
    }

    /// An entry was committed in this term. All of them after the beginning are this core's own, in its order.
    pub(crate) fn committed(&mut self, committed: Committed) {
        if self.since.is_some_and(|since| committed.log_id.index <= since) {
            return;
        }
        let Batch { at, commands } = committed.batch;
        for command in commands {
            self.step(MetaEvent::Committed { command, at });
        }
    }

    /// Carries out what the core owes. One entry is under way at a time; what comes up meanwhile is the next one.
    pub(crate) fn settle(&mut self, raft: &Raft) {
        self.queue.extend(self.out.commit.drain(..));
        self.refuse();
        self.send();
        for (token, reply) in self.out.replies.drain(..) {
            if let Some(waiting) = self.waiting.remove(&token) {
                let _ = waiting.send(reply);
            }
        }
        if self.writing.is_some() {
            return;
        }
        if self.queue.is_empty() {
            self.is_ready = true;
        } else {
            let commands = self.queue.drain(..self.queue.len().min(BATCH)).collect();
            self.writing = Some(write(raft, Batch { at: wall_time(), commands }));
        }
    }

    /// Nodes that may not take part hear why.
    fn refuse(&mut self) {
        for (session, why) in std::mem::take(&mut self.out.refuse) {
            warn!(session, "a node is refused: {why}");
            if let Some(outbound) = self.sessions.get(&session) {
                let _ = outbound.try_send(Err(Status::permission_denied(why)));
            }
            self.close(session);
        }
    }

    /// One batch for each session. A node that does not take its messages loses its session; in the next one it
    /// is told everything again.
    fn send(&mut self) {
        while !self.out.send.is_empty() {
            let mut batches: BTreeMap<SessionId, Vec<MetaToNode>> = BTreeMap::new();
            for (session, message) in std::mem::take(&mut self.out.send) {
                batches.entry(session).or_default().push(message);
            }
            for (session, batch) in batches {
                let Some(outbound) = self.sessions.get(&session) else { continue };
                if outbound.try_send(Ok(batch)).is_err() {
                    warn!(session, "a node does not take its messages; its session is closed");
                    self.close(session);
                }
            }
        }
        self.queue.extend(self.out.commit.drain(..));
    }
}
