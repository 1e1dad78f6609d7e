//! The meta server: `meta-core` behind RocksDB and gRPC. Decides nothing itself.
//!
//! The meta servers replicate commands by Raft over RocksDB (`raft`, `storage`). On the one that leads, a task owns
//! the core and takes one input after the other (`owner`, `leader`); the services turn messages into inputs and wait
//! for answers (`service`, `administration`).

mod administration;
mod clock;
mod leader;
mod loss;
mod options;
mod owner;
mod raft;
mod records;
mod service;
mod session;
mod storage;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use proto::pb::admin_server::AdminServer;
use proto::pb::meta_server::MetaServer;
use proto::pb::raft_server::RaftServer;
use settings::Server as Peer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::info;

pub use options::{FirstApp, Options, Timers};
pub use storage::StorageError;

use owner::Owner;
use raft::founding::Newcomer;
use raft::gate::Gate;
use raft::log::LogStore;
use raft::machine::Machine;
use raft::membership::Members;
use raft::network::Network;
use raft::service::RaftService;
use raft::{Heard, Raft};
use service::Services;
use storage::Storage;

/// Inputs that wait for the owner; more make their senders wait.
const INPUTS: usize = 1024;

/// How long connections may take to end once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// The largest message from a node: a report of a hundred thousand replicas fits.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Applied entries that wait for the owner; more make Raft wait.
const COMMITTED: usize = 64;

/// Why the meta server can't run on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its data directory can't be used, or the state can't be made durable.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Raft ended: its log or the state can't be made durable any more.
    #[error("{0}")]
    Raft(String),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors for reflection are damaged: a mistake in the build.
    #[error("the service descriptors can't be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Ends Raft, whose tasks would go on by themselves, with the future that serves.
struct Shutdown(Raft);

impl Drop for Shutdown {
    fn drop(&mut self) {
        let raft = self.0.clone();
        tokio::spawn(async move { raft.shutdown().await });
    }
}

impl From<openraft::error::Fatal<raft::MemberId>> for ServeError {
    fn from(fatal: openraft::error::Fatal<raft::MemberId>) -> Self {
        Self::Raft(fatal.to_string())
    }
}

/// Serves on `listener` until `shutdown` completes; then every session is closed. Dropping the future does the
/// same, at once.
///
/// # Errors
/// If the data directory can't be used, or the state can't be made durable any more.
pub fn run(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>> {
    boxed(listener, options, Box::pin(shutdown))
}

/// When to stop.
type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Nothing is generic from here on, so that all of the server is compiled in this crate, and not once more in each
/// program that runs it.
fn boxed(
    listener: TcpListener,
    options: Options,
    shutdown: Stop,
) -> Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send>> {
    Box::pin(open_and_serve(listener, options, shutdown))
}

async fn open_and_serve(listener: TcpListener, options: Options, shutdown: Stop) -> Result<(), ServeError> {
    let (storage, closed) = Storage::open(&options.data_dir, &options.name)?;
    let outcome = serve(listener, options, Arc::new(storage), shutdown).await;
    // Whoever opens the directory next must find it closed.
    let _ = tokio::time::timeout(FAREWELL, closed.wait()).await;
    info!("meta server stopped");
    outcome
}

async fn serve(
    listener: TcpListener,
    options: Options,
    storage: Arc<Storage>,
    shutdown: Stop,
) -> Result<(), ServeError> {
    let keepalive = options.settings.failure_timeout;
    let server = Peer { name: options.name.clone(), address: options.address };
    let me = storage.id();
    let (sender, committed) = mpsc::channel(COMMITTED);
    let (machine, view) = Machine::open(Arc::clone(&storage), sender)?;
    info!(
        name = options.name,
        apps = view.borrow().state.apps().count(),
        nodes = view.borrow().state.nodes().count(),
        "meta server starts"
    );
    let raft =
        Raft::new(me, raft::config(&options.timers), Network { me }, LogStore::new(storage), machine).await?;
    let _shutdown = Shutdown(raft.clone());
    let lease = options.timers.election_timeout;
    let members = Arc::new(Members::new(raft.clone(), me));
    let first_app = options.first_app.clone();
    let (owner, standing) = Owner::new(
        raft.clone(),
        view.clone(),
        committed,
        options.settings,
        options.first_app,
        lease,
        Arc::clone(&members),
    );
    let (inputs, receiver) = mpsc::channel(INPUTS);
    let heard = watch::Sender::new(Heard::default());
    let first_app = first_app.as_ref().map(|app| app.name.as_str());
    let heard_by_clients = heard.subscribe();
    let services =
        Services::new(inputs, standing, view, heard_by_clients, keepalive, first_app, Arc::clone(&members));
    let gate = Arc::new(Gate::default());
    let name = options.name;
    let peers = RaftService { raft: raft.clone(), me, name, gate: Arc::clone(&gate), members, heard, lease };
    let newcomer = Newcomer { raft: raft.clone(), gate, me, server, servers: options.servers };

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MetaServer<Services>>().await;
    health.set_serving::<AdminServer<Services>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .add_service(MetaServer::new(services.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(AdminServer::new(services))
        .add_service(RaftServer::new(peers).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?); // what most tools still ask
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = router.serve_with_incoming_shutdown(incoming, async {
        let _ = stopped.await;
    });
    tokio::pin!(serve);
    let arrival = tokio::spawn(newcomer.arrive());

    let outcome = tokio::select! {
        ended = owner.run(receiver) => Err(ServeError::from(*ended)),
        result = &mut serve => result.map_err(ServeError::Transport),
        () = shutdown => Ok(()),
    };
    arrival.abort();
    // The owner is gone and with it the sender of every session, so that connections end by themselves; one that
    // does not is cut when the process ends.
    drop(stop);
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(serve, raft.shutdown()) }).await;
    outcome
}
