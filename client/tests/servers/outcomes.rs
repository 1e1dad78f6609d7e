//! Whatever happens, an operation ends as done, as surely not done, or as unknown, and the word is right (§8.3).

use bytes::Bytes;
use client::{Failure, Outcome};
use words::{Ballot, Decree, NodeId, Refusal, Rejection, Reply, SessionStamp};

use crate::fake::{Action, FakeMeta, Node, done, refused, with_sessions, write};

const REQUEST: Bytes = Bytes::from_static(b"request");
/// Long enough that a test which needs it has failed.
const LONG_MS: u64 = 20_000;

fn answered(decree: u64, answer: &'static [u8]) -> Outcome<Bytes> {
    Outcome::Done { decree: Decree(decree), answer: Bytes::from_static(answer) }
}

fn stamps(node: &Node) -> Vec<SessionStamp> {
    node.operations().iter().map(|operation| write(operation).unwrap().session.unwrap()).collect()
}

fn stamp(session: u64, sequence: u64, first_incomplete: u64) -> SessionStamp {
    SessionStamp { session, sequence, first_incomplete }
}

#[tokio::test]
async fn writes_are_numbered_in_one_session() {
    let node = Node::start(1, with_sessions(|_| done(9, b"yes"))).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    for _ in 0..3 {
        assert_eq!(app.write(b"k", REQUEST).await, answered(9, b"yes"));
    }
    assert_eq!((node.sessions(), stamps(&node)), (1, vec![stamp(1, 1, 1), stamp(1, 2, 2), stamp(1, 3, 3)]));
    assert_eq!(app.read(b"k", REQUEST).await, answered(9, b"yes"));
}

#[tokio::test]
async fn what_is_only_refused_was_surely_not_done() {
    let node = Node::start(1, with_sessions(|_| refused(Refusal::NotEnoughReplicas))).await;
    let app = FakeMeta::start(&[&node]).await.open(300).await;
    // The deadline may meet a sending that is not answered yet; then unknown is the right word.
    for _ in 0..20 {
        match app.write(b"k", REQUEST).await {
            Outcome::Failed(Failure::Deadline { last, .. }) => {
                assert_eq!(last, "replica1: too few replicas to accept a write");
                assert!(node.operations().len() > 1, "it was tried again");
                return;
            }
            other => assert_eq!(other, Outcome::Unknown),
        }
    }
    panic!("it was never known that nothing was done");
}

#[tokio::test]
async fn a_server_that_is_silent_leaves_a_write_unknown_and_a_read_failed() {
    let node = Node::start(1, with_sessions(|_| Action::Silence)).await;
    let app = FakeMeta::start(&[&node]).await.open(400).await;
    assert_eq!(app.write(b"k", REQUEST).await, Outcome::Unknown);
    let read = app.read(b"k", REQUEST).await;
    assert!(matches!(read, Outcome::Failed(Failure::Deadline { .. })), "{read:?}");
    let read = app.read_as_write(b"k", REQUEST).await;
    assert!(matches!(read, Outcome::Failed(Failure::Deadline { .. })), "{read:?}");
}

#[tokio::test]
async fn after_a_broken_stream_the_same_number_is_sent_again() {
    let mut breaks = 2;
    let script = move |_: &_| {
        breaks -= 1;
        if breaks >= 0 { Action::BreakStream } else { done(3, b"once") }
    };
    let node = Node::start(1, with_sessions(script)).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    assert_eq!(app.write(b"k", REQUEST).await, answered(3, b"once"));
    assert_eq!(stamps(&node), [stamp(1, 1, 1); 3]);
}

#[tokio::test]
async fn an_expired_session_is_replaced_if_the_write_was_surely_not_done() {
    let mut first = true;
    let script = move |_: &_| {
        if std::mem::take(&mut first) { refused(Refusal::SessionExpired) } else { done(3, b"once") }
    };
    let node = Node::start(1, with_sessions(script)).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    assert_eq!(app.write(b"k", REQUEST).await, answered(3, b"once"));
    assert_eq!((node.sessions(), stamps(&node)), (2, vec![stamp(1, 1, 1), stamp(2, 1, 1)]));
}

#[tokio::test]
async fn an_expired_session_leaves_a_write_unknown_that_may_have_been_done() {
    for may_be_done in [|| Action::BreakStream, || Action::Answer(Reply::Unknown)] {
        let mut sent = 0;
        let script = move |_: &_| {
            sent += 1;
            if sent == 1 { may_be_done() } else { refused(Refusal::SessionExpired) }
        };
        let node = Node::start(1, with_sessions(script)).await;
        let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
        assert_eq!(app.write(b"k", REQUEST).await, Outcome::Unknown);
        assert_eq!((node.sessions(), node.operations().len()), (1, 2), "never under another number");
    }
}

#[tokio::test]
async fn what_may_have_been_done_stays_unknown_when_it_is_refused_afterwards() {
    let mut sent = 0;
    let script = move |_: &_| {
        sent += 1;
        if sent == 1 { Action::Answer(Reply::Unknown) } else { refused(Refusal::NotReady) }
    };
    let node = Node::start(1, with_sessions(script)).await;
    let app = FakeMeta::start(&[&node]).await.open(300).await;
    assert_eq!(app.write(b"k", REQUEST).await, Outcome::Unknown);
    // It will not be sent again, so the server may forget its answer.
    let _ = app.with_timeout(std::time::Duration::from_millis(50)).write(b"k", REQUEST).await;
    assert_eq!(stamps(&node).last(), Some(&stamp(1, 2, 2)));
}

#[tokio::test]
async fn a_refused_answer_of_the_app_changed_nothing() {
    let rejection = Rejection { code: 7, message: "no".into() };
    let answer = Reply::Done { decree: Decree(4), answer: Err(rejection.clone()) };
    let node = Node::start(1, with_sessions(move |_| Action::Answer(answer.clone()))).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    assert_eq!(app.write(b"k", REQUEST).await, Outcome::Failed(Failure::Rejected(rejection.clone())));
    assert_eq!(app.read(b"k", REQUEST).await, Outcome::Failed(Failure::Rejected(rejection)));
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_not_sent() {
    let node = Node::start(1, with_sessions(|_| done(1, b""))).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    let too_large = Outcome::Failed(Failure::TooLarge { size: 1001, limit: 1000 });
    assert_eq!(app.write(b"k", vec![0; 1001].into()).await, too_large);
    assert_eq!((node.sessions(), node.frames()), (0, 0));
    assert_eq!(app.write(b"k", vec![0; 1000].into()).await, answered(1, b""));
}

#[tokio::test]
async fn the_primary_that_a_refusal_names_is_believed() {
    let new = Node::start(2, with_sessions(|_| done(5, b"new"))).await;
    let hint = Refusal::NotPrimary { ballot: Ballot(2), primary: Some(NodeId(2)) };
    let old = Node::start(1, move |_: &_| refused(hint.clone())).await;
    let meta = FakeMeta::start(&[&old, &new]).await;
    let app = meta.open(LONG_MS).await;
    assert_eq!(app.read(b"k", REQUEST).await, answered(5, b"new"));
    assert_eq!(meta.queries(), 1, "only when the app was opened");
}

#[tokio::test]
async fn two_servers_that_name_each_other_are_not_asked_without_a_pause() {
    let names =
        |id| move |_: &_| refused(Refusal::NotPrimary { ballot: Ballot(1), primary: Some(NodeId(id)) });
    let (first, second) = (Node::start(1, names(2)).await, Node::start(2, names(1)).await);
    let meta = FakeMeta::start(&[&first, &second]).await;
    let read = meta.open(300).await.read(b"k", REQUEST).await;
    assert!(matches!(read, Outcome::Failed(Failure::Deadline { .. })), "{read:?}");
    // A pause is at least 5 ms long.
    let asked = first.operations().len() + second.operations().len();
    assert!((2..=61).contains(&asked), "{asked} times in 300 ms");
}

#[tokio::test]
async fn a_dead_silent_or_deposed_primary_is_left_as_soon_as_there_is_another() {
    let olds = [
        Node::dead(1).await,
        Node::start(1, |_| Action::Silence).await,
        Node::start(1, |_| Action::BreakStream).await,
        Node::start(1, |_| refused(Refusal::NotPrimary { ballot: Ballot(1), primary: None })).await,
        Node::start(1, |_| refused(Refusal::UnknownPartition)).await,
        Node::start(1, |_| refused(Refusal::NoLease)).await,
    ];
    for old in olds {
        let new = Node::start(2, with_sessions(|_| done(5, b"new"))).await;
        let meta = FakeMeta::start(&[&old, &new]).await;
        let app = meta.open(LONG_MS).await;
        let becomes_known = async {
            while meta.queries() < 2 {
                tokio::task::yield_now().await;
            }
            meta.set_primary(2, &new);
        };
        let (written, read, ()) =
            tokio::join!(app.write(b"k", REQUEST), app.read(b"k", REQUEST), becomes_known);
        assert_eq!((written, read), (answered(5, b"new"), answered(5, b"new")));
    }
}

/// As one does that is killed just then: its connection is reset under the request.
async fn dies_over_a_question() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut bytes = vec![];
            connection.write_all(&EMPTY_SETTINGS).await.unwrap();
            // More than the greeting of HTTP/2 is: the question is here.
            while bytes.len() < 120 && connection.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
        }
    });
    address
}

#[tokio::test]
async fn a_meta_server_that_dies_over_the_question_is_passed_over() {
    let node = Node::start(1, with_sessions(|_| done(7, b"answer"))).await;
    let meta = FakeMeta::start(&[&node]).await;
    let app = meta.open_after(&[dies_over_a_question().await], LONG_MS).await;
    assert_eq!(app.write(b"k", REQUEST).await, answered(7, b"answer"));
}

#[tokio::test]
async fn an_app_that_was_dropped_is_surely_not_written() {
    let node = Node::start(1, |_| refused(Refusal::UnknownPartition)).await;
    let meta = FakeMeta::start(&[&node]).await;
    let app = meta.open(LONG_MS).await;
    meta.drop_app();
    assert_eq!(
        app.write(b"k", REQUEST).await,
        Outcome::Failed(Failure::UnknownApp("there is no app `app`".into()))
    );
}

#[tokio::test]
async fn concurrent_operations_share_frames() {
    let node = Node::start(1, with_sessions(|_| done(1, b"yes"))).await;
    let app = FakeMeta::start(&[&node]).await.open(LONG_MS).await;
    assert_eq!(app.write(b"k", REQUEST).await, answered(1, b"yes"));
    let before = node.frames();
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.write(b"k", REQUEST).await })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), answered(1, b"yes"));
    }
    assert_eq!(node.operations().len(), 201);
    assert!(node.frames() - before < 50, "{} frames for 200 operations", node.frames() - before);
}

#[tokio::test]
async fn many_clients_that_lose_their_primary_ask_once_for_all() {
    let old = Node::dead(1).await;
    let new = Node::start(2, with_sessions(|_| done(1, b"yes"))).await;
    let meta = FakeMeta::start(&[&old, &new]).await;
    let app = meta.open(LONG_MS).await;
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.read(b"k", REQUEST).await })
        })
        .collect();
    while meta.queries() < 5 {
        tokio::task::yield_now().await;
    }
    meta.set_primary(2, &new);
    for client in clients {
        assert_eq!(client.await.unwrap(), answered(1, b"yes"));
    }
    assert!(meta.queries() < 10, "{} queries", meta.queries());
}
