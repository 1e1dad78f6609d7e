//! One run of one seed.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use crate::sometimes::Tally;
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
    /// Operations that clients began.
    pub operations: usize,
    /// What happened how often.
    pub tally: Tally,
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what panics say for [`run`], instead of printing it. To be called once, before the first run.
pub fn keep_panics() {
    panic::set_hook(Box::new(|info| PANIC.set(Some(info.to_string().replace('\n', " ")))));
}

/// Runs a seed to its end, or to the first violation. The same seed gives the same outcome and the same trace,
/// to the byte.
pub fn run(seed: u64, trace: &mut Trace) -> Outcome {
    let mut outcome = Outcome {
        seed,
        violation: None,
        events: 0,
        simulated: Duration::ZERO,
        operations: 0,
        tally: Tally::default(),
    };
    // An assertion of the code under test is as good as a violation; nothing of the world is used after it.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, trace);
        let checked = world.run();
        outcome.events = world.events;
        outcome.simulated = Duration::from_nanos(world.now.0);
        outcome.operations = world.history.len();
        outcome.tally = world.tally.clone();
        checked
    }));
    outcome.violation = match result {
        Ok(checked) => checked.err(),
        Err(_) => {
            let what = PANIC.take().unwrap_or_else(|| "a panic".to_owned());
            Some(Violation { rule: "panic", what })
        }
    };
    outcome
}
