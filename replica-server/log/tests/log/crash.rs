//! Whatever the moment and the outcome of a crash, all that was synced is there, in order, and no damage is
//! told.

use std::io;
use std::sync::Arc;

use replica_log::{Crash, Damage, FileSystem, MemoryFolder, Opened, Options, PrepareLog};
use words::{Decree, Record};

use crate::model::{ballot, created, noted, open, partition, prepare, write};

const SMALL: u64 = 250;

/// What a run had done when the power went.
#[derive(Default)]
struct Done {
    appended: Vec<Record>,
    synced: usize,
    collected: bool,
}

/// Appends, syncs and collects over many segments, until something fails.
fn run(files: &MemoryFolder, done: &mut Done) -> io::Result<()> {
    let files: Arc<dyn FileSystem> = Arc::new(files.clone());
    let (mut log, _) = PrepareLog::open(files, Options { segment_bytes: SMALL }).map_err(io::Error::other)?;
    let (one, two) = (partition(1), partition(2));
    let append = |log: &mut PrepareLog, done: &mut Done, records: &[Record]| {
        done.appended.extend_from_slice(records);
        log.append(records)
    };
    append(&mut log, done, &[created(one), ballot(one, 1), created(two), ballot(two, 2)])?;
    for decree in 1..=12 {
        append(&mut log, done, &[prepare(one, 1, decree), prepare(two, 2, decree)])?;
        if decree % 2 == 0 {
            append(&mut log, done, &[ballot(one, decree)])?;
            log.sync()?;
            done.synced = done.appended.len();
        }
        if decree % 5 == 0 {
            done.collected = true;
            log.collect(&[(one, Decree(decree - 3)), (two, Decree(decree - 2))])?;
        }
    }
    Ok(())
}

fn check(done: &Done, opened: &Opened, when: &str) {
    assert_eq!(opened.damage, Damage::None, "{when}");
    let found = prepares(&opened.records);
    let appended = prepares(&done.appended);
    let synced = prepares(&done.appended[..done.synced]).len();
    if !done.collected {
        assert!(opened.records.len() >= done.synced, "{when}: {} of {}", opened.records.len(), done.synced);
        assert_eq!(opened.records, done.appended[..opened.records.len()], "{when}");
    }
    // After a collection what is found is some stretch of what was appended, that goes beyond what was synced
    // and begins below what is durable (decree 2, then 7, as `run` collects).
    let stretch = (0..=appended.len())
        .find_map(|from| appended[from..].starts_with(&found).then_some((from, from + found.len())));
    let (from, to) = stretch.unwrap_or_else(|| panic!("{when}: not what was appended: {found:?}"));
    assert!(to >= synced, "{when}: only up to {to} of {synced}");
    assert!(from <= 2 * 7, "{when}: begins at {from}");
    // Ballots survive the removal of the segment that they were written in (S5).
    let (before, after) = (noted(&done.appended[..done.synced]), noted(&opened.records));
    for (gpid, (app, ballot)) in before {
        assert!(after.get(&gpid).is_some_and(|found| found.0 == app && found.1 >= ballot), "{when}: {gpid}");
    }
}

fn prepares(records: &[Record]) -> Vec<Record> {
    records.iter().filter(|record| matches!(record, Record::Prepare { .. })).cloned().collect()
}

fn outcomes() -> impl Iterator<Item = Crash> {
    [Crash::Lose, Crash::Keep]
        .into_iter()
        .chain((0..40).flat_map(|number| [Crash::Torn(number), Crash::Scattered(number)]))
}

#[test]
fn at_every_operation_with_every_outcome() {
    let files = MemoryFolder::new();
    let mut whole = Done::default();
    run(&files, &mut whole).expect("runs");
    let operations = files.operations();
    assert!(operations > 60 && files.list().expect("lists").len() > 2);
    for point in 0..=operations {
        for outcome in outcomes() {
            let when = format!("power cut after {point} of {operations}, {outcome:?}");
            let files = MemoryFolder::new();
            files.fail_after(point);
            let mut done = Done::default();
            assert_eq!(run(&files, &mut done).is_err(), point < operations, "{when}");
            files.crash(outcome);
            let (mut log, opened) = open(&files, SMALL);
            check(&done, &opened, &when);

            // It goes on from there, and what was found once is found again.
            let more = prepare(partition(1), 99, 99);
            write(&mut log, std::slice::from_ref(&more));
            files.crash(Crash::Lose);
            let again = open(&files, SMALL).1;
            assert_eq!(again.damage, Damage::None, "{when}");
            assert_eq!(again.records.last(), Some(&more), "{when}");
            assert_eq!(again.records[..again.records.len() - 1], opened.records, "{when}");
        }
    }
}

#[test]
fn at_every_operation_of_a_start_after_a_crash() {
    let crashed = || {
        let files = MemoryFolder::new();
        files.fail_after(47);
        let mut done = Done::default();
        run(&files, &mut done).expect_err("no power");
        files.crash(Crash::Torn(3));
        // Half-made segments, as a crash while rolling leaves them.
        files.set_content("log.90.new", Vec::new());
        files.set_content("log.91.new", b"holdflo".to_vec());
        (files, done)
    };
    for point in 0..20 {
        for outcome in outcomes() {
            let (files, done) = crashed();
            files.fail_after(point);
            let options = Options { segment_bytes: SMALL };
            let opened = PrepareLog::open(Arc::new(files.clone()), options).is_ok();
            files.crash(outcome);
            check(&done, &open(&files, SMALL).1, &format!("second power cut after {point}, {outcome:?}"));
            if opened {
                assert!(point >= 4, "a start removes the drafts and syncs");
                return;
            }
        }
    }
    panic!("no start gets through");
}

#[test]
fn a_process_that_dies_without_a_power_cut_has_lost_nothing_by_the_next_one() {
    for point in 0..60 {
        let files = MemoryFolder::new();
        files.fail_after(point);
        let mut done = Done::default();
        let _ = run(&files, &mut done);
        // `crash` would reset what is unsynced; copy the folder's view instead, by letting all work again.
        files.fail_after(u64::MAX);
        let opened = open(&files, SMALL).1;
        files.crash(Crash::Lose);
        let again = open(&files, SMALL).1;
        assert_eq!(again.records, opened.records, "what a start answers is durable, died after {point}");
    }
}

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
