//! Counters by name, replicated: the app that comes first, and the pattern for others.
//!
//! * [`CounterType`] is what a replica server registers.

mod app;
pub mod request;

pub use app::{CounterApp, CounterType};
