//! Reading mutations back.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use replica_log::{File, FileSystem, MemoryFolder, Options, PrepareLog, RealFolder};
use words::{Decree, Gpid, MutationId, Record};

use crate::model::{created, id, open, partition, prepare, raised, write};

fn ids(log: &PrepareLog, gpid: Gpid, from: u64, to: u64) -> Vec<MutationId> {
    let read = log.reader().read(gpid, Decree(from), Decree(to), usize::MAX).expect("reads");
    read.iter().map(|mutation| mutation.id).collect()
}

#[test]
fn a_raise_keeps_what_follows_and_a_replacement_removes_it() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 200);
    let one = partition(1);
    write(&mut log, &[created(one), prepare(one, 1, 1), prepare(one, 1, 2), prepare(one, 1, 3)]);
    write(&mut log, &[raised(one, 2, id(1, 2))]);
    assert_eq!(ids(&log, one, 1, 9), [id(1, 1), id(1, 2), id(1, 3)], "raised");
    write(&mut log, &[prepare(one, 3, 2)]);
    assert_eq!(ids(&log, one, 1, 9), [id(1, 1), id(3, 2)], "replaced");
    assert_eq!(ids(&log, one, 3, 9), [], "nothing is left from there on");
    assert_eq!(ids(&open(&files, 200).0, one, 1, 9), [id(1, 1), id(3, 2)], "and the same after a restart");
}

/// Seed 9607979 of the simulator: a start took a record below the first one for the beginning of something else, and
/// forgot where what follows was, though nobody else had that.
#[test]
fn what_was_raised_below_the_first_that_is_left_takes_nothing_away() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1);
    let one = partition(1);
    write(&mut log, &[created(one), prepare(one, 1, 1), prepare(one, 1, 2), prepare(one, 1, 3)]);
    // In the order in which they arrived.
    for decree in [3, 4, 1, 5, 2] {
        write(&mut log, &[raised(one, 2, id(1, decree))]);
    }
    log.collect(&[(one, Decree(3))]).expect("collects");
    let (mut log, opened) = open(&files, 1);
    assert_eq!(prepared(&opened.records), [4, 1, 5, 2], "all before that are cut");
    assert_eq!(ids(&log, one, 4, 9), [id(1, 4), id(1, 5)]);
    assert_eq!((ids(&log, one, 1, 9), ids(&log, one, 3, 9)), (vec![id(1, 1), id(1, 2)], vec![]));
    write(&mut log, &[prepare(one, 3, 2)]);
    assert_eq!((ids(&log, one, 1, 9), ids(&log, one, 4, 9)), (vec![id(1, 1), id(3, 2)], vec![]), "replaced");
}

#[test]
fn a_decree_that_is_far_from_all_others_begins_anew() {
    let (mut log, _) = open(&MemoryFolder::new(), 200);
    let one = partition(1);
    let far = 1 << 40;
    write(&mut log, &[prepare(one, 1, 1), prepare(one, 1, far), prepare(one, 1, far + 1)]);
    assert_eq!((ids(&log, one, 1, 9), ids(&log, one, far, u64::MAX).len()), (vec![], 2));
    write(&mut log, &[prepare(one, 1, 7)]);
    assert_eq!((ids(&log, one, 7, 9), ids(&log, one, far, u64::MAX).len()), (vec![id(1, 7)], 0));
}

fn prepared(records: &[Record]) -> Vec<u64> {
    let decree = |record: &Record| match record {
        Record::Prepare { mutation, .. } => Some(mutation.id.decree.0),
        _ => None,
    };
    records.iter().filter_map(decree).collect()
}

#[test]
fn a_range_is_cut_at_both_ends_and_by_bytes() {
    let (mut log, _) = open(&MemoryFolder::new(), 200);
    let one = partition(1);
    for decree in 5..=30 {
        write(&mut log, &[prepare(one, 1, decree)]);
    }
    assert_eq!(ids(&log, one, 4, 9), [], "not contiguous from there");
    assert_eq!(ids(&log, one, 29, 99), [id(1, 29), id(1, 30)]);
    assert_eq!(ids(&log, one, 31, 99), []);
    assert_eq!(ids(&log, one, 9, 8), []);
    assert_eq!(ids(&log, one, 0, u64::MAX), []);
    assert_eq!(ids(&log, one, 5, u64::MAX).len(), 26);
    assert_eq!(ids(&log, partition(2), 5, 9), []);
    let some = |max_bytes| log.reader().read(one, Decree(5), Decree(30), max_bytes).expect("reads").len();
    assert_eq!(some(0), 2, "one more than the learner has, or it would never get on");
    assert!(some(300) > 2 && some(300) < 26);
}

#[test]
fn an_installed_checkpoint_hides_what_was_logged_before_it() {
    let (mut log, _) = open(&MemoryFolder::new(), 200);
    let one = partition(1);
    write(&mut log, &[prepare(one, 1, 1), prepare(one, 1, 2)]);
    write(&mut log, &[Record::Installed { gpid: one, checkpoint: id(2, 2), suffix_kept: false }]);
    assert_eq!(ids(&log, one, 1, 2), []);
    write(&mut log, &[prepare(one, 2, 3)]);
    assert_eq!(ids(&log, one, 3, 3), [id(2, 3)]);
}

#[test]
fn what_rotted_is_an_error_and_never_another_mutation() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    let one = partition(1);
    write(&mut log, &[prepare(one, 1, 1)]);
    let mut bytes = files.content("log.1").expect("there");
    *bytes.last_mut().expect("not empty") ^= 1;
    files.set_content("log.1", bytes);
    let error = log.reader().read(one, Decree(1), Decree(1), usize::MAX).expect_err("is bad");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("log.1"), "{error}");
}

#[test]
fn a_reader_in_another_thread_sees_only_what_was_appended() {
    const LAST: u64 = 3000;
    let folder = tempfile::tempdir().expect("a folder");
    let files: Arc<dyn FileSystem> = Arc::new(RealFolder::open(folder.path()).expect("opens"));
    let (mut log, _) =
        PrepareLog::open(files, Options { segment_bytes: 4000, ahead_bytes: 2000 }).expect("opens");
    let one = partition(1);
    let reader = log.reader();
    let appended = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for decree in 1..=LAST {
                log.append(&[prepare(one, 1, decree)]).expect("appends");
                appended.store(decree, Ordering::Release);
                if decree % 100 == 0 {
                    log.collect(&[(one, Decree(decree / 2))]).expect("collects");
                }
            }
        });
        let mut from = 1;
        while from <= LAST {
            let known = appended.load(Ordering::Acquire);
            let read = reader.read(one, Decree(from), Decree(LAST), 2000).expect("reads");
            for mutation in &read {
                assert_eq!(mutation.id, id(1, from));
                from += 1;
            }
            // Collected while it was not looking: go on with what is surely held.
            if read.is_empty() && from <= known {
                from = from.max(known / 2 + 1);
            }
        }
    });
}

/// A start reads back what memory does not keep, of which a checkpoint's suffix is a part.
#[test]
fn an_installed_checkpoint_hides_no_suffix_that_was_kept() {
    let (mut log, _) = open(&MemoryFolder::new(), 200);
    let one = partition(1);
    let keeping = |decree| Record::Installed { gpid: one, checkpoint: id(1, decree), suffix_kept: true };
    write(&mut log, &[prepare(one, 1, 1), prepare(one, 1, 2), prepare(one, 1, 3), keeping(2)]);
    assert_eq!((ids(&log, one, 1, 2), ids(&log, one, 3, 3)), (vec![], vec![id(1, 3)]));
    write(&mut log, &[keeping(2), prepare(one, 1, 4)]);
    assert_eq!(ids(&log, one, 3, 9), [id(1, 3), id(1, 4)], "told again");
    write(&mut log, &[keeping(9), prepare(one, 1, 10)]);
    assert_eq!((ids(&log, one, 3, 9), ids(&log, one, 10, 10)), (vec![], vec![id(1, 10)]));
}

/// A folder whose first segment is collected, and is growing shorter, between the moment when a reader opens a file and
/// the moment when it reads it.
#[derive(Debug)]
struct Collecting {
    files: MemoryFolder,
    /// Done once.
    log: Mutex<Option<PrepareLog>>,
}

impl FileSystem for Collecting {
    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = self.files.open(name)?;
        if let Some(mut log) = self.log.lock().expect("no holder panics").take() {
            assert!(log.collect_one(&[(partition(1), Decree(99))]).expect("collects"));
            file.truncate(0)?;
        }
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.files.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.files.sync_folder()
    }
}

#[test]
fn what_is_collected_while_it_is_read_is_gone_and_no_damage() {
    let files = Arc::new(Collecting { files: MemoryFolder::new(), log: Mutex::new(None) });
    let (mut log, _) =
        PrepareLog::open(files.clone(), Options { segment_bytes: 200, ahead_bytes: 0 }).expect("opens");
    for decree in 1..=9 {
        write(&mut log, &[prepare(partition(1), 1, decree)]);
    }
    let reader = log.reader();
    *files.log.lock().expect("no holder panics") = Some(log);
    let read = |from| reader.read(partition(1), Decree(from), Decree(9), usize::MAX).expect("reads").len();
    assert_eq!(read(1), 0, "the log does not hold it any more");
    assert_eq!(read(9), 1, "what was not collected is there");
}
