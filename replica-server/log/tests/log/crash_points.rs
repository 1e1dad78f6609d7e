//! Every point at which a crash can strike the log, with every outcome, and every point of the recovery after it:
//! what was acknowledged is there, in order, and is what memory had (S1, S7, S10).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use replica_log::{Crash, Damage, FileSystem, MemoryFolder, Opened, Options, PrepareLog};
use words::{Decree, Gpid, Record};

use crate::ledger::{Ledger, Noting};
use crate::model::{ballot, created, id, mutations, noted, open, partition, prepare, raised, write};

/// So small that the run rolls often.
const SMALL: u64 = 250;

/// Zeros that are written ahead: none, or room for some records.
const AHEAD: [u64; 2] = [0, 500];

/// What the log's user knows when the power goes, kept by the user itself.
#[derive(Default)]
struct Known {
    /// What is written ahead.
    ahead_bytes: u64,
    /// All that was given to the log, in order.
    appended: Vec<Record>,
    /// How many of these were acknowledged.
    synced: usize,
    /// Up to where each partition was declared durable elsewhere.
    durable: BTreeMap<Gpid, Decree>,
}

/// A user of the log that stops at the first error.
struct User<'a> {
    files: Arc<dyn FileSystem>,
    log: PrepareLog,
    known: &'a mut Known,
}

impl<'a> User<'a> {
    fn start(files: &Arc<dyn FileSystem>, known: &'a mut Known) -> io::Result<Self> {
        let options = Options { segment_bytes: SMALL, ahead_bytes: known.ahead_bytes };
        let (log, opened) = PrepareLog::open(files.clone(), options).map_err(io::Error::other)?;
        known.check(&opened, "a start without a crash");
        Ok(Self { files: files.clone(), log, known })
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.known.appended.extend_from_slice(records);
        self.log.append(records)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.log.sync()?;
        self.known.synced = self.known.appended.len();
        Ok(())
    }

    fn collect(&mut self, durable: &[(Gpid, Decree)]) -> io::Result<()> {
        self.known.durable.extend(durable.iter().copied());
        self.log.collect(durable)?;
        Ok(())
    }

    /// A write for which there is no room is undone.
    fn append_without_room(&mut self, disk: &MemoryFolder, records: &[Record]) -> io::Result<()> {
        disk.set_capacity(Some(disk.used() + 20));
        let before = self.known.appended.len();
        let refused = self.append(records);
        disk.set_capacity(None);
        match refused {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && !self.log.has_failed() => {
                self.known.appended.truncate(before);
                Ok(())
            }
            other => other,
        }
    }

    /// The process dies in the middle of a write, and of a new segment.
    fn die_midway(self) -> io::Result<()> {
        let names = self.files.list()?;
        let number = |name: &String| name.trim_start_matches("log.").parse::<u64>().ok();
        let last = names.iter().filter_map(number).max().ok_or(io::ErrorKind::NotFound)?;
        let file = self.files.open(&format!("log.{last}"))?;
        file.write_at(file.size()?, &[7; 30])?;
        self.files.create(&format!("log.{}.new", last + 1))?.write_at(0, b"holdflo")
    }
}

/// Appends, rolls, runs out of room, raises and replaces, collects, removes a partition, and starts again with a
/// torn tail. `disk` is what is below `files`.
fn run(files: &Arc<dyn FileSystem>, disk: &MemoryFolder, known: &mut Known) -> io::Result<()> {
    let (one, two, three) = (partition(1), partition(2), partition(3));
    let mut user = User::start(files, known)?;
    user.append(&[created(one), ballot(one, 1), created(two), ballot(two, 2), created(three)])?;
    user.sync()?;
    for decree in 1..=8 {
        user.append(&[prepare(one, 1, decree), prepare(two, 2, decree)])?;
        user.append(&[prepare(three, 1, decree)])?;
        if decree % 2 == 0 {
            user.sync()?;
        }
        if decree == 3 {
            // More than the zeros have room for.
            let many: Vec<Record> =
                (4..=12).flat_map(|it| [prepare(one, 1, it), prepare(two, 2, it)]).collect();
            user.append_without_room(disk, &many)?;
        }
        if decree == 5 {
            user.collect(&[(one, Decree(2)), (two, Decree(3)), (three, Decree(4))])?;
        }
    }
    user.append(&[
        raised(one, 3, id(1, 7)),
        prepare(one, 3, 8),
        Record::Removed { gpid: three, ballot: words::Ballot(7) },
    ])?;
    user.sync()?;
    user.die_midway()?;

    let mut user = User::start(files, known)?;
    for decree in 9..=12 {
        user.append(&[prepare(one, 3, decree), prepare(two, 2, decree)])?;
        user.sync()?;
    }
    user.append(&[created(three), prepare(three, 9, 1)])?;
    user.collect(&[(one, Decree(11)), (two, Decree(11)), (three, Decree(0))])?;
    user.append(&[prepare(one, 3, 13), ballot(two, 7)])?;
    user.sync()
}

/// Records as the log's user counts them: what each partition adds up to, above what is durable elsewhere.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    mutations: Vec<(Gpid, Vec<Arc<words::Mutation>>)>,
    noted: BTreeMap<Gpid, (words::AppInfo, words::Ballot)>,
}

impl Known {
    fn sum(&self, records: &[Record]) -> Sum {
        let partitions = [partition(1), partition(2), partition(3)];
        let kept = |gpid: Gpid| {
            let durable = self.durable.get(&gpid).copied().unwrap_or_default();
            let above = mutations(records, gpid).into_iter().filter(move |&(decree, _)| decree > durable);
            (gpid, above.map(|(_, mutation)| mutation).collect())
        };
        Sum { mutations: partitions.map(kept).into(), noted: noted(records) }
    }

    /// What was found is what the user had at one moment, which is not before the last acknowledgement.
    fn check(&self, opened: &Opened, when: &str) {
        assert_eq!(opened.damage, Damage::None, "{when}");
        let found = self.sum(&opened.records);
        let moments = self.synced..=self.appended.len();
        let fits = moments.clone().any(|moment| self.sum(&self.appended[..moment]) == found);
        assert!(fits, "{when}: found {found:#?}, which was so at none of the moments {moments:?}");
    }
}

/// All unsynced lost, all kept, and torn in several ways: cut short, and in pieces.
fn outcomes(ways: u64) -> impl Iterator<Item = Crash> {
    let torn = (0..ways).flat_map(|number| [Crash::Torn(number), Crash::Scattered(number)]);
    [Crash::Lose, Crash::Keep].into_iter().chain(torn)
}

/// How many operations of which kind.
fn kinds(ledger: &Ledger) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for line in ledger.lock().expect("no holder panics").iter() {
        let (kind, whom) = line.split_once(' ').expect("what and whom");
        let folder = if whom == "folder" { " of the folder" } else { "" };
        *kinds.entry(format!("{kind}{folder}")).or_default() += 1;
    }
    kinds
}

/// A folder as a power cut at this point of the run leaves it, and what is known then.
fn cut_at(ahead_bytes: u64, point: u64, outcome: Crash) -> (MemoryFolder, Known) {
    let files = MemoryFolder::new();
    files.fail_after(point);
    let mut known = Known { ahead_bytes, ..Known::default() };
    let folder: Arc<dyn FileSystem> = Arc::new(files.clone());
    run(&folder, &files, &mut known).expect_err("no power");
    files.crash(outcome);
    (files, known)
}

#[test]
fn at_every_point_and_at_every_point_of_the_recovery() {
    AHEAD.into_iter().for_each(at_every_point);
}

fn at_every_point(ahead_bytes: u64) {
    let ledger = Ledger::default();
    let noting = Noting { files: MemoryFolder::new(), ledger: ledger.clone() };
    let files = noting.files.clone();
    let folder: Arc<dyn FileSystem> = Arc::new(noting);
    run(&folder, &files, &mut Known { ahead_bytes, ..Known::default() }).expect("runs");
    let points = files.operations();
    let kinds = kinds(&ledger);
    let expected = ["create", "remove", "rename", "sync", "sync of the folder", "truncate", "write"];
    assert_eq!(kinds.keys().collect::<Vec<_>>(), expected, "the run does everything that a log does");
    assert_eq!(kinds.values().sum::<usize>() as u64, points);

    let mut second = 0;
    for point in 0..points {
        for outcome in outcomes(4) {
            let when = format!("power cut after {point} of {points} operations, {outcome:?}");
            let (files, known) = cut_at(ahead_bytes, point, outcome);
            let (mut log, opened) = open(&files, SMALL);
            known.check(&opened, &when);
            goes_on(&files, &mut log, &opened, &when);
            second += at_every_point_of_a_recovery(ahead_bytes, point, outcome, &when);
        }
    }
    println!(
        "{ahead_bytes} ahead: {points} crash points x 3 outcomes ({kinds:?}); {second} crashes during recovery"
    );
}

#[test]
fn a_process_that_dies_without_a_power_cut_has_lost_nothing_by_the_next_one() {
    AHEAD.into_iter().for_each(dies_at_every_point);
}

fn dies_at_every_point(ahead_bytes: u64) {
    for point in 0.. {
        let files = MemoryFolder::new();
        files.fail_after(point);
        let mut known = Known { ahead_bytes, ..Known::default() };
        let folder: Arc<dyn FileSystem> = Arc::new(files.clone());
        let ran = run(&folder, &files, &mut known);
        // The machine lives on: what was written is still there, and not more durable than before.
        files.fail_after(u64::MAX);
        let opened = open(&files, SMALL).1;
        known.check(&opened, &format!("died after {point} operations"));
        files.crash(Crash::Lose);
        let again = open(&files, SMALL).1;
        assert_eq!(again.records, opened.records, "what a start answers is durable, died after {point}");
        if ran.is_ok() {
            return;
        }
    }
}

/// It goes on from there, and what was found once is found again.
fn goes_on(files: &MemoryFolder, log: &mut PrepareLog, opened: &Opened, when: &str) {
    let more = prepare(partition(1), 99, 99);
    write(log, std::slice::from_ref(&more));
    files.crash(Crash::Lose);
    let again = open(files, SMALL).1;
    assert_eq!(again.damage, Damage::None, "{when}");
    assert_eq!(again.records.last(), Some(&more), "{when}");
    assert_eq!(again.records[..again.records.len() - 1], opened.records, "{when}");
}

/// Answers how many crashes that were.
fn at_every_point_of_a_recovery(ahead_bytes: u64, first: u64, outcome: Crash, when: &str) -> u64 {
    let mut crashes = 0;
    for point in 0.. {
        for again in outcomes(2) {
            let (files, known) = cut_at(ahead_bytes, first, outcome);
            files.fail_after(point);
            let options = Options { segment_bytes: SMALL, ahead_bytes };
            if let Ok((_, opened)) = PrepareLog::open(Arc::new(files.clone()), options) {
                known.check(&opened, when);
                return crashes;
            }
            files.crash(again);
            let when = format!("{when}, and after {point} operations of the recovery, {again:?}");
            known.check(&open(&files, SMALL).1, &when);
            crashes += 1;
        }
    }
    unreachable!("some recovery gets through")
}
