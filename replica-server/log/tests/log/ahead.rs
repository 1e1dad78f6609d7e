//! Zeros that are written ahead: they make syncs cheap, and mean nothing.

use replica_log::{Crash, Damage, FileSystem, MemoryFolder, Opened, Options, PrepareLog};
use words::Record;

use crate::model::{created, open_with, partition, prepare, write};

/// Room for some twenty records.
const AHEAD: u64 = 2000;

fn open(files: &MemoryFolder, segment_bytes: u64) -> (PrepareLog, Opened) {
    open_with(files, Options { segment_bytes, ahead_bytes: AHEAD })
}

fn records() -> Vec<Record> {
    let one = partition(1);
    let mut records = vec![created(one)];
    records.extend((1..=90).map(|decree| prepare(one, 1, decree)));
    records
}

fn last_file(files: &MemoryFolder) -> (String, Vec<u8>) {
    let mut names = files.list().expect("lists");
    names.sort_by_key(|name| (name.len(), name.clone()));
    let name = names.pop().expect("a segment");
    let content = files.content(&name).expect("its content");
    (name, content)
}

#[test]
fn what_goes_over_zeros_leaves_the_file_as_long_as_it_was() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    write(&mut log, &records()[..2]);
    let length = files.used();
    for record in &records()[2..8] {
        write(&mut log, std::slice::from_ref(record));
        assert_eq!(files.used(), length);
    }
    let (_, content) = last_file(&files);
    assert!(content[log.bytes() as usize..].iter().all(|&byte| byte == 0));
    assert_eq!(open(&files, 1 << 20).1.records, records()[..8]);
}

#[test]
fn only_the_last_segment_has_any() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 500);
    write(&mut log, &records());
    for record in &records()[1..] {
        write(&mut log, std::slice::from_ref(record));
        let zeros = last_file(&files).1.iter().rev().take_while(|&&byte| byte == 0).count() as u64;
        let behind = files.used() - log.bytes();
        // The last byte of a checksum may be zero as well.
        assert!((behind..=behind + 4).contains(&zeros), "{behind} behind the records, {zeros} zeros");
    }
}

#[test]
fn rubbish_in_their_place_is_no_damage() {
    for rubbish in [1, 0x5a, 0xff] {
        let files = MemoryFolder::new();
        let (mut log, _) = open(&files, 1 << 20);
        write(&mut log, &records()[..5]);
        let (name, mut content) = last_file(&files);
        content[log.bytes() as usize..].fill(rubbish);
        files.set_content(&name, content);
        let opened = open(&files, 1 << 20).1;
        assert_eq!((opened.records.as_slice(), opened.damage), (&records()[..5], Damage::None));
    }
}

#[test]
fn a_disk_with_too_little_room_for_them_takes_records_all_the_same() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    write(&mut log, &records()[..1]);
    let before = files.used();
    files.set_capacity(Some(before + AHEAD / 2));
    let mut written = 1;
    while log.append(&records()[written..=written]).is_ok() {
        log.sync().expect("syncs");
        written += 1;
    }
    assert!(!log.has_failed());
    let frame = log.bytes() / written as u64;
    assert!(
        files.used() + 2 * frame > before + AHEAD / 2,
        "{} of {before} and half of {AHEAD}",
        files.used()
    );
    files.set_capacity(None); // a start writes what may be torn again
    files.crash(Crash::Lose);
    assert_eq!(open(&files, 1 << 20).1.records, records()[..written]);
}
