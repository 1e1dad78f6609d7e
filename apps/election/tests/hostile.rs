//! Requests from any client, answers from any server, and checkpoints from any node.

use election::ElectionType;
use election::request::{Answer, Record, Request};
use hostile::app::{answers_to, refuses_or_takes, state_after};
use hostile::{harmed, justified, noise, peak};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

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

/// What an app with elections writes as its checkpoint.
fn state() -> Vec<u8> {
    let take = |election| Request::Take { version: 0, nonce: 1, lease_ms: 500, name: "n", election };
    let requests = ["a", "bc", "ü"].map(|election| take(election).encode());
    state_after(&ElectionType, &requests)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_is_answered(requests in prop::collection::vec(request(), 1..6)) {
        for answer in answers_to(&ElectionType, requests).iter().flatten() {
            prop_assert!(Answer::decode(answer).is_some() || Record::decode(answer).is_some());
        }
    }

    #[test]
    fn any_answer_is_understood_or_not(bytes in noise()) {
        let (_, peak) = peak(|| (Answer::decode(&bytes), Record::decode(&bytes)));
        prop_assert!(peak <= justified(bytes.len()));
    }

    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(state()))]) {
        let take = Request::Take { version: 1, nonce: 1, lease_ms: 500, name: "n", election: "a" };
        let requests = [take.encode(), Request::Revoke { version: 2, election: "a" }.encode()];
        refuses_or_takes(&ElectionType, &state, &requests);
    }
}
