//! One replica server, from its start to its end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use dashmap::DashMap;
use proto::pb::peer_server::PeerServer;
use proto::pb::replica_server::ReplicaServer;
use replica_core::{Identity, NodeCore};
use replicated_app::Registry;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::client_service::ClientService;
use crate::hosted::{Apps, Offers};
use crate::identity::DataFolder;
use crate::log_thread::AtDisk;
use crate::mailbox::{Mail, MailSender, mailbox};
use crate::peer_service::PeerService;
use crate::peers::{AddressBook, Peers};
use crate::replies::Replies;
use crate::shard::Shard;
use crate::watch_service::WatchService;
use crate::watchers::Watchers;
use crate::workers::Workers;
use crate::{StartError, clock, disk, log_thread, meta_session, storage, wire};

/// A node that stops waits this long at most for its primaries to be handed over (§5.5).
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);
/// And this long for what is on its way: replies to clients, the last words to peers.
const FAREWELL: Duration = Duration::from_millis(200);
/// Offers that nobody fetches from are looked for this often.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

/// What a server is started with.
pub struct Options {
    /// What `config.ini` says.
    pub settings: Settings,
    /// The server's name in it.
    pub name: String,
    /// The app types that it hosts.
    pub registry: Arc<Registry>,
}

/// Runs a replica server until `shutdown` is done, then hands over what can be, and ends cleanly. The port that
/// others reach it at is the listener's, the host is the one that the settings give it.
///
/// # Errors
/// It can't start: the settings don't name it, its data directory is in use, another node's, or can't be used.
pub fn run(
    listener: TcpListener,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>> {
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
) -> Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>> {
    Box::pin(serve(listener, options, shutdown))
}

async fn serve(listener: TcpListener, options: Options, shutdown: Stop) -> Result<(), StartError> {
    let address = advertised_address(&listener, &options)?;
    let Options { settings, name, registry } = options;
    let (mail, reports, mailbox) = mailbox();
    let (meta, meta_queue) = mpsc::channel(meta_session::QUEUE);
    let (stopped, may_stop) = oneshot::channel();
    let addresses: AddressBook = Arc::new(DashMap::new());
    let workers = Workers::new(Handle::current(), reports.clone());

    let recovery = {
        let (settings, workers, address) = (settings.clone(), workers.clone(), address.clone());
        tokio::task::spawn_blocking(move || Recovered::open(&settings, name, address, registry, workers))
    };
    let recovered =
        recovery.await.map_err(|panic| StartError::new(format!("recovery failed: {panic}")))??;
    let Recovered { data, core, apps, offers, log } = recovered;
    tracing::info!(node = %data.node, life = %data.life, address, "started");

    let log_reader = log.reader();
    let at_disk = AtDisk::default();
    let (log, log_thread) =
        log_thread::start(log, reports, at_disk.clone()).map_err(|error| no_thread(&error))?;
    let shard = Shard {
        node: data.node,
        core,
        apps,
        peers: Peers::new(addresses, mail.clone(), Handle::current()),
        mailbox,
        log,
        log_reader,
        meta,
        workers,
        stopped: Some(stopped),
        replies: Replies::default(),
        watchers: Watchers::default(),
    };
    let shard = tokio::spawn(shard.run());
    let meta_addresses = settings.meta_servers().into_iter().map(|server| server.address).collect();
    let silence = Duration::from_millis(2 * settings.replication.failure_timeout_ms);
    let meta_session = tokio::spawn(meta_session::run(meta_addresses, silence, meta_queue, mail.clone()));
    let (disk_works, disk) = watch::channel(true);
    let disk_watch = tokio::spawn(disk::watch(data.path.clone(), mail.clone(), disk_works, at_disk));
    let mut services = Services::start(listener, &settings, &mail, offers, disk);

    shutdown.await;
    services.leave().await;
    let _ = mail.send(Mail::Stop).await;
    if timeout(HAND_OVER_LIMIT, may_stop).await.is_err() {
        tracing::warn!("not all primaries could be handed over in time; stopping all the same");
    }
    services.stop().await;
    meta_session.abort();
    disk_watch.abort();
    let _ = mail.send(Mail::Exit).await;
    let _ = shard.await;
    // The log's thread ends then, once all that it was given is durable.
    let _ = tokio::task::spawn_blocking(move || log_thread.join()).await;
    drop(data);
    tracing::info!("stopped");
    Ok(())
}

/// What there is of a node before it runs.
struct Recovered {
    data: DataFolder,
    core: NodeCore,
    apps: Apps,
    offers: Arc<Offers>,
    log: replica_log::PrepareLog,
}

impl Recovered {
    fn open(
        settings: &Settings,
        name: String,
        address: String,
        registry: Arc<Registry>,
        workers: Workers,
    ) -> Result<Self, StartError> {
        let data = DataFolder::open(&settings.data_dir(&name), &name)?;
        let offers = Arc::new(Offers::new(data.life));
        let history = settings.replication.watch_history_bytes;
        let mut apps = Apps::new(&data.path, Arc::clone(&registry), Arc::clone(&offers), workers, history)
            .map_err(|error| StartError::new(format!("data directory {}: {error}", data.path.display())))?;
        let segment_bytes = settings.replication.log_segment_mb << 20;
        let options = replica_log::Options { segment_bytes, ..replica_log::Options::default() };
        let core_settings = core_settings(settings);
        let (log, recovered) = storage::recover(&data, options, &core_settings, &mut apps, &registry)?;
        let identity = Identity { node: data.node, life: data.life, name, address };
        let core = NodeCore::new(identity, core_settings, recovered, clock::now());
        Ok(Self { data, core, apps, offers, log })
    }
}

/// The gRPC services while they run.
struct Services {
    stopping: watch::Sender<bool>,
    health: HealthReporter,
    /// Says `SERVING` or not, as the disk does.
    report: JoinHandle<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    tidy: JoinHandle<()>,
}

impl Services {
    fn start(
        listener: TcpListener,
        settings: &Settings,
        mail: &MailSender,
        offers: Arc<Offers>,
        disk: watch::Receiver<bool>,
    ) -> Self {
        let (stopping, stop) = watch::channel(false);
        let frame_limit = wire::frame_limit(settings);
        let clients = ClientService {
            mail: mail.clone(),
            max_write_bytes: settings.replication.max_write_bytes,
            stopping: stop.clone(),
            streams: AtomicU64::new(0),
            watches: WatchService {
                mail: mail.clone(),
                stopping: stop.clone(),
                places: Arc::new(Semaphore::new(settings.replication.max_watchers)),
            },
        };
        let bandwidth = settings.replication.learn_bandwidth_mb << 20;
        let peers = PeerService::new(mail.clone(), Arc::clone(&offers), bandwidth);
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let damaged = "the descriptors were made by the build";
        let server = Server::builder()
            .http2_keepalive_interval(Some(wire::KEEPALIVE))
            .http2_keepalive_timeout(Some(wire::KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(wire::STREAM_WINDOW)
            .initial_connection_window_size(wire::CONNECTION_WINDOW)
            .max_concurrent_streams(Some(wire::concurrent_streams(settings)))
            .add_service(ReplicaServer::new(clients).max_decoding_message_size(frame_limit))
            .add_service(PeerServer::new(peers).max_decoding_message_size(frame_limit))
            .add_service(health_service)
            .add_service(reflection().build_v1().expect(damaged))
            .add_service(reflection().build_v1alpha().expect(damaged)) // what most tools still ask
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                stopped_by(stop),
            );
        let report = tokio::spawn(report_health(health.clone(), disk));
        let server = tokio::spawn(server);
        let tidy = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY_INTERVAL).await;
                let offers = Arc::clone(&offers);
                let _ = tokio::task::spawn_blocking(move || offers.withdraw_idle()).await;
            }
        });
        Self { stopping, health, report, server, tidy }
    }

    /// Whoever asks is told to go elsewhere from now on; requests are still answered.
    async fn leave(&mut self) {
        self.report.abort();
        let _ = (&mut self.report).await;
        set_health(&self.health, ServingStatus::NotServing).await;
    }

    /// Takes no more requests; lets what is on its way arrive.
    async fn stop(mut self) {
        let _ = self.stopping.send(true);
        self.tidy.abort();
        // Peers never close their streams, so this mostly waits for as long as it may.
        if timeout(FAREWELL, &mut self.server).await.is_err() {
            self.server.abort();
            let _ = self.server.await;
        }
    }
}

/// All services are well as long as the disk is: each needs it. Before a server has read its log it answers nothing at
/// all.
async fn report_health(health: HealthReporter, mut disk: watch::Receiver<bool>) {
    loop {
        let works = *disk.borrow_and_update();
        set_health(&health, if works { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        if disk.changed().await.is_err() {
            return;
        }
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in ["", ReplicaServer::<ClientService>::NAME, PeerServer::<PeerService>::NAME] {
        health.set_service_status(service, status).await;
    }
}

async fn stopped_by(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn advertised_address(listener: &TcpListener, options: &Options) -> Result<String, StartError> {
    let configured = options.settings.server(&options.name)?;
    let host = configured.address.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
    let port =
        listener.local_addr().map_err(|error| StartError::new(format!("the listener: {error}")))?.port();
    Ok(format!("{host}:{port}"))
}

fn no_thread(error: &io::Error) -> StartError {
    StartError::new(format!("can't start a thread: {error}; raise the limit of processes (ulimit -u)"))
}

/// The core's settings from an operator's.
fn core_settings(settings: &Settings) -> replica_core::Settings {
    let ms = Duration::from_millis;
    let from = &settings.replication;
    replica_core::Settings {
        heartbeat: ms(from.heartbeat_ms),
        lease: ms(from.lease_ms),
        clock_ratio_permille: from.clock_ratio_permille,
        prepare_timeout: ms(from.prepare_timeout_ms),
        failure_timeout: ms(from.failure_timeout_ms),
        learn_timeout: ms(from.learn_timeout_ms),
        resend: ms(from.resend_ms),
        beacon: ms(from.beacon_ms),
        report: ms(from.report_ms),
        window: from.mutation_window,
        queue: from.mutation_queue,
        batch: from.mutation_batch,
        batch_bytes: from.mutation_batch_bytes,
        list_tail: from.prepare_list_tail,
        list_tail_bytes: from.prepare_list_tail_bytes,
        resend_batch: from.resend_batch,
        mutation_2pc_min_replica_count: from.mutation_2pc_min_replica_count,
        checkpoint_decrees: from.checkpoint_decrees,
        checkpoint_interval: ms(from.checkpoint_interval_ms),
        max_write_bytes: from.max_write_bytes,
        disk_min_available_space_ratio: from.disk_min_available_space_ratio,
        disk_enough_space_bytes: from.disk_enough_space_mb << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_the_same_in_both_settings() {
        let defaults = Settings::from_defaults(&[]).unwrap();
        let (ours, theirs) = (core_settings(&defaults), replica_core::Settings::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
