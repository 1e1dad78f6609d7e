//! What is appended comes back, on a disk and in memory.

use std::sync::Arc;

use replica_log::{Damage, FileSystem, MemoryFolder, Options, PrepareLog, RealFolder};
use words::{Decree, Record};

use crate::model::{ballot, created, id, lowest, open, partition, prepare, segments, write};

fn records() -> Vec<Record> {
    let (one, two) = (partition(1), partition(2));
    let mut records = vec![created(one), ballot(one, 1), created(two), ballot(two, 3)];
    for decree in 1..=20 {
        records.extend([prepare(one, 1, decree), prepare(two, 3, decree)]);
    }
    records.push(Record::Installed { gpid: two, checkpoint: id(4, 30), suffix_kept: false });
    records
}

fn comes_back(files: &Arc<dyn FileSystem>, options: Options) {
    let (mut log, opened) = PrepareLog::open(files.clone(), options).expect("opens");
    assert_eq!((opened.records, opened.damage), (vec![], Damage::None));
    let (first, second) = (&records()[..11], &records()[11..]);
    log.append(first).expect("appends a batch");
    write(&mut log, second);
    let read = log.reader().read(partition(1), Decree(3), Decree(5), usize::MAX).expect("reads");
    assert_eq!(read.iter().map(|mutation| mutation.id).collect::<Vec<_>>(), [id(1, 3), id(1, 4), id(1, 5)]);
    let (bytes, count) = (log.bytes(), segments(&**files));
    drop(log);
    let (log, opened) = PrepareLog::open(files.clone(), options).expect("opens again");
    assert_eq!((opened.records, opened.damage), (records(), Damage::None));
    assert_eq!((log.bytes(), segments(&**files)), (bytes, count));
}

#[test]
fn in_one_segment_or_many_on_disk_or_in_memory() {
    let layouts = [(32 << 20, 256 << 10), (32 << 20, 0), (300, 900), (300, 0), (0, 900), (0, 0)];
    for (segment_bytes, ahead_bytes) in layouts {
        let options = Options { segment_bytes, ahead_bytes };
        let folder = tempfile::tempdir().expect("a folder");
        let real = RealFolder::open(folder.path().join("data/log")).expect("makes the folder");
        comes_back(&(Arc::new(real) as Arc<dyn FileSystem>), options);
        comes_back(&(Arc::new(MemoryFolder::new()) as Arc<dyn FileSystem>), options);
    }
}

#[test]
fn segments_restate_and_grow_by_what_is_appended() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1);
    write(&mut log, &records());
    // Every append but the first began a segment, though each restates more than `segment_bytes`.
    assert_eq!(segments(&files), records().len());
}

#[test]
fn what_was_removed_is_left_out() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 300);
    let (one, two) = (partition(1), partition(2));
    let again = [Record::Removed { gpid: one, ballot: words::Ballot(7) }, created(one), ballot(one, 9)];
    write(&mut log, &records());
    write(&mut log, &again);
    let (log, opened) = open(&files, 300);
    assert_eq!(crate::model::of(&opened.records, one), again);
    assert_eq!(crate::model::of(&opened.records, two), crate::model::of(&records(), two));
    assert_eq!(lowest(&log, one), None);
}

#[test]
fn the_folder_may_hold_other_files() {
    let files = MemoryFolder::new();
    for name in ["log", "log.", "log.x", "log.01", "log.-1", "log.18446744073709551615", "LOCK", "logs.1"] {
        files.set_content(name, b"not the log's".to_vec());
    }
    let (mut log, opened) = open(&files, 300);
    assert_eq!((opened.records, opened.damage), (vec![], Damage::None));
    write(&mut log, &records());
    assert_eq!(open(&files, 300).1.records, records());
    assert_eq!(files.content("log.x"), Some(b"not the log's".to_vec()));
}

#[test]
fn whatever_is_appended_together_is_one_write_and_one_sync() {
    let disk = Arc::new(MemoryFolder::new());
    let (mut log, _) = PrepareLog::open(disk.clone(), Options::default()).expect("opens");
    for records in [&records()[..1], &records()[1..]] {
        let before = disk.operations();
        log.append(records).and_then(|()| log.sync()).expect("a disk that works");
        assert_eq!(disk.operations() - before, 2, "{} records", records.len());
        log.sync().expect("a disk that works");
        assert_eq!(disk.operations() - before, 2, "nothing is new, so nothing is synced");
    }
}
