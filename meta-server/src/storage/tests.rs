use meta_core::{AppRecord, AppStatus, Change, Event, Level, Step, WallTime};
use words::{AppId, AppInfo, Ballot, Configuration, Gpid, NodeAddress, NodeId};

use super::*;
use crate::records::encode;

impl Storage {
    /// What RocksDB does by itself in a longer life: its tables are merged, and the change is noted in its manifest.
    pub(crate) fn compact(&self) {
        for family in [self.state(), self.log()] {
            self.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        }
    }
}

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
        Change::Drained([node].into()),
        Change::Step {
            gpid: Gpid::new(7, 1),
            step: Step { at: WallTime(5), configuration, cause: "a test".to_owned() },
        },
        Change::Event(Event { number: 1001, at: WallTime(6), what: "another".to_owned() }),
    ]
}

fn write(storage: &Storage, changes: &[Change]) {
    let mut batch = WriteBatch::default();
    for (key, value) in changes.iter().map(encode) {
        match value {
            Some(value) => batch.put_cf(storage.state(), key, value),
            None => batch.delete_cf(storage.state(), key),
        }
    }
    storage.commit(batch, Sync::Now).expect("it is written");
}

#[test]
fn what_is_written_is_read_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (storage, _) = Storage::open(directory.path(), "meta1").expect("it opens");
    assert_eq!(storage.read_state().expect("it is read"), MetaState::default());
    let id = storage.id();
    write(&storage, &changes());
    drop(storage);
    let (storage, _) = Storage::open(directory.path(), "meta1").expect("it opens again");
    let state = storage.read_state().expect("it is read");
    assert_eq!(state.values().collect::<Vec<_>>(), changes());
    write(&storage, &[Change::NodeRemoved(NodeId(u128::MAX - 1))]);
    assert_eq!(storage.read_state().expect("it is read").nodes().count(), 0);
    assert_eq!(storage.id(), id);
}

/// A lost disk loses what its server had promised: a new one is somebody else.
#[test]
fn each_directory_is_another_server() {
    let id = || {
        let directory = tempfile::tempdir().expect("a directory");
        Storage::open(directory.path(), "meta1").expect("it opens").0.id()
    };
    assert_ne!(id(), id());
}

#[test]
fn damaged_values_and_other_formats_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Storage::open(directory.path(), "meta1");
    let app_under_another_number = (b"app/\0\0\0\x08".as_slice(), encode(&changes()[0]).1.expect("a value"));
    for (key, value) in [
        app_under_another_number,
        (b"app/\0\0\0\x07", vec![0xff; 3]),
        (b"partition/\0\0\0\x07\0\0", vec![0, 0, 0]),
        (b"node/short", vec![]),
        (b"nonsense", vec![1]),
    ] {
        let (storage, _) = open().expect("it opens");
        storage.db.put_cf(storage.state(), key, value).expect("it is written");
        let error = storage.read_state().expect_err("it is refused");
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
        storage.db.delete_cf(storage.state(), key).expect("it is deleted");
    }
    let (storage, _) = open().expect("it opens");
    storage.db.put(FORMAT_KEY, "1").expect("it is written");
    drop(storage);
    let error = open().err().expect("it is refused").to_string();
    assert!(error.ends_with("has format 1, this program reads 2; run the program that wrote it"), "{error}");
}

/// "Block checksum mismatch" has "lock" in it.
#[test]
fn a_damaged_table_is_not_taken_for_one_in_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Storage::open(directory.path(), "meta1");
    // RocksDB makes a table of what an earlier life wrote.
    for _ in 0..2 {
        let (storage, _) = open().expect("it opens");
        write(&storage, &changes());
        let in_use = open().err().expect("it is refused");
        assert!(matches!(in_use, StorageError::InUse(_)), "{in_use}");
    }
    let is_table = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sst");
    let files = fs::read_dir(directory.path().join("state")).expect("it is listed");
    let table = files.map(|file| file.expect("a file").path()).find(is_table).expect("a table");
    let mut content = fs::read(&table).expect("it is read");
    let before_the_footer = content.len() - 100;
    content[before_the_footer] ^= 1;
    fs::write(&table, content).expect("it is damaged");
    let error = open().err().expect("it is refused");
    assert!(error.to_string().contains("block checksum mismatch"), "{error}");
    assert!(matches!(error, StorageError::Unopened { .. }), "{error}");
}
