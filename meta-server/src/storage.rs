//! The durable state in RocksDB: one key for each app, partition and node, written with a sync before anyone
//! hears of a change (§4.1).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use meta_core::{AppRecord, Change, EVENTS_KEPT, Event, MetaState, STEPS_KEPT, Step};
use rocksdb::{DB, DBCompressionType, IteratorMode, Options, WriteBatch, WriteOptions};
use words::{AppId, Configuration, Gpid, NodeAddress};

/// Raised whenever an older program could not read what this one writes.
const FORMAT: &[u8] = b"1";

const FORMAT_KEY: &[u8] = b"format";
const NAME_KEY: &[u8] = b"name";
/// Beginnings of keys; what follows is a number, big-endian, so that keys sort as numbers do.
const APP: &[u8] = b"app/";
const PARTITION: &[u8] = b"partition/";
const NODE: &[u8] = b"node/";
const STEP: &[u8] = b"step/";
const EVENT: &[u8] = b"event/";
const LEVEL_KEY: &[u8] = b"level";
const BLACK_LIST_KEY: &[u8] = b"black_list";

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
    #[error("{}: has format {found}, this program reads 1; run the program that wrote it", .path.display())]
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
    /// RocksDB failed.
    #[error("{}: {error}", .path.display())]
    RocksDb {
        /// The directory.
        path: PathBuf,
        /// What it says.
        error: rocksdb::Error,
    },
}

/// The state on disk.
pub(crate) struct Storage {
    db: DB,
    path: PathBuf,
}

impl Storage {
    /// Opens the state of the meta server `name` in `directory`, which is made if it is not there.
    pub(crate) fn open(directory: &Path, name: &str) -> Result<(Self, MetaState), StorageError> {
        let path = directory.join("state");
        refuse_foreign(directory, &path)?;
        fs::create_dir_all(&path).map_err(|error| StorageError::Directory { path: path.clone(), error })?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        // The state is small; by default RocksDB sets 64 MiB aside for it.
        options.set_write_buffer_size(4 << 20);
        options.set_keep_log_file_num(4);
        let db = DB::open(&options, &path).map_err(|error| opening_failed(directory, error))?;
        let storage = Self { db, path };
        storage.claim(name)?;
        let state = storage.read()?;
        Ok((storage, state))
    }

    /// Writes changes, all or none, and returns once they are on stable storage.
    pub(crate) fn write(&self, changes: &[Change]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        for change in changes {
            let (key, value) = encode(change);
            batch.put(key, value);
        }
        self.commit(batch)
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| self.failed(error))
    }

    /// Checks that the state is this server's, and of a format that is understood; notes both in a new one.
    fn claim(&self, name: &str) -> Result<(), StorageError> {
        let get = |key: &[u8]| self.db.get(key).map_err(|error| self.failed(error));
        let Some(format) = get(FORMAT_KEY)? else {
            // A directory that goes with a power cut would come back as the state of an empty cluster.
            sync_way_to(&self.path)
                .map_err(|error| StorageError::Directory { path: self.path.clone(), error })?;
            let mut batch = WriteBatch::default();
            batch.put(FORMAT_KEY, FORMAT);
            batch.put(NAME_KEY, name);
            return self.commit(batch);
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
        Ok(())
    }

    fn read(&self) -> Result<MetaState, StorageError> {
        let mut state = MetaState::default();
        for entry in self.db.iterator(IteratorMode::Start) {
            let (key, value) = entry.map_err(|error| self.failed(error))?;
            if *key == *FORMAT_KEY || *key == *NAME_KEY {
                continue;
            }
            let change = decode(&key, &value).ok_or_else(|| StorageError::Damaged {
                path: self.path.clone(),
                key: key.escape_ascii().to_string(),
            })?;
            state.put(change);
        }
        Ok(state)
    }

    fn failed(&self, error: rocksdb::Error) -> StorageError {
        StorageError::RocksDb { path: self.path.clone(), error }
    }
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

/// RocksDB has no kind of error for a lock that another process holds.
fn opening_failed(directory: &Path, error: rocksdb::Error) -> StorageError {
    let message = error.as_ref().to_lowercase();
    if message.contains("lock") {
        return StorageError::InUse(directory.to_owned());
    }
    StorageError::RocksDb { path: directory.to_owned(), error }
}

fn encode(change: &Change) -> (Vec<u8>, Vec<u8>) {
    let value = match change {
        Change::App(app) => postcard::to_stdvec(app),
        Change::Configuration { configuration, .. } => postcard::to_stdvec(configuration),
        Change::Node(address) => postcard::to_stdvec(address),
        Change::Level(level) => postcard::to_stdvec(level),
        Change::BlackList(nodes) => postcard::to_stdvec(nodes),
        Change::Step { step, .. } => postcard::to_stdvec(step),
        Change::Event(event) => postcard::to_stdvec(event),
    };
    let key = match change {
        Change::App(app) => [APP, &app.info.id.0.to_be_bytes()].concat(),
        Change::Configuration { gpid, .. } => {
            [PARTITION, &gpid.app.0.to_be_bytes(), &gpid.partition.to_be_bytes()].concat()
        }
        Change::Node(address) => [NODE, &address.node.0.to_be_bytes()].concat(),
        Change::Level(_) => LEVEL_KEY.to_vec(),
        Change::BlackList(_) => BLACK_LIST_KEY.to_vec(),
        // In place of the one that is kept no longer.
        Change::Step { gpid, step } => {
            let place = step.configuration.ballot.0 % STEPS_KEPT;
            let (app, partition) = (gpid.app.0.to_be_bytes(), gpid.partition.to_be_bytes());
            [STEP, &app, &partition, &place.to_be_bytes()].concat()
        }
        Change::Event(event) => [EVENT, &(event.number % EVENTS_KEPT).to_be_bytes()].concat(),
    };
    (key, value.expect("plain values always serialise"))
}

fn decode(key: &[u8], value: &[u8]) -> Option<Change> {
    match key {
        LEVEL_KEY => return postcard::from_bytes(value).ok().map(Change::Level),
        BLACK_LIST_KEY => return postcard::from_bytes(value).ok().map(Change::BlackList),
        _ => {}
    }
    if let Some(id) = key.strip_prefix(APP) {
        let app: AppRecord = postcard::from_bytes(value).ok()?;
        return (app.info.id.0.to_be_bytes() == *id).then_some(Change::App(app));
    }
    if let Some(gpid) = key.strip_prefix(PARTITION) {
        let (app, partition) = gpid.split_first_chunk::<4>()?;
        let partition = u32::from_be_bytes(partition.try_into().ok()?);
        let gpid = Gpid { app: AppId(u32::from_be_bytes(*app)), partition };
        let configuration: Configuration = postcard::from_bytes(value).ok()?;
        return Some(Change::Configuration { gpid, configuration });
    }
    if let Some(place) = key.strip_prefix(STEP) {
        let (app, place) = place.split_first_chunk::<4>()?;
        let (partition, place) = place.split_first_chunk::<4>()?;
        let gpid = Gpid { app: AppId(u32::from_be_bytes(*app)), partition: u32::from_be_bytes(*partition) };
        let step: Step = postcard::from_bytes(value).ok()?;
        let expected = (step.configuration.ballot.0 % STEPS_KEPT).to_be_bytes();
        return (expected == *place).then_some(Change::Step { gpid, step });
    }
    if let Some(place) = key.strip_prefix(EVENT) {
        let event: Event = postcard::from_bytes(value).ok()?;
        return ((event.number % EVENTS_KEPT).to_be_bytes() == *place).then_some(Change::Event(event));
    }
    let id = key.strip_prefix(NODE)?;
    let address: NodeAddress = postcard::from_bytes(value).ok()?;
    (address.node.0.to_be_bytes() == *id).then_some(Change::Node(address))
}

#[cfg(test)]
mod tests {
    use forgetful::{Recorder, can_mount};
    use meta_core::{AppStatus, Level, WallTime};
    use words::{AppInfo, Ballot, NodeId};

    use super::*;

    fn changes() -> Vec<Change> {
        let (name, app_type) = ("a".to_owned(), "counter".to_owned());
        let info = AppInfo { id: AppId(7), name, app_type, partition_count: 2, replica_count: 3 };
        let node = NodeId(u128::MAX - 1);
        let configuration =
            Configuration { ballot: Ballot(9), primary: Some(node), secondaries: vec![NodeId(1)] };
        let (name, address) = ("replica1".to_owned(), "host:1".to_owned());
        let mut dropped = AppRecord::new(info);
        dropped.status = AppStatus::Dropped { expires: WallTime(17) };
        dropped.envs.set("replica.deny_client_request", "reject*read").expect("it makes sense");
        dropped.former_names.push("b".to_owned());
        vec![
            Change::App(dropped),
            Change::Configuration { gpid: Gpid::new(7, 0), configuration: Configuration::default() },
            Change::Configuration { gpid: Gpid::new(7, 1), configuration: configuration.clone() },
            Change::Node(NodeAddress { node, name, address }),
            Change::Level(Level::Steady),
            Change::BlackList([node].into()),
            Change::Step {
                gpid: Gpid::new(7, 1),
                step: Step { at: WallTime(5), configuration, cause: "a test".to_owned() },
            },
            Change::Event(Event { number: 1001, at: WallTime(6), what: "another".to_owned() }),
        ]
    }

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (storage, state) = Storage::open(directory.path(), "meta1").expect("it opens");
        assert_eq!(state, MetaState::default());
        storage.write(&changes()).expect("it is written");
        drop(storage);
        let (_, state) = Storage::open(directory.path(), "meta1").expect("it opens again");
        assert_eq!(state.values().collect::<Vec<_>>(), changes());
    }

    /// A configuration is durable before anyone hears of it (§4.1); ballots never go back (S5).
    #[test]
    fn a_configuration_that_was_told_stays_wherever_the_power_goes() {
        let test = "storage::a_configuration_that_was_told_stays_wherever_the_power_goes";
        if !can_mount(test) {
            return;
        }
        let gpid = Gpid::new(7, 0);
        let open = |folder: &Path| Storage::open(&folder.join("data/meta1"), "meta1").expect("it opens");
        let mut recorder = Recorder::start();
        for ballot in 1..=6 {
            // Each start begins a log and a table of its own.
            let (storage, _) = open(recorder.path());
            let configuration = Configuration { ballot: Ballot(ballot), ..Configuration::default() };
            storage.write(&[Change::Configuration { gpid, configuration }]).expect("it is written");
            recorder.promise(ballot);
        }
        // RocksDB relies on a journal: it syncs a folder once for several new names in it.
        let run = recorder.finish().with_a_journal();
        let points = run.check_each_point(|folder, point| {
            let found: Vec<_> = open(folder).1.values().collect();
            let ballot = match &found[..] {
                [Change::Configuration { configuration, .. }] => configuration.ballot.0,
                [] => 0,
                other => panic!("{other:?}"),
            };
            let promised = point.promised.copied().unwrap_or_default();
            let most = point.next.copied().unwrap_or(promised);
            assert!((promised..=most).contains(&ballot), "ballot {ballot}");
        });
        forgetful::report(test, points, 0);
    }

    #[test]
    fn damaged_values_and_other_formats_are_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Storage::open(directory.path(), "meta1");
        let app_under_another_number = (b"app/\0\0\0\x08".as_slice(), encode(&changes()[0]).1);
        for (key, value) in [
            app_under_another_number,
            (b"app/\0\0\0\x07", vec![0xff; 3]),
            (b"partition/\0\0\0\x07\0\0", vec![0, 0, 0]),
            (b"node/short", vec![]),
            (b"nonsense", vec![1]),
        ] {
            let (storage, _) = open().expect("it opens");
            storage.db.put(key, value).expect("it is written");
            drop(storage);
            let error = open().err().expect("it is refused");
            assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
            let options = Options::default();
            DB::open(&options, directory.path().join("state"))
                .expect("it opens")
                .delete(key)
                .expect("it is deleted");
        }
        let (storage, _) = open().expect("it opens");
        storage.db.put(FORMAT_KEY, "2").expect("it is written");
        drop(storage);
        let error = open().err().expect("it is refused").to_string();
        assert!(
            error.ends_with("has format 2, this program reads 1; run the program that wrote it"),
            "{error}"
        );
    }
}
