//! The replicated card server.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use bytes::Bytes;
use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, CheckpointJob, Checkpoints, Decree, Digest, LearnState,
    OpenContext, Rejection, ReplicatedApp,
};

use crate::request::{
    self, CARD_EXISTS, Card, MALFORMED, NO_CARD, NOT_ENOUGH, Request, TOO_MUCH, encode_card,
};

/// All cards by id. A `BTreeMap`, since its order is the same on every replica (S12).
type CardsById = BTreeMap<u64, Card>;

/// The app type `card`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CardType;

impl AppType for CardType {
    fn name(&self) -> &'static str {
        "card"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        let (checkpoints, state) = Checkpoints::open(context.folder)?;
        let cards = state.map_or(Ok(CardsById::new()), |state| decode(&state))?;
        Ok(Box::new(CardApp { cards, applied: checkpoints.durable(), checkpoints }))
    }
}

/// One partition's cards: in memory, with a checkpoint file now and then.
#[derive(Debug)]
pub struct CardApp {
    cards: CardsById,
    /// The last decree whose effect is in `cards`.
    applied: Decree,
    checkpoints: Checkpoints,
}

impl CardApp {
    fn carry_out(&mut self, request: Request) -> AppAnswer {
        match request {
            Request::Insert(id, card) => match self.cards.entry(id) {
                Entry::Occupied(_) => Err(no(CARD_EXISTS)),
                Entry::Vacant(place) => {
                    place.insert(card);
                    Ok(Bytes::new())
                }
            },
            Request::Update(id, delta) => {
                let card = self.cards.get_mut(&id).ok_or_else(|| no(NO_CARD))?;
                let why = if delta < 0 { NOT_ENOUGH } else { TOO_MUCH };
                card.balance = card.balance.checked_add_signed(delta).ok_or_else(|| no(why))?;
                Ok(request::encode_balance(card.balance))
            }
            Request::Delete(id) => self.cards.remove(&id).map(|_| Bytes::new()).ok_or_else(|| no(NO_CARD)),
            Request::Select(id) => self.select(id),
        }
    }

    fn select(&self, id: u64) -> AppAnswer {
        self.cards.get(&id).map(encode_card).ok_or_else(|| no(NO_CARD))
    }
}

/// A refusal in Certain's words.
fn no(code: u32) -> Rejection {
    let message = match code {
        NOT_ENOUGH => "card balance not enough",
        NO_CARD => "card not exist",
        CARD_EXISTS => "card exists",
        _ => "card balance too large",
    };
    Rejection { code, message: message.into() }
}

impl ReplicatedApp for CardApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.applied.next(), "decrees come in order, without gaps (S11)");
        self.applied = batch.decree;
        batch.requests.iter().map(|request| self.carry_out(Request::decode(request)?)).collect()
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request)? {
            Request::Select(id) => self.select(id),
            _ => Err(Rejection {
                code: MALFORMED,
                message: "only a select is a read: send it as a write".into(),
            }),
        }
    }

    fn last_durable_decree(&self) -> Decree {
        self.checkpoints.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.checkpoints.write(self.applied, encode(&self.cards))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        self.checkpoints.write_later(self.applied, || encode(&self.cards))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.checkpoints.newest()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let cards = self.checkpoints.take_over(mode, state, self.applied, decode)?;
        if mode == ApplyMode::Learn {
            (self.cards, self.applied) = (cards, state.decree);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        Digest::of(&encode(&self.cards))
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.checkpoints.close(clean_up)
    }
}

/// Begins every checkpoint, so that one of another app or of a later format is told apart.
const FORMAT: &str = "card 1";

fn encode(cards: &CardsById) -> Vec<u8> {
    postcard::to_stdvec(&(FORMAT, cards)).expect("numbers and text can always be serialised")
}

fn decode(state: &[u8]) -> io::Result<CardsById> {
    match postcard::from_bytes::<(&str, CardsById)>(state) {
        Ok((FORMAT, cards)) => Ok(cards),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no checkpoint of a card server")),
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
