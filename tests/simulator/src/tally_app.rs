//! The app under simulation: sums by key, kept in memory, and durable on a shelf that survives crashes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use replicated_app::{
    AppAnswer, ApplyMode, Batch, CheckpointJob, Decree, LearnState, Rejection, ReplicatedApp,
};

/// Names one operation of one client, once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(pub(crate) u64);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op{}", self.0)
    }
}

/// What can be asked of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Adds to a sum; answers the new sum.
    Add {
        /// Which operation this is: lets the checker see where each took effect.
        op: OpId,
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
        let mut bytes = Vec::with_capacity(18);
        match self {
            Self::Add { op, key, amount } => {
                bytes.extend([1, key]);
                bytes.extend(op.0.to_le_bytes());
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
            [1, key, rest @ ..] if rest.len() == 16 => Some(Self::Add {
                op: OpId(number(rest, 0)?),
                key: *key,
                amount: number(rest, 8)?.cast_signed(),
            }),
            [2, key] => Some(Self::Read { key: *key }),
            _ => None,
        }
    }
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

/// The durable part of one app: its newest whole checkpoint. Shared with the machine's disk, which outlives
/// the app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Option<State>>>);

impl Shelf {
    fn put(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn get(&self) -> Option<State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sums by key.
#[derive(Debug)]
pub(crate) struct TallyApp {
    state: State,
    shelf: Shelf,
    /// What the last batch added, for the checker.
    additions: Vec<(OpId, u8, i64)>,
}

impl TallyApp {
    /// The app with whatever is durable on its shelf.
    #[must_use]
    pub(crate) fn open(shelf: &Shelf) -> Self {
        Self { state: shelf.get().unwrap_or_default(), shelf: shelf.clone(), additions: Vec::new() }
    }

    /// What the last batch added, in its order.
    #[must_use]
    pub(crate) fn additions(&self) -> &[(OpId, u8, i64)] {
        &self.additions
    }

    /// The last decree that was applied.
    #[must_use]
    pub(crate) fn applied(&self) -> Decree {
        self.state.applied
    }
}

impl ReplicatedApp for TallyApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.state.applied.next(), "S11: applied out of order");
        assert!(batch.timestamp_us >= self.state.timestamp_us, "§3.7: the mutations' time went back");
        self.state.applied = batch.decree;
        self.state.timestamp_us = batch.timestamp_us;
        self.state.mix(batch.timestamp_us);
        self.additions.clear();
        let mut answers = Vec::with_capacity(batch.requests.len());
        for request in batch.requests {
            answers.push(match Request::decode(request) {
                Some(Request::Add { op, key, amount }) => {
                    self.state.mix(op.0);
                    self.additions.push((op, key, amount));
                    let sum = self.state.sums.entry(key).or_insert(0);
                    *sum += amount;
                    Ok(Bytes::copy_from_slice(&sum.to_le_bytes()))
                }
                Some(Request::Read { .. }) | None => {
                    Err(Rejection { code: 1, message: "this is not an addition".to_owned() })
                }
            });
        }
        answers
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request) {
            Some(Request::Read { key }) => {
                let sum = self.state.sums.get(&key).copied().unwrap_or(0);
                Ok(Bytes::copy_from_slice(&sum.to_le_bytes()))
            }
            _ => Err(Rejection { code: 1, message: "this is not a read".to_owned() }),
        }
    }

    fn last_durable_decree(&self) -> Decree {
        self.shelf.get().map_or(Decree::ZERO, |state| state.applied)
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.shelf.put(self.state.clone());
        Ok(())
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        let (state, shelf) = (self.state.clone(), self.shelf.clone());
        Ok(Some(Box::new(move || {
            let decree = state.applied;
            // A checkpoint that was learned meanwhile is newer; it stays.
            if shelf.get().is_none_or(|durable| durable.applied < decree) {
                shelf.put(state);
            }
            Ok(decree)
        })))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        let state = self.shelf.get().ok_or(io::ErrorKind::NotFound)?;
        Ok(LearnState { decree: state.applied, blob: state.encode(), ..LearnState::default() })
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let state = State::decode(&state.blob).ok_or(io::ErrorKind::InvalidData)?;
        if mode == ApplyMode::Learn {
            self.state = state.clone();
        }
        self.shelf.put(state);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn add(app: &mut TallyApp, decree: u64, key: u8, amount: i64) -> i64 {
        let request = Request::Add { op: OpId(decree), key, amount }.encode();
        let batch = Batch { decree: Decree(decree), timestamp_us: decree, requests: &[request] };
        answered(&app.apply(&batch)[0]).expect("an addition is answered with a sum")
    }

    #[test]
    fn what_is_not_on_the_shelf_is_gone() {
        let shelf = Shelf::default();
        let mut app = TallyApp::open(&shelf);
        assert_eq!(add(&mut app, 1, 7, 5), 5);
        app.sync_checkpoint().expect("a shelf takes everything");
        assert_eq!(add(&mut app, 2, 7, -2), 3);
        let again = TallyApp::open(&shelf);
        assert_eq!((again.applied(), again.last_durable_decree()), (Decree(1), Decree(1)));
        assert_eq!(answered(&again.read(&Request::Read { key: 7 }.encode())), Some(5));
    }

    #[test]
    fn a_checkpoint_carries_everything() {
        let mut app = TallyApp::open(&Shelf::default());
        add(&mut app, 1, 7, 5);
        add(&mut app, 2, 8, -6);
        app.sync_checkpoint().expect("a shelf takes everything");
        let mut other = TallyApp::open(&Shelf::default());
        other
            .apply_checkpoint(ApplyMode::Learn, &app.get_checkpoint().expect("there is one"))
            .expect("whole");
        assert_eq!(other.digest(), app.digest());
        assert_eq!(other.last_durable_decree(), Decree(2));
    }
}
