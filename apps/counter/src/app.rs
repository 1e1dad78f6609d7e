//! The replicated counter.

use std::collections::BTreeMap;
use std::io;

use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, Bytes, Change, CheckpointJob, Checkpoints, Decree, Digest,
    LearnState, OpenContext, Rejection, ReplicatedApp,
};

use crate::request::{self, OVERFLOW, Request};

/// All counters by name. A `BTreeMap`, since its order is the same on every replica (S12).
type Counters = BTreeMap<String, i64>;

/// The app type `counter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterType;

impl AppType for CounterType {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        let (checkpoints, state) = Checkpoints::open(context.folder)?;
        let counters = state.map_or(Ok(Counters::new()), |state| decode(&state))?;
        let (applied, changes) = (checkpoints.durable(), Vec::new());
        Ok(Box::new(CounterApp { counters, applied, changes, checkpoints }))
    }
}

/// One partition's counters: in memory, with a checkpoint file now and then.
#[derive(Debug)]
pub struct CounterApp {
    counters: Counters,
    /// The last decree whose effect is in `counters`.
    applied: Decree,
    /// The new values that `applied` brought.
    changes: Vec<Change>,
    checkpoints: Checkpoints,
}

impl CounterApp {
    fn add(&mut self, request: &Bytes, name: &str, operand: i64) -> AppAnswer {
        let value = request::encode_value(self.sum(name, operand)?);
        self.changes.push(Change { key: request.slice_ref(name.as_bytes()), value: value.clone() });
        Ok(value)
    }

    fn sum(&mut self, name: &str, operand: i64) -> Result<i64, Rejection> {
        let overflow = || Rejection {
            code: OVERFLOW,
            message: format!("the counter `{name}` would leave the range of 64 bits"),
        };
        if let Some(value) = self.counters.get_mut(name) {
            *value = value.checked_add(operand).ok_or_else(overflow)?;
            return Ok(*value);
        }
        self.counters.insert(name.into(), operand);
        Ok(operand)
    }
}

impl ReplicatedApp for CounterApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.applied.next(), "decrees come in order, without gaps (S11)");
        self.applied = batch.decree;
        self.changes.clear();
        let answer = |request: &Bytes| match Request::decode(request)? {
            Request::Add { name, operand } => self.add(request, name, operand),
            Request::Read { .. } => self.read(request),
        };
        batch.requests.iter().map(answer).collect()
    }

    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request)? {
            Request::Read { name } => {
                Ok(request::encode_value(self.counters.get(name).copied().unwrap_or(0)))
            }
            Request::Add { .. } => Err(Rejection {
                code: request::MALFORMED,
                message: "an add is no read: send it as a write".into(),
            }),
        }
    }

    fn last_durable_decree(&self) -> Decree {
        self.checkpoints.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.checkpoints.write(self.applied, encode(&self.counters))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        // The snapshot is taken as bytes: that costs no more than a copy of the map would.
        self.checkpoints.write_later(self.applied, || encode(&self.counters))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.checkpoints.newest()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let counters = self.checkpoints.take_over(mode, state, self.applied, decode)?;
        if mode == ApplyMode::Learn {
            (self.counters, self.applied) = (counters, state.decree);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        Digest::of(&encode(&self.counters))
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.checkpoints.close(clean_up)
    }
}

/// Begins every checkpoint, so that one of another app or of a later format is told apart.
const FORMAT: &str = "counter 1";

fn encode(counters: &Counters) -> Vec<u8> {
    postcard::to_stdvec(&(FORMAT, counters)).expect("numbers and text can always be serialised")
}

fn decode(state: &[u8]) -> io::Result<Counters> {
    match postcard::from_bytes::<(&str, Counters)>(state) {
        Ok((FORMAT, counters)) => Ok(counters),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no checkpoint of a counter")),
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
