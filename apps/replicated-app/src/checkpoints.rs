//! Checkpoints of an app whose state is small enough to be written whole.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{ApplyMode, CheckpointJob, Decree, LearnState};

const PREFIX: &str = "checkpoint.";
const UNFINISHED: &str = ".unfinished";

/// After the state: the decree and a CRC-32C of all before it, both little-endian.
const TRAILER_BYTES: usize = 8 + 4;

/// The checkpoint files of one app, `checkpoint.<decree>`, each the whole state after that decree: what an app
/// with its state in memory implements the checkpoint half of [`ReplicatedApp`](crate::ReplicatedApp) with.
///
/// A file is written under another name, synced, renamed, and the folder is synced: it is whole or not there.
#[derive(Debug)]
pub struct Checkpoints {
    folder: Arc<Folder>,
}

impl Checkpoints {
    /// Opens a folder, and reads the state of the newest checkpoint in it; `None` if there is none. An older
    /// file never stands in for a damaged newer one: that would be less than what was durable.
    ///
    /// # Errors
    /// `InvalidData` if the newest checkpoint is damaged; otherwise what the file system says.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        // The process may have ended between a rename and its sync: what is seen now is called durable below.
        File::open(path)?.sync_all()?;
        let mut newest = Decree::ZERO;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)) {
                Some(rest) if rest.ends_with(UNFINISHED) => removal::remove_file(&entry.path())?,
                Some(rest) => newest = newest.max(rest.parse().map_or(Decree::ZERO, Decree)),
                None => {}
            }
        }
        let (durable, generation) = (newest.0.into(), 0.into());
        let folder = Folder { path: path.into(), durable, generation, writing: Mutex::new(()) };
        let state = if newest == Decree::ZERO { None } else { Some(load(&folder.file(newest), newest)?) };
        Ok((Self { folder: Arc::new(folder) }, state))
    }

    /// The decree of the newest checkpoint: an app's `last_durable_decree`.
    #[must_use]
    pub fn durable(&self) -> Decree {
        self.folder.durable()
    }

    /// Writes the state after `decree`: an app's `sync_checkpoint`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, decree: Decree, state: Vec<u8>) -> io::Result<()> {
        self.folder.prune()?;
        self.folder.write(self.folder.generation(), decree, state).map(drop)
    }

    /// The job that writes the state after `decree`, or `None` if that is durable already: an app's
    /// `async_checkpoint`. A job that is still under way when another state is taken over writes nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_later(
        &self,
        decree: Decree,
        state: impl FnOnce() -> Vec<u8>,
    ) -> io::Result<Option<CheckpointJob>> {
        if decree <= self.durable() {
            return Ok(None);
        }
        self.folder.prune()?;
        let (folder, state) = (Arc::clone(&self.folder), state());
        let generation = folder.generation();
        Ok(Some(Box::new(move || folder.write(generation, decree, state))))
    }

    /// The newest checkpoint, to be learned from: an app's `get_checkpoint`.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn newest(&self) -> io::Result<LearnState> {
        let decree = self.durable();
        if decree == Decree::ZERO {
            return Err(io::Error::new(ErrorKind::NotFound, "no checkpoint was written yet"));
        }
        let folder = self.folder.path.clone();
        Ok(LearnState { decree, folder, files: vec![name(decree)], ..LearnState::default() })
    }

    /// Takes over what another replica's [`newest`](Self::newest) handed over, once `decode` has made sense of
    /// it: the first half of an app's `apply_checkpoint`. The second half is the app's: in mode `Learn` the
    /// decoded state becomes its state. `applied` is the last decree that the app applied.
    ///
    /// # Errors
    /// What `decode` says; `InvalidData` for what is damaged, or in mode `Copy` ahead of the app; otherwise
    /// what the file system says. Nothing was taken over then.
    pub fn take_over<S>(
        &self,
        mode: ApplyMode,
        checkpoint: &LearnState,
        applied: Decree,
        decode: impl FnOnce(&[u8]) -> io::Result<S>,
    ) -> io::Result<S> {
        let [file] = &checkpoint.files[..] else {
            return Err(invalid(format!("a checkpoint is one file, not {}", checkpoint.files.len())));
        };
        let decree = checkpoint.decree;
        if mode == ApplyMode::Copy && decree > applied {
            // The state can't lag behind what is durable.
            return Err(invalid(format!("decree {decree} is not applied here yet")));
        }
        let state = load(&checkpoint.folder.join(file), decree)?;
        let decoded = decode(&state)?;
        match mode {
            ApplyMode::Learn => self.folder.replace(decree, state)?,
            ApplyMode::Copy => self.folder.write(self.folder.generation(), decree, state).map(drop)?,
        }
        Ok(decoded)
    }

    /// Ends it: a job that is still under way writes nothing any more. With `clean_up` all files are deleted.
    ///
    /// # Errors
    /// What the file system says.
    pub fn close(&self, clean_up: bool) -> io::Result<()> {
        let _writing = self.folder.lock();
        self.folder.generation.fetch_add(1, Ordering::AcqRel);
        if clean_up {
            for entry in fs::read_dir(&self.folder.path)? {
                removal::remove_file(&entry?.path())?;
            }
        }
        Ok(())
    }
}

/// What the app and the jobs on other threads share.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    durable: AtomicU64,
    /// Grows when the state is replaced. A checkpoint of an earlier state that is still being written must not
    /// appear after that: it would bring back what was set aside.
    generation: AtomicU64,
    /// One writer at a time; `generation` changes only under it, and is read without it, since a writer syncs.
    writing: Mutex<()>,
}

impl Folder {
    fn durable(&self) -> Decree {
        Decree(self.durable.load(Ordering::Acquire))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes `state` the checkpoint of `decree`, unless a newer one is there already.
    fn write(&self, generation: u64, decree: Decree, state: Vec<u8>) -> io::Result<Decree> {
        let _writing = self.lock();
        if self.generation() != generation {
            return Err(io::Error::new(ErrorKind::Interrupted, "the state was replaced meanwhile"));
        }
        if decree > self.durable() {
            self.write_atomically(decree, state)?;
            self.durable.store(decree.0, Ordering::Release);
        }
        Ok(self.durable())
    }

    /// Makes `state` the one checkpoint, whatever was there before.
    fn replace(&self, decree: Decree, state: Vec<u8>) -> io::Result<()> {
        let _writing = self.lock();
        self.write_atomically(decree, state)?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.durable.store(decree.0, Ordering::Release);
        // From the oldest on: a crash on the way leaves the newest of before, or what was just written.
        let mut others = self.decrees()?;
        others.sort_unstable();
        for other in others.into_iter().filter(|&other| other != decree) {
            removal::remove_file(&self.file(other))?;
        }
        File::open(&self.path)?.sync_all()
    }

    /// Deletes checkpoints below the newest. Called when the next checkpoint begins, not when one is done, since
    /// somebody may be reading what was handed over.
    fn prune(&self) -> io::Result<()> {
        let durable = self.durable();
        for old in self.decrees()?.into_iter().filter(|&decree| decree < durable) {
            removal::remove_file(&self.file(old))?;
        }
        Ok(())
    }

    fn write_atomically(&self, decree: Decree, mut state: Vec<u8>) -> io::Result<()> {
        state.extend_from_slice(&decree.0.to_le_bytes());
        let crc = crc32c::crc32c(&state);
        state.extend_from_slice(&crc.to_le_bytes());
        let target = self.file(decree);
        let unfinished = self.path.join(format!("{PREFIX}{decree}{UNFINISHED}"));
        let mut out = File::create(&unfinished)?;
        out.write_all(&state)?;
        out.sync_data()?;
        fs::rename(&unfinished, &target)?;
        File::open(&self.path)?.sync_all()
    }

    /// The decrees of all checkpoints.
    fn decrees(&self) -> io::Result<Vec<Decree>> {
        let mut decrees = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
            decrees.extend(number.map(Decree));
        }
        Ok(decrees)
    }

    fn file(&self, decree: Decree) -> PathBuf {
        self.path.join(name(decree))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards files, and each step on those is atomic: a thread that panicked left nothing half done.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(decree: Decree) -> PathBuf {
    format!("{PREFIX}{decree}").into()
}

/// The state in a file that says to be the checkpoint of `decree`.
fn load(file: &Path, decree: Decree) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(file)?;
    let damaged = || invalid(format!("{} is not a whole checkpoint of decree {decree}", file.display()));
    let end = bytes.len().checked_sub(TRAILER_BYTES).ok_or_else(damaged)?;
    let (covered, crc) = bytes.split_last_chunk().ok_or_else(damaged)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) || covered[end..] != decree.0.to_le_bytes() {
        return Err(damaged());
    }
    bytes.truncate(end);
    Ok(bytes)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}
