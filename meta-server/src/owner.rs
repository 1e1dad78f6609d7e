//! The one task that owns the core.
//!
//! It takes inputs as they queued, steps the core with each, has its commands made durable, and only then hands
//! out what the core owes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meta_core::{
    AdminReply, AdminRequest, AdminToken, AppRoute, Change, Command, MetaCore, MetaEvent, MetaOutput,
    MetaSettings, MetaState, SessionId, WallTime,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};
use words::{AppId, MetaToNode, NodeToMeta};

use crate::clock::{now, wall_time};
use crate::options::FirstApp;
use crate::storage::{Storage, StorageError};

/// Inputs taken in before what they lead to is made durable together.
const BATCH: usize = 256;

/// What the services hand to the owner.
#[derive(Debug)]
pub(crate) enum Input {
    /// A node opened a session. What it is told goes to `outbound`, a batch a step.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Where messages for the node go; the session ends when the owner drops it.
        outbound: mpsc::Sender<Vec<MetaToNode>>,
    },
    /// A session ended or broke.
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// A message arrived.
    Message {
        /// In which session.
        session: SessionId,
        /// What.
        message: NodeToMeta,
    },
    /// An operator asks.
    Admin {
        /// What.
        request: AdminRequest,
        /// Where the answer goes.
        reply: oneshot::Sender<AdminReply>,
    },
    /// A client asks where an app's partitions are.
    Query {
        /// The app's name.
        app_name: String,
        /// Its number, if the client knows it already; else 0.
        app_id: AppId,
        /// Where the answer goes: where they are, or why there is no such app.
        reply: oneshot::Sender<Result<AppRoute, String>>,
    },
}

/// The core and what its output goes to.
pub(crate) struct Owner {
    core: MetaCore,
    storage: Arc<Storage>,
    /// What storage holds. The core's own copy changes only by what comes back as committed; later that is what
    /// Raft hands back, and this is its state machine.
    durable: MetaState,
    sessions: BTreeMap<SessionId, mpsc::Sender<Vec<MetaToNode>>>,
    waiting: BTreeMap<AdminToken, oneshot::Sender<AdminReply>>,
    next_token: AdminToken,
    out: MetaOutput,
}

impl Owner {
    pub(crate) fn new(
        storage: Storage,
        state: MetaState,
        settings: MetaSettings,
        first_app: Option<FirstApp>,
    ) -> Self {
        let mut owner = Self {
            core: MetaCore::new(state.clone(), settings, now()),
            storage: Arc::new(storage),
            durable: state,
            sessions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            out: MetaOutput::default(),
        };
        if let Some(app) = first_app.filter(|_| owner.durable.apps().next().is_none()) {
            owner.create_first_app(app);
        }
        owner
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

    /// Runs until the state can't be made durable any more.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> StorageError {
        loop {
            if let Err(error) = self.settle().await {
                return error;
            }
            tokio::select! {
                Some(input) = inputs.recv() => self.take(input),
                () = tokio::time::sleep(self.until_due()) => {}
            }
            for _ in 1..BATCH {
                let Ok(input) = inputs.try_recv() else { break };
                self.take(input);
            }
            // Under a constant load nothing would be due otherwise.
            if self.until_due().is_zero() {
                self.step(MetaEvent::Tick);
            }
        }
    }

    fn until_due(&self) -> Duration {
        self.core.deadline() - now()
    }

    fn step(&mut self, event: MetaEvent) {
        self.core.step(now(), event, &mut self.out);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::SessionOpened { session, outbound } => {
                self.sessions.insert(session, outbound);
                self.step(MetaEvent::SessionOpened { session });
            }
            Input::SessionClosed { session } => self.close(session),
            Input::Message { session, message } => self.step(MetaEvent::Message { session, message }),
            Input::Admin { request, reply } => {
                let token = self.next_token;
                self.next_token += 1;
                self.waiting.insert(token, reply);
                self.step(MetaEvent::Admin { token, request });
            }
            Input::Query { app_name, app_id, reply } => {
                let _ = reply.send(self.core.query(&app_name, app_id));
            }
        }
    }

    fn close(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.step(MetaEvent::SessionClosed { session });
    }

    /// Carries out what the core owes, in the order of its contract.
    async fn settle(&mut self) -> Result<(), StorageError> {
        loop {
            while !self.out.commit.is_empty() {
                let commands = std::mem::take(&mut self.out.commit);
                let at = wall_time();
                self.make_durable(&commands, at).await?;
                for command in commands {
                    self.step(MetaEvent::Committed { command, at });
                }
            }
            for (token, reply) in self.out.replies.drain(..) {
                if let Some(waiting) = self.waiting.remove(&token) {
                    let _ = waiting.send(reply);
                }
            }
            if self.out.send.is_empty() {
                return Ok(());
            }
            self.send();
        }
    }

    async fn make_durable(&mut self, commands: &[Command], at: WallTime) -> Result<(), StorageError> {
        let mut changes: Vec<Change> = vec![];
        for command in commands {
            match self.durable.apply(command, at) {
                Ok(changed) => {
                    narrate(&self.durable, command);
                    changes.extend(changed);
                }
                Err(refused) => debug!("refused: {refused}"),
            }
        }
        let storage = Arc::clone(&self.storage);
        spawn_blocking(move || storage.write(&changes)).await.expect("a write to storage does not panic")
    }

    /// One batch for each session. A node that does not take its messages loses its session; in the next one it
    /// is told everything again.
    fn send(&mut self) {
        let mut batches: BTreeMap<SessionId, Vec<MetaToNode>> = BTreeMap::new();
        for (session, message) in std::mem::take(&mut self.out.send) {
            batches.entry(session).or_default().push(message);
        }
        for (session, batch) in batches {
            let Some(outbound) = self.sessions.get(&session) else { continue };
            if outbound.try_send(batch).is_err() {
                warn!(session, "a node does not take its messages; its session is closed");
                self.close(session);
            }
        }
    }
}

fn narrate(state: &MetaState, command: &Command) {
    info!("{}", state.with_names(&command.told()));
}
