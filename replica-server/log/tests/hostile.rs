//! A log that somebody else wrote, or changed: no panic, no more memory than its length justifies, and never a
//! record that was not appended.

use std::sync::Arc;

use crc32c::{crc32c, crc32c_append};
use hostile::{flips, harmed, justified, noise, peak};
use proptest::prelude::*;
use replica_log::{Damage, MemoryFolder, Opened, Options, PrepareLog};
use words::{AppInfo, Ballot, Decree, Gpid, Mutation, MutationId, Record, Write, WriteKind};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

fn records() -> Vec<Record> {
    let gpid = Gpid::new(1, 0);
    let prepare = |decree: u64| {
        let write = |payload: &'static [u8]| Write {
            session: None,
            kind: WriteKind::Update,
            payload: payload.into(),
        };
        let id = MutationId { ballot: Ballot(1), decree: Decree(decree) };
        let writes = vec![write(b"add 5"), write(b"")].into();
        let mutation = Arc::new(Mutation { id, timestamp_us: 5, writes });
        Record::Prepare {
            gpid,
            ballot: Ballot(1),
            mutation,
            replaces: false,
            last_committed: Decree(decree - 1),
        }
    };
    vec![
        Record::Created { gpid, app: AppInfo { name: "a".to_owned(), ..AppInfo::default() } },
        Record::Ballot { gpid, ballot: Ballot(1) },
        prepare(1),
        prepare(2),
        Record::Created { gpid: Gpid::new(2, 1), app: AppInfo::default() },
        prepare(3),
    ]
}

/// A log of these records, each synced by itself: one segment if `segment_bytes` is large.
fn written(segment_bytes: u64) -> MemoryFolder {
    let files = MemoryFolder::new();
    let options = Options { segment_bytes, ahead_bytes: 0 };
    let (mut log, _) = PrepareLog::open(Arc::new(files.clone()), options).expect("opens");
    for record in records() {
        log.append(&[record]).expect("appends");
        log.sync().expect("syncs");
    }
    files
}

fn segment() -> Vec<u8> {
    written(1 << 20).content("log.1").expect("there")
}

/// Opens a log of which this is the one segment, or the first of two.
fn open(bytes: &[u8], is_last: bool) -> (Option<Opened>, usize) {
    let files = if is_last { MemoryFolder::new() } else { written(150) };
    files.set_content("log.1", bytes.to_vec());
    let (opened, peak) = peak(|| PrepareLog::open(Arc::new(files), Options::default()));
    (opened.ok().map(|(_, opened)| opened), peak)
}

fn only_what_was_appended(opened: &Opened) -> bool {
    opened.records.iter().all(|record| records().contains(record))
}

/// A segment of which everything is right but the payloads, as whoever knows the format can write one.
fn forged(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = written(1 << 20).content("log.1").expect("there");
    bytes.truncate(36);
    for payload in payloads {
        let at = bytes.len();
        let length = u32::try_from(payload.len()).expect("short");
        for field in [length, 1, 0, 0] {
            bytes.extend(field.to_le_bytes());
        }
        let salt = [1_u64.to_le_bytes(), (at as u64).to_le_bytes()].concat();
        let checksum = crc32c_append(crc32c(&salt), &bytes[at..]);
        bytes.extend(checksum.to_le_bytes());
        bytes.extend(payload);
        bytes.extend(crc32c(&bytes[at..]).to_le_bytes());
    }
    bytes
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let valid =
        prop::sample::select(records()).prop_map(|record| postcard::to_stdvec(&record).expect("plain data"));
    prop_oneof![noise(), harmed(valid)]
}

#[test]
fn a_forged_record_is_one() {
    let payloads: Vec<_> = records().iter().map(|it| postcard::to_stdvec(it).expect("plain data")).collect();
    // Those of partition 1.0: the header names it.
    let (opened, _) = open(&forged(&payloads[..4]), true);
    assert_eq!(opened.expect("opens").records, records()[..4], "the test knows the format");
}

#[test]
fn every_bit_of_a_synced_record_counts() {
    let segment = segment();
    for (bit, changed) in flips(&segment).enumerate() {
        for is_last in [true, false] {
            let (opened, _) = open(&changed, is_last);
            // A header of another version is refused, with what to do.
            let Some(opened) = opened else {
                panic!("bit {bit}: the checksum of the header was not looked at")
            };
            assert!(only_what_was_appended(&opened), "bit {bit} makes another record");
            let found = opened.records.len();
            assert!(
                found < records().len() || opened.damage != Damage::None,
                "bit {bit} makes no difference"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn noise_is_no_log(bytes in noise(), is_last in any::<bool>()) {
        let (opened, peak) = open(&bytes, is_last);
        prop_assert!(opened.is_none_or(|opened| only_what_was_appended(&opened)));
        prop_assert!(peak <= justified(bytes.len() + 2_000), "{peak} bytes for {}", bytes.len());
    }

    #[test]
    fn a_changed_segment_says_nothing_that_was_not_appended(
        bytes in harmed(Just(segment())),
        is_last in any::<bool>(),
    ) {
        let (opened, peak) = open(&bytes, is_last);
        prop_assert!(opened.is_none_or(|opened| only_what_was_appended(&opened)));
        prop_assert!(peak <= justified(bytes.len() + 2_000), "{peak} bytes for {}", bytes.len());
    }

    #[test]
    fn a_forged_segment_is_read_or_told_as_damage(payloads in prop::collection::vec(payload(), 1..5)) {
        let bytes = forged(&payloads);
        let (opened, peak) = open(&bytes, true);
        let opened = opened.expect("its header is right");
        // What a removal or a creation overtook is left out, or is damage no more.
        let heals = |record: &Record| matches!(record, Record::Removed { .. } | Record::Created { .. });
        let whole = opened.records.len() == payloads.len();
        prop_assert!(whole || opened.damage != Damage::None || opened.records.iter().any(heals));
        prop_assert!(peak <= justified(bytes.len()), "{peak} bytes for {}", bytes.len());
    }
}
