//! The prepare log: what a node has prepared, durably, shared by all of its partitions.
//!
//! One log a data directory, so that everything waiting from every partition costs one write and one
//! `fdatasync` ([`PrepareLog::append`], [`PrepareLog::sync`]). The log decides nothing about the protocol: it
//! gives records back in the order in which it got them, and says of what it can't give back whom that may
//! touch ([`Damage`]).

mod file_system;
mod frame;
mod index;
mod log;
mod memory;
mod reader;
mod recovery;
mod segment;

pub use file_system::{File, FileSystem, RealFolder};
pub use log::{Options, PrepareLog};
pub use memory::{Crash, MemoryFolder};
pub use reader::LogReader;
pub use recovery::{Damage, LogError, Opened};
