//! A folder in memory, whose crashes, failures and lack of space are the test's to choose. Everything in it is
//! deterministic.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{File, FileSystem};

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it is lost.
    Lose,
    /// None of it is lost.
    Keep,
    /// Of the names and of each file, some part from the front survives, and the last sector of what survives
    /// in a file may be zeros or rubbish. The number picks how much and which.
    Torn(u64),
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
    Create(String, Arc<Mutex<Content>>),
    Rename(String, String),
    Remove(String),
}

/// What is in a file: as a reader sees it, and how to get from there back to what is durable.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// What was done since the last sync, and how to undo it.
    unsynced: Vec<Change>,
    /// A sync failed: the system takes what was written before it for clean and will never write it (§7.1).
    sync_failed: bool,
}

#[derive(Debug)]
struct Change {
    offset: usize,
    /// Bytes written at `offset`; 0 if the file was cut there.
    written: usize,
    /// What stood from `offset` on, as far as it was overwritten or cut.
    before: Vec<u8>,
    /// The file's length before.
    length: usize,
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
}

impl MemoryFolder {
    /// An empty folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut, and the machine is back: nothing is unsynced any more, no fault is pending (the capacity
    /// stays). Handles that were open before must not be used any more.
    pub fn crash(&self, outcome: Crash) {
        let mut folder = lock(&self.folder);
        let mut pick = Pick(match outcome {
            Crash::Torn(number) => number,
            Crash::Lose | Crash::Keep => 0,
        });
        let changes = std::mem::take(&mut folder.unsynced);
        let kept = match outcome {
            Crash::Lose => 0,
            Crash::Keep => changes.len(),
            Crash::Torn(_) => pick.below(changes.len() + 1),
        };
        let mut names = folder.durable.clone();
        changes.into_iter().take(kept).for_each(|change| change.apply(&mut names));
        for content in names.values() {
            let mut content = lock(content);
            let kept = match outcome {
                Crash::Lose => 0,
                Crash::Keep if content.sync_failed => 0,
                Crash::Keep => content.unsynced_bytes(),
                Crash::Torn(_) => pick.below(content.unsynced_bytes() + 1),
            };
            let torn = matches!(outcome, Crash::Torn(_));
            content.crash(kept, torn.then_some(&mut pick));
        }
        let used = names.values().map(|content| lock(content).bytes.len() as u64).sum();
        folder.durable.clone_from(&names);
        folder.names = names;
        let mut faults = lock(&self.faults);
        *faults =
            Faults { capacity: faults.capacity, operations: faults.operations, used, ..Faults::default() };
    }

    /// The next write of any file fails, with nothing written.
    pub fn fail_next_write(&self) {
        lock(&self.faults).fail_next_write = true;
    }

    /// The next sync of a file or of the folder fails. What it would have synced is lost at a crash, whatever
    /// later syncs say.
    pub fn fail_next_sync(&self) {
        lock(&self.faults).fail_next_sync = true;
    }

    /// After `operations` more that change something (create, write, cut, rename, remove, sync), every one
    /// fails until the next crash.
    pub fn fail_after(&self, operations: u64) {
        lock(&self.faults).operations_left = Some(operations);
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

    /// What is in a file; `None` if there is none of that name.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        Some(lock(lock(&self.folder).names.get(name)?).bytes.clone())
    }

    /// Puts a file there as it would be after years: durable, whatever was there before.
    pub fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let content = Arc::new(Mutex::new(Content { bytes, ..Content::default() }));
        let mut folder = lock(&self.folder);
        folder.names.insert(name.to_owned(), content.clone());
        folder.durable.insert(name.to_owned(), content);
        lock(&self.faults).used = folder.names.values().map(|content| lock(content).bytes.len() as u64).sum();
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
        let mut folder = self.change()?;
        let content = Arc::new(Mutex::new(Content::default()));
        let freed = folder.alter(NameChange::Create(name.to_owned(), content.clone()));
        lock(&self.faults).free(freed);
        Ok(self.handle(content))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let folder = lock(&self.folder);
        let content = folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(content.clone()))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut folder = self.change()?;
        folder.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        let freed = folder.alter(NameChange::Rename(from.to_owned(), to.to_owned()));
        lock(&self.faults).free(freed);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut folder = self.change()?;
        folder.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let freed = folder.alter(NameChange::Remove(name.to_owned()));
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
            NameChange::Create(name, _) | NameChange::Rename(_, name) | NameChange::Remove(name) => {
                self.names.get(name).map_or(0, |content| lock(content).bytes.len() as u64)
            }
        };
        change.clone_into_names(&mut self.names);
        self.unsynced.push(change);
        gone
    }
}

impl NameChange {
    fn clone_into_names(&self, names: &mut Names) {
        match self {
            Self::Create(name, content) => {
                names.insert(name.clone(), content.clone());
            }
            Self::Rename(from, to) => {
                let content = names.remove(from).expect("the same changes were possible when they were made");
                names.insert(to.clone(), content);
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn apply(self, names: &mut Names) {
        self.clone_into_names(names);
    }
}

impl Content {
    fn unsynced_bytes(&self) -> usize {
        // A cut counts as one byte, so that it too can be lost or kept.
        self.unsynced.iter().map(|change| change.written.max(1)).sum()
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let length = self.bytes.len();
        let overwritten = (offset.min(length), (offset + bytes.len()).min(length));
        let before = self.bytes[overwritten.0..overwritten.1].to_vec();
        self.unsynced.push(Change { offset, written: bytes.len(), before, length });
        self.put(offset, bytes);
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if offset == self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn truncate(&mut self, size: usize) {
        let length = self.bytes.len();
        let before = self.bytes.split_off(size.min(length));
        self.bytes.resize(size, 0);
        self.unsynced.push(Change { offset: size, written: 0, before, length });
    }

    fn sync(&mut self) {
        if !self.sync_failed {
            self.unsynced.clear();
        }
    }

    /// Leaves the first `kept` of the unsynced bytes; `pick` may spoil the last sector of them.
    fn crash(&mut self, kept: usize, pick: Option<&mut Pick>) {
        let mut over = self.unsynced_bytes() - kept;
        let mut last_written = None;
        while let Some(change) = self.unsynced.pop() {
            let size = change.written.max(1);
            if over == 0 {
                if change.written > 0 {
                    last_written = Some((change.offset, change.written));
                }
                break;
            }
            let surviving = size.saturating_sub(over);
            over = over.saturating_sub(size);
            let survivors = match change.written {
                0 => Vec::new(),
                _ => self.bytes[change.offset..change.offset + surviving].to_vec(),
            };
            self.bytes.truncate(change.length.max(change.offset));
            self.bytes.truncate(change.length);
            self.bytes.resize(change.length, 0);
            let end = change.offset + change.before.len();
            if end <= self.bytes.len() {
                self.bytes[change.offset..end].copy_from_slice(&change.before);
            }
            if !survivors.is_empty() {
                self.put(change.offset, &survivors);
                last_written = Some((change.offset, survivors.len()));
                break;
            }
        }
        self.unsynced.clear();
        self.sync_failed = false;
        if let (Some(pick), Some((offset, written))) = (pick, last_written) {
            let end = offset + written;
            let spoilt = offset.max((end - 1) / SECTOR * SECTOR)..end;
            match pick.below(3) {
                0 => {}
                1 => self.bytes[spoilt].fill(0),
                _ => self.bytes[spoilt].iter_mut().for_each(|byte| *byte ^= pick.next().to_le_bytes()[0]),
            }
        }
    }
}

const SECTOR: usize = 512;

#[derive(Debug)]
struct MemoryFile {
    content: Arc<Mutex<Content>>,
    faults: Arc<Mutex<Faults>>,
}

impl File for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let content = lock(&self.content);
        let found = position(offset)
            .ok()
            .and_then(|start| content.bytes.get(start..start.checked_add(buffer.len())?));
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
        let length = content.bytes.len();
        let room = faults.room();
        let fits = bytes.len().min(length.saturating_add(room).saturating_sub(offset));
        content.write(offset, &bytes[..fits]);
        faults.used += (content.bytes.len() - length) as u64;
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
        let length = content.bytes.len();
        content.truncate(size);
        faults.used = faults.used + size as u64 - length as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut faults = lock(&self.faults);
        faults.count()?;
        let mut content = lock(&self.content);
        if std::mem::take(&mut faults.fail_next_sync) {
            content.sync_failed = true;
            return Err(injected("sync"));
        }
        content.sync();
        Ok(())
    }
}

impl Faults {
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

    fn room(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| {
            usize::try_from(capacity.saturating_sub(self.used)).unwrap_or(usize::MAX)
        })
    }

    fn free(&mut self, bytes: u64) {
        self.used -= bytes;
    }
}

/// A small generator (splitmix64), so that one number decides all about a crash.
struct Pick(u64);

impl Pick {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
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
