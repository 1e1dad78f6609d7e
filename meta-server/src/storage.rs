//! The folder of one meta server in RocksDB: who it is, Raft's vote and log, and the state that the log led to. All
//! of it in one database, so that one write-ahead log keeps their order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use meta_core::MetaState;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, IteratorMode, Options, WriteBatch,
    WriteOptions,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::raft::MemberId;
use crate::records::decode;

/// Raised whenever an older program could not read what this one writes.
const FORMAT: &[u8] = b"2";

const FORMAT_KEY: &[u8] = b"format";
const NAME_KEY: &[u8] = b"name";
const ID_KEY: &[u8] = b"id";

/// Where the values of the state are; those about it are beside it.
const STATE: &str = "state";
/// Where the log's entries are, by index.
const LOG: &str = "log";

/// Why the state can't be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has it open.
    #[error("{}: in use by another process; stop that one, or use another `data_dir` or `--name`", .0.display())]
    InUse(PathBuf),
    /// It holds something else, or the state of another server.
    #[error("{}: {what}; use another `data_dir` or `--name`", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        what: String,
    },
    /// It was written by a program of another version.
    #[error("{}: has format {found}, this program reads 2; run the program that wrote it", .path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: String,
    },
    /// A value can't be read; the state can't be trusted.
    #[error("{}: the value of `{key}` is damaged; restore the directory from a copy", .path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// The directory can't be made or read.
    #[error("{}: {error}; check the path and its permissions", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// RocksDB can't open what is there.
    #[error(
        "{}: {error}; if it is damaged, restore it from a copy, or start with an empty `data_dir`: a majority of the \
         other meta servers lets it in, and if there is none, `admin recover` finds out again what it knew",
        .path.display()
    )]
    Unopened {
        /// The directory.
        path: PathBuf,
        /// What RocksDB says.
        error: rocksdb::Error,
    },
    /// RocksDB failed to read or write.
    #[error("{}: {error}; check the disk's space and health, and start again", .path.display())]
    RocksDb {
        /// The directory.
        path: PathBuf,
        /// What it says.
        error: rocksdb::Error,
    },
}

/// Whether a write has to be on stable storage when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Now,
    /// With the next write that is: what is lost with the power is found again in the log.
    Later,
}

/// A key and its value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// The open folder.
pub(crate) struct Storage {
    db: DB,
    path: PathBuf,
    id: MemberId,
    /// Dropped after the database: that is how [`Closed`] learns that it is closed.
    _open: mpsc::Sender<()>,
}

/// Tells when nobody has the folder open any more.
pub(crate) struct Closed(mpsc::Receiver<()>);

impl Closed {
    pub(crate) async fn wait(mut self) {
        // Nobody sends; the last sender goes with the database.
        let _ = self.0.recv().await;
    }
}

impl Storage {
    /// Opens the folder of the meta server `name`, which is made if it is not there.
    pub(crate) fn open(directory: &Path, name: &str) -> Result<(Self, Closed), StorageError> {
        let path = directory.join("state");
        refuse_foreign(directory, &path)?;
        fs::create_dir_all(&path).map_err(|error| StorageError::Directory { path: path.clone(), error })?;
        let families = [rocksdb::DEFAULT_COLUMN_FAMILY_NAME, STATE, LOG]
            .map(|family| ColumnFamilyDescriptor::new(family, options()));
        let db = DB::open_cf_descriptors(&options(), &path, families)
            .map_err(|error| opening_failed(directory, error))?;
        let (open, closed) = mpsc::channel(1);
        let mut storage = Self { db, path, id: 0, _open: open };
        storage.id = storage.claim(name)?;
        Ok((storage, Closed(closed)))
    }

    /// Who this server is.
    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    /// The family of the state's values.
    pub(crate) fn state(&self) -> &ColumnFamily {
        self.db.cf_handle(STATE).expect("it was opened with it")
    }

    /// The family of the log.
    pub(crate) fn log(&self) -> &ColumnFamily {
        self.db.cf_handle(LOG).expect("it was opened with it")
    }

    /// The value of a key beside state and log.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StorageError> {
        let value = self.db.get(key).map_err(|error| self.failed(error))?;
        value.map(|value| self.decoded(key, &value)).transpose()
    }

    /// The entries of a family from a place on, or backwards from its end.
    pub(crate) fn scan<'s>(
        &'s self,
        family: &'s ColumnFamily,
        from: IteratorMode<'_>,
    ) -> impl Iterator<Item = Result<Entry, StorageError>> + 's {
        self.db.iterator_cf(family, from).map(|entry| entry.map_err(|error| self.failed(error)))
    }

    pub(crate) fn decoded<T: DeserializeOwned>(&self, key: &[u8], value: &[u8]) -> Result<T, StorageError> {
        postcard::from_bytes(value).map_err(|_| self.damaged(key))
    }

    pub(crate) fn damaged(&self, key: &[u8]) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), key: key.escape_ascii().to_string() }
    }

    /// Writes all or nothing.
    pub(crate) fn commit(&self, batch: WriteBatch, sync: Sync) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync == Sync::Now);
        self.db.write_opt(batch, &options).map_err(|error| self.failed(error))
    }

    /// Checks that the folder is this server's, and of a format that is understood; notes both in a new one, and
    /// draws its id.
    fn claim(&self, name: &str) -> Result<MemberId, StorageError> {
        let get = |key: &[u8]| self.db.get(key).map_err(|error| self.failed(error));
        let Some(format) = get(FORMAT_KEY)? else {
            // A directory that goes with a power cut would come back as another server.
            sync_way_to(&self.path)
                .map_err(|error| StorageError::Directory { path: self.path.clone(), error })?;
            let id = rand::random_range(1..=MemberId::MAX);
            let mut batch = WriteBatch::default();
            batch.put(FORMAT_KEY, FORMAT);
            batch.put(NAME_KEY, name);
            batch.put(ID_KEY, encoded(&id));
            self.commit(batch, Sync::Now)?;
            return Ok(id);
        };
        if format != FORMAT {
            let found = String::from_utf8_lossy(&format).into_owned();
            return Err(StorageError::Format { path: self.path.clone(), found });
        }
        let owner = get(NAME_KEY)?.unwrap_or_default();
        if owner != name.as_bytes() {
            let what = format!("belongs to `{}`", String::from_utf8_lossy(&owner));
            return Err(StorageError::Foreign { path: self.path.clone(), what });
        }
        self.get(ID_KEY)?.ok_or_else(|| self.damaged(ID_KEY))
    }

    /// The state as it was last applied.
    pub(crate) fn read_state(&self) -> Result<MetaState, StorageError> {
        let mut state = MetaState::default();
        for entry in self.scan(self.state(), IteratorMode::Start) {
            let (key, value) = entry?;
            state.put(decode(&key, &value).ok_or_else(|| self.damaged(&key))?);
        }
        Ok(state)
    }

    fn failed(&self, error: rocksdb::Error) -> StorageError {
        StorageError::RocksDb { path: self.path.clone(), error }
    }
}

/// A value as it is stored.
pub(crate) fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values always serialise")
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_compression_type(DBCompressionType::Lz4);
    // All of it is small; by default RocksDB sets 64 MiB aside for each family.
    options.set_write_buffer_size(4 << 20);
    options.set_keep_log_file_num(4);
    options
}

/// A directory with something in it, but no state: it is somebody else's.
fn refuse_foreign(directory: &Path, state: &Path) -> Result<(), StorageError> {
    let is_empty = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(StorageError::Directory { path: directory.to_owned(), error }),
    };
    if is_empty || state.is_dir() {
        return Ok(());
    }
    let what = "holds something else than a meta server's state".to_owned();
    Err(StorageError::Foreign { path: directory.to_owned(), what })
}

/// Makes a folder durable as such: its name, and those of the folders that it is in, which may be as new.
fn sync_way_to(folder: &Path) -> io::Result<()> {
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match fs::File::open(above) {
            // One that may not be read was not made by us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}

/// What RocksDB says of a lock that somebody else holds, which is no kind of error of its own. The word alone says
/// nothing: a damaged *block* has it too.
const LOCKED: [&str; 2] = ["While lock file", "lock hold by current process"];

fn opening_failed(directory: &Path, error: rocksdb::Error) -> StorageError {
    if LOCKED.iter().any(|words| error.as_ref().contains(words)) {
        return StorageError::InUse(directory.to_owned());
    }
    StorageError::Unopened { path: directory.to_owned(), error }
}

#[cfg(test)]
mod tests;
