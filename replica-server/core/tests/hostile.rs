//! Sessions come out of a checkpoint that another node wrote.

use hostile::{harmed, noise, peak};
use proptest::prelude::*;
use replica_core::{Sessions, WriteAnswer, apply_mutation};
use replicated_app::{AppAnswer, ApplyMode, Batch, CheckpointJob, Decree, LearnState, ReplicatedApp};
use words::{Ballot, Mutation, MutationId, SessionStamp, Write, WriteKind};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

/// An app that answers each request with the request.
#[derive(Debug)]
struct Echo;

impl ReplicatedApp for Echo {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        batch.requests.iter().cloned().map(Ok).collect()
    }

    fn read(&self, _request: &[u8]) -> AppAnswer {
        Ok(bytes::Bytes::new())
    }

    fn last_durable_decree(&self) -> Decree {
        Decree::ZERO
    }

    fn sync_checkpoint(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn async_checkpoint(&mut self) -> std::io::Result<Option<CheckpointJob>> {
        Ok(None)
    }

    fn get_checkpoint(&self) -> std::io::Result<LearnState> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn apply_checkpoint(&mut self, _mode: ApplyMode, _state: &LearnState) -> std::io::Result<()> {
        Ok(())
    }

    fn digest(&self) -> u64 {
        0
    }

    fn close(self: Box<Self>, _clean_up: bool) -> std::io::Result<()> {
        Ok(())
    }
}

fn mutation(decree: u64, writes: Vec<Write>) -> Mutation {
    Mutation {
        id: MutationId { ballot: Ballot(1), decree: Decree(decree) },
        timestamp_us: decree,
        writes: writes.into(),
    }
}

fn write(session: Option<(u64, u64)>, kind: WriteKind) -> Write {
    let session = session.map(|(session, sequence)| SessionStamp { session, sequence, first_incomplete: 1 });
    Write { session, kind, payload: "payload".into() }
}

/// Opens three sessions by the first mutation; their numbers.
fn open_three(sessions: &mut Sessions) -> [u64; 3] {
    let answers =
        apply_mutation(&mut Echo, sessions, &mutation(1, vec![write(None, WriteKind::OpenSession); 3]));
    [0, 1, 2].map(|at| match &answers[at] {
        WriteAnswer::Applied { answer: Ok(id), .. } => {
            u64::from_le_bytes(id[..].try_into().expect("a number"))
        }
        other => panic!("it was not opened: {other:?}"),
    })
}

/// Three sessions with a few answers each.
fn sessions() -> Sessions {
    let mut sessions = Sessions::new();
    let opened = open_three(&mut sessions);
    for sequence in 1..4 {
        let writes = opened.map(|id| write(Some((id, sequence)), WriteKind::Update)).to_vec();
        apply_mutation(&mut Echo, &mut sessions, &mutation(1 + sequence, writes));
    }
    sessions
}

/// Using them does not panic either.
fn use_them(sessions: &mut Sessions) {
    let [one, two, _] = open_three(&mut Sessions::new());
    let writes = [
        write(None, WriteKind::OpenSession),
        write(Some((one, 2)), WriteKind::Update),
        write(Some((two, 9)), WriteKind::Update),
        write(Some((7, 1)), WriteKind::Update),
    ];
    apply_mutation(&mut Echo, sessions, &mutation(1 << 40, writes.to_vec()));
    assert_eq!(Sessions::decode(&sessions.encode()).as_ref(), Ok(&*sessions));
}

#[test]
fn the_test_begins_with_what_is_valid() {
    assert_eq!(sessions().len(), 3);
    assert_eq!(Sessions::decode(&sessions().encode()), Ok(sessions()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn whatever_is_decoded_can_be_used(bytes in prop_oneof![noise(), harmed(Just(sessions().encode()))]) {
        let (decoded, peak) = peak(|| Sessions::decode(&bytes));
        prop_assert!(peak <= 64 * bytes.len() + (64 << 10), "{peak} bytes for {}", bytes.len());
        if let Ok(mut sessions) = decoded {
            use_them(&mut sessions);
        }
    }
}
