//! Every moment at which a program could have been stopped: after each of its operations on the disk.
//!
//! A [`Recorder`] runs the program once, and is told what the program promises on the way: what others may rely on
//! from then on. Its [`Run`] is then looked at after each operation, with each outcome of a power cut
//! ([`Run::check_each_point`]); and after each operation the program is killed, started again while nothing is lost
//! yet, and only then loses power ([`Run::check_each_restart`]): what a start sees need not be durable.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread::panicking;

use tempfile::TempDir;

use crate::mount::show;
use crate::{Disk, Forgetful, Operation, Outcome};

/// How many torn disks are looked at after each operation.
const TORN: u64 = 8;
/// And where there are many operations, or each look takes long.
const TORN_SLOWLY: u64 = 2;

/// A program's run on a disk that is being recorded.
#[derive(Debug)]
pub struct Recorder<P> {
    // Dropped in this order: the mount, then its folder.
    disk: Forgetful,
    _mountpoint: TempDir,
    /// What was done before this run.
    journal: Vec<Operation>,
    promises: Vec<(usize, P)>,
}

/// What a program did, and promised.
#[derive(Debug)]
pub struct Run<P> {
    journal: Vec<Operation>,
    /// Each with how many operations there were before it.
    promises: Vec<(usize, P)>,
    /// The operations of earlier runs.
    earlier: usize,
    with_a_journal: bool,
}

/// A moment at which the power went.
#[derive(Debug)]
pub struct Point<'a, P: Debug> {
    /// What was promised last.
    pub promised: Option<&'a P>,
    /// What would have been promised next.
    pub next: Option<&'a P>,
    outcome: Outcome,
    operations: &'a [Operation],
    earlier: usize,
}

impl<P: Clone + Debug> Recorder<P> {
    /// An empty disk.
    ///
    /// # Panics
    /// If it can't be mounted, see [`can_mount`](crate::can_mount).
    #[must_use]
    pub fn start() -> Self {
        Self::go_on(&[], Vec::new())
    }

    fn go_on(journal: &[Operation], promises: Vec<(usize, P)>) -> Self {
        let mountpoint = in_memory();
        let disk = Forgetful::mount(mountpoint.path(), Disk::after(journal)).expect("a mount");
        disk.record();
        Self { disk, _mountpoint: mountpoint, journal: journal.to_vec(), promises }
    }

    /// Where the program may keep its data.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.disk.mountpoint()
    }

    /// From now on others rely on this.
    pub fn promise(&mut self, promise: P) {
        self.promises.push((self.journal.len() + self.disk.journal().len(), promise));
    }

    /// What was promised last.
    #[must_use]
    pub fn last_promise(&self) -> Option<&P> {
        self.promises.last().map(|(_, promise)| promise)
    }

    /// The end of the program, which has nothing open any more.
    ///
    /// # Panics
    /// If it has.
    #[must_use]
    pub fn finish(self) -> Run<P> {
        let Self { disk, _mountpoint, mut journal, promises } = self;
        let earlier = journal.len();
        journal.extend(disk.journal());
        disk.unmount().expect("nothing is open");
        Run { journal, promises, earlier, with_a_journal: false }
    }
}

impl<P: Clone + Debug> Run<P> {
    /// Names are torn as at one moment, and what was appended at its end ([`Outcome::Journaled`]), and fewer torn disks
    /// are looked at: for programs that rely on such a file system, and start slowly.
    #[must_use]
    pub fn with_a_journal(self) -> Self {
        Self { with_a_journal: true, ..self }
    }

    /// Looks at the disk as it is when the power goes after each operation: `check` gets a folder with all that is
    /// left. Answers how many points that were.
    pub fn check_each_point(&self, mut check: impl FnMut(&Path, &Point<'_, P>)) -> usize {
        self.check(if self.with_a_journal { TORN_SLOWLY } else { TORN }, &mut check)
    }

    /// Kills the program after each operation, starts it again by `restart`, and then looks at the disk as it is when
    /// the power goes after each operation of that. Answers how many points that were.
    pub fn check_each_restart(
        &self,
        mut restart: impl FnMut(&mut Recorder<P>),
        mut check: impl FnMut(&Path, &Point<'_, P>),
    ) -> usize {
        let restarts = (0..=self.journal.len()).map(|killed_after| {
            let before = self.promises.iter().filter(|(operations, _)| *operations <= killed_after);
            let mut recorder = Recorder::go_on(&self.journal[..killed_after], before.cloned().collect());
            restart(&mut recorder);
            recorder.finish().check(TORN_SLOWLY, &mut check)
        });
        restarts.sum()
    }

    /// Leaves out one sync after the other, as if the program had forgotten it, and looks at each point again. Answers
    /// how many of them are noticed, and those that are not: something else makes up for them.
    pub fn check_without_each_sync(
        &self,
        mut check: impl FnMut(&Path, &Point<'_, P>),
    ) -> (usize, Vec<Operation>) {
        let is_sync = |operation: &Operation| {
            matches!(operation, Operation::SyncFile { .. } | Operation::SyncFolder { .. })
        };
        let syncs = (0..self.journal.len()).filter(|&number| is_sync(&self.journal[number]));
        let (mut noticed, mut unnoticed) = (0, Vec::new());
        for left_out in syncs {
            let run = self.without(left_out);
            // A check that panics leaves nothing behind that the next one would use.
            match catch_unwind(AssertUnwindSafe(|| run.check(TORN_SLOWLY, &mut check))) {
                Ok(_) => unnoticed.push(self.journal[left_out].clone()),
                Err(_) => noticed += 1,
            }
        }
        (noticed, unnoticed)
    }

    fn without(&self, left_out: usize) -> Self {
        let mut journal = self.journal.clone();
        journal.remove(left_out);
        let promises = self.promises.iter().cloned();
        let promises =
            promises.map(|(before, promise)| (before - usize::from(before > left_out), promise)).collect();
        Self { journal, promises, ..*self }
    }

    fn check(&self, torn: u64, check: &mut impl FnMut(&Path, &Point<'_, P>)) -> usize {
        let points = self.earlier..=self.journal.len();
        for operations in points.clone() {
            let disk = Disk::after(&self.journal[..operations]);
            let kind = if self.with_a_journal { Outcome::Journaled } else { Outcome::Torn };
            let torn = (0..torn).map(|number| kind(operations as u64 * torn + number));
            for outcome in [Outcome::Lost, Outcome::Kept].into_iter().chain(torn) {
                let mut left = disk.clone();
                left.cut(outcome);
                let folder = in_memory();
                left.copy_to(folder.path()).expect("a copy of the disk");
                check(folder.path(), &self.point(operations, outcome));
            }
        }
        points.count()
    }

    fn point(&self, operations: usize, outcome: Outcome) -> Point<'_, P> {
        let promised = self.promises.iter().take_while(|(before, _)| *before <= operations).count();
        let promise = |number: usize| self.promises.get(number).map(|(_, promise)| promise);
        Point {
            promised: promised.checked_sub(1).and_then(promise),
            next: promise(promised),
            outcome,
            operations: &self.journal[..operations],
            earlier: self.earlier,
        }
    }
}

impl<P: Debug> Drop for Point<'_, P> {
    fn drop(&mut self) {
        if !panicking() {
            return;
        }
        let Self { promised, next, outcome, operations, earlier } = self;
        println!("the power went after these operations, {outcome:?}; promised {promised:?}, next {next:?}");
        for (number, operation) in (1..).zip(*operations) {
            if number == *earlier + 1 && *earlier > 0 {
                println!("      killed, and started again");
            }
            println!("{number:5} {}", Shown(operation));
        }
    }
}

/// An operation without the bytes that it writes.
struct Shown<'a>(&'a Operation);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Operation::Write { file, offset, bytes } => {
                write!(f, "Write {{ file: {file:?}, offset: {offset}, {} bytes }}", bytes.len())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Prints how many points `test` looked at.
pub fn report(test: &str, points: usize, after_restarts: usize) {
    show(&format!(
        "{test}: {points} crash points x 3 outcomes, {after_restarts} x 3 of a start after a kill"
    ));
}

/// Prints how many syncs `test` would miss.
///
/// # Panics
/// If there are many that it would not: then it does not look closely.
pub fn report_left_out(test: &str, noticed: usize, unnoticed: &[Operation]) {
    let all = noticed + unnoticed.len();
    show(&format!("{test}: of {all} syncs {noticed} would be missed"));
    assert!(noticed > unnoticed.len(), "nobody would miss {unnoticed:?}");
}

/// A folder in memory, where there is such a place: programs that sync a lot are looked at here.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}
