//! The checkpoints of one app, each a folder `checkpoint.<decree>` with all files of a database.
//!
//! A folder is filled under another name, synced, renamed, and its place is synced: it is whole or not there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use replicated_app::{Decree, remove_folder};

const PREFIX: &str = "checkpoint.";
const UNFINISHED: &str = ".unfinished";
const LIVE: &str = "live.";

/// Where an app's checkpoints are; shared by the app and the jobs on other threads.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    path: PathBuf,
    durable: AtomicU64,
    /// Grows when the state is replaced. A checkpoint of an earlier state that is still being written must not
    /// appear after that: it would bring back what was set aside.
    generation: AtomicU64,
    writing: Mutex<()>,
}

/// Databases that this process ever worked on. Their names are different ones: RocksDB takes two in the same place
/// for one, also if the first is still being closed.
static LIVE_FOLDERS: AtomicU64 = AtomicU64::new(0);

impl Checkpoints {
    /// Finds what is there, and removes what was left unfinished.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // The process may have ended between a rename and its sync: what is seen now is called durable below.
        sync(path)?;
        let mut newest = Decree::ZERO;
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match decree_of(&name) {
                Some(decree) => newest = newest.max(decree),
                None if name.starts_with(PREFIX) || name.starts_with(LIVE) => {
                    remove_folder(&entry.path())?;
                }
                None => {}
            }
        }
        Ok(Self {
            path: path.into(),
            durable: newest.0.into(),
            generation: 0.into(),
            writing: Mutex::new(()),
        })
    }

    /// The decree of the newest checkpoint, 0 if there is none.
    pub(crate) fn durable(&self) -> Decree {
        Decree(self.durable.load(Ordering::Acquire))
    }

    /// Where the checkpoint of a decree is.
    pub(crate) fn folder(&self, decree: Decree) -> PathBuf {
        self.path.join(format!("{PREFIX}{decree}"))
    }

    /// A name for another database to work on.
    pub(crate) fn new_live_folder(&self) -> PathBuf {
        self.path.join(format!("{LIVE}{}", LIVE_FOLDERS.fetch_add(1, Ordering::Relaxed)))
    }

    /// Which state it is that checkpoints are written of.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds the checkpoint of `decree`, which `fill` makes, and removes those before what is durable.
    ///
    /// # Errors
    /// What `fill` and the file system say; `Interrupted` if the state was replaced meanwhile.
    pub(crate) fn add(
        &self,
        generation: u64,
        decree: Decree,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Decree> {
        let _writing = self.lock();
        if self.generation() != generation {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the state was replaced meanwhile"));
        }
        let before = self.durable();
        self.remove_others(|other| other >= before)?;
        if decree > before {
            self.install(decree, fill)?;
            self.durable.store(decree.0, Ordering::Release);
        }
        Ok(self.durable())
    }

    /// Makes the checkpoint of `decree` the only one, whatever was there before. `fill` makes it, and `open` begins to
    /// use what is in that folder.
    ///
    /// # Errors
    /// What `fill`, `open` and the file system say. If one of the two fails nothing has changed.
    pub(crate) fn replace(
        &self,
        decree: Decree,
        fill: impl FnOnce(&Path) -> io::Result<()>,
        open: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let _writing = self.lock();
        if decree == self.durable() {
            open(&self.folder(decree))?;
        } else {
            self.install(decree, |folder| fill(folder).and_then(|()| open(folder)))?;
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.durable.store(decree.0, Ordering::Release);
        self.remove_others(|other| other == decree)?;
        sync(&self.path)
    }

    /// Ends it: a job that is still under way writes nothing any more. With `clean_up` all is deleted.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn close(&self, clean_up: bool) -> io::Result<()> {
        let _writing = self.lock();
        self.generation.fetch_add(1, Ordering::AcqRel);
        if clean_up {
            for entry in fs::read_dir(&self.path)? {
                remove(&entry?.path())?;
            }
        }
        Ok(())
    }

    fn install(&self, decree: Decree, fill: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let unfinished = self.path.join(format!("{PREFIX}{decree}{UNFINISHED}"));
        remove(&unfinished)?;
        let filled = fill(&unfinished).and_then(|()| sync_all(&unfinished));
        let installed = filled.and_then(|()| fs::rename(&unfinished, self.folder(decree)));
        if let Err(error) = installed {
            // It may be the disk that is full.
            let _ = remove(&unfinished);
            return Err(error);
        }
        sync(&self.path)
    }

    /// From the oldest on: a crash on the way leaves the newest.
    fn remove_others(&self, stays: impl Fn(Decree) -> bool) -> io::Result<()> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            others.extend(decree_of(&entry?.file_name().to_string_lossy()).filter(|&decree| !stays(decree)));
        }
        others.sort_unstable();
        others.into_iter().try_for_each(|decree| remove(&self.folder(decree)))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards folders, and each step on those is atomic: a thread that panicked left nothing half done.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn decree_of(name: &str) -> Option<Decree> {
    name.strip_prefix(PREFIX)?.parse().ok().map(Decree)
}

/// Removes a folder; one that is not there is fine. It ceases to be a checkpoint before its first file goes.
fn remove(folder: &Path) -> io::Result<()> {
    let Some(decree) = folder.file_name().and_then(|name| decree_of(name.to_str()?)) else {
        return remove_folder(folder);
    };
    let aside = folder.with_file_name(format!("{PREFIX}{decree}{UNFINISHED}"));
    match fs::rename(folder, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.and_then(|()| remove_folder(&aside)),
    }
}

fn sync_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        sync(&entry?.path())?;
    }
    sync(folder)
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
