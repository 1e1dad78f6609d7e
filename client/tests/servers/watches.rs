//! Whatever happens to servers, a watch brings each change once and in order, or says that it can't.

use client::{Watch, WatchFailure, Watched};
use words::{Ballot, Change, ChangePage, Decree, KeyFilter, Refusal};

use crate::fake::{Action, FakeMeta, Node};

type Told = Option<Result<ChangePage, Refusal>>;

async fn node(id: u128) -> Node {
    Node::start(id, |_| Action::Silence).await
}

/// A page up to `through` with one change at each of these decrees.
fn page(through: u64, decrees: &[u64]) -> Told {
    let change = |&decree: &u64| {
        let value = decree.to_string().into();
        (Decree(decree), Change { key: "k".into(), value })
    };
    Some(Ok(ChangePage { through: Decree(through), changes: decrees.iter().map(change).collect() }))
}

/// Decrees of the changes up to the one with `last`.
async fn seen(watch: &mut Watch, last: u64) -> Vec<u64> {
    let mut seen = vec![];
    while seen.last() != Some(&last) {
        let Watched { changes, .. } = watch.next().await.expect("it goes on").expect("no failure");
        seen.extend(changes.iter().map(|(decree, _)| decree.0));
    }
    seen
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_at_another_server() {
    let (first, second) = (node(1).await, node(2).await);
    let hint = Refusal::NotPrimary { ballot: Ballot(2), primary: Some(second.id) };
    first.watched(move |watch| {
        assert_eq!((&watch.filter, watch.from), (&KeyFilter::Key("k".into()), Some(Decree(3))));
        vec![page(4, &[3, 4]), page(7, &[]), Some(Err(hint.clone()))]
    });
    second.watched(|watch| {
        assert_eq!(watch.from, Some(Decree(8)));
        vec![page(9, &[8, 8, 9]), None]
    });
    let app = FakeMeta::start(&[&first, &second]).await.open(1000).await;
    assert_eq!(seen(&mut app.watch(b"k", Some(Decree(3))), 9).await, [3, 4, 8, 8, 9]);
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again_after_what_was_seen() {
    let node = node(1).await;
    let mut next = 1;
    node.watched(move |watch| {
        assert_eq!(watch.from.map_or(1, |from| from.0), next);
        next += 2;
        vec![page(next - 1, &[next - 2, next - 1])]
    });
    let app = FakeMeta::start(&[&node]).await.open(1000).await;
    assert_eq!(seen(&mut app.watch(b"k", None), 6).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_silent_server_is_left_for_another_one_that_leads() {
    let (first, second) = (node(1).await, node(2).await);
    first.watched(|_| vec![page(4, &[4]), None]);
    second.watched(|watch| {
        assert_eq!(watch.from, Some(Decree(5)));
        vec![page(5, &[5]), None]
    });
    let meta = FakeMeta::start(&[&first, &second]).await;
    let mut watch = meta.open(1000).await.watch(b"k", Some(Decree(4)));
    assert_eq!(seen(&mut watch, 4).await, [4]);
    meta.set_primary(2, &second);
    assert_eq!(seen(&mut watch, 5).await, [5]);
}

#[tokio::test]
async fn what_was_not_asked_for_is_not_taken_twice() {
    let node = node(1).await;
    let mut tries = 0;
    node.watched(move |_| {
        tries += 1;
        if tries == 1 { vec![page(4, &[4]), page(5, &[4, 5]), None] } else { vec![page(5, &[5]), None] }
    });
    let app = FakeMeta::start(&[&node]).await.open(1000).await;
    assert_eq!(seen(&mut app.watch(b"k", Some(Decree(4))), 5).await, [4, 5]);
}

#[tokio::test]
async fn what_is_gone_for_good_ends_the_watch() {
    let node = node(1).await;
    node.watched(|_| vec![Some(Err(Refusal::Compacted { oldest: Decree(77) }))]);
    let meta = FakeMeta::start(&[&node]).await;
    let app = meta.open(1000).await;
    let mut watch = app.watch(b"k", Some(Decree(3)));
    let failure = watch.next().await.expect("a last word").expect_err("a failure");
    assert_eq!(failure, WatchFailure::Compacted { partition: 0, oldest: Decree(77) });
    assert_eq!(watch.next().await, None);

    node.watched(|_| vec![Some(Err(Refusal::Denied))]);
    let failure = app.watch(b"k", None).next().await.expect("a last word").expect_err("a failure");
    assert_eq!(failure, WatchFailure::Refused(Refusal::Denied));

    node.watched(|_| vec![]);
    meta.drop_app();
    let failure = app.watch(b"k", None).next().await.expect("a last word").expect_err("a failure");
    assert!(matches!(failure, WatchFailure::UnknownApp(_)), "{failure:?}");
}
