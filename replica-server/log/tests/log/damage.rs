//! What rots costs the partitions that it touches, is told, and never changes a record.

use std::sync::Arc;

use replica_log::{Damage, LogError, MemoryFolder, Opened, Options, PrepareLog};
use words::{Decree, Gpid, Record, Write, WriteKind};

use crate::model::{ballot, created, id, of, open, partition, prepare, segments, write};

const SMALL: u64 = 380;
/// Length of a segment's header.
const HEADER: usize = 36;

/// Three partitions over three segments.
fn records() -> Vec<Record> {
    let gpids = [partition(0), partition(1), partition(2)];
    let mut records: Vec<Record> = gpids.iter().flat_map(|&gpid| [created(gpid), ballot(gpid, 1)]).collect();
    for decree in 1..=4 {
        records.extend(gpids.map(|gpid| prepare(gpid, 1, decree)));
    }
    records
}

/// Each record is synced before the next one is appended.
fn log_of(records: &[Record]) -> MemoryFolder {
    let files = MemoryFolder::new();
    let mut log = open(&files, SMALL).0;
    for record in records {
        write(&mut log, std::slice::from_ref(record));
    }
    files
}

/// A copy of `files` with one file changed.
fn changed(files: &MemoryFolder, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> MemoryFolder {
    let copy = MemoryFolder::new();
    for name in replica_log::FileSystem::list(files).expect("lists") {
        copy.set_content(&name, files.content(&name).expect("listed"));
    }
    let mut bytes = copy.content(name).expect("there");
    change(&mut bytes);
    copy.set_content(name, bytes);
    copy
}

/// Flips a bit in the first record of `decree` and `gpid`: in its payload, or in its frame's header.
fn with_bad(part: Part, files: &MemoryFolder, gpid: Gpid, decree: u64) -> MemoryFolder {
    let text = format!("{gpid} write {}", id(1, decree)).into_bytes();
    for name in replica_log::FileSystem::list(files).expect("lists") {
        let bytes = files.content(&name).expect("listed");
        let Some(found) = bytes.windows(text.len()).position(|window| window == text) else {
            continue;
        };
        let mut frame = HEADER;
        loop {
            let length = bytes[frame..frame + 4].try_into().expect("four bytes");
            let next = frame + 24 + u32::from_le_bytes(length) as usize;
            if next > found {
                break;
            }
            frame = next;
        }
        let at = if part == Part::Payload { found } else { frame + 4 };
        return changed(files, &name, |bytes| bytes[at] ^= 0x20);
    }
    panic!("no such record");
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Payload,
}

fn damaged(gpids: &[Gpid]) -> Damage {
    Damage::Partitions(gpids.iter().map(|&gpid| (gpid, "its prepare log is damaged".to_owned())).collect())
}

/// What is found is what was written, but for partitions that are told to be damaged; or, if a tail was cut,
/// its beginning.
fn check(opened: &Opened, segment_is_last: bool, when: &str) {
    let whole = |gpid| match &opened.damage {
        Damage::None => true,
        Damage::Partitions(hurt) => !hurt.contains_key(&gpid),
        Damage::All => false,
    };
    for gpid in (0..3).map(partition) {
        let (found, written) = (of(&opened.records, gpid), of(&records(), gpid));
        // A restatement gives back what the record that rotted had said.
        let mut prepares = found.iter().filter(|record| matches!(record, Record::Prepare { .. }));
        let mut rest = written.iter();
        assert!(prepares.all(|found| rest.any(|written| written == found)), "{when}: not what was written");
        if whole(gpid) && found != written {
            assert!(segment_is_last, "{when}: {gpid} has less and is not told of");
        }
    }
    if opened.damage == Damage::None && opened.records != records() {
        let missing = records().len() - opened.records.len();
        assert!(segment_is_last && missing == 1, "{when}: {missing} cut off");
    }
}

#[test]
fn no_flipped_byte_changes_a_record() {
    let files = log_of(&records());
    assert_eq!(segments(&files), 3);
    for segment in 1..=3 {
        let name = format!("log.{segment}");
        for at in 0..files.content(&name).expect("there").len() {
            for flip in [0x01, 0x80, 0xff] {
                let when = format!("{name} byte {at} ^ {flip:#x}");
                let files = changed(&files, &name, |bytes| bytes[at] ^= flip);
                let (log, opened) = open(&files, SMALL);
                check(&opened, segment == 3, &when);
                drop(log);
                let again = open(&files, SMALL).1;
                assert_eq!((again.records, again.damage), (opened.records, opened.damage), "{when}, again");
            }
        }
    }
}

#[test]
fn a_bad_payload_costs_its_partition_and_a_bad_header_all() {
    let files = log_of(&records());
    let (one, two) = (partition(1), partition(2));
    let opened = open(&with_bad(Part::Payload, &files, one, 2), SMALL).1;
    assert_eq!(opened.damage, damaged(&[one]));
    assert_eq!(opened.records.len(), records().len() - 1);
    let opened = open(&with_bad(Part::Payload, &with_bad(Part::Payload, &files, one, 2), two, 1), SMALL).1;
    assert_eq!(opened.damage, damaged(&[one, two]));

    let opened = open(&with_bad(Part::Header, &files, one, 2), SMALL).1;
    assert_eq!((opened.damage, opened.records.len()), (Damage::All, records().len() - 1));

    // Whoever was created later is not touched.
    let opened = open(&changed(&files, "log.1", |bytes| bytes[HEADER] ^= 1), SMALL).1;
    assert_eq!(opened.damage, damaged(&[partition(0)]));
}

#[test]
fn a_restatement_is_never_torn() {
    // As a crash right after a new segment was made leaves it: nothing follows the restatement.
    let files = MemoryFolder::new();
    let mut log = open(&files, 0).0;
    write(&mut log, &[created(partition(0)), created(partition(1))]);
    let restated = files.content("log.2").expect("there").len() - of_one_frame(&files);
    for at in HEADER..restated {
        let files = changed(&files, "log.2", |bytes| {
            bytes.truncate(restated);
            bytes[at] ^= 1;
        });
        assert_ne!(open(&files, 0).1.damage, Damage::None, "byte {at}");
    }
}

/// Length of the frame that is all of log.1.
fn of_one_frame(files: &MemoryFolder) -> usize {
    files.content("log.1").expect("there").len() - HEADER
}

#[test]
fn a_lost_or_short_segment_costs_all() {
    let files = log_of(&records());
    replica_log::FileSystem::remove(&files, "log.2").expect("there");
    assert_eq!(open(&files, SMALL).1.damage, Damage::All);
    for name in ["log.1", "log.3"] {
        let files = log_of(&records());
        for length in [0, 10, HEADER, 60] {
            let files = changed(&files, name, |bytes| bytes.truncate(length));
            assert_eq!(open(&files, SMALL).1.damage, Damage::All, "{name} cut to {length}");
            let (mut log, _) = open(&files, SMALL);
            write(&mut log, &[prepare(partition(0), 1, 5)]);
            assert_eq!(open(&files, SMALL).1.records.last(), Some(&prepare(partition(0), 1, 5)));
        }
    }
}

#[test]
fn damage_is_told_until_its_partition_is_removed() {
    let one = partition(1);
    let files = with_bad(Part::Payload, &log_of(&records()), one, 1);
    let all_durable: Vec<(Gpid, Decree)> = (0..3).map(|index| (partition(index), Decree(99))).collect();
    for _ in 0..3 {
        let (mut log, opened) = open(&files, SMALL);
        assert_eq!(opened.damage, damaged(&[one]));
        // The place goes, the next start knows all the same.
        log.collect(&all_durable).expect("collects");
        assert_eq!(segments(&files), 1);
    }
    let (mut log, _) = open(&files, SMALL);
    write(&mut log, &[Record::Removed { gpid: one, ballot: words::Ballot(7) }]);
    drop(log);
    let (mut log, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, Damage::None);
    assert_eq!(of(&opened.records, one), [Record::Removed { gpid: one, ballot: words::Ballot(7) }]);
    // Nothing of it is told in the segments that follow either.
    for _ in 0..10 {
        write(&mut log, &[prepare(partition(0), 1, 5)]);
    }
    assert!(log.collect(&all_durable).expect("collects") > 0);
    assert_eq!(open(&files, SMALL).1.damage, Damage::None);
}

/// What is given up on is told again as what rotted is, with the reason of who gave it up.
#[test]
fn what_is_broken_is_told_until_its_partition_is_removed() {
    let (one, files) = (partition(1), log_of(&records()));
    let (mut log, _) = open(&files, SMALL);
    write(&mut log, &[Record::Broken { gpid: one, reason: "its app panicked".to_owned() }]);
    let told = Damage::Partitions([(one, "its app panicked".to_owned())].into());
    let all_durable: Vec<(Gpid, Decree)> = (0..3).map(|index| (partition(index), Decree(99))).collect();
    for _ in 0..3 {
        let (mut log, opened) = open(&files, SMALL);
        assert_eq!(opened.damage, told);
        assert_eq!(opened.records.last().map(Record::gpid), Some(partition(2)), "it is no record");
        for _ in 0..10 {
            write(&mut log, &[prepare(partition(2), 1, 5)]);
        }
        assert!(log.collect(&all_durable).expect("collects") > 0);
    }
    let (mut log, _) = open(&files, SMALL);
    write(&mut log, &[Record::Removed { gpid: one, ballot: words::Ballot(7) }]);
    assert_eq!(open(&files, SMALL).1.damage, Damage::None);
}

#[test]
fn damage_to_all_heals_partition_by_partition() {
    let files = with_bad(Part::Header, &log_of(&records()), partition(0), 1);
    let (mut log, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, Damage::All);
    write(
        &mut log,
        &[
            Record::Removed { gpid: partition(0), ballot: words::Ballot(7) },
            Record::Removed { gpid: partition(1), ballot: words::Ballot(7) },
        ],
    );
    // A restatement in a new segment is not a new partition; one that was created now is.
    for index in 5..15 {
        write(&mut log, &[created(partition(index))]);
    }
    drop(log);
    let (mut log, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, damaged(&[partition(2)]));
    log.collect(&[]).expect("collects");
    assert_eq!(segments(&files), 1);
    drop(log);
    let (mut log, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, damaged(&[partition(2)]));
    write(&mut log, &[Record::Removed { gpid: partition(2), ballot: words::Ballot(7) }]);
    assert_eq!(open(&files, SMALL).1.damage, Damage::None);
}

#[test]
fn a_damaged_segment_is_not_written_to_again() {
    let files = with_bad(Part::Payload, &log_of(&records()), partition(1), 4);
    let before = files.content("log.3").expect("there");
    let (mut log, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, damaged(&[partition(1)]));
    write(&mut log, &[prepare(partition(2), 1, 5)]);
    assert_eq!((segments(&files), files.content("log.3")), (4, Some(before)));
}

#[test]
fn a_frame_inside_of_a_payload_is_no_record() {
    // A client writes what it knows to be a frame of this very log; then the header before it rots.
    let files = log_of(&[prepare(partition(0), 1, 1)]);
    let frame = files.content("log.1").expect("there").split_off(HEADER);
    let Record::Prepare { mutation, .. } = prepare(partition(0), 1, 2) else { unreachable!() };
    let mut mutation = Arc::unwrap_or_clone(mutation);
    let kind = WriteKind::Update;
    mutation.writes = vec![Write { session: None, kind, payload: frame.clone().into() }].into();
    let carrier = Record::Prepare {
        gpid: partition(0),
        ballot: words::Ballot(1),
        mutation: Arc::new(mutation),
        replaces: false,
        last_committed: Decree(1),
    };
    let last = prepare(partition(0), 1, 3);
    let files = log_of(&[prepare(partition(0), 1, 1), carrier, last.clone()]);
    let files = changed(&files, "log.1", |bytes| bytes[HEADER + frame.len()] ^= 1);
    let opened = open(&files, SMALL).1;
    assert_eq!(opened.damage, Damage::All);
    assert_eq!(opened.records, [prepare(partition(0), 1, 1), last]);
}

#[test]
fn another_version_is_refused_with_what_to_do() {
    let files = changed(&log_of(&records()), "log.2", |bytes| {
        bytes[8] = 77;
        let checksum = crc32c::crc32c(&bytes[..HEADER - 4]).to_le_bytes();
        bytes[HEADER - 4..HEADER].copy_from_slice(&checksum);
    });
    let error = PrepareLog::open(Arc::new(files), Options::default()).expect_err("refused");
    assert!(matches!(error, LogError::Version { found: 77, .. }));
    let text = error.to_string();
    assert!(
        text.contains("log.2") && text.contains("version 77") && text.contains("run the version"),
        "{text}"
    );
}

#[test]
fn garbage_of_any_kind_opens() {
    let mut number = 1_u64;
    let mut garbage = |length: usize| -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        bytes.resize_with(length, || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number.to_le_bytes()[7]
        });
        bytes
    };
    for length in 0..300 {
        let files = MemoryFolder::new();
        files.set_content("log.7", garbage(length));
        let (mut log, opened) = open(&files, SMALL);
        assert_eq!((opened.damage, opened.records), (Damage::All, vec![]));
        write(&mut log, &records());
        assert_eq!(open(&files, SMALL).1.records, records());
    }
}
