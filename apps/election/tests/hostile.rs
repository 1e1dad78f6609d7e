//! Requests from any client, answers from any server, and checkpoints from any node.

use std::fs;

use election::ElectionType;
use election::request::{Answer, Record, Request};
use hostile::{harmed, noise, peak};
use proptest::prelude::*;
use replicated_app::{AppInfo, AppType, Batch, Checkpoints, Decree, Gpid, OpenContext, ReplicatedApp};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

fn justified(bytes: usize) -> usize {
    64 * bytes + (64 << 10)
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let valid = ("[a-z]{1,9}", 0..3_u64, 0..3_u64, 0..4_u8).prop_map(|(election, version, nonce, kind)| {
        let election = &election;
        let request = match kind {
            0 => Request::Take { version, nonce, lease_ms: 500, name: "n", election },
            1 => Request::Resign { version, nonce, election },
            2 => Request::Revoke { version, election },
            _ => Request::Read { election },
        };
        request.encode().to_vec()
    });
    prop_oneof![noise(), harmed(valid)]
}

fn open(folder: &std::path::Path) -> std::io::Result<Box<dyn ReplicatedApp>> {
    ElectionType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

/// What an app with elections writes as its checkpoint, without the framework's trailer.
fn checkpoint() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut app = open(folder.path()).expect("opens");
    let take = |election| Request::Take { version: 0, nonce: 1, lease_ms: 500, name: "n", election };
    let requests = ["a", "bc", "ü"].map(|election| take(election).encode());
    app.apply(&Batch { decree: Decree(1), timestamp_us: 1, requests: &requests });
    app.sync_checkpoint().expect("writes");
    let mut bytes = fs::read(folder.path().join("checkpoint.1")).expect("there");
    bytes.truncate(bytes.len() - 12);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_is_answered(requests in prop::collection::vec(request(), 1..6)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut app = open(folder.path()).expect("opens");
        let before = app.digest();
        let length = requests.iter().map(Vec::len).sum();
        let requests: Vec<_> = requests.into_iter().map(bytes::Bytes::from).collect();
        let (read, peak) = peak(|| requests.iter().map(|request| app.read(request)).collect::<Vec<_>>());
        prop_assert!(peak <= justified(length), "{peak} bytes for {length}");
        prop_assert_eq!(app.digest(), before, "a read changes nothing");
        let applied = app.apply(&Batch { decree: Decree(1), timestamp_us: 1, requests: &requests });
        prop_assert_eq!(applied.len(), read.len());
        for answer in applied.iter().flatten() {
            prop_assert!(Answer::decode(answer).is_some() || Record::decode(answer).is_some());
        }
    }

    #[test]
    fn any_answer_is_understood_or_not(bytes in noise()) {
        let (_, peak) = peak(|| (Answer::decode(&bytes), Record::decode(&bytes)));
        prop_assert!(peak <= justified(bytes.len()));
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
            let take = Request::Take { version: 1, nonce: 1, lease_ms: 500, name: "n", election: "a" };
            let requests = [take.encode(), Request::Revoke { version: 2, election: "a" }.encode()];
            app.apply(&Batch { decree: Decree(2), timestamp_us: 2, requests: &requests });
            app.sync_checkpoint().expect("writes");
        }
    }
}
