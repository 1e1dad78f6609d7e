//! Old segments go, and with them only what is not needed.

use proptest::prelude::*;
use replica_log::{Damage, MemoryFolder, Options};
use words::{Decree, Gpid, Record};

use crate::model::{
    ballot, created, id, lowest, mutations, note_replacements, noted, open, open_with, partition, prepare,
    raised, run, segments, write,
};

const SMALL: u64 = 200;

#[test]
fn only_what_is_durable_in_every_partition_is_collected() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, SMALL);
    let (one, two) = (partition(1), partition(2));
    write(&mut log, &[created(one), created(two), prepare(two, 1, 1)]);
    for decree in 1..=20 {
        write(&mut log, &[prepare(one, 1, decree)]);
    }
    assert_eq!(log.collect(&[(one, Decree(20)), (two, Decree(0))]).expect("collects"), 0);
    let before = segments(&files);
    let removed = log.collect(&[(one, Decree(10)), (two, Decree(1))]).expect("collects");
    assert!(removed > 2 && removed + 2 < before, "{removed} of {before}");
    assert_eq!(lowest(&log, two), None);
    let lowest = lowest(&log, one).expect("held");
    assert!(lowest > Decree(1) && lowest <= Decree(11), "{lowest}");

    // All is durable: the newest segment stays.
    log.collect(&[(one, Decree(20))]).expect("collects");
    assert_eq!(segments(&files), 1);
    let (_, opened) = open(&files, SMALL);
    assert_eq!(opened.damage, Damage::None);
    assert_eq!(opened.records[..4], [created(one), ballot(one, 1), created(two), ballot(two, 1)]);
}

#[test]
fn one_segment_at_a_time_comes_to_the_same() {
    let (at_once, one_by_one) = (MemoryFolder::new(), MemoryFolder::new());
    let durable = [(partition(1), Decree(10))];
    let fill = |files: &MemoryFolder| {
        let (mut log, _) = open(files, SMALL);
        for decree in 1..=20 {
            write(&mut log, &[prepare(partition(1), 1, decree)]);
        }
        log
    };
    let removed = fill(&at_once).collect(&durable).expect("collects");
    let (mut log, mut left) = (fill(&one_by_one), segments(&one_by_one));
    for _ in 0..removed {
        assert!(log.collect_one(&durable).expect("collects"));
        left -= 1;
        assert_eq!(segments(&one_by_one), left);
    }
    assert!(removed > 1 && !log.collect_one(&durable).expect("collects"), "{removed}");
    assert_eq!(left, segments(&at_once));
}

#[test]
fn a_removed_partition_holds_nothing_back_once_that_is_durable() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, SMALL);
    let one = partition(1);
    write(&mut log, &[created(one)]);
    for decree in 1..=20 {
        write(&mut log, &[prepare(one, 1, decree)]);
    }
    log.append(&[Record::Removed { gpid: one, ballot: words::Ballot(7) }]).expect("appends, without a sync");
    assert!(log.collect(&[(one, Decree(0))]).expect("collects") > 0);
    files.crash(replica_log::Crash::Lose);
    assert_eq!(
        noted(&open(&files, SMALL).1.records).len(),
        0,
        "the removal was durable before the segments went"
    );
}

#[test]
fn that_a_partition_was_removed_is_told_for_ever() {
    let files = MemoryFolder::new();
    let (mut log, _) = open(&files, SMALL);
    let (one, two) = (partition(1), partition(2));
    let removed = Record::Removed { gpid: one, ballot: words::Ballot(7) };
    write(&mut log, &[created(one), prepare(one, 1, 1), removed.clone(), created(two)]);
    for decree in 1..=60 {
        write(&mut log, &[prepare(two, 1, decree)]);
        log.collect(&[(two, Decree(decree))]).expect("collects");
    }
    let told = || -> Vec<Record> {
        let (_, opened) = open(&files, SMALL);
        opened.records.into_iter().filter(|record| record.gpid() == one).collect()
    };
    assert_eq!(told(), std::slice::from_ref(&removed));
    // Until it is created again, which the removal before that does not undo.
    let (mut log, _) = open(&files, SMALL);
    write(&mut log, &[created(one)]);
    for decree in 61..=120 {
        write(&mut log, &[prepare(two, 1, decree), prepare(one, 9, decree - 60)]);
        log.collect(&[(two, Decree(decree)), (one, Decree(0))]).expect("collects");
    }
    assert_eq!(told().len(), 62, "removed, created, and all that was prepared since");
}

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Record>),
    Collect(Vec<(Gpid, Decree)>),
    Reopen,
}

fn any_record() -> impl Strategy<Value = Record> {
    let gpid = (0_u32..3).prop_map(partition);
    (gpid, 0_u32..20, 1_u64..4, 0_u64..3, 1_u64..12).prop_map(|(gpid, kind, origin, higher, decree)| {
        match kind {
            0 => Record::Removed { gpid, ballot: words::Ballot(7) },
            1 => Record::Installed { gpid, checkpoint: id(origin, decree), suffix_kept: false },
            2 | 3 => created(gpid),
            4 => ballot(gpid, origin),
            _ => raised(gpid, origin + higher, id(origin, decree)),
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let durable = prop::collection::vec(((0_u32..3).prop_map(partition), (0_u64..12).prop_map(Decree)), 3);
    prop_oneof![
        8 => prop::collection::vec(any_record(), 1..4).prop_map(Step::Append),
        1 => durable.prop_map(Step::Collect),
        1 => Just(Step::Reopen),
    ]
}

/// Records that say nothing about mutations are restated, so compare what they add up to.
fn prepares(records: &[Record]) -> Vec<Record> {
    records.iter().filter(|record| matches!(record, Record::Prepare { .. })).cloned().collect()
}

proptest! {
    #[test]
    fn like_a_list_of_records(
        steps in prop::collection::vec(any_step(), 1..60),
        segment_bytes in 0_u64..600,
        ahead_bytes in 0_u64..2000,
    ) {
        let files = MemoryFolder::new();
        let open = || open_with(&files, Options { segment_bytes, ahead_bytes });
        let (mut log, _) = open();
        let mut all: Vec<Record> = Vec::new();
        // For each record, whether a collection could have removed it.
        let mut needed: Vec<bool> = Vec::new();
        let mut collected = false;
        for step in steps {
            match step {
                Step::Append(mut records) => {
                    note_replacements(&all, &mut records);
                    log.append(&records).expect("appends");
                    for record in records {
                        if let Record::Removed { gpid, .. } = record {
                            for (older, needed) in all.iter().zip(&mut needed) {
                                *needed &= older.gpid() != gpid;
                            }
                        }
                        needed.push(matches!(record, Record::Prepare { .. }));
                        all.push(record);
                    }
                }
                Step::Collect(durable) => {
                    collected |= log.collect(&durable).expect("collects") > 0;
                    for (record, needed) in all.iter().zip(&mut needed) {
                        if let Record::Prepare { gpid, mutation, .. } = record {
                            let held = |&(other, decree): &(Gpid, Decree)| {
                                other == *gpid && mutation.id.decree > decree
                            };
                            // Of two entries for one partition the last one counts.
                            *needed &= durable.iter().rfind(|entry| entry.0 == *gpid).is_some_and(held);
                        }
                    }
                }
                Step::Reopen => {
                    let opened;
                    (log, opened) = open();
                    prop_assert_eq!(opened.damage, Damage::None);
                    prop_assert_eq!(noted(&opened.records), noted(&all));
                    // A suffix, but for what was removed, with all that is needed in it.
                    let got = prepares(&opened.records);
                    let first_needed = needed.iter().position(|&needed| needed).unwrap_or(all.len());
                    let must: Vec<Record> =
                        all[first_needed..].iter().zip(&needed[first_needed..])
                            .filter(|(_, needed)| **needed).map(|(record, _)| record.clone()).collect();
                    prop_assert!(is_subsequence(&prepares(&must), &got));
                    prop_assert!(is_subsequence(&got, &prepares(&all)));
                }
            }
            for gpid in (0..3).map(partition) {
                let model = mutations(&all, gpid);
                let lowest = lowest(&log, gpid);
                let read = log.reader().read(gpid, lowest.unwrap_or(Decree(99)), Decree(99), usize::MAX);
                let expected = run(&model, lowest.unwrap_or(Decree(99))).cloned();
                if collected {
                    // The log may know less than the model, and nothing else than it.
                    let read = read.expect("reads");
                    prop_assert_eq!(&read, &expected.take(read.len()).collect::<Vec<_>>(), "{}", gpid);
                } else {
                    prop_assert_eq!(read.expect("reads"), expected.collect::<Vec<_>>(), "{}", gpid);
                    prop_assert_eq!(lowest, model.keys().next().copied());
                }
            }
        }
    }
}

fn is_subsequence(some: &[Record], all: &[Record]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|record| rest.any(|other| other == record))
}
