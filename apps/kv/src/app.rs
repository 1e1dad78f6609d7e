//! The replicated key-value store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, Change, CheckpointJob, Decree, Digest, LearnState, OpenContext,
    ReadJob, Reading, Rejection, ReplicatedApp,
};
use rocksdb::Cache;

use crate::checkpoints::Checkpoints;
use crate::files::{self, invalid};
use crate::live::Live;
use crate::reads;
use crate::request::{BROKEN, MALFORMED, Request};
use crate::rows::{self, Position};
use crate::states::Stored;
use crate::writes::Changes;

/// What all partitions of a process together keep in memory of what is in files.
const CACHE_BYTES: usize = 128 << 20;

/// The app type `kv`.
#[derive(Clone)]
pub struct KvType {
    cache: Cache,
}

impl Default for KvType {
    fn default() -> Self {
        Self::with_cache(CACHE_BYTES)
    }
}

impl KvType {
    /// A type whose partitions together keep so many bytes in memory of what is in files.
    #[must_use]
    pub fn with_cache(bytes: usize) -> Self {
        Self { cache: Cache::new_lru_cache(bytes) }
    }
}

impl AppType for KvType {
    fn name(&self) -> &'static str {
        "kv"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        Ok(Box::new(KvApp::open(context.folder, self.cache.clone())?))
    }
}

/// One partition's keys and values.
pub struct KvApp {
    cache: Cache,
    live: Arc<Live>,
    /// The last decree whose effect is in `live`, and its time.
    position: Position,
    /// The new states of keys that `position` brought.
    changes: Vec<Change>,
    /// Nothing expires before this.
    next_expiry_us: u64,
    checkpoints: Arc<Checkpoints>,
    /// Why nothing that `live` says can be believed any more.
    failure: Arc<OnceLock<String>>,
}

impl KvApp {
    fn open(folder: &Path, cache: Cache) -> io::Result<Self> {
        let checkpoints = Arc::new(Checkpoints::open(folder)?);
        let durable = checkpoints.durable();
        let checkpoint = (durable > Decree::ZERO).then(|| checkpoints.folder(durable));
        let live = Live::open(checkpoints.new_live_folder(), checkpoint.as_deref(), &cache)?;
        let position = live.present().position();
        if position.decree != durable {
            return Err(invalid(format!("the checkpoint of decree {durable} is one of {}", position.decree)));
        }
        // Looked up with the first mutation.
        let (next_expiry_us, changes) = (0, Vec::new());
        Ok(Self { changes, cache, live, position, next_expiry_us, checkpoints, failure: Arc::default() })
    }

    /// Goes on with the state of a checkpoint; if that can't be opened, with the one before.
    fn begin_with(&mut self, checkpoint: &Path) -> io::Result<()> {
        let live = Live::open(self.checkpoints.new_live_folder(), Some(checkpoint), &self.cache)?;
        (self.position, self.next_expiry_us) = (live.present().position(), 0);
        self.live = live;
        Ok(())
    }

    fn apply_all(&mut self, batch: &Batch<'_>) -> io::Result<Vec<AppAnswer>> {
        let mut changes = Changes::new(self.live.present(), batch.timestamp_us);
        if batch.timestamp_us >= self.next_expiry_us {
            self.next_expiry_us = changes.remove_expired()?.unwrap_or(u64::MAX);
        }
        let mut answers = Vec::with_capacity(batch.requests.len());
        for request in batch.requests {
            answers.push(match Request::decode(request) {
                Ok(Request::Write(write)) => changes.apply(&write)?,
                Ok(Request::Read(_)) => Err(rejected(MALFORMED, "a read can't be sent as an update")),
                Err(rejection) => Err(rejection),
            });
        }
        self.next_expiry_us =
            changes.next_expiry_us().map_or(self.next_expiry_us, |at_us| at_us.min(self.next_expiry_us));
        let (changes, changed) = changes.into_rows();
        let position = Position { decree: batch.decree, now_us: batch.timestamp_us };
        self.live.write(changed, position)?;
        (self.position, self.changes) = (position, changes);
        Ok(answers)
    }

    /// Says it if what the database says can't be believed any more. The framework asks after each call, and gives up
    /// this replica; nobody gets to see what is answered here.
    fn broken(&self, error: &io::Error) -> Rejection {
        note_failure(&self.failure, error);
        rejected(BROKEN, "this replica's files can't be read or written")
    }

    /// The part of a read that waits for the disk.
    fn read_later(&self, request: &Bytes) -> ReadJob {
        let (live, failure, request) = (Arc::clone(&self.live), Arc::clone(&self.failure), request.clone());
        Box::new(move || {
            let view = live.moment();
            let Position { decree, now_us } = view.position();
            let read = reads::answer(&view, now_us, &request).map(|answer| (decree, answer));
            read.inspect_err(|error| note_failure(&failure, error))
        })
    }
}

impl ReplicatedApp for KvApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.position.decree.next(), "decrees come in order, without gaps (S11)");
        self.apply_all(batch).unwrap_or_else(|error| {
            let broken = self.broken(&error);
            vec![Err(broken); batch.requests.len()]
        })
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        let answer = reads::answer(&self.live.present(), self.position.now_us, request);
        answer.unwrap_or_else(|error| Err(self.broken(&error)))
    }

    fn start_read(&self, request: &Bytes) -> Reading {
        match reads::answer(&self.live.memory(), self.position.now_us, request) {
            Ok(answer) => Reading::Answered(answer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Reading::Later(self.read_later(request))
            }
            Err(error) => Reading::Answered(Err(self.broken(&error))),
        }
    }

    /// Each key that changed, with the state that it has now: also those whose values expired and were taken away.
    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn last_durable_decree(&self) -> Decree {
        self.checkpoints.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.async_checkpoint()?.map_or(Ok(()), |job| job().map(drop))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        let decree = self.position.decree;
        if decree <= self.checkpoints.durable() {
            return Ok(None);
        }
        let (checkpoints, cache) = (Arc::clone(&self.checkpoints), self.cache.clone());
        let (frozen, generation) = (self.live.freeze(), checkpoints.generation());
        Ok(Some(Box::new(move || {
            checkpoints.add(generation, decree, |folder| frozen.link_into(folder, decree, &cache))
        })))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        let decree = self.checkpoints.durable();
        if decree == Decree::ZERO {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no checkpoint was written yet"));
        }
        let folder = self.checkpoints.folder(decree);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            files.push(PathBuf::from(entry?.file_name()));
        }
        // What RocksDB tells people.
        files.retain(|name| name != Path::new("LOG"));
        files.sort();
        Ok(LearnState { decree, folder, files, ..LearnState::default() })
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        if mode == ApplyMode::Copy && state.decree > self.position.decree {
            // The state can't lag behind what is durable.
            return Err(invalid(format!("decree {} is not applied here yet", state.decree)));
        }
        let (checkpoints, cache) = (Arc::clone(&self.checkpoints), self.cache.clone());
        let fill = |folder: &Path| {
            std::fs::create_dir(folder)?;
            for name in &state.files {
                files::link_or_copy(&state.folder.join(name), &folder.join(name))?;
            }
            files::check_all(folder, state.decree, &cache)
        };
        match mode {
            ApplyMode::Copy => checkpoints.add(checkpoints.generation(), state.decree, fill).map(drop),
            ApplyMode::Learn => checkpoints.replace(state.decree, fill, |folder| self.begin_with(folder)),
        }
    }

    fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        let mut take = |row: &[u8], value: &[u8]| {
            for part in [row, value] {
                digest.take(&part.len().to_le_bytes());
                digest.take(part);
            }
        };
        let view = self.live.present();
        let read = view.each(|row, value| match rows::key_of(row) {
            // Where its value is depends on the version of the software that stored it.
            Some(key) => {
                let stored = Stored::in_row(&view, key, Some(value))?;
                stored.with_value(|value| take(row, &stored.head.encode_with(value)))
            }
            None => {
                if !rows::is_value(row) {
                    take(row, value);
                }
                Ok(())
            }
        });
        if let Err(error) = read {
            self.broken(&error);
        }
        digest.value()
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.live.close();
        self.checkpoints.close(clean_up)
    }
}

fn note_failure(failure: &OnceLock<String>, error: &io::Error) {
    failure.get_or_init(|| format!("the database: {error}"));
}

pub(crate) fn rejected(code: u32, message: &str) -> Rejection {
    Rejection { code, message: message.into() }
}

#[cfg(test)]
#[path = "app_tests.rs"]
pub(crate) mod tests;
