//! Where one app keeps what must outlive its process: a real folder, or a shelf in memory.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use replicated_app::{LearnState, OpenContext};
use tempfile::TempDir;
use words::{AppInfo, Decree, Gpid};

use crate::checksum::{checksum, flip};

/// What one partition's app has on one simulated disk. It stays when the process is killed, and goes with the
/// disk. What the app writes here is never torn or lost by a simulated power cut: that is tested where the app
/// stores it.
#[derive(Clone, Debug)]
pub struct Home {
    gpid: Gpid,
    app: Arc<AppInfo>,
    shelf: Shelf,
    /// Made when it is first asked for; an app on a shelf has none.
    folder: Arc<OnceLock<TempDir>>,
}

impl Home {
    pub(crate) fn new(gpid: Gpid, app: AppInfo) -> Self {
        Self { gpid, app: Arc::new(app), shelf: Shelf::default(), folder: Arc::default() }
    }

    /// What an app type opens its app with. The folder is a real one, of this app alone.
    ///
    /// # Panics
    /// If there is no room for temporary folders: there is nothing to test on such a machine.
    #[must_use]
    pub fn context(&self) -> OpenContext<'_> {
        let folder = self.folder.get_or_init(|| temporary().expect("a temporary folder can be made"));
        OpenContext { gpid: self.gpid, app: &self.app, folder: folder.path() }
    }

    /// Memory in place of a folder.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }
}

/// A new folder that is deleted when it is dropped; in memory if the machine has such a place, since nothing
/// here is meant to survive the machine.
fn temporary() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}

/// A copy of a checkpoint that is its reader's own, as one that came over the network is. The folder lives as
/// long as what is returned with it.
pub(crate) fn copy_of(state: &LearnState) -> io::Result<(LearnState, Option<Arc<TempDir>>)> {
    if state.files.is_empty() {
        return Ok((state.clone(), None));
    }
    let folder = temporary()?;
    for file in &state.files {
        let to = folder.path().join(file);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(state.folder.join(file), to)?;
    }
    let state = LearnState { folder: folder.path().to_owned(), ..state.clone() };
    Ok((state, Some(Arc::new(folder))))
}

/// The newest whole checkpoint of an app, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    decree: Decree,
    state: Bytes,
    checksum: u64,
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, decree: Decree, state: Bytes) {
        *self.kept() = Kept { decree, checksum: checksum(&state), state };
    }

    /// The decree of the checkpoint, 0 if there is none.
    pub(crate) fn durable(&self) -> Decree {
        self.kept().decree
    }

    /// The checkpoint.
    ///
    /// # Errors
    /// `InvalidData` if it is not what was put there.
    pub(crate) fn get(&self) -> io::Result<(Decree, Bytes)> {
        let kept = self.kept();
        if kept.decree > Decree::ZERO && checksum(&kept.state) != kept.checksum {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok((kept.decree, kept.state.clone()))
    }

    /// One bit is another; false if there is none.
    pub(crate) fn rot(&self, number: u64) -> bool {
        let mut kept = self.kept();
        let mut state = kept.state.to_vec();
        let rotten = flip(&mut state, number);
        kept.state = state.into();
        rotten
    }
}
