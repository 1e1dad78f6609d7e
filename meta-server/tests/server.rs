//! The whole meta server behind its sockets: what is durable outlives it, and sessions end when it does.

use std::time::Duration;

use meta_server::{FirstApp, Options, ServeError, StorageError, Timers, run};
use proto::pb::admin_client::AdminClient;
use proto::pb::meta_client::MetaClient;
use proto::pb::{self, meta_to_node, node_to_meta};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

/// How long anything may take here before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

fn options(directory: &std::path::Path, first_app: Option<FirstApp>) -> Options {
    let settings = meta_core::MetaSettings::default();
    let (name, address) = ("meta1".to_owned(), "127.0.0.1:0".to_owned());
    let servers = vec![settings::Server { name: name.clone(), address: address.clone() }];
    let (data_dir, timers) = (directory.join("meta1"), Timers::default());
    Options { name, address, data_dir, settings, first_app, servers, timers }
}

impl Server {
    async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(listener, options, async {
            let _ = stopped.await;
        }));
        Self { address, stop, task }
    }

    /// One that was killed in this process takes a moment to let go of its directory.
    async fn start_after_a_kill(options: Options) -> Self {
        loop {
            let server = Self::start(options.clone()).await;
            let address = server.address.clone();
            let connected = Channel::from_shared(address).expect("an address").connect().await;
            if let Ok(channel) = connected
                && MetaClient::new(channel).query_configuration(query("a")).await.is_ok()
            {
                return server;
            }
            match tokio::time::timeout(PATIENCE, server.task).await.expect("it ends").expect("no panic") {
                Err(ServeError::Storage(StorageError::InUse(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(self.address.clone()).expect("an address").connect().await.expect("it listens")
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it stops in time");
        ended.expect("it does not panic").expect("it stops without an error");
    }
}

/// A node as far as a session goes.
struct Node {
    say: mpsc::Sender<pb::NodeToMeta>,
    hear: Streaming<pb::MetaToNode>,
}

impl Node {
    async fn connect(channel: Channel, number: u8) -> Self {
        let (say, messages) = mpsc::channel(16);
        let beacon = pb::Beacon {
            node: vec![number; 16].into(),
            life: 1,
            name: format!("replica{number}"),
            address: format!("127.0.0.1:{}", 34800 + u16::from(number)),
            leaving: false,
            disk: None,
        };
        let message = pb::NodeToMeta { what: Some(node_to_meta::What::Beacon(beacon)) };
        say.send(message).await.expect("there is room");
        let hear = MetaClient::new(channel).node_session(ReceiverStream::new(messages)).await;
        Self { say, hear: hear.expect("a session").into_inner() }
    }

    /// The next configuration that it is told, printed.
    async fn told(&mut self) -> String {
        let next = async {
            loop {
                let message = self.hear.message().await.expect("the session holds").expect("it goes on");
                if let Some(meta_to_node::What::Configuration(told)) = message.what {
                    let configuration: words::Configuration =
                        told.configuration.expect("it is there").try_into().expect("it makes sense");
                    return configuration.to_string();
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("it is told in time")
    }
}

fn create(name: &str, app_type: &str, partition_count: u32) -> pb::CreateAppRequest {
    let (name, app_type) = (name.to_owned(), app_type.to_owned());
    pb::CreateAppRequest { name, app_type, partition_count, replica_count: 1 }
}

fn query(app_name: &str) -> pb::QueryConfigurationRequest {
    pb::QueryConfigurationRequest { app_name: app_name.to_owned(), app_id: 0 }
}

async fn route(server: &Server, app_name: &str) -> pb::QueryConfigurationReply {
    MetaClient::new(server.channel().await)
        .query_configuration(query(app_name))
        .await
        .expect("it is there")
        .into_inner()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(options(directory.path(), None)).await;
    let mut admin = AdminClient::new(server.channel().await);
    let created = admin.create_app(create("a", "counter", 3)).await.expect("it is created").into_inner();
    assert_eq!(created.app.expect("it is there").app_id, 1);
    admin.create_app(create("b", "counter", 1)).await.expect("it is created");
    admin
        .drop_app(pb::DropAppRequest { name: "b".to_owned(), hold_seconds: None })
        .await
        .expect("it is dropped");
    let mut node = Node::connect(server.channel().await, 7).await;
    let first = node.told().await;
    assert_eq!(first, "{1,07070707,[]}");
    node.told().await;
    node.told().await;
    let before = route(&server, "a").await;
    assert!(before.partitions.iter().all(|configuration| configuration.ballot == 1), "{before:?}");
    assert_eq!(before.nodes[0].address, "127.0.0.1:34807");

    server.stop().await;
    let end = tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = node.hear.message().await {} });
    end.await.expect("the session ended with the server");
    drop(node.say);

    let server = Server::start(options(directory.path(), None)).await;
    assert_eq!(route(&server, "a").await, before);
    // Numbers are not used again, and the node is told at once what it is.
    let mut admin = AdminClient::new(server.channel().await);
    let created = admin.create_app(create("b", "counter", 1)).await.expect("the name is free").into_inner();
    assert_eq!(created.app.expect("it is there").app_id, 3);
    let mut node = Node::connect(server.channel().await, 7).await;
    assert_eq!(node.told().await, "{1,07070707,[]}");
    server.stop().await;
}

/// The future is dropped, as when the process is killed: nothing is flushed, no farewell.
#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(options(directory.path(), None)).await;
    let mut admin = AdminClient::new(server.channel().await);
    admin.create_app(create("a", "counter", 8)).await.expect("it is created");
    let before = route(&server, "a").await;
    server.task.abort();
    assert!(server.task.await.expect_err("it was aborted").is_cancelled());
    let server = Server::start_after_a_kill(options(directory.path(), None)).await;
    assert_eq!(route(&server, "a").await, before);
    server.stop().await;
}

#[tokio::test]
async fn a_broken_session_is_noticed_by_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut options = options(directory.path(), None);
    // So that silence can't be what tells.
    options.settings.failure_timeout = Duration::from_secs(3600);
    let server = Server::start(options).await;
    let mut admin = AdminClient::new(server.channel().await);
    admin.create_app(create("a", "counter", 1)).await.expect("it is created");
    let mut node = Node::connect(server.channel().await, 7).await;
    node.told().await;
    let list = async |admin: &mut AdminClient<Channel>| {
        let reply = admin.list_nodes(pb::ListNodesRequest {}).await.expect("a list").into_inner();
        reply.nodes.into_iter().next().expect("the node")
    };
    assert!(list(&mut admin).await.alive);
    drop(node);
    let noticed = async {
        while list(&mut admin).await.alive {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("it is noticed");
    server.stop().await;
}

#[tokio::test]
async fn mistakes_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(options(directory.path(), None)).await;
    let mut admin = AdminClient::new(server.channel().await);
    admin.create_app(create("a", "counter", 1)).await.expect("it is created");
    let code = |result: Result<tonic::Response<pb::CreateAppReply>, tonic::Status>| {
        result.expect_err("refused").code()
    };
    assert_eq!(code(admin.create_app(create("a", "counter", 1)).await), Code::AlreadyExists);
    assert_eq!(code(admin.create_app(create("b", "abacus", 1)).await), Code::InvalidArgument);
    assert_eq!(code(admin.create_app(create("b", "counter", 0)).await), Code::InvalidArgument);
    let gpid = Some(pb::Gpid { app_id: 1, partition_index: 0 });
    for (r#type, node, expected) in
        [("promote", "r1", Code::InvalidArgument), ("remove", "nobody", Code::NotFound)]
    {
        let request = pb::ProposeRequest { gpid, r#type: r#type.to_owned(), node: node.to_owned() };
        assert_eq!(admin.propose(request).await.expect_err("refused").code(), expected, "{type} {node}");
    }
    let request = pb::QueryConfigurationRequest { app_name: "z".to_owned(), app_id: 0 };
    let status =
        MetaClient::new(server.channel().await).query_configuration(request).await.expect_err("refused");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no app `z`; `admin ls` lists the apps"));
    // A message that makes no sense ends its session, and nothing else.
    let mut node = Node::connect(server.channel().await, 7).await;
    node.say.send(pb::NodeToMeta { what: None }).await.expect("there is room");
    let end = tokio::time::timeout(PATIENCE, async { while let Ok(Some(_)) = node.hear.message().await {} });
    end.await.expect("the session ended");
    server.stop().await;
}

#[tokio::test]
async fn the_first_app_is_created_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (name, app_type) = ("counter.instance0".to_owned(), "counter".to_owned());
    let first = FirstApp { name: name.clone(), app_type, partition_count: 8, replica_count: 3 };
    let server = Server::start(options(directory.path(), Some(first.clone()))).await;
    // Whoever is faster shall ask again; nobody waits for another one.
    for (app_name, code, asks_again) in [(&*name, Code::Unavailable, true), ("z", Code::NotFound, false)] {
        let request = pb::QueryConfigurationRequest { app_name: app_name.to_owned(), app_id: 0 };
        let status =
            MetaClient::new(server.channel().await).query_configuration(request).await.expect_err("refused");
        assert_eq!((status.code(), status.metadata().contains_key(proto::LEADER_KEY)), (code, asks_again));
        assert!(status.message().starts_with(&format!("no app `{app_name}`")), "{status}");
    }
    // Once nodes are there, and have nothing.
    let mut nodes = vec![];
    for number in 1..=3 {
        let node = Node::connect(server.channel().await, number).await;
        let report = pb::Report { node: vec![number; 16].into(), life: 1, replicas: vec![] };
        let message = pb::NodeToMeta { what: Some(node_to_meta::What::Report(report)) };
        node.say.send(message).await.expect("there is room");
        nodes.push(node);
    }
    nodes[0].told().await;
    assert_eq!(route(&server, &name).await.partitions.len(), 8);
    let mut admin = AdminClient::new(server.channel().await);
    admin
        .drop_app(pb::DropAppRequest { name: name.clone(), hold_seconds: None })
        .await
        .expect("it is dropped");
    server.stop().await;
    let server = Server::start(options(directory.path(), Some(first))).await;
    let apps = AdminClient::new(server.channel().await)
        .list_apps(pb::ListAppsRequest { all: false })
        .await
        .expect("a list");
    assert_eq!(apps.into_inner().apps, []);
    server.stop().await;
}

#[tokio::test]
async fn a_data_directory_of_another_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let attempt = async |options: Options| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        match run(listener, options, std::future::pending()).await.expect_err("refused") {
            ServeError::Storage(error) => error,
            other => panic!("refused for another reason: {other}"),
        }
    };
    let server = Server::start(options(directory.path(), None)).await;
    AdminClient::new(server.channel().await).create_app(create("a", "counter", 1)).await.expect("it serves");
    assert!(matches!(attempt(options(directory.path(), None)).await, StorageError::InUse(_)));
    server.stop().await;

    let renamed = Options { name: "meta2".to_owned(), ..options(directory.path(), None) };
    let error = attempt(renamed).await;
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    assert!(error.to_string().ends_with("belongs to `meta1`; use another `data_dir` or `--name`"), "{error}");

    let foreign = directory.path().join("meta3");
    std::fs::create_dir(&foreign).expect("a directory");
    std::fs::write(foreign.join("IDENTITY"), "somebody").expect("a file");
    let error = attempt(Options { data_dir: foreign.clone(), ..options(directory.path(), None) }).await;
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read_dir(foreign).expect("the directory").count(), 1, "nothing was changed");
}
