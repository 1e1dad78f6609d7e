//! Requests from any client, and checkpoints from any node.

use bytes::Bytes;
use echo::EchoType;
use hostile::app::{answers_to, refuses_or_takes, state_after};
use hostile::{harmed, noise};
use proptest::prelude::*;

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
        prop_assert!(answers.into_iter().eq(said.into_iter().map(|said| Ok(Bytes::from(said)))));
    }

    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(state()))]) {
        refuses_or_takes(&EchoType, &state, &["more".into()]);
    }
}
