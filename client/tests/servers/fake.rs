//! A meta server and replica servers that do what a test says, on ports that the system picks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{App, Cluster, Options};
use proto::pb::meta_server::{Meta, MetaServer};
use proto::pb::replica_server::{Replica, ReplicaServer};
use proto::{Operation, OperationKind, pb};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};
use words::{
    AppId, AppInfo, Ballot, ChangePage, Configuration, Decree, NodeAddress, NodeId, Refusal, Reply, Watch,
    Write, WriteKind,
};

/// What a server does with an operation.
pub(crate) enum Action {
    Answer(Reply),
    Silence,
    BreakStream,
}

type Script = Box<dyn FnMut(&Operation) -> Action + Send>;
/// What a watch brings before it breaks off; or, after a last `None`, falls silent.
type WatchScript = Box<dyn FnMut(&Watch) -> Vec<Option<Result<ChangePage, Refusal>>> + Send>;
type Replies = ReceiverStream<Result<pb::ReplyFrame, Status>>;

/// One replica server.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<Operation>>>,
    frames: Arc<Mutex<usize>>,
    watches: Arc<Mutex<WatchScript>>,
}

impl Node {
    pub(crate) async fn start(id: u128, script: impl FnMut(&Operation) -> Action + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Self {
            id: NodeId(id),
            address: listener.local_addr().unwrap().to_string(),
            script: Arc::new(Mutex::new(Box::new(script))),
            seen: Arc::default(),
            frames: Arc::default(),
            watches: Arc::new(Mutex::new(Box::new(|_| vec![]))),
        };
        let server = tonic::transport::Server::builder().add_service(ReplicaServer::new(node.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        node
    }

    /// One whose address nobody listens at.
    pub(crate) async fn dead(id: u128) -> Self {
        let node = Self::start(id, |_| Action::Silence).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap().to_string(), ..node }
    }

    /// From now on watches are served so.
    pub(crate) fn watched(
        &self,
        script: impl FnMut(&Watch) -> Vec<Option<Result<ChangePage, Refusal>>> + Send + 'static,
    ) {
        *self.watches.lock().unwrap() = Box::new(script);
    }

    /// The operations that reached it, without the openings of sessions.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        let opens =
            |operation: &Operation| write(operation).is_some_and(|w| w.kind == WriteKind::OpenSession);
        self.seen.lock().unwrap().iter().filter(|operation| !opens(operation)).cloned().collect()
    }

    /// Sessions that were asked for.
    pub(crate) fn sessions(&self) -> usize {
        let all = self.seen.lock().unwrap().len();
        all - self.operations().len()
    }

    /// Frames that reached it.
    pub(crate) fn frames(&self) -> usize {
        *self.frames.lock().unwrap()
    }

    /// What it answers to a frame; `None`: it breaks the stream.
    fn on_frame(&self, frame: pb::RequestFrame) -> Option<pb::ReplyFrame> {
        *self.frames.lock().unwrap() += 1;
        let mut replies = pb::ReplyFrame::default();
        for operation in frame.operations {
            let operation = Operation::try_from(operation).unwrap();
            self.seen.lock().unwrap().push(operation.clone());
            match (self.script.lock().unwrap())(&operation) {
                Action::Answer(reply) => replies.replies.push((operation.id, reply).into()),
                Action::Silence => {}
                Action::BreakStream => return None,
            }
        }
        Some(replies)
    }
}

pub(crate) fn write(operation: &Operation) -> Option<&Write> {
    match &operation.kind {
        OperationKind::Write(write) => Some(write),
        OperationKind::Read(_) => None,
    }
}

pub(crate) fn done(decree: u64, answer: &'static [u8]) -> Action {
    Action::Answer(Reply::Done { decree: Decree(decree), answer: Ok(Bytes::from_static(answer)) })
}

pub(crate) fn refused(refusal: Refusal) -> Action {
    Action::Answer(Reply::Refused(refusal))
}

/// A script that opens sessions 1, 2, ... and leaves the rest to `others`.
pub(crate) fn with_sessions(
    mut others: impl FnMut(&Operation) -> Action + Send + 'static,
) -> impl FnMut(&Operation) -> Action + Send + 'static {
    let mut sessions = 0u64;
    move |operation| match write(operation) {
        Some(Write { kind: WriteKind::OpenSession, .. }) => {
            sessions += 1;
            let answer = Ok(Bytes::copy_from_slice(&sessions.to_le_bytes()));
            Action::Answer(Reply::Done { decree: Decree(sessions), answer })
        }
        _ => others(operation),
    }
}

#[tonic::async_trait]
impl Replica for Node {
    async fn write(&self, _: Request<pb::WriteRequest>) -> Result<Response<pb::OperationReply>, Status> {
        Err(Status::unimplemented("the client library uses the stream"))
    }

    async fn read(&self, _: Request<pb::ReadRequest>) -> Result<Response<pb::OperationReply>, Status> {
        Err(Status::unimplemented("the client library uses the stream"))
    }

    async fn read_local(&self, _: Request<pb::ReadRequest>) -> Result<Response<pb::OperationReply>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    type OperateStream = Replies;

    async fn operate(
        &self,
        request: Request<Streaming<pb::RequestFrame>>,
    ) -> Result<Response<Replies>, Status> {
        let mut frames = request.into_inner();
        let (replies, outgoing) = mpsc::channel(16);
        let node = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let Some(answer) = node.on_frame(frame) else {
                    return;
                };
                if replies.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    type WatchStream = ReceiverStream<Result<pb::WatchReply, Status>>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch::try_from(request.into_inner()).unwrap();
        let told = (self.watches.lock().unwrap())(&watch);
        let (frames, outgoing) = mpsc::channel(16);
        tokio::spawn(async move {
            for told in told {
                match told {
                    Some(told) => drop(frames.send(Ok(told.into())).await),
                    None => frames.closed().await,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// The meta server. The app `app` has one partition.
#[derive(Clone)]
pub(crate) struct FakeMeta {
    state: Arc<Mutex<pb::QueryConfigurationReply>>,
    queries: Arc<Mutex<usize>>,
    address: String,
}

impl FakeMeta {
    pub(crate) async fn start(nodes: &[&Node]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |node: &&Node| NodeAddress {
            node: node.id,
            name: format!("replica{}", node.id.0),
            address: node.address.clone(),
        };
        let app = AppInfo {
            id: AppId(1),
            name: "app".into(),
            app_type: "counter".into(),
            partition_count: 1,
            replica_count: 3,
        };
        let reply = pb::QueryConfigurationReply {
            app: Some(app.into()),
            partitions: vec![],
            nodes: nodes.iter().map(|node| address(node).into()).collect(),
        };
        let meta = Self {
            state: Arc::new(Mutex::new(reply)),
            queries: Arc::default(),
            address: listener.local_addr().unwrap().to_string(),
        };
        meta.set_primary(1, nodes[0]);
        let server = tonic::transport::Server::builder().add_service(MetaServer::new(meta.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        meta
    }

    pub(crate) fn set_primary(&self, ballot: u64, node: &Node) {
        let configuration =
            Configuration { ballot: Ballot(ballot), primary: Some(node.id), secondaries: vec![] };
        self.state.lock().unwrap().partitions = vec![configuration.into()];
    }

    pub(crate) fn drop_app(&self) {
        self.state.lock().unwrap().app = None;
    }

    pub(crate) fn queries(&self) -> usize {
        *self.queries.lock().unwrap()
    }

    /// The app, for operations that may take `timeout_ms`.
    pub(crate) async fn open(&self, timeout_ms: u64) -> App {
        self.open_after(&[], timeout_ms).await
    }

    /// The same, where other meta servers are asked first.
    pub(crate) async fn open_after(&self, others: &[String], timeout_ms: u64) -> App {
        let options = Options {
            meta_servers: others.iter().chain([&self.address]).cloned().collect(),
            timeout: Duration::from_millis(timeout_ms),
            max_write_bytes: 1000,
            ..Options::default()
        };
        App::open(&Cluster::new(options).unwrap(), "app").await.unwrap()
    }
}

#[tonic::async_trait]
impl Meta for FakeMeta {
    async fn query_configuration(
        &self,
        _: Request<pb::QueryConfigurationRequest>,
    ) -> Result<Response<pb::QueryConfigurationReply>, Status> {
        *self.queries.lock().unwrap() += 1;
        let reply = self.state.lock().unwrap().clone();
        if reply.app.is_none() {
            return Err(Status::not_found("there is no app `app`"));
        }
        Ok(Response::new(reply))
    }

    type NodeSessionStream = ReceiverStream<Result<pb::MetaToNode, Status>>;

    async fn node_session(
        &self,
        _: Request<Streaming<pb::NodeToMeta>>,
    ) -> Result<Response<Self::NodeSessionStream>, Status> {
        Err(Status::unimplemented("for replica servers"))
    }
}
