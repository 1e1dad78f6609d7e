//! Counters by name, replicated: the app that comes first, and the pattern for others.
//!
//! * [`CounterType`] is what a replica server registers.
//! * [`Counter`] is what a caller uses.
//! * The binary `counter` is the command line: it counts, measures ([`mod@bench`]) and judges ([`check`]).

mod app;
pub mod bench;
pub mod check;
mod client;
pub mod history;
pub mod request;

pub use app::{CounterApp, CounterType};
pub use client::{Counter, sums};
