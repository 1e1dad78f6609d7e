//! Requests from any client, answers from any server, and checkpoints from any node.

use counter::CounterType;
use counter::request::{Request, decode_value};
use hostile::app::{answers_to, refuses_or_takes, state_after};
use hostile::{harmed, noise};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

fn request() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-z]{1,9}";
    let valid = (name, any::<i64>(), any::<bool>()).prop_map(|(name, operand, is_read)| {
        let request =
            if is_read { Request::Read { name: &name } } else { Request::Add { name: &name, operand } };
        request.encode().to_vec()
    });
    prop_oneof![noise(), harmed(valid)]
}

/// What an app that counts writes as its checkpoint.
fn state() -> Vec<u8> {
    let requests = ["a", "bc", "ü"].map(|name| Request::Add { name, operand: -5 }.encode());
    state_after(&CounterType, &requests)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_is_answered(requests in prop::collection::vec(request(), 1..6)) {
        answers_to(&CounterType, requests);
    }

    #[test]
    fn an_answer_is_a_number_or_none(bytes in noise()) {
        prop_assert_eq!(decode_value(&bytes).is_some(), bytes.len() == 8);
    }

    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(state()))]) {
        let requests = [Request::Add { name: "a", operand: i64::MIN }.encode()];
        refuses_or_takes(&CounterType, &state, &requests);
    }
}
