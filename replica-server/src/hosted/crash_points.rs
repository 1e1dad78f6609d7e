//! A replica's folder at every moment at which the power can go: what the core was told still holds.

use forgetful::{Point, Recorder, can_mount};
use tokio::runtime::Runtime;

use super::tests::{GPID, Node, identity, info, restarted, serve};
use super::*;

/// What the core may rely on: the log is cut below what it was told to be durable.
#[derive(Clone, Debug)]
enum Promise {
    /// The replica is here, with all that was applied up to that decree.
    Durable(u64),
    /// It is not.
    Removed,
}

/// A runtime of its own for each run: dropping it waits for the work that is under way.
fn with_runtime<T>(work: impl AsyncFnOnce() -> T) -> T {
    Runtime::new().expect("a runtime").block_on(work())
}

async fn create(node: &mut Node) {
    node.apps.create(GPID, info());
    let event = node.event().await;
    assert!(matches!(event, Event::Created { result: Ok(()), .. }), "{event:?}");
}

/// Made, written to, with checkpoints, replaced by another node's checkpoint, removed.
async fn a_replicas_life(recorder: &mut Recorder<Promise>) {
    let teacher_folder = tempfile::tempdir().unwrap();
    let mut teacher = Node::with_app(&teacher_folder, 9).await;
    let offered = teacher.offer(9).await;
    let address = serve(Arc::clone(&teacher.offers)).await;

    let mut node = Node::start(recorder.path());
    create(&mut node).await;
    recorder.promise(Promise::Durable(0));
    for decree in 1..=6 {
        node.add(decree);
        if decree % 3 == 0 {
            node.checkpoint().await;
            recorder.promise(Promise::Durable(decree));
        }
    }
    node.offer(6).await;
    node.fetch(&address, offered);
    match node.event().await {
        Event::CheckpointInstalled { result, .. } => assert_eq!(result.unwrap(), identity(9)),
        other => panic!("{other:?}"),
    }
    recorder.promise(Promise::Durable(9));
    node.add(10);
    node.checkpoint().await;
    recorder.promise(Promise::Durable(10));
    node.apps.remove(GPID);
    assert!(matches!(node.event().await, Event::Removed { .. }));
    recorder.promise(Promise::Removed);
}

/// As at a start of the server: a replica that was promised is opened, another one made.
async fn start_again(recorder: &mut Recorder<Promise>, last: Option<Promise>) {
    if !matches!(last, Some(Promise::Durable(_))) {
        let mut node = Node::start(recorder.path());
        create(&mut node).await;
        recorder.promise(Promise::Durable(0));
        return;
    }
    let (mut node, durable) = restarted(recorder.path());
    match durable {
        Ok(durable) => {
            recorder.promise(Promise::Durable(durable.decree.0));
            node.add(durable.decree.0 + 1);
            node.checkpoint().await;
            recorder.promise(Promise::Durable(durable.decree.0 + 1));
        }
        // Its removal had begun; that this is the only way is what `check` finds at the same point.
        Err(_) => recorder.promise(Promise::Removed),
    }
}

async fn check(folder: &Path, point: &Point<'_, Promise>) {
    let Some(&Promise::Durable(promised)) = point.promised else {
        let mut node = Node::start(folder);
        return create(&mut node).await;
    };
    let (mut node, durable) = restarted(folder);
    match (durable, point.next) {
        (Ok(durable), next) => {
            let decree = durable.decree.0;
            let most = if let Some(Promise::Durable(next)) = next { *next } else { promised };
            assert!((promised..=most).contains(&decree), "durable at {decree}");
            assert_eq!(node.state(), (decree, i64::try_from(decree).unwrap()));
        }
        (Err(error), Some(Promise::Removed)) => assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}"),
        (Err(error), _) => panic!("{error}"),
    }
}

#[test]
fn what_the_core_was_told_holds_wherever_the_power_goes() {
    let test = "hosted::what_the_core_was_told_holds_wherever_the_power_goes";
    if !can_mount(test) {
        return;
    }
    let mut recorder = Recorder::start();
    with_runtime(async || a_replicas_life(&mut recorder).await);
    let run = recorder.finish();
    let points = run.check_each_point(|folder, point| with_runtime(async || check(folder, point).await));
    let after_restarts = run.check_each_restart(
        |recorder| {
            let last = recorder.last_promise().cloned();
            with_runtime(async || start_again(recorder, last).await);
        },
        |folder, point| with_runtime(async || check(folder, point).await),
    );
    forgetful::report(test, points, after_restarts);
    let (noticed, unnoticed) =
        run.check_without_each_sync(|folder, point| with_runtime(async || check(folder, point).await));
    forgetful::report_left_out(test, noticed, &unnoticed);
}
