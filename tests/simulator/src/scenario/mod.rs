//! Scenarios: short stories in which the author, not chance, decides what goes wrong and when.
//!
//! A scenario drives the same [`World`](crate::world::World) as a seed does, with dice that are loaded: nothing
//! happens by itself, every delay is fixed. All invariants are checked after every step. docs/scenarios.md
//! describes the language; tests/scenarios has the stories.

mod arms;
mod calm;
mod expect;
mod operations;
mod parse;
mod run;
mod verbs;
mod words;

pub(crate) use self::arms::{Failure, Script};
pub use self::parse::{Scenario, scenario_files};
pub use self::run::{ScenarioFailure, run_scenario};
