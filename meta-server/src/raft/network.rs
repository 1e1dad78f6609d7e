//! Raft's messages to another meta server.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use openraft::error::{
    Fatal, InstallSnapshotError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetwork, RaftNetworkFactory, Snapshot, Vote};
use proto::pb;
use proto::pb::raft_client::RaftClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::raft::{Member, MemberId, Types};
use crate::storage::encoded;

/// The largest message of Raft: one entry of as many commands as fit in one.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Bytes of a snapshot in one message.
const SNAPSHOT_PART: usize = 256 << 10;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that was cut is given up after twice this, and another one is made.
const KEEPALIVE: Duration = Duration::from_millis(500);

/// A server that could not be reached is tried again after this.
const BACKOFF: Duration = Duration::from_millis(100);

type Answered<R, E = RaftError<MemberId>> = Result<R, RPCError<MemberId, Member, E>>;

/// Makes connections, in the name of this server.
pub(crate) struct Network {
    pub(crate) me: MemberId,
}

/// The way to one other server.
pub(crate) struct Link {
    from: MemberId,
    to: MemberId,
    /// `None`: its address is none.
    client: Option<RaftClient<Channel>>,
}

/// A client for the meta server at `host:port`, which connects when it is needed; `None` if that is no address.
pub(crate) fn client(address: &str) -> Option<RaftClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .connect_lazy();
    let client = RaftClient::new(channel).max_encoding_message_size(MAX_MESSAGE_BYTES);
    Some(client.max_decoding_message_size(MAX_MESSAGE_BYTES))
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: MemberId, member: &Member) -> Link {
        Link { from: self.me, to: target, client: client(&member.address) }
    }
}

/// Why there is no answer.
#[derive(Debug)]
struct NoAnswer(String);

impl Error for NoAnswer {}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn unreachable(why: impl fmt::Display) -> Unreachable {
    Unreachable::new(&NoAnswer(why.to_string()))
}

impl Link {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable> {
        self.client.clone().ok_or_else(|| unreachable("it has no address"))
    }

    fn message<T: Serialize>(&self, message: &T, option: &RPCOption) -> Request<pb::RaftMessage> {
        let body = encoded(message).into();
        let mut request = Request::new(pb::RaftMessage { to: self.to, from: self.from, body });
        request.set_timeout(option.hard_ttl());
        request
    }

    /// The snapshot, part by part.
    fn parts(&self, vote: Vote<MemberId>, snapshot: Snapshot<Types>) -> Vec<pb::SnapshotPart> {
        let (to, from) = (self.to, self.from);
        let header = encoded(&(vote, snapshot.meta)).into();
        let first = pb::SnapshotPart { to, from, header, data: bytes::Bytes::new() };
        let data = bytes::Bytes::from(snapshot.snapshot.into_inner());
        let part = |start: usize| pb::SnapshotPart {
            to,
            from,
            header: bytes::Bytes::new(),
            data: data.slice(start..data.len().min(start + SNAPSHOT_PART)),
        };
        std::iter::once(first).chain((0..data.len()).step_by(SNAPSHOT_PART).map(part)).collect()
    }
}

fn opened<R: DeserializeOwned>(answer: Result<Response<pb::RaftAnswer>, Status>) -> Result<R, Unreachable> {
    let answer = answer.map_err(unreachable)?.into_inner();
    postcard::from_bytes(&answer.body).map_err(unreachable)
}

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Answered<AppendEntriesResponse<MemberId>> {
        let message = self.message(&rpc, &option);
        Ok(opened(self.client()?.append_entries(message).await)?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<MemberId>,
        option: RPCOption,
    ) -> Answered<VoteResponse<MemberId>> {
        let message = self.message(&rpc, &option);
        Ok(opened(self.client()?.vote(message).await)?)
    }

    /// Never called: snapshots are sent whole.
    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Answered<InstallSnapshotResponse<MemberId>, RaftError<MemberId, InstallSnapshotError>> {
        Err(unreachable("snapshots are sent whole").into())
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<MemberId>,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<MemberId>, StreamingError<Types, Fatal<MemberId>>> {
        let mut client = self.client()?;
        let mut request = Request::new(tokio_stream::iter(self.parts(vote, snapshot)));
        request.set_timeout(option.hard_ttl());
        tokio::select! {
            answer = client.install_snapshot(request) => Ok(opened(answer)?),
            closed = cancel => Err(closed.into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
