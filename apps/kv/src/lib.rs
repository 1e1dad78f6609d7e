//! Keys and values, replicated: the app with a storage engine of its own, RocksDB, and the pattern for others
//! whose state is larger than memory.
//!
//! * [`KvType`] is what a replica server registers.
//! * [`Kv`] is what a caller uses.
//! * The binary `kv` is the command line; it also measures ([`mod@bench`]).

mod answer;
mod app;
pub mod bench;
mod checkpoints;
mod client;
mod fields;
mod files;
mod layers;
mod live;
mod reads;
pub mod request;
mod rows;
mod states;
mod view;
mod writes;

pub use answer::{Change, Decided, Page, Remaining, ScanEntry, State, Value};
pub use app::{KvApp, KvType};
pub use client::{Kv, Scan, behind_prefix, states};
