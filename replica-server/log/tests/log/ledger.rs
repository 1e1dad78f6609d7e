//! A folder that notes each operation that changes something: these are the points at which a crash can strike.

use std::io;
use std::sync::{Arc, Mutex};

use replica_log::{File, FileSystem, MemoryFolder};

/// What was done, in order: `write log.1`, `sync folder`, ...
pub(crate) type Ledger = Arc<Mutex<Vec<String>>>;

/// A folder that keeps a ledger.
#[derive(Debug)]
pub(crate) struct Noting {
    pub(crate) files: MemoryFolder,
    pub(crate) ledger: Ledger,
}

#[derive(Debug)]
struct NotingFile {
    file: Box<dyn File>,
    name: String,
    ledger: Ledger,
}

fn note(ledger: &Ledger, what: &str, whom: &str) {
    ledger.lock().expect("no holder panics").push(format!("{what} {whom}"));
}

impl Noting {
    fn noting(&self, file: Box<dyn File>, name: &str) -> Box<dyn File> {
        Box::new(NotingFile { file, name: name.to_owned(), ledger: self.ledger.clone() })
    }
}

impl FileSystem for Noting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        note(&self.ledger, "create", name);
        Ok(self.noting(self.files.create(name)?, name))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(self.noting(self.files.open(name)?, name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        note(&self.ledger, "rename", from);
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        note(&self.ledger, "remove", name);
        self.files.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        note(&self.ledger, "sync", "folder");
        self.files.sync_folder()
    }
}

impl File for NotingFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        note(&self.ledger, "write", &self.name);
        self.file.write_at(offset, bytes)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        note(&self.ledger, "truncate", &self.name);
        self.file.truncate(size)
    }

    fn sync(&self) -> io::Result<()> {
        note(&self.ledger, "sync", &self.name);
        self.file.sync()
    }
}
