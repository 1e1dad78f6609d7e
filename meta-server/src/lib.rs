//! The meta server: `meta-core` behind RocksDB and gRPC. Decides nothing itself.
//!
//! One task owns the core and takes one input after the other (`owner`); commands are durable in RocksDB
//! before the core hears of them (`storage`); the services turn messages into inputs and wait for answers
//! (`service`, `administration`).

mod administration;
mod clock;
mod loss;
mod options;
mod owner;
mod service;
mod session;
mod storage;

use std::future::Future;
use std::time::Duration;

use proto::pb::admin_server::AdminServer;
use proto::pb::meta_server::MetaServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::info;

pub use options::{FirstApp, Options};
pub use storage::StorageError;

use owner::Owner;
use service::Services;
use storage::Storage;

/// Inputs that wait for the owner; more make their senders wait.
const INPUTS: usize = 1024;

/// How long connections may take to end once the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// The largest message from a node: a report of a hundred thousand replicas fits.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Why the meta server can't run on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its data directory can't be used, or the state can't be made durable.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors for reflection are damaged: a mistake in the build.
    #[error("the service descriptors can't be read: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Serves on `listener` until `shutdown` completes; then every session is closed. Dropping the future does the
/// same, at once.
///
/// # Errors
/// If the data directory can't be used, or the state can't be made durable any more.
pub async fn run(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let keepalive = options.settings.failure_timeout;
    let (storage, state) = Storage::open(&options.data_dir, &options.name)?;
    info!(
        name = options.name,
        apps = state.apps().count(),
        nodes = state.nodes().count(),
        "meta server starts"
    );
    let (inputs, receiver) = mpsc::channel(INPUTS);
    let owner = Owner::new(storage, state, options.settings, options.first_app);

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<MetaServer<Services>>().await;
    health.set_serving::<AdminServer<Services>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let services = Services::new(inputs);
    let router = Server::builder()
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .add_service(MetaServer::new(services.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(AdminServer::new(services))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?); // what most tools still ask
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = router.serve_with_incoming_shutdown(incoming, async {
        let _ = stopped.await;
    });
    tokio::pin!(serve);

    let outcome = tokio::select! {
        error = owner.run(receiver) => Err(ServeError::Storage(error)),
        result = &mut serve => result.map_err(ServeError::Transport),
        () = shutdown => Ok(()),
    };
    // The owner is gone and with it the sender of every session, so that connections end by themselves; one that
    // does not is cut when the process ends.
    drop(stop);
    let _ = tokio::time::timeout(FAREWELL, serve).await;
    info!("meta server stopped");
    outcome
}
