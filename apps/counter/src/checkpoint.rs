//! Checkpoint files: `checkpoint.<decree>`, each the whole state after that decree.
//!
//! A file is a [`postcard`] body followed by its CRC-32C (four bytes little-endian). It is written under
//! another name, synced, renamed, and the folder is synced: it is whole or not there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use replicated_app::Decree;
use serde::{Deserialize, Serialize};

/// All counters by name. A `BTreeMap`, since its order is the same on every replica (S12).
pub(crate) type Counters = BTreeMap<String, i64>;

const PREFIX: &str = "checkpoint.";
const UNFINISHED: &str = ".unfinished";

#[derive(Serialize, Deserialize)]
struct Body<'a, C> {
    format: &'a str,
    decree: Decree,
    counters: C,
}

const FORMAT: &str = "counter 1";

/// A file's content.
pub(crate) fn encode(decree: Decree, counters: &Counters) -> Vec<u8> {
    let body = Body { format: FORMAT, decree, counters };
    let mut bytes = postcard::to_stdvec(&body).expect("numbers and text can always be serialised");
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// What `file` holds: the state after the decree that its name says.
///
/// # Errors
/// `InvalidData` if it is damaged or not what its name says.
pub(crate) fn load(file: &Path, decree: Decree) -> io::Result<Counters> {
    let bytes = fs::read(file)?;
    let damaged =
        |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", file.display()));
    let (body, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("is cut off"))?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return Err(damaged("is damaged: its checksum is wrong"));
    }
    let body: Body<'_, Counters> =
        postcard::from_bytes(body).map_err(|_| damaged("is no checkpoint of a counter"))?;
    if body.format != FORMAT || body.decree != decree {
        return Err(damaged(&format!("holds `{}` of decree {}", body.format, body.decree)));
    }
    Ok(body.counters)
}

/// The folder of one replica's checkpoints. Shared with the thread that writes one.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    durable: AtomicU64,
    /// Grows when the state is replaced. A checkpoint of an earlier state that is still being written must not
    /// appear after that: it would bring back what was set aside (PITFALLS 29).
    generation: AtomicU64,
    /// One writer at a time; `generation` changes only under it.
    writing: Mutex<()>,
}

impl Folder {
    /// The folder with the newest checkpoint in it, decree 0 and nothing if there is none. An older file never
    /// stands in for a damaged newer one: that would be less than what was durable (PITFALLS 5).
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Counters)> {
        let newest = list(path)?.into_iter().max().unwrap_or_default();
        let counters =
            if newest == Decree::ZERO { Counters::new() } else { load(&file(path, newest), newest)? };
        let folder = Self {
            path: path.into(),
            durable: AtomicU64::new(newest.0),
            generation: AtomicU64::new(0),
            writing: Mutex::new(()),
        };
        folder.remove_unfinished()?;
        Ok((folder, counters))
    }

    /// The decree of the newest checkpoint.
    pub(crate) fn durable(&self) -> Decree {
        Decree(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the checkpoint of `decree`.
    pub(crate) fn name(decree: Decree) -> PathBuf {
        format!("{PREFIX}{decree}").into()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Makes `content` the checkpoint of `decree`, unless a newer one is there already.
    ///
    /// # Errors
    /// `Interrupted` if the state was replaced since `generation`; otherwise what the file system says.
    pub(crate) fn write(&self, generation: u64, decree: Decree, content: &[u8]) -> io::Result<Decree> {
        let _writing = self.lock();
        if self.generation() != generation {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the state was replaced meanwhile"));
        }
        if decree > self.durable() {
            self.write_atomically(decree, content)?;
            self.durable.store(decree.0, Ordering::Release);
        }
        Ok(self.durable())
    }

    /// Makes `content` the one checkpoint, whatever was there before.
    pub(crate) fn replace(&self, decree: Decree, content: &[u8]) -> io::Result<()> {
        let _writing = self.lock();
        self.write_atomically(decree, content)?;
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.durable.store(decree.0, Ordering::Release);
        // From the oldest on: a crash on the way leaves the newest of before, or what was just written.
        let mut others: Vec<Decree> = list(&self.path)?;
        others.sort_unstable();
        for other in others.into_iter().filter(|&other| other != decree) {
            fs::remove_file(file(&self.path, other))?;
        }
        File::open(&self.path)?.sync_all()
    }

    /// Deletes checkpoints below the newest. Called when an app's next checkpoint begins, not when one is done,
    /// since somebody may be reading what `get_checkpoint` handed over.
    pub(crate) fn prune(&self) -> io::Result<()> {
        let durable = self.durable();
        for old in list(&self.path)?.into_iter().filter(|&decree| decree < durable) {
            fs::remove_file(file(&self.path, old))?;
        }
        Ok(())
    }

    /// Lets no unfinished checkpoint appear any more; with `clean_up` all files go.
    pub(crate) fn close(&self, clean_up: bool) -> io::Result<()> {
        let _writing = self.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        if clean_up {
            for entry in fs::read_dir(&self.path)? {
                fs::remove_file(entry?.path())?;
            }
        }
        Ok(())
    }

    fn write_atomically(&self, decree: Decree, content: &[u8]) -> io::Result<()> {
        let target = file(&self.path, decree);
        let unfinished = self.path.join(format!("{PREFIX}{decree}{UNFINISHED}"));
        let mut out = File::create(&unfinished)?;
        out.write_all(content)?;
        out.sync_data()?;
        fs::rename(&unfinished, &target)?;
        File::open(&self.path)?.sync_all()
    }

    /// What a crash left behind.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(UNFINISHED)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards files, and each step on those is atomic: a thread that panicked left nothing half done.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(folder: &Path, decree: Decree) -> PathBuf {
    folder.join(Folder::name(decree))
}

/// The decrees of the checkpoints in a folder.
fn list(folder: &Path) -> io::Result<Vec<Decree>> {
    let mut decrees = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if let Ok(decree) = rest.parse() {
            decrees.push(Decree(decree));
        }
    }
    Ok(decrees)
}
