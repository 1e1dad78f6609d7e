//! The hosting of apps, with the counter as the app: checkpoints, offers, and a learned checkpoint that takes the
//! app's place, with a stop at every point of that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use counter::CounterType;
use counter::request::{Request, decode_value};
use proto::pb::peer_server::PeerServer;
use replica_core::WriteAnswer;
use replicated_app::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::transport::server::TcpIncoming;
use words::{AppId, Ballot, Life, Mutation, Write, WriteKind};

use super::*;
use crate::mailbox::{Report, mailbox};
use crate::peer_service::PeerService;

pub(super) const GPID: Gpid = Gpid::new(1, 0);
const SIGNATURE: Signature = Signature(7);

pub(super) fn info() -> AppInfo {
    AppInfo {
        id: AppId(1),
        name: "counter.test".into(),
        app_type: "counter".into(),
        partition_count: 1,
        replica_count: 3,
    }
}

/// The apps of one node, and what their work reports.
pub(super) struct Node {
    pub(super) apps: Apps,
    pub(super) offers: Arc<Offers>,
    reports: UnboundedReceiver<Report>,
}

impl Node {
    pub(super) fn start(folder: impl AsRef<Path>) -> Self {
        let (_, sender, mailbox) = mailbox();
        let workers = Workers::new(Handle::current(), sender);
        let registry = Arc::new(Registry::new().with(CounterType));
        let offers = Arc::new(Offers::new(Life(1)));
        let apps = Apps::new(folder.as_ref(), registry, Arc::clone(&offers), workers, 1 << 20).unwrap();
        Self { apps, offers, reports: mailbox.reports }
    }

    /// With an app that has applied `adds`.
    pub(super) async fn with_app(folder: impl AsRef<Path>, adds: u64) -> Self {
        let mut node = Self::start(folder);
        node.apps.create(GPID, info());
        assert!(matches!(node.event().await, Event::Created { result: Ok(()), .. }));
        for decree in 1..=adds {
            node.add(decree);
        }
        node
    }

    async fn work(&mut self) -> WorkDone {
        loop {
            let report = tokio::time::timeout(Duration::from_secs(30), self.reports.recv()).await;
            match report.expect("work ends").expect("the sender is here") {
                Report::Work(WorkDone::Tidied) | Report::LogDurable(_) | Report::Read(_) => {}
                Report::Work(done) => return done,
            }
        }
    }

    pub(super) async fn event(&mut self) -> Event {
        let done = self.work().await;
        let mut events = Vec::new();
        self.apps.work_done(done, &mut events);
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// Adds 1 under the decree, which becomes the counter's value.
    pub(super) fn add(&mut self, decree: u64) {
        let mutation = Arc::new(mutation(decree));
        match self.apps.apply(&ApplyTask { gpid: GPID, mutation }) {
            Event::Applied { answers, .. } => {
                let [WriteAnswer::Applied { answer: Ok(value), .. }] = &answers[..] else {
                    panic!("{answers:?}")
                };
                assert_eq!(decode_value(value), i64::try_from(decree).ok());
            }
            other => panic!("{other:?}"),
        }
    }

    /// The decree that the app is at, and the counter's value.
    pub(super) fn state(&mut self) -> (u64, i64) {
        let request = Request::Read { name: "n" }.encode();
        match self.apps.read(GPID, &request, 1, &mut Vec::new()) {
            Some(Reply::Done { decree, answer: Ok(value) }) => (decree.0, decode_value(&value).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn checkpoint(&mut self) -> MutationId {
        let mut events = Vec::new();
        self.apps.checkpoint(GPID, &mut events);
        assert!(events.is_empty(), "{events:?}");
        match self.event().await {
            Event::CheckpointDone { result, .. } => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn offer(&mut self, at_least: u64) -> (MutationId, u64) {
        let mut events = Vec::new();
        self.apps.offer(GPID, SIGNATURE, Decree(at_least), &mut events);
        while events.is_empty() {
            let done = self.work().await;
            self.apps.work_done(done, &mut events);
        }
        match events.remove(0) {
            Event::CheckpointOffered { result, .. } => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fetch(&mut self, address: &str, (checkpoint, transfer): (MutationId, u64)) {
        let address = Some(address.to_owned());
        let mut events = Vec::new();
        let task = FetchTask { gpid: GPID, signature: SIGNATURE, address, transfer, checkpoint };
        self.apps.fetch(task, &mut events);
        assert!(events.is_empty(), "{events:?}");
    }
}

fn mutation(decree: u64) -> Mutation {
    let payload: Bytes = Request::Add { name: "n", operand: 1 }.encode();
    Mutation {
        id: identity(decree),
        timestamp_us: decree,
        writes: vec![Write { session: None, kind: WriteKind::Update, payload }].into(),
    }
}

pub(super) fn identity(decree: u64) -> MutationId {
    MutationId { ballot: Ballot(3), decree: Decree(decree) }
}

/// Starts again after a stop: the state that the disk holds.
pub(super) fn restarted(folder: impl AsRef<Path>) -> (Node, io::Result<MutationId>) {
    let mut node = Node::start(folder);
    let recovered = node.apps.recover(&[(GPID, &info())]).pop().expect("one was noted");
    (node, recovered.durable)
}

/// Serves a node's offers; answers where.
pub(super) async fn serve(offers: Arc<Offers>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mail, _, _) = mailbox();
    let service = PeerServer::new(PeerService::new(mail, offers, 0));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_last_checkpoint_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 5).await;
    assert_eq!(node.checkpoint().await, identity(5));
    node.add(6);
    drop(node);
    let (mut node, durable) = restarted(&folder);
    assert_eq!(durable.unwrap(), identity(5));
    assert_eq!(node.state(), (5, 5));
    node.add(6); // by replay
    assert_eq!(node.checkpoint().await, identity(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_damaged_is_an_error_and_not_an_empty_app() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 5).await;
    node.checkpoint().await;
    drop(node);
    let generation = folder.path().join("replicas/1.0/gen.1");
    let framework = framework::path(&generation, Decree(5));
    let content = std::fs::read(&framework).unwrap();
    std::fs::write(&framework, &content[1..]).unwrap();
    assert_eq!(restarted(&folder).1.unwrap_err().kind(), io::ErrorKind::InvalidData);
    std::fs::remove_file(&framework).unwrap();
    assert_eq!(restarted(&folder).1.unwrap_err().kind(), io::ErrorKind::NotFound);
    std::fs::write(&framework, &content).unwrap();
    assert_eq!(restarted(&folder).1.unwrap(), identity(5));
    std::fs::remove_dir_all(folder.path().join("replicas/1.0")).unwrap();
    assert_eq!(restarted(&folder).1.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_as_new_as_asked_for_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 5).await;
    let (first, number) = node.offer(3).await;
    assert_eq!(first, identity(5));
    let offer = node.offers.get(GPID, number).unwrap();
    for decree in 6..=9 {
        node.add(decree);
    }
    // The one that is durable does; then a newer one is needed, and the app removes the older.
    assert_eq!(node.offer(5).await.0, identity(5));
    assert_eq!(node.offer(6).await.0, identity(9));
    let described = &offer.manifest.files[0];
    let bytes = offer.read(0, 0, usize::try_from(described.length).unwrap()).unwrap();
    assert_eq!(crc32c::crc32c(&bytes), described.crc32c);
    let mut events = Vec::new();
    node.apps.offer(GPID, SIGNATURE, Decree(10), &mut events);
    assert!(matches!(&events[..], [Event::CheckpointOffered { result: Err(_), .. }]), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_checkpoint_is_begun_while_one_is_offered_and_two_learners_share_an_offer() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 5).await;
    node.checkpoint().await;
    node.add(6);
    let mut events = Vec::new();
    node.apps.offer(GPID, Signature(1), Decree(5), &mut events);
    // All of these come while the first is being linked.
    node.apps.checkpoint(GPID, &mut events);
    for (signature, at_least) in [(2, 5), (3, 6), (4, 6)] {
        node.apps.offer(GPID, Signature(signature), Decree(at_least), &mut events);
    }
    let mut next = async |node: &mut Node| {
        let done = node.work().await;
        node.apps.work_done(done, &mut events);
        let said = events.drain(..).map(|event| match event {
            Event::CheckpointOffered { signature, result, .. } => (signature.0, result.unwrap()),
            Event::CheckpointDone { result, .. } => (0, (result.unwrap(), 0)),
            other => panic!("{other:?}"),
        });
        said.collect::<Vec<_>>()
    };
    let [(1, first)] = next(&mut node).await[..] else { panic!("the first learner is served first") };
    assert_eq!(first.0, identity(5));
    assert_eq!(next(&mut node).await, [(0, (identity(6), 0))], "the checkpoint that was asked for meanwhile");
    let [(2, second), (3, third), (4, fourth)] = next(&mut node).await[..] else { panic!("three at once") };
    assert!(second == third && third == fourth && second.0 == identity(6) && second.1 != first.1);
    assert!(node.offers.get(GPID, first.1).is_some() && node.offers.get(GPID, second.1).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_offered_leaves_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 5).await;
    node.checkpoint().await;
    std::fs::remove_file(framework::path(&folder.path().join("replicas/1.0/gen.1"), Decree(5))).unwrap();
    let mut events = Vec::new();
    node.apps.offer(GPID, SIGNATURE, Decree(5), &mut events);
    let failed = node.event().await;
    assert!(matches!(failed, Event::CheckpointOffered { result: Err(_), .. }), "{failed:?}");
    let left = std::fs::read_dir(folder.path().join("replicas/1.0")).unwrap().count();
    assert_eq!(left, 2, "CURRENT and one generation");
    node.add(6);
    assert_eq!(node.offer(6).await.0, identity(6), "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learned_checkpoint_takes_the_place_of_the_app_wherever_it_stops() {
    let (teacher_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut teacher = Node::with_app(&teacher_folder, 9).await;
    let offered = teacher.offer(9).await;
    let address = serve(Arc::clone(&teacher.offers)).await;
    let mut learner = Node::with_app(&folder, 2).await;
    learner.checkpoint().await;

    // Stopped while it is being fetched: an offer that is not there leaves the same behind as a break.
    learner.fetch(&address, (offered.0, offered.1 + 1));
    assert!(matches!(learner.event().await, Event::CheckpointInstalled { result: Err(_), .. }));
    assert_eq!(learner.state(), (2, 2));
    // Stopped when all of it is there, but before the one step.
    learner.fetch(&address, offered);
    let fetched = learner.work().await;
    assert!(matches!(fetched, WorkDone::Fetched { result: Ok(_), .. }));
    drop((fetched, learner));
    let (mut learner, durable) = restarted(&folder);
    assert_eq!(durable.unwrap(), identity(2));
    // Stopped right after it.
    learner.fetch(&address, offered);
    match learner.event().await {
        Event::CheckpointInstalled { result, .. } => assert_eq!(result.unwrap(), identity(9)),
        other => panic!("{other:?}"),
    }
    assert_eq!(learner.state(), (9, 9));
    learner.add(10);
    drop(learner);
    let (mut learner, durable) = restarted(&folder);
    assert_eq!(durable.unwrap(), identity(9));
    assert_eq!(learner.state(), (9, 9));
    let left = std::fs::read_dir(folder.path().join("replicas/1.0")).unwrap().count();
    assert_eq!(left, 2, "CURRENT and one generation");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_never_goes_back_to_an_older_checkpoint() {
    let (teacher_folder, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut teacher = Node::with_app(&teacher_folder, 4).await;
    let offered = teacher.offer(4).await;
    let address = serve(Arc::clone(&teacher.offers)).await;
    let mut learner = Node::with_app(&folder, 4).await;
    learner.fetch(&address, offered);
    assert!(matches!(learner.event().await, Event::CheckpointInstalled { result: Err(_), .. }));
    learner.add(5);
    assert_eq!(learner.state(), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_replica_leaves_nothing_and_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::with_app(&folder, 3).await;
    node.checkpoint().await;
    node.apps.remove(GPID);
    assert!(matches!(node.event().await, Event::Removed { .. }));
    assert_eq!(std::fs::read_dir(folder.path().join("replicas")).unwrap().count(), 0);
    node.apps.create(GPID, info());
    assert!(matches!(node.event().await, Event::Created { result: Ok(()), .. }));
    assert_eq!(node.state(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_type_that_nobody_registered_fails_the_replica_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(&folder);
    node.apps.create(GPID, AppInfo { app_type: "queue".into(), ..info() });
    match node.event().await {
        Event::Created { result: Err(error), .. } => {
            let error = error.to_string();
            assert!(error.contains("queue") && error.contains("counter"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
