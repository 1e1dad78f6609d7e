//! The replica server's protocol without any I/O: one partition's state machine and one node's.
//!
//! # The contract with the shell
//! [`NodeCore`] owns every replica of a node. The shell drains what waits (messages, requests, completions),
//! calls [`NodeCore::step`] for each, then [`NodeCore::flush`] once, and carries out the [`Output`] in this
//! order:
//!
//! 1. **Append** all of `output.append` to the prepare log, in order. Each record has the number that
//!    [`Output::append`] says; `step(Event::LogDurable(n))` follows once all up to `n` are synced. A log that
//!    can't be appended to or synced stops the process (§7.1).
//! 2. **Send** all of `output.send`. They may leave at once: whatever implies durability is put there by the
//!    core only after `LogDurable` (S7), so nothing waits here.
//! 3. **Apply** all of `output.apply`, in order for each partition, and report [`Event::Applied`].
//! 4. **Read** all of `output.reads` from the apps, after the applies of the same output, and answer the client
//!    directly with the decree that the app has applied.
//! 5. **Answer** all of `output.replies`.
//! 6. **Tell the meta server** all of `output.meta`; what can't be sent is dropped, the core asks again.
//! 7. **Start** all of `output.work`, away from the shard, and report each item's event.
//!
//! Then the shell sleeps until something arrives or [`NodeCore::deadline`] is due; due time is passed by
//! `step(Event::Tick)`.
//!
//! Nothing here reads a clock, a file, a socket or a random number, and no map iterates in an order that is
//! not reproducible: the same calls give the same output, to the byte.

mod changes;
mod disk;
mod event;
mod kept_answer;
mod logged;
mod node;
mod output;
mod peers;
mod prepare_list;
mod replay;
mod replica;
mod sessions;
mod settings;
mod step;

pub use changes::{Changes, Compacted, Published};
pub use event::{Event, RecoveredApp, WriteAnswer};
pub use node::{Identity, NodeCore};
pub use output::{ApplyTask, Output, ReadTask, Work};
pub use replay::{Lacking, Recovered, Replay};
pub use replica::{Load, Replica};
pub use sessions::{DamagedSessions, Sessions, apply_mutation};
pub use settings::Settings;

/// Names one client request that waits for its reply; means something only to the shell.
pub type Token = u64;

/// A record's number in the order of appends of this life, from 1.
pub type LogSequence = u64;
