//! The card server on simulated clusters with faults, held against a plain model (docs/test-your-app.md).

use std::collections::BTreeMap;
use std::io;

use card::request::{
    CARD_EXISTS, MALFORMED, NO_CARD, NOT_ENOUGH, Request, TOO_MUCH, decode_card, encode_balance, encode_card,
};
use card::{Card, CardType};
use replicated_app::{AppAnswer, AppType, Bytes, Rejection, ReplicatedApp};
use simulator::{Dice, Home, Model, Sometimes, Subject, check};

/// What a card server should do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cards(BTreeMap<u64, Card>);

fn no(code: u32) -> Rejection {
    Rejection { code, message: String::new() }
}

impl Model for Cards {
    fn apply(&mut self, request: &[u8], _: u64) -> AppAnswer {
        match Request::decode(request)? {
            Request::Insert(id, _) if self.0.contains_key(&id) => Err(no(CARD_EXISTS)),
            Request::Insert(id, card) => {
                self.0.insert(id, card);
                Ok(Bytes::new())
            }
            Request::Update(id, delta) => {
                let card = self.0.get_mut(&id).ok_or_else(|| no(NO_CARD))?;
                let sum = i128::from(card.balance) + i128::from(delta);
                if sum < 0 {
                    return Err(no(NOT_ENOUGH));
                }
                card.balance = u64::try_from(sum).map_err(|_| no(TOO_MUCH))?;
                Ok(encode_balance(card.balance))
            }
            Request::Delete(id) => self.0.remove(&id).map(|_| Bytes::new()).ok_or_else(|| no(NO_CARD)),
            Request::Select(_) => self.read(request),
        }
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        let Ok(Request::Select(id)) = Request::decode(request) else { return Err(no(MALFORMED)) };
        self.0.get(&id).map(encode_card).ok_or_else(|| no(NO_CARD))
    }
}

struct CardServer;

impl Subject for CardServer {
    type Model = Cards;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        CardType.open(&home.context())
    }

    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        let id = u64::from(key);
        let card = |balance| Card { user_name: "rock".into(), user_id: 20_170_001, balance };
        let request = match dice.pick(&[0, 1, 2, 3, 4, 5]) {
            0 => Request::Insert(id, card(200)),
            1 => Request::Insert(id, card(u64::MAX)),
            2 => Request::Update(id, 10),
            3 => Request::Update(id, -60),
            4 => Request::Update(id, -90),
            _ => Request::Delete(id),
        };
        request.encode()
    }

    fn read(&self, key: u8, _: &mut Dice) -> Bytes {
        Request::Select(u64::from(key)).encode()
    }

    fn show_request(&self, request: &[u8]) -> String {
        Request::decode(request).map_or_else(|no| no.message, |request| format!("{request:?}"))
    }

    fn show_answer(&self, answer: &AppAnswer) -> String {
        match answer {
            Ok(bytes) => decode_card(bytes).map_or_else(|_| format!("{bytes:?}"), |card| format!("{card:?}")),
            Err(no) => format!("no ({})", no.code),
        }
    }

    fn checkpoints_are_canonical(&self) -> bool {
        true
    }
}

#[test]
fn the_card_server_does_what_its_model_does() {
    let tally = check(&CardServer, 0..200);
    for what in [Sometimes::WriteDone, Sometimes::ReadDone, Sometimes::RetryAnswered] {
        assert!(tally.of(what) > 100, "{what:?} happened only {} times", tally.of(what));
    }
    for what in [Sometimes::LearnByCheckpoint, Sometimes::CheckpointDone, Sometimes::Wiped] {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}
