//! Wherever a power cut ends the last segment, what is whole of it is there.

use replica_log::{Damage, MemoryFolder};
use words::Record;

use crate::model::{open, partition, prepare, write};

#[test]
fn every_truncation_of_the_last_segment_leaves_a_prefix() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    let records: Vec<Record> = (1..=12).map(|decree| prepare(partition(1), 1, decree)).collect();
    let mut ends = vec![log.bytes()];
    for record in &records {
        write(&mut log, std::slice::from_ref(record));
        ends.push(log.bytes());
    }
    let bytes = files.content("log.1").expect("there");
    for length in usize::try_from(ends[0]).expect("small")..=bytes.len() {
        for tail in [&[][..], &[0; 700], &[0xa5; 40]] {
            files.set_content("log.1", [&bytes[..length], tail].concat());
            let whole = ends.iter().filter(|&&end| end <= length as u64).count() - 1;
            let (mut log, opened) = open(&files, 1 << 20);
            assert_eq!((opened.damage, opened.records.len()), (Damage::None, whole), "cut to {length}");
            assert_eq!(opened.records, records[..whole]);
            assert_eq!(log.bytes(), ends[whole]);
            // What is written in the torn one's place is all that follows.
            write(&mut log, &records[11..]);
            assert_eq!(open(&files, 1 << 20).1.records, [&records[..whole], &records[11..]].concat());
        }
    }
}

#[test]
fn the_end_of_a_write_without_its_beginning_is_torn_and_no_damage() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, 1 << 20);
    let records: Vec<Record> = (1..=12).map(|decree| prepare(partition(1), 1, decree)).collect();
    write(&mut log, &records[..4]);
    let synced = usize::try_from(log.bytes()).expect("small");
    log.append(&records[4..]).expect("appends");
    let bytes = files.content("log.1").expect("there");
    for at in synced..bytes.len() {
        let mut torn = bytes.clone();
        torn[at] ^= 1;
        files.set_content("log.1", torn);
        let opened = open(&files, 1 << 20).1;
        assert_eq!(opened.damage, Damage::None, "byte {at}");
        let found = opened.records.len();
        assert!(found >= 4 && opened.records == records[..found], "byte {at}: not a prefix");
    }
}
