//! The replicated counter.

use std::io;
use std::sync::Arc;

use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, CheckpointJob, Decree, LearnState, OpenContext, Rejection,
    ReplicatedApp,
};

use crate::checkpoint::{self, Counters, Folder};
use crate::request::{self, OVERFLOW, Request};

/// The app type `counter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterType;

impl AppType for CounterType {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        let (folder, counters) = Folder::open(context.folder)?;
        Ok(Box::new(CounterApp { counters, applied: folder.durable(), folder: Arc::new(folder) }))
    }
}

/// One partition's counters: in memory, with a checkpoint file now and then.
#[derive(Debug)]
pub struct CounterApp {
    counters: Counters,
    /// The last decree whose effect is in `counters`.
    applied: Decree,
    folder: Arc<Folder>,
}

impl CounterApp {
    fn add(&mut self, name: &str, operand: i64) -> AppAnswer {
        let overflow = || Rejection {
            code: OVERFLOW,
            message: format!("the counter `{name}` would leave the range of 64 bits"),
        };
        if let Some(value) = self.counters.get_mut(name) {
            *value = value.checked_add(operand).ok_or_else(overflow)?;
            return Ok(request::encode_value(*value));
        }
        self.counters.insert(name.into(), operand);
        Ok(request::encode_value(operand))
    }
}

impl ReplicatedApp for CounterApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.applied.next(), "decrees come in order, without gaps (S11)");
        self.applied = batch.decree;
        let answer = |request: &bytes::Bytes| match Request::decode(request)? {
            Request::Add { name, operand } => self.add(name, operand),
            Request::Read { .. } => self.read(request),
        };
        batch.requests.iter().map(answer).collect()
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
        self.folder.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        let content = checkpoint::encode(self.applied, &self.counters);
        self.folder.prune()?;
        self.folder.write(self.folder.generation(), self.applied, &content).map(drop)
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        let decree = self.applied;
        if decree <= self.folder.durable() {
            return Ok(None);
        }
        self.folder.prune()?;
        // The snapshot is taken as bytes: that costs no more than a copy of the map would.
        let content = checkpoint::encode(decree, &self.counters);
        let folder = Arc::clone(&self.folder);
        let generation = folder.generation();
        Ok(Some(Box::new(move || folder.write(generation, decree, &content))))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        let decree = self.folder.durable();
        if decree == Decree::ZERO {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no checkpoint was written yet"));
        }
        Ok(LearnState {
            decree,
            folder: self.folder.path().into(),
            files: vec![Folder::name(decree)],
            ..LearnState::default()
        })
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let [file] = &state.files[..] else {
            let message = format!("a counter's checkpoint is one file, not {}", state.files.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        };
        let counters = checkpoint::load(&state.folder.join(file), state.decree)?;
        let content = checkpoint::encode(state.decree, &counters);
        match mode {
            ApplyMode::Learn => {
                self.folder.replace(state.decree, &content)?;
                (self.counters, self.applied) = (counters, state.decree);
                Ok(())
            }
            ApplyMode::Copy if state.decree > self.applied => {
                // The state can't lag behind what is durable (PITFALLS 10).
                let message = format!("decree {} is not applied here yet", state.decree);
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
            ApplyMode::Copy => self.folder.write(self.folder.generation(), state.decree, &content).map(drop),
        }
    }

    fn digest(&self) -> u64 {
        // FNV-1a over a checkpoint's bytes, without its decree: the state and nothing else.
        checkpoint::encode(Decree::ZERO, &self.counters).iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.folder.close(clean_up)
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
