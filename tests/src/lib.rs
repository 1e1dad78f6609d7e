//! Tests on the real programs, and what they have in common: a [`Cluster`] of the processes that
//! `cargo build --workspace` left beside the test executable, and a [`Load`] on it.
//!
//! A test that takes long has a short form, which is what `make test` runs, and says so; `HOLDFAST_FULL=1`
//! runs the full form (docs/verification.md).

mod cluster;
mod damage;
mod dice;
mod files;
mod load;
mod netns;
mod ports;
mod process;
mod proxy;
mod python;
mod requirement;
mod small_disk;
mod state;

pub use cluster::{CLIENT, Cluster, METAS, REPLICAS};
pub use damage::{Part, can_be_damaged, flip_a_bit};
pub use dice::Dice;
pub use files::files_below;
pub use load::{Load, Summary};
pub use netns::{Harm, Network, Wound};
pub use ports::free_ports;
pub use process::{Answer, Process, cpu_time, run};
pub use proxy::{Pace, SlowLink};
pub use python::{python, python_programs};
pub use small_disk::SmallDisk;
pub use state::{MetaServer, Partition};

use std::io::Write;
use std::time::{Duration, Instant};

/// Prints a line beside what the test runner collects, so that it is seen in a run that passes too.
pub fn report(line: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr().lock(), "        {line}");
}

/// `full` if the environment asks for it, `short` otherwise; the report says which.
pub fn short_or_full<T: std::fmt::Debug>(test: &str, short: T, full: T) -> T {
    if std::env::var_os("HOLDFAST_FULL").is_some() {
        return full;
    }
    report(&format!("{test}: shortened to {short:?} (HOLDFAST_FULL=1: {full:?})"));
    short
}

/// Asks until there is an answer.
///
/// # Panics
/// If there is none within a minute, naming what was waited for and the last reason.
pub fn wait_for<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    wait_for_long(PATIENCE, what, ask)
}

/// How long [`wait_for`] asks.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The same with patience of the caller's, for what takes longer the more there is of it.
///
/// # Panics
/// As [`wait_for`].
pub fn wait_for_long<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) => {
                assert!(Instant::now() < deadline, "waited {patience:?} for {what}; last: {reason}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// The code in the docs, compiled and run as tests.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../../README.md")]
    struct Readme;

    #[doc = include_str!("../../docs/test-your-app.md")]
    struct TestYourApp;
}
