//! The one task that decides. It knows whether this meta server leads, and if it does, owns the core ([`Leader`]),
//! takes inputs as they queued, and hands out what the core owes.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use meta_core::{AdminReply, AdminRequest, MetaSettings, SessionId};
use openraft::error::{Fatal, RaftError};
use openraft::{LeaderId, ServerState};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};
use words::{NodeToMeta, Time};

use crate::clock::now;
use crate::leader::{Leader, Writing, Written, write};
use crate::options::FirstApp;
use crate::raft::machine::{Committed, View};
use crate::raft::membership::Members;
use crate::raft::{Batch, MemberId, Metrics, Raft};
use crate::session::Told;

/// Why Raft ended.
pub(crate) type Ended = Box<Fatal<MemberId>>;

/// Inputs taken in before what they lead to is carried out.
const INPUTS: usize = 256;

/// What the services hand to the owner.
#[derive(Debug)]
pub(crate) enum Input {
    /// A node opened a session. What it is told goes to `outbound`, a batch a step.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Where messages for the node go; the session ends when the owner drops it.
        outbound: mpsc::Sender<Told>,
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
        /// Where the answer goes. Dropped if this server does not lead, or not any more.
        reply: oneshot::Sender<AdminReply>,
    },
}

/// Who leads, as far as this server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This one, and it serves.
    Leads,
    /// The one at this address.
    Follows(String),
    /// Nobody yet, or this one does not serve yet.
    Unknown,
}

/// What this server is to the others.
enum Role {
    Follower,
    /// Elected. It waits until an entry of its own term is committed and applied: with it all that was committed
    /// before is, and a majority has confirmed that it leads.
    Elected(LeaderId<MemberId>, Writing),
    Leader(Box<Leader>),
}

/// The task's state.
pub(crate) struct Owner {
    raft: Raft,
    metrics: watch::Receiver<Metrics>,
    /// They are new: what they say of times counts from now.
    has_news: bool,
    view: watch::Receiver<View>,
    committed: mpsc::Receiver<Committed>,
    settings: MetaSettings,
    first_app: Option<FirstApp>,
    /// For how long it leads after a majority was heard last: no longer than the others follow it.
    lease: Duration,
    /// When a majority was heard last.
    confirmed: Time,
    /// When it was last seen to that.
    looked: Time,
    members: Arc<Members>,
    role: Role,
    standing: watch::Sender<Standing>,
}

impl Owner {
    pub(crate) fn new(
        raft: Raft,
        view: watch::Receiver<View>,
        committed: mpsc::Receiver<Committed>,
        settings: MetaSettings,
        first_app: Option<FirstApp>,
        lease: Duration,
        members: Arc<Members>,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, known) = watch::channel(Standing::Unknown);
        let metrics = raft.metrics();
        let owner = Self {
            raft,
            metrics,
            has_news: true,
            view,
            committed,
            settings,
            first_app,
            lease,
            members,
            confirmed: Time(0),
            looked: now(),
            role: Role::Follower,
            standing,
        };
        (owner, known)
    }

    /// Runs until Raft ends, which it does only if its log or state can't be made durable.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Ended {
        loop {
            if let Err(ended) = self.look() {
                return ended;
            }
            let due = self.until_due();
            tokio::select! {
                biased;
                Some(committed) = self.committed.recv() => self.take_committed(committed),
                written = under_way(&mut self.role) => {
                    if let Err(ended) = self.written(written) {
                        return ended;
                    }
                }
                changed = self.metrics.changed() => match changed {
                    Ok(()) => self.has_news = true,
                    Err(_) => return Ended::new(Fatal::Stopped),
                },
                Some(input) = inputs.recv() => self.take(input, &mut inputs),
                () = tokio::time::sleep(due) => {}
            }
        }
    }

    fn until_due(&self) -> Duration {
        match &self.role {
            Role::Leader(leader) => leader.until_due().min(self.confirmed + self.lease - now()),
            Role::Follower | Role::Elected(..) => Duration::MAX,
        }
    }

    /// Sees whether this server leads, or has ceased to, and carries out what it owes.
    fn look(&mut self) -> Result<(), Ended> {
        self.has_news |= self.metrics.has_changed().map_err(|_| Fatal::Stopped)?;
        let metrics = self.metrics.borrow_and_update().clone();
        metrics.running_state.clone()?;
        let term = *metrics.vote.leader_id();
        let leads = metrics.state == ServerState::Leader && self.is_followed(&metrics);
        match &self.role {
            Role::Leader(leader) if !leads || leader.term() != term => self.step_down(),
            Role::Elected(elected, _) if !leads || *elected != term => self.role = Role::Follower,
            _ => {}
        }
        if leads && matches!(self.role, Role::Follower) {
            self.role = Role::Elected(term, write(&self.raft, Batch::default()));
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.tick();
            leader.settle(&self.raft);
        }
        self.publish(&metrics);
        Ok(())
    }

    /// Whether the others still follow this one, if they do at all. It can have been cut off from them, or asleep,
    /// and they may have elected another one since.
    fn is_followed(&mut self, metrics: &Metrics) -> bool {
        let now = now();
        let slept = now.since(std::mem::replace(&mut self.looked, now)) > self.lease;
        if metrics.membership_config.membership().voter_ids().eq([metrics.id]) {
            self.confirmed = Time::NEVER;
            return true;
        }
        if slept && matches!(self.role, Role::Leader(_)) {
            // What is known of the others may be from before. To serve on it has to hear from a majority.
            self.step_down();
        }
        if std::mem::take(&mut self.has_news)
            && let Some(ago) = metrics.millis_since_quorum_ack
        {
            self.confirmed = Time(now.0.saturating_sub(ago.saturating_mul(1_000_000)));
        }
        self.confirmed + self.lease > now
    }

    fn step_down(&mut self) {
        warn!("this meta server does not lead any more");
        self.role = Role::Follower;
    }

    fn publish(&self, metrics: &Metrics) {
        let leader = metrics.current_leader.filter(|leader| *leader != metrics.id);
        let address = leader.and_then(|leader| {
            metrics.membership_config.membership().get_node(&leader).map(|member| member.address.clone())
        });
        let standing = match (&self.role, address) {
            (Role::Leader(leader), _) if leader.is_ready() => Standing::Leads,
            (_, Some(address)) => Standing::Follows(address),
            (_, None) => Standing::Unknown,
        };
        self.standing.send_if_modified(|known| {
            let is_new = *known != standing;
            *known = standing;
            is_new
        });
    }

    fn take(&mut self, input: Input, inputs: &mut mpsc::Receiver<Input>) {
        // Without a leader an input is dropped, and with it what would tell its sender more.
        let Role::Leader(leader) = &mut self.role else { return };
        leader.take(input);
        for _ in 1..INPUTS {
            let Ok(input) = inputs.try_recv() else { break };
            leader.take(input);
        }
    }

    fn take_committed(&mut self, committed: Committed) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.term() == committed.log_id.leader_id {
            leader.committed(committed);
        } else {
            // Another one led meanwhile, and what waits here may have been answered there.
            self.step_down();
        }
    }

    fn written(&mut self, written: Written) -> Result<(), Ended> {
        match written {
            Err(RaftError::Fatal(fatal)) => return Err(fatal.into()),
            Err(RaftError::APIError(error)) => {
                info!("not committed: {error}");
                self.role = Role::Follower;
            }
            Ok(()) => match &mut self.role {
                Role::Leader(leader) => leader.writing = None,
                Role::Elected(term, _) => {
                    info!(term = term.term, "this meta server leads");
                    let first_app = self.first_app.clone();
                    let leader = Leader::new(*term, &self.view.borrow(), self.settings.clone(), first_app);
                    self.role = Role::Leader(Box::new(leader));
                    let members = Arc::clone(&self.members);
                    tokio::spawn(async move { members.finish_change().await });
                }
                Role::Follower => {}
            },
        }
        Ok(())
    }
}

/// Completes when what is being committed is.
fn under_way(role: &mut Role) -> impl Future<Output = Written> {
    let writing = match role {
        Role::Elected(_, writing) => Some(writing),
        Role::Leader(leader) => leader.writing.as_mut(),
        Role::Follower => None,
    };
    async move {
        match writing {
            Some(writing) => writing.await,
            None => pending().await,
        }
    }
}
