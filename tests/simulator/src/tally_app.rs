//! The app under simulation: sums by key, kept in memory, and durable on a shelf that survives crashes.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use replicated_app::{
    AppAnswer, ApplyMode, Batch, Change, CheckpointJob, Decree, LearnState, Reading, Rejection, ReplicatedApp,
};

use crate::home::Shelf;
use crate::subject::{Dice, Home, Model, Subject};

/// What can be asked of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Adds to a sum; answers the new sum.
    Add {
        /// Which sum.
        key: u8,
        /// How much.
        amount: i64,
    },
    /// Answers a sum.
    Read {
        /// Which one.
        key: u8,
    },
}

impl Request {
    /// As the client sends it.
    #[must_use]
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = Vec::with_capacity(10);
        match self {
            Self::Add { key, amount } => {
                bytes.extend([1, key]);
                bytes.extend(amount.to_le_bytes());
            }
            Self::Read { key } => bytes.extend([2, key]),
        }
        bytes.into()
    }

    /// What a client sent, if it makes sense.
    #[must_use]
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [1, key, amount @ ..] if amount.len() == 8 => {
                Some(Self::Add { key: *key, amount: number(amount, 0)?.cast_signed() })
            }
            [2, key] => Some(Self::Read { key: *key }),
            _ => None,
        }
    }
}

/// Adds to one of the sums, and says what it is then.
fn add(sums: &mut BTreeMap<u8, i64>, key: u8, amount: i64) -> Bytes {
    let sum = sums.entry(key).or_insert(0);
    *sum += amount;
    Bytes::copy_from_slice(&sum.to_le_bytes())
}

fn said(sums: &BTreeMap<u8, i64>, key: u8) -> Bytes {
    Bytes::copy_from_slice(&sums.get(&key).copied().unwrap_or(0).to_le_bytes())
}

fn refusal(message: &str) -> Rejection {
    Rejection { code: 1, message: message.to_owned() }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The number in an answer.
#[must_use]
pub(crate) fn answered(answer: &AppAnswer) -> Option<i64> {
    number(answer.as_ref().ok()?, 0).map(u64::cast_signed)
}

/// What the app keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    applied: Decree,
    /// A chain of hashes over all that was ever applied: two replicas that differ anywhere differ here.
    chain: u64,
    timestamp_us: u64,
    sums: BTreeMap<u8, i64>,
}

impl State {
    fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(24 + 9 * self.sums.len());
        for value in [self.applied.0, self.chain, self.timestamp_us] {
            bytes.extend(value.to_le_bytes());
        }
        for (key, sum) in &self.sums {
            bytes.push(*key);
            bytes.extend(sum.to_le_bytes());
        }
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut state = Self {
            applied: Decree(number(bytes, 0)?),
            chain: number(bytes, 8)?,
            timestamp_us: number(bytes, 16)?,
            ..Self::default()
        };
        for pair in bytes.get(24..)?.chunks(9) {
            state.sums.insert(pair[0], number(pair, 1)?.cast_signed());
        }
        Some(state)
    }

    fn mix(&mut self, value: u64) {
        let mixed = (self.chain ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.chain = mixed ^ (mixed >> 29);
    }
}

/// Sums by key.
#[derive(Debug)]
struct TallyApp {
    state: State,
    /// The sums that the last batch changed.
    changes: Vec<Change>,
    shelf: Shelf,
}

impl TallyApp {
    /// The app with whatever is durable on its shelf.
    fn open(shelf: &Shelf) -> io::Result<Self> {
        let state = match shelf.get()? {
            (Decree::ZERO, _) => State::default(),
            (_, state) => State::decode(&state).ok_or(io::ErrorKind::InvalidData)?,
        };
        Ok(Self { state, changes: Vec::new(), shelf: shelf.clone() })
    }
}

impl ReplicatedApp for TallyApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.state.applied.next(), "S11: applied out of order");
        assert!(batch.timestamp_us >= self.state.timestamp_us, "§3.7: the mutations' time went back");
        self.state.applied = batch.decree;
        self.state.timestamp_us = batch.timestamp_us;
        self.state.mix(batch.timestamp_us);
        let answer = |request: &Bytes| match Request::decode(request) {
            Some(Request::Add { key, amount }) => {
                self.state.mix(u64::from(key) << 32 ^ amount.cast_unsigned());
                let sum = add(&mut self.state.sums, key, amount);
                self.changes.push(Change { key: vec![key].into(), value: sum.clone() });
                Ok(sum)
            }
            Some(Request::Read { .. }) | None => Err(refusal("this is not an addition")),
        };
        batch.requests.iter().map(answer).collect()
    }

    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request) {
            Some(Request::Read { key }) => Ok(said(&self.state.sums, key)),
            _ => Err(refusal("this is not a read")),
        }
    }

    /// In every fourth state as if it were in files: it is answered later, and as it is now, which is as old as it
    /// may be then.
    fn start_read(&self, request: &Bytes) -> Reading {
        let (decree, answer) = (self.state.applied, self.read(request));
        if decree.0 % 4 < 3 {
            Reading::Answered(answer)
        } else {
            Reading::Later(Box::new(move || Ok((decree, answer))))
        }
    }

    fn last_durable_decree(&self) -> Decree {
        self.shelf.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.shelf.put(self.state.applied, self.state.encode());
        Ok(())
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        let (decree, state, shelf) = (self.state.applied, self.state.encode(), self.shelf.clone());
        Ok(Some(Box::new(move || {
            // A checkpoint that was learned meanwhile is newer; it stays.
            if shelf.durable() < decree {
                shelf.put(decree, state);
            }
            Ok(decree)
        })))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        match self.shelf.get()? {
            (Decree::ZERO, _) => Err(io::ErrorKind::NotFound.into()),
            (decree, blob) => Ok(LearnState { decree, blob, ..LearnState::default() }),
        }
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let decoded = State::decode(&state.blob).ok_or(io::ErrorKind::InvalidData)?;
        if mode == ApplyMode::Learn {
            self.state = decoded;
        }
        self.shelf.put(state.decree, state.blob.clone());
        Ok(())
    }

    fn digest(&self) -> u64 {
        let mut state = self.state.clone();
        for (key, sum) in &self.state.sums {
            state.mix(u64::from(*key));
            state.mix(sum.cast_unsigned());
        }
        state.chain
    }

    fn close(self: Box<Self>, _clean_up: bool) -> io::Result<()> {
        Ok(())
    }
}

/// What the app should do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TallyModel(BTreeMap<u8, i64>);

impl Model for TallyModel {
    fn apply(&mut self, request: &[u8], _: u64) -> AppAnswer {
        match Request::decode(request) {
            Some(Request::Add { key, amount }) => Ok(add(&mut self.0, key, amount)),
            _ => Err(refusal("this is not an addition")),
        }
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request) {
            Some(Request::Read { key }) => Ok(said(&self.0, key)),
            _ => Err(refusal("this is not a read")),
        }
    }
}

/// The app that is built in: its model and its requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct TallySubject;

impl Subject for TallySubject {
    type Model = TallyModel;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        Ok(Box::new(TallyApp::open(home.shelf())?))
    }

    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        Request::Add { key, amount: dice.between(1, 9).cast_signed() - 2 }.encode()
    }

    fn read(&self, key: u8, _: &mut Dice) -> Bytes {
        Request::Read { key }.encode()
    }

    fn checkpoints_are_canonical(&self) -> bool {
        true
    }

    fn show_request(&self, request: &[u8]) -> String {
        match Request::decode(request) {
            Some(Request::Add { key, amount }) => format!("add {amount} to k{key}"),
            Some(Request::Read { key }) => format!("read k{key}"),
            None => request.escape_ascii().to_string(),
        }
    }

    fn show_answer(&self, answer: &AppAnswer) -> String {
        answered(answer).map_or_else(|| format!("{answer:?}"), |sum| sum.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(app: &mut TallyApp, decree: u64, key: u8, amount: i64) -> i64 {
        let request = Request::Add { key, amount }.encode();
        let batch = Batch { decree: Decree(decree), timestamp_us: decree, requests: &[request] };
        answered(&app.apply(&batch)[0]).expect("an addition is answered with a sum")
    }

    #[test]
    fn what_is_not_on_the_shelf_is_gone() {
        let shelf = Shelf::default();
        let mut app = TallyApp::open(&shelf).expect("it is whole");
        assert_eq!(add(&mut app, 1, 7, 5), 5);
        app.sync_checkpoint().expect("a shelf takes everything");
        assert_eq!(add(&mut app, 2, 7, -2), 3);
        let again = TallyApp::open(&shelf).expect("it is whole");
        assert_eq!((again.state.applied, again.last_durable_decree()), (Decree(1), Decree(1)));
        assert_eq!(answered(&again.read(&Request::Read { key: 7 }.encode())), Some(5));
    }

    #[test]
    fn a_checkpoint_carries_everything() {
        let mut app = TallyApp::open(&Shelf::default()).expect("it is empty");
        add(&mut app, 1, 7, 5);
        add(&mut app, 2, 8, -6);
        app.sync_checkpoint().expect("a shelf takes everything");
        let mut other = TallyApp::open(&Shelf::default()).expect("it is empty");
        other
            .apply_checkpoint(ApplyMode::Learn, &app.get_checkpoint().expect("there is one"))
            .expect("whole");
        assert_eq!(other.digest(), app.digest());
        assert_eq!(other.last_durable_decree(), Decree(2));
    }
}
