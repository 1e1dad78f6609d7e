//! Requests from any client, answers from any server, and checkpoints from any node.

use std::fs;

use card::request::{Request, decode_balance, decode_card};
use card::{Card, CardType};
use hostile::{harmed, noise, peak};
use proptest::prelude::*;
use replicated_app::{AppInfo, AppType, Batch, Checkpoints, Decree, Gpid, OpenContext, ReplicatedApp};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

fn justified(bytes: usize) -> usize {
    64 * bytes + (64 << 10)
}

fn card(balance: u64) -> Card {
    Card { user_name: "rock".into(), user_id: 20_170_001, balance }
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let valid = (0..4_u64, any::<i64>(), 0..4).prop_map(|(id, number, verb)| {
        let request = match verb {
            0 => Request::Insert(id, card(number.unsigned_abs())),
            1 => Request::Update(id, number),
            2 => Request::Delete(id),
            _ => Request::Select(id),
        };
        request.encode().to_vec()
    });
    prop_oneof![noise(), harmed(valid)]
}

fn open(folder: &std::path::Path) -> std::io::Result<Box<dyn ReplicatedApp>> {
    CardType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

/// What an app with cards writes as its checkpoint, without the framework's trailer.
fn checkpoint() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut app = open(folder.path()).expect("opens");
    let requests = [1, 2, u64::MAX].map(|id| Request::Insert(id, card(id)).encode());
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
    }

    #[test]
    fn an_answer_is_a_card_a_balance_or_none(bytes in noise()) {
        prop_assert_eq!(decode_balance(&bytes).is_some(), bytes.len() == 8);
        prop_assert!(decode_card(&bytes).is_err() || bytes.len() > 16);
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
            let requests = [Request::Update(1, i64::MAX).encode(), Request::Delete(2).encode()];
            app.apply(&Batch { decree: Decree(2), timestamp_us: 2, requests: &requests });
            app.sync_checkpoint().expect("writes");
        }
    }
}
