//! A whole cluster in one process, through its sockets: what is written is read, also from a node that was stopped
//! and started again. (tests/ has the same with processes that are killed.)
#![cfg(all(feature = "dev", feature = "shipped-apps"))]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counter::request::{Request, decode_value};
use proto::pb;
use proto::pb::meta_client::MetaClient;
use proto::pb::replica_client::ReplicaClient;
use replica_server::{Options, StartError};
use replicated_app::Registry;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use words::{Ballot, Configuration};

/// Long enough for whatever is waited for; nothing depends on how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    settings: Settings,
    registry: Arc<Registry>,
    meta: String,
    _meta: JoinHandle<()>,
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), StartError>>,
}

impl Cluster {
    async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let overrides = [
            format!("apps.meta.ports={}", address.port()),
            format!("core.data_dir={}", folder.display()),
            "replication.app.partition_count=2".to_owned(),
        ];
        let settings = Settings::from_defaults(&overrides).unwrap();
        let options = meta_server::Options::from_settings(&settings, "meta1").unwrap();
        let meta = tokio::spawn(async move {
            meta_server::run(listener, options, std::future::pending()).await.unwrap();
        });
        let registry = Arc::new(Registry::new().with(counter::CounterType));
        Self { settings, registry, meta: format!("http://{address}"), _meta: meta }
    }

    async fn replica(&self, name: &str) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let options = Options {
            settings: self.settings.clone(),
            name: name.to_owned(),
            registry: Arc::clone(&self.registry),
        };
        let ended = tokio::spawn(replica_server::run(listener, options, async {
            let _ = stopped.await;
        }));
        Running { stop, ended }
    }

    async fn query(&self) -> Option<pb::QueryConfigurationReply> {
        let mut meta = MetaClient::connect(self.meta.clone()).await.ok()?;
        let request = pb::QueryConfigurationRequest { app_name: "counter.instance0".into(), app_id: 0 };
        Some(meta.query_configuration(request).await.ok()?.into_inner())
    }

    /// Waits until partition 0's configuration is as wanted; answers the address of its primary.
    async fn until(&self, wanted: impl Fn(&Configuration) -> bool) -> String {
        let give_up = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < give_up {
            if let Some(reply) = self.query().await {
                let configuration: Configuration =
                    reply.partitions[0].clone().try_into().expect("a configuration");
                if wanted(&configuration) {
                    let primary = configuration.primary.expect("a primary");
                    let bytes = proto::node_bytes(primary);
                    let node = reply.nodes.iter().find(|node| node.node == bytes);
                    return node.expect("the primary's address").address.clone();
                }
                last = Some(configuration);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not as wanted: {last:?}");
    }

    /// Asks the primary of partition 0, again until it answers.
    async fn ask(&self, operation: &Operation) -> i64 {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let address = self.until(|configuration| configuration.primary.is_some()).await;
            let answer = operation.send(&address).await;
            match answer {
                Ok(reply) if reply.outcome() == pb::Outcome::Done => {
                    return decode_value(&reply.answer).unwrap();
                }
                other => assert!(Instant::now() < give_up, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Running {
    async fn stop(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap().unwrap();
    }
}

enum Operation {
    Add(i64),
    Read,
}

impl Operation {
    async fn send(&self, address: &str) -> Result<pb::OperationReply, Box<dyn std::error::Error>> {
        let mut replica = ReplicaClient::connect(format!("http://{address}")).await?;
        let gpid = Some(pb::Gpid { app_id: 1, partition_index: 0 });
        let reply = match self {
            Self::Add(operand) => {
                let payload = Request::Add { name: "n", operand: *operand }.encode();
                let write = Some(pb::WriteOp { payload, ..Default::default() });
                replica.write(pb::WriteRequest { gpid, write }).await?
            }
            Self::Read => {
                let payload = Request::Read { name: "n" }.encode();
                replica.read(pb::ReadRequest { gpid, payload }).await?
            }
        };
        Ok(reply.into_inner())
    }
}

fn complete(configuration: &Configuration) -> bool {
    configuration.len() == 3
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let mut replicas = Vec::new();
    for name in ["replica1", "replica2", "replica3"] {
        replicas.push(cluster.replica(name).await);
    }
    cluster.until(complete).await;
    assert_eq!(cluster.ask(&Operation::Add(5)).await, 5);
    assert_eq!(cluster.ask(&Operation::Read).await, 5);

    // Each in its turn: whoever leads has been down once.
    for (index, name) in ["replica1", "replica2", "replica3"].into_iter().enumerate() {
        let ballot_before = std::cell::Cell::new(Ballot(0));
        cluster
            .until(|configuration| {
                ballot_before.set(configuration.ballot);
                complete(configuration)
            })
            .await;
        replicas.remove(0).stop().await;
        let value = 6 + i64::try_from(index).unwrap();
        assert_eq!(cluster.ask(&Operation::Add(1)).await, value);
        replicas.push(cluster.replica(name).await);
        cluster.until(|now| complete(now) && now.ballot > ballot_before.get()).await;
        assert_eq!(cluster.ask(&Operation::Read).await, value);
    }
    for replica in replicas {
        replica.stop().await;
    }

    // A server that does not host the app leaves what is there alone.
    let other = Cluster { registry: Arc::new(Registry::new()), ..cluster };
    let refused = other.replica("replica1").await.ended.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("counter.instance0") && refused.contains("does not host"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_find_their_way_by_health_and_reflection() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let replica = cluster.replica("replica1").await;
    let address = cluster.until(|configuration| configuration.primary.is_some()).await;
    let endpoint = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();

    let mut health = HealthClient::new(channel.clone());
    let service = "holdfast.v1.Replica".to_owned();
    let status = health.check(tonic_health::pb::HealthCheckRequest { service }).await.unwrap();
    assert_eq!(status.into_inner().status(), ServingStatus::Serving);

    let mut reflection = ServerReflectionClient::new(channel);
    let list = MessageRequest::ListServices(String::new());
    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        message_request: Some(list),
        ..Default::default()
    };
    let mut replies =
        reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = reply else { panic!("{reply:?}") };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"holdfast.v1.Replica".to_owned()), "{names:?}");
    replica.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_server_from_starting_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path()).await;
    let unknown = cluster.replica("replica9").await.ended.await.unwrap().unwrap_err().to_string();
    assert!(unknown.contains("replica9") && unknown.contains("replica3"), "{unknown}");
    std::fs::write(folder.path().join("replica1"), "a file").unwrap();
    let no_folder = cluster.replica("replica1").await.ended.await.unwrap().unwrap_err().to_string();
    assert!(no_folder.contains("replica1") && !no_folder.contains('\n'), "{no_folder}");
}
