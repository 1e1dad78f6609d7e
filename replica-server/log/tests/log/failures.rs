//! A disk that fails or is full (§7.1, §7.6).

use std::io::ErrorKind;

use replica_log::{Crash, Damage, MemoryFolder};
use words::{Decree, Record};

use crate::model::{created, open, partition, prepare, segments, write};

fn records() -> Vec<Record> {
    let one = partition(1);
    let mut records = vec![created(one)];
    records.extend((1..=10).map(|decree| prepare(one, 1, decree)));
    records
}

#[test]
fn a_failed_sync_ends_the_log() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    write(&mut log, &records()[..5]);
    log.append(&records()[5..]).expect("appends");
    files.fail_next_sync();
    log.sync().expect_err("fails");
    assert!(log.has_failed());
    let error = log.sync().expect_err("and is never tried again");
    assert!(error.to_string().contains("restart"), "{error}");
    log.append(&records()[5..]).expect_err("has failed");
    log.collect(&[(partition(1), Decree(9))]).expect_err("has failed");
    files.crash(Crash::Keep);
    let opened = open(&files, 1 << 20).1;
    assert_eq!((opened.records.as_slice(), opened.damage), (&records()[..5], Damage::None));
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_durable_once_a_start_answered_it() {
    // The process ends, the machine does not: the next start reads from the cache what is on no disk.
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    write(&mut log, &records()[..5]);
    log.append(&records()[5..]).expect("appends");
    files.fail_next_sync();
    log.sync().expect_err("fails");
    drop(log);
    assert_eq!(open(&files, 1 << 20).1.records, records());
    files.crash(Crash::Lose);
    assert_eq!(open(&files, 1 << 20).1.records, records());
}

#[test]
fn a_failed_write_leaves_nothing_and_can_be_tried_again() {
    for outcome in [Crash::Lose, Crash::Keep, Crash::Torn(1), Crash::Torn(2), Crash::Scattered(1)] {
        let files = MemoryFolder::new();
        let (mut log, _) = open(&files, 1 << 20);
        write(&mut log, &records()[..5]);
        files.fail_next_write();
        log.append(&records()[5..]).expect_err("fails");
        assert!(!log.has_failed());
        log.append(&records()[5..6]).expect("works again");
        log.sync().expect("syncs");
        files.crash(outcome);
        assert_eq!(open(&files, 1 << 20).1.records, records()[..6]);
    }
}

#[test]
fn a_full_disk_takes_writes_again_when_there_is_room() {
    // Whatever part of the write fits, nothing of it may come back: not even whole records that stood just
    // where a later, shorter write ends.
    let one = partition(1);
    for room in 0..600 {
        let files = MemoryFolder::new();
        let (mut log, _) = open(&files, 1 << 20);
        write(&mut log, &records()[..3]);
        files.set_capacity(Some(log.bytes() + room));
        let batch: Vec<Record> = (3..=20).map(|decree| prepare(one, 1, decree)).collect();
        assert_eq!(log.append(&batch).expect_err("no room").kind(), ErrorKind::StorageFull);
        files.set_capacity(None);
        let retried = prepare(one, 2, 3);
        log.append(std::slice::from_ref(&retried)).expect("there is room");
        // Not synced: the write may be lost, and what was there before must not shine through.
        let outcome = if room % 3 == 0 { Crash::Keep } else { Crash::Torn(room) };
        files.crash(outcome);
        let opened = open(&files, 1 << 20).1;
        assert_eq!(opened.damage, Damage::None, "room for {room}");
        let mut allowed = records()[..3].to_vec();
        if opened.records.len() == 4 {
            allowed.push(retried);
        }
        assert_eq!(opened.records, allowed, "room for {room}");
    }
}

#[test]
fn a_disk_that_is_full_when_a_segment_is_due() {
    for room in 0..120 {
        let files = MemoryFolder::new();
        let (mut log, _) = open(&files, 100);
        write(&mut log, &records()[..3]);
        let before = segments(&files);
        files.set_capacity(Some(log.bytes() + room));
        while log.append(&records()[3..4]).is_ok() {}
        assert!(!log.has_failed());
        files.set_capacity(None);
        write(&mut log, &records()[4..]);
        assert!(segments(&files) > before);
        let opened = open(&files, 100).1;
        assert_eq!(opened.damage, Damage::None);
        assert_eq!(opened.records[opened.records.len() - 7..], records()[4..]);
    }
}

#[test]
fn a_log_that_is_out_of_handles_when_a_segment_is_due_goes_on_later() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 0);
    write(&mut log, &records()[..2]);
    files.set_out_of_handles(true);
    assert_eq!(log.append(&records()[2..3]).expect_err("no handle").raw_os_error(), Some(24));
    assert!(!log.has_failed());
    files.set_out_of_handles(false);
    write(&mut log, &records()[2..]);
    assert_eq!(open(&files, 0).1.records, records());
}

#[test]
fn a_failure_while_a_segment_is_published_ends_the_log() {
    for failing in 0..3 {
        let files = MemoryFolder::new();
        let (mut log, _) = open(&files, 0);
        write(&mut log, &records()[..2]);
        // Sync (nothing to do), create, write, sync, rename, sync the folder.
        files.fail_after(2 + failing);
        log.append(&records()[2..3]).expect_err("fails");
        assert!(log.has_failed());
        files.crash(Crash::Keep);
        let opened = open(&files, 0).1;
        assert_eq!((opened.records.as_slice(), opened.damage), (&records()[..2], Damage::None));
    }
}
