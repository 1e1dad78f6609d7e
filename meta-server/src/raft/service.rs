//! Raft's messages from other meta servers, and who this one is.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{ServerState, Snapshot, SnapshotMeta, Vote};
use proto::pb::{self, raft_server};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use crate::clock::now;
use crate::raft::gate::Gate;
use crate::raft::membership::Members;
use crate::raft::{Heard, Member, MemberId, Raft, Types};
use crate::storage::encoded;

/// The largest state that is taken over from another server.
const MAX_SNAPSHOT_BYTES: usize = 1 << 30;

/// What other meta servers ask.
#[derive(Clone)]
pub(crate) struct RaftService {
    pub(crate) raft: Raft,
    pub(crate) me: MemberId,
    pub(crate) name: String,
    pub(crate) gate: Arc<Gate>,
    pub(crate) members: Arc<Members>,
    pub(crate) heard: watch::Sender<Heard>,
    /// For how long one that leads is followed.
    pub(crate) lease: Duration,
}

impl RaftService {
    /// Whether a message is for this server, and not for one that was at this address before it.
    async fn admit(&self, from: MemberId, to: MemberId) -> Result<(), Status> {
        if to != self.me {
            return Err(Status::failed_precondition(format!("member {to} is not here any more")));
        }
        if self.gate.admits(&self.raft, from).await.map_err(stopping)? {
            return Ok(());
        }
        Err(Status::failed_precondition("this server is not a member yet"))
    }

    /// Whether this server leads and a majority follows it. Then nobody else need be elected: who asks does not hear
    /// it, or was away.
    fn is_followed(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let heard = metrics.millis_since_quorum_ack.map(Duration::from_millis);
        metrics.state == ServerState::Leader && heard.is_some_and(|ago| ago < self.lease)
    }
}

fn opened<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    postcard::from_bytes(body).map_err(|_| Status::invalid_argument("a message of Raft makes no sense"))
}

fn sealed<T: Serialize>(answer: &T) -> Response<pb::RaftAnswer> {
    Response::new(pb::RaftAnswer { body: encoded(answer).into() })
}

fn stopping(error: impl std::error::Error) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append_entries(
        &self,
        request: Request<pb::RaftMessage>,
    ) -> Result<Response<pb::RaftAnswer>, Status> {
        let pb::RaftMessage { to, from, body } = request.into_inner();
        self.admit(from, to).await?;
        let rpc: AppendEntriesRequest<Types> = opened(&body)?;
        let heard = Heard { at: now(), committed: rpc.leader_commit.map(|committed| committed.index) };
        let answer = self.raft.append_entries(rpc).await.map_err(stopping)?;
        if answer == AppendEntriesResponse::Success {
            self.heard.send_replace(heard);
        }
        Ok(sealed(&answer))
    }

    async fn vote(&self, request: Request<pb::RaftMessage>) -> Result<Response<pb::RaftAnswer>, Status> {
        let pb::RaftMessage { to, from, body } = request.into_inner();
        self.admit(from, to).await?;
        let rpc: VoteRequest<MemberId> = opened(&body)?;
        if self.is_followed() {
            let metrics = self.raft.metrics().borrow().clone();
            return Ok(sealed(&VoteResponse::new(metrics.vote, metrics.last_applied, false)));
        }
        Ok(sealed(&self.raft.vote(rpc).await.map_err(stopping)?))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::RaftAnswer>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.ok_or_else(|| Status::invalid_argument("an empty snapshot"))?;
        self.admit(first.from, first.to).await?;
        let (vote, meta): (Vote<MemberId>, SnapshotMeta<MemberId, Member>) = opened(&first.header)?;
        let mut state = vec![];
        while let Some(part) = parts.message().await? {
            if state.len() + part.data.len() > MAX_SNAPSHOT_BYTES {
                return Err(Status::resource_exhausted("the snapshot is too large"));
            }
            state.extend_from_slice(&part.data);
        }
        let snapshot = Snapshot { meta, snapshot: Box::new(Cursor::new(state)) };
        Ok(sealed(&self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopping)?))
    }

    async fn introduce(
        &self,
        request: Request<pb::IntroduceRequest>,
    ) -> Result<Response<pb::Introduction>, Status> {
        let pb::IntroduceRequest { from, founds } = request.into_inner();
        if founds {
            self.gate.founded_by(from);
        }
        let is_new = !self.raft.is_initialized().await.map_err(stopping)?;
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let member = |(&id, member): (&MemberId, &Member)| pb::MetaMember {
            id,
            name: member.name.clone(),
            address: member.address.clone(),
            votes: membership.voter_ids().any(|voter| voter == id),
        };
        let leader = metrics.current_leader.and_then(|leader| membership.get_node(&leader));
        Ok(Response::new(pb::Introduction {
            id: self.me,
            name: self.name.clone(),
            is_new,
            members: membership.nodes().map(member).collect(),
            leader: leader.map(|leader| leader.address.clone()).unwrap_or_default(),
            term: metrics.current_term,
            last_applied: metrics.last_applied.map_or(0, |last| last.index),
            role: role(metrics.state).into(),
        }))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let pb::JoinRequest { id, name, address } = request.into_inner();
        if self.raft.metrics().borrow().state != ServerState::Leader {
            return Err(Status::unavailable("the meta server that was asked does not lead"));
        }
        self.members.join(id, Member { name, address }).await?;
        Ok(Response::new(pb::JoinReply {}))
    }
}

fn role(state: ServerState) -> pb::MetaRole {
    match state {
        ServerState::Leader => pb::MetaRole::Leader,
        ServerState::Follower => pb::MetaRole::Follower,
        ServerState::Candidate => pb::MetaRole::Candidate,
        ServerState::Learner => pb::MetaRole::Learner,
        ServerState::Shutdown => pb::MetaRole::Unspecified,
    }
}
