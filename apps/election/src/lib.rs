//! Elections: of all who campaign for one, at most one is master at a time, and each master has a number that is
//! larger than that of any before it.
//!
//! * [`ElectionType`] is what a replica server registers: it keeps who was elected last, and decides nothing by time.
//! * [`Candidate`] is all that has to do with time, as a state machine without I/O: when a master's lease is over,
//!   and when somebody else may take its place.
//! * [`Election`] is what a caller uses; [`Guard`] says whether one is master, and for how long.
//! * The binary `election` shows it in terminals (docs/apps/election.md; docs/fencing.md).

mod app;
mod candidate;
mod client;
mod clock;
mod guard;
mod observation;
pub mod request;

pub use app::{ElectionApp, ElectionType};
pub use candidate::{Candidate, Heard, Held, Lost, Moment, Step};
pub use client::Election;
pub use clock::now;
pub use guard::{CampaignFailure, Guard};
pub use observation::{Observation, ObservationFailure};

/// The code in the docs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/fencing.md")]
struct Fencing;
