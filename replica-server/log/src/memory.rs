//! A folder in memory, whose crashes, failures and lack of space are the test's to choose. Everything in it is
//! deterministic.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

mod content;

use self::content::{Content, Pick};
use crate::{File, FileSystem};

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it is lost.
    Lose,
    /// None of it is lost.
    Keep,
    /// Any of the changes to names survive. Of what was written to a file some part from the front survives,
    /// and the last sector of that may be zeros or rubbish. The number picks which, how much and what.
    Torn(u64),
    /// As `Torn`, but of what was written to a file any pieces survive, a sector or less, whichever was written
    /// first; and a file may have any length that it had.
    Scattered(u64),
}

/// A folder in memory. Clones are handles to the same folder.
///
/// When the process that uses it "dies", drop what it opened; if the machine dies too, call
/// [`crash`](Self::crash).
#[derive(Clone, Debug, Default)]
pub struct MemoryFolder {
    folder: Arc<Mutex<Folder>>,
    faults: Arc<Mutex<Faults>>,
}

type Names = BTreeMap<String, Arc<Mutex<Content>>>;

#[derive(Debug, Default)]
struct Folder {
    names: Names,
    durable: Names,
    /// What was done to the names since they were synced.
    unsynced: Vec<NameChange>,
}

#[derive(Debug)]
enum NameChange {
    Create { name: String, content: Arc<Mutex<Content>> },
    Rename { from: String, to: String, content: Arc<Mutex<Content>> },
    Remove { name: String },
}

#[derive(Debug, Default)]
struct Faults {
    fail_next_write: bool,
    fail_next_sync: bool,
    /// After this many more operations that change something, every one fails.
    operations_left: Option<u64>,
    operations: u64,
    capacity: Option<u64>,
    used: u64,
    out_of_handles: bool,
}

impl MemoryFolder {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut, and the machine is back: nothing is unsynced any more, no fault is pending (the capacity
    /// stays). What was open before is not connected to the folder any more.
    pub fn crash(&self, outcome: Crash) {
        let mut pick = Pick(match outcome {
            Crash::Torn(number) | Crash::Scattered(number) => number,
            Crash::Lose | Crash::Keep => 0,
        });
        let mut folder = lock(&self.folder);
        let mut names = std::mem::take(&mut folder.durable);
        for change in folder.unsynced.drain(..) {
            let survives = match outcome {
                Crash::Lose => false,
                Crash::Keep => true,
                // A folder is not a journal: of two changes the second one alone may survive.
                Crash::Torn(_) | Crash::Scattered(_) => pick.below(2) == 0,
            };
            if survives {
                change.apply(&mut names);
            }
        }
        let mut used = 0;
        for content in names.values_mut() {
            let mut survivor = std::mem::take(&mut *lock(content));
            survivor.crash(outcome, &mut pick);
            used += survivor.len();
            *content = Arc::new(Mutex::new(survivor));
        }
        folder.durable = names.clone();
        folder.names = names;
        let mut faults = lock(&self.faults);
        *faults =
            Faults { used, operations_left: None, fail_next_write: false, fail_next_sync: false, ..*faults };
    }

    /// The next write of any file fails, with nothing written.
    pub fn fail_next_write(&self) {
        lock(&self.faults).fail_next_write = true;
    }

    /// The next sync of a file or of the folder fails. A file's content that it would have synced is lost at a
    /// crash, whatever later syncs say, unless it was written again.
    pub fn fail_next_sync(&self) {
        lock(&self.faults).fail_next_sync = true;
    }

    /// After `operations` more that change something (create, write, cut, rename, remove, sync), every one
    /// fails until the next crash.
    pub fn fail_after(&self, operations: u64) {
        lock(&self.faults).operations_left = Some(operations);
    }

    /// An operation that changes something elsewhere on the same disk: it is counted, and fails, as one of the
    /// folder's own.
    ///
    /// # Errors
    /// After [`fail_after`](Self::fail_after) so many.
    pub fn operate(&self) -> io::Result<()> {
        lock(&self.faults).count()
    }

    /// Whether every operation that changes something fails from now on.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        lock(&self.faults).operations_left == Some(0)
    }

    /// How many operations that change something there were, failed ones included.
    #[must_use]
    pub fn operations(&self) -> u64 {
        lock(&self.faults).operations
    }

    /// The disk is full once its files have this many bytes together: a write then stops half-way, with
    /// `StorageFull`. `None`: never.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.faults).capacity = bytes;
    }

    /// How many bytes its files have together.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.faults).used
    }

    /// While this is so no file can be made or opened; what is open can be used.
    pub fn set_out_of_handles(&self, out: bool) {
        lock(&self.faults).out_of_handles = out;
    }

    /// What is in a file; `None` if there is none of that name.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        Some(lock(lock(&self.folder).names.get(name)?).bytes().to_vec())
    }

    /// Puts a file there as it would be after years: durable, whatever was there before.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let content = Arc::new(Mutex::new(Content::new(bytes)));
        let mut folder = lock(&self.folder);
        folder.names.insert(name.to_owned(), content.clone());
        folder.durable.insert(name.to_owned(), content);
        let used = folder.names.values().map(|content| lock(content).len()).sum();
        lock(&self.faults).used = used;
    }

    fn change(&self) -> io::Result<MutexGuard<'_, Folder>> {
        lock(&self.faults).count()?;
        Ok(lock(&self.folder))
    }

    fn handle(&self, content: Arc<Mutex<Content>>) -> Box<dyn File> {
        Box::new(MemoryFile { content, faults: self.faults.clone() })
    }
}

impl FileSystem for MemoryFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.folder).names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        lock(&self.faults).handle()?;
        let mut folder = self.change()?;
        let content = Arc::new(Mutex::new(Content::default()));
        let freed = folder.alter(NameChange::Create { name: name.to_owned(), content: content.clone() });
        lock(&self.faults).free(freed);
        Ok(self.handle(content))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        lock(&self.faults).handle()?;
        let folder = lock(&self.folder);
        let content = folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(content.clone()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut folder = self.change()?;
        let content = folder.names.get(from).ok_or(io::ErrorKind::NotFound)?.clone();
        let freed = folder.alter(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), content });
        lock(&self.faults).free(freed);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut folder = self.change()?;
        folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let freed = folder.alter(NameChange::Remove { name: name.to_owned() });
        lock(&self.faults).free(freed);
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut folder = self.change()?;
        if std::mem::take(&mut lock(&self.faults).fail_next_sync) {
            return Err(injected("sync"));
        }
        folder.unsynced.clear();
        folder.durable = folder.names.clone();
        Ok(())
    }
}

impl Folder {
    /// Answers how many bytes had their last name taken away.
    fn alter(&mut self, change: NameChange) -> u64 {
        let gone = match &change {
            NameChange::Create { name, .. }
            | NameChange::Rename { to: name, .. }
            | NameChange::Remove { name } => self.names.get(name).map_or(0, |content| lock(content).len()),
        };
        change.apply(&mut self.names);
        self.unsynced.push(change);
        gone
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create { name, content } => {
                names.insert(name.clone(), content.clone());
            }
            Self::Rename { from, to, content } => {
                names.remove(from);
                names.insert(to.clone(), content.clone());
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

#[derive(Debug)]
struct MemoryFile {
    content: Arc<Mutex<Content>>,
    faults: Arc<Mutex<Faults>>,
}

impl File for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = lock(&self.content);
        let found = position(offset)
            .ok()
            .and_then(|start| content.bytes().get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = position(offset)?;
        let mut faults = lock(&self.faults);
        faults.count()?;
        if std::mem::take(&mut faults.fail_next_write) {
            return Err(injected("write"));
        }
        let mut content = lock(&self.content);
        let before = content.len();
        let end = before.saturating_add(faults.room());
        let fits = bytes.len().min(position(end)?.saturating_sub(offset));
        content.write(offset, &bytes[..fits]);
        faults.used += content.len() - before;
        if fits < bytes.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full (injected)"));
        }
        Ok(())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let size = position(size)?;
        let mut faults = lock(&self.faults);
        faults.count()?;
        let mut content = lock(&self.content);
        let before = content.len();
        content.truncate(size);
        faults.used = faults.used + content.len() - before;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut faults = lock(&self.faults);
        faults.count()?;
        let mut content = lock(&self.content);
        if std::mem::take(&mut faults.fail_next_sync) {
            content.fail_sync();
            return Err(injected("sync"));
        }
        content.sync();
        Ok(())
    }
}

impl Faults {
    fn handle(&self) -> io::Result<()> {
        // As the system says it: EMFILE has no kind of its own.
        if self.out_of_handles { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    fn count(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.operations_left {
            None => Ok(()),
            Some(0) => Err(injected("operation")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }

    fn free(&mut self, bytes: u64) {
        self.used -= bytes;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn injected(what: &str) -> io::Error {
    io::Error::other(format!("{what} failed (injected)"))
}
