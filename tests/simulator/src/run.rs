//! One run of one seed.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use crate::mask::{Mask, Struck};
use crate::operation::Operation;
use crate::search::{Contradiction, Searched};
use crate::sometimes::Tally;
use crate::subject::{AnySubject, Subject};
use crate::tally_app::TallySubject;
use crate::trace::Trace;
use crate::violation::Violation;
use crate::world::World;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was broken, if anything.
    pub violation: Option<Violation>,
    /// Happenings, all kinds together.
    pub events: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// How much of it the cluster needed to recover after the last fault (L1).
    pub recovery: Duration,
    /// Operations that clients began.
    pub operations: usize,
    /// Clients that there were.
    pub clients: usize,
    /// When troubles ended, or would have.
    pub calm: Duration,
    /// The troubles that happened, in order.
    pub struck: Vec<Struck>,
    /// What happened how often.
    pub tally: Tally,
    /// What a search judged afterwards, if the mask asked for one.
    pub searched: Searched,
    /// The operations that show what was broken, if clients saw it (V1 to V4).
    pub picture: String,
    /// All that clients asked and were told.
    pub history: Vec<Operation>,
}

/// Lines of the trace that [`check`] shows.
const TAIL: usize = 40;

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what panics say for [`run`], instead of printing it. To be called once, before the first run.
pub fn keep_panics() {
    panic::set_hook(Box::new(|info| PANIC.set(Some(info.to_string().replace('\n', " ")))));
}

/// What a panic of this thread said, and where if that was kept.
pub(crate) fn last_panic(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref().map(|&text: &&str| text.to_owned()));
    PANIC.take().or(said).unwrap_or_else(|| "a panic".to_owned())
}

/// Runs a seed to its end, or to the first violation, with the app that is built in. The same seed gives the
/// same outcome and the same trace, to the byte.
pub fn run(seed: u64, trace: &mut Trace) -> Outcome {
    run_without(seed, &Mask::default(), trace)
}

/// [`run`], without what the mask leaves out.
pub fn run_without(seed: u64, mask: &Mask, trace: &mut Trace) -> Outcome {
    run_any(&TallySubject, seed, mask, trace)
}

/// [`run`], with an app of yours.
pub fn run_subject(subject: &impl Subject, seed: u64, trace: &mut Trace) -> Outcome {
    run_any(subject, seed, &Mask::default(), trace)
}

fn run_any(subject: &dyn AnySubject, seed: u64, mask: &Mask, trace: &mut Trace) -> Outcome {
    let mut world = World::new(subject, seed, mask.clone(), trace);
    let violation = watch(&mut world);
    let outcome = Outcome::of(world, violation);
    if mask.searchable { outcome.search(subject) } else { outcome }
}

/// Runs a world to its end, or to the first violation.
pub(crate) fn watch(world: &mut World<'_>) -> Option<Violation> {
    // An assertion of the code under test is as good as a violation; the world only counts after it.
    match panic::catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(checked) => checked.err(),
        Err(panic) => Some(Violation { rule: "panic", what: last_panic(panic.as_ref()) }),
    }
}

impl Outcome {
    pub(crate) fn of(world: World<'_>, violation: Option<Violation>) -> Self {
        let seen_by_clients = violation.as_ref().is_some_and(|violation| violation.rule.starts_with('V'));
        let picture = if seen_by_clients { world.history.picture() } else { String::new() };
        Self {
            seed: world.seed,
            violation,
            events: world.events,
            simulated: world.now.since_start(),
            recovery: world.ending.took(world.now),
            operations: world.history.len(),
            clients: world.clients.len(),
            calm: world.plan.trouble,
            struck: world.struck,
            tally: world.tally,
            searched: Searched::default(),
            picture,
            history: world.history.into_operations(),
        }
    }

    /// What clients saw is searched too, if nothing else was wrong.
    fn search(mut self, subject: &dyn AnySubject) -> Self {
        if self.violation.is_none() {
            match subject.search(&self.history) {
                Ok(searched) => self.searched = searched,
                Err(found) => (self.violation, self.picture) = (Some(found.violation), found.picture),
            }
        }
        self
    }
}

/// Runs these seeds with an app of yours, every fourth of them with a search afterwards, and returns what
/// happened how often.
///
/// # Panics
/// At the first seed that fails, with the end of its trace and what is wrong.
pub fn check(subject: &impl Subject, seeds: impl IntoIterator<Item = u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let mask = Mask { searchable: seed.is_multiple_of(4), ..Mask::default() };
        let outcome = run_any(subject, seed, &mask, &mut Trace::silent());
        tally.add(&outcome.tally);
        if let Some(violation) = outcome.violation {
            let mut trace = Trace::kept();
            run_any(subject, seed, &mask, &mut trace);
            panic!("{}{}seed {seed} FAILED: {violation}", trace.tail(TAIL), outcome.picture);
        }
    }
    tally
}

/// Searches an order of these operations that explains every answer (V1), without a look at decrees.
///
/// # Errors
/// What contradicts what; or rule `test` for what is more than can be searched.
pub fn search(subject: &impl Subject, operations: &[Operation]) -> Result<Searched, Box<Contradiction>> {
    AnySubject::search(subject, operations)
}
