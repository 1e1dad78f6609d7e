//! Requests from any client, and checkpoints from any node.

use bytes::Bytes;
use echo::EchoType;
use hostile::app::{answers_to, open, refuses_or_takes, state_after};
use hostile::{harmed, noise};
use proptest::prelude::*;
use replicated_app::{Batch, Decree};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

/// What an app that heard something writes as its checkpoint.
fn state() -> Vec<u8> {
    state_after(&EchoType, &["hello".into()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_comes_back(said in prop::collection::vec(noise(), 1..6)) {
        let answers = answers_to(&EchoType, said.clone());
        let said: Vec<Bytes> = said.into_iter().map(Bytes::from).collect();
        prop_assert!(answers.into_iter().eq(said.iter().cloned().map(Ok)));

        let folder = tempfile::tempdir().expect("a folder");
        let mut app = open(&EchoType, folder.path()).expect("opens");
        app.apply(&Batch { decree: Decree(1), timestamp_us: 0, requests: &said });
        prop_assert_eq!(app.read(b""), Ok(said[said.len() - 1].clone()));
    }

    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(state()))]) {
        if let Some(answers) = refuses_or_takes(&EchoType, &state, &["more".into()]) {
            prop_assert_eq!(answers, [Ok("more".into())], "what was said comes back");
        }
    }
}
