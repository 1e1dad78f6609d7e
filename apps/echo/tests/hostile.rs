//! Requests from any client, and checkpoints from any node.

use bytes::Bytes;
use echo::EchoType;
use hostile::{harmed, noise, peak};
use proptest::prelude::*;
use replicated_app::{AppInfo, AppType, Batch, Checkpoints, Decree, Gpid, OpenContext, ReplicatedApp};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

fn justified(bytes: usize) -> usize {
    64 * bytes + (64 << 10)
}

fn open(folder: &std::path::Path) -> std::io::Result<Box<dyn ReplicatedApp>> {
    EchoType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

fn say(app: &mut dyn ReplicatedApp, decree: u64, said: &[Bytes]) {
    let answers = app.apply(&Batch { decree: Decree(decree), timestamp_us: 0, requests: said });
    assert!(answers.into_iter().eq(said.iter().cloned().map(Ok)), "what was said comes back");
}

/// What an app that heard something writes as its checkpoint, without the framework's trailer.
fn checkpoint() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut app = open(folder.path()).expect("opens");
    say(&mut *app, 1, &["hello".into()]);
    app.sync_checkpoint().expect("writes");
    let mut bytes = std::fs::read(folder.path().join("checkpoint.1")).expect("there");
    bytes.truncate(bytes.len() - 12);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_comes_back(said in prop::collection::vec(noise(), 1..6)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut app = open(folder.path()).expect("opens");
        let said: Vec<Bytes> = said.into_iter().map(Bytes::from).collect();
        say(&mut *app, 1, &said);
        prop_assert_eq!(app.read(b""), Ok(said[said.len() - 1].clone()));
    }

    /// The framework's checksum is right: whoever wrote this meant it.
    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(checkpoint()))]) {
        let folder = tempfile::tempdir().expect("a folder");
        let (checkpoints, _) = Checkpoints::open(folder.path()).expect("opens");
        checkpoints.write(Decree(1), state.clone()).expect("writes");
        let (opened, peak) = peak(|| open(folder.path()));
        prop_assert!(peak <= justified(state.len()), "{peak} bytes for {}", state.len());
        if let Ok(mut app) = opened {
            say(&mut *app, 2, &["more".into()]);
            app.sync_checkpoint().expect("writes");
        }
    }
}
