//! Requests from any client, answers from any server, and checkpoints from any node.

use card::request::{Request, decode_balance, decode_card};
use card::{Card, CardType};
use hostile::app::{answers_to, refuses_or_takes, state_after};
use hostile::{harmed, noise};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

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

/// What an app with cards writes as its checkpoint.
fn state() -> Vec<u8> {
    let requests = [1, 2, u64::MAX].map(|id| Request::Insert(id, card(id)).encode());
    state_after(&CardType, &requests)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_request_is_answered(requests in prop::collection::vec(request(), 1..6)) {
        answers_to(&CardType, requests);
    }

    #[test]
    fn an_answer_is_a_card_a_balance_or_none(bytes in noise()) {
        prop_assert_eq!(decode_balance(&bytes).is_some(), bytes.len() == 8);
        prop_assert!(decode_card(&bytes).is_err() || bytes.len() > 16);
    }

    #[test]
    fn any_state_is_refused_or_taken(state in prop_oneof![noise(), harmed(Just(state()))]) {
        let requests = [Request::Update(1, i64::MAX).encode(), Request::Delete(2).encode()];
        refuses_or_takes(&CardType, &state, &requests);
    }
}
