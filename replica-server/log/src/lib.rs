//! The prepare log: what a node has prepared, durably, shared by all of its partitions.
//!
//! One log a data directory, so that everything waiting from every partition costs one write and one
//! `fdatasync`: [`PrepareLog::append`], then [`PrepareLog::sync`]. The log decides nothing about the protocol:
//! [`PrepareLog::replay`] gives the records back in the order in which it got them, and says of what it can't
//! give back whom that may touch ([`Damage`]); [`PrepareLog::open`] is the same for a log that fits in memory.
//! [`PrepareLog::collect`] removes what apps have made durable, [`LogReader`] reads mutations back for a learner.
//!
//! ```
//! use std::sync::Arc;
//! use replica_log::{Damage, MemoryFolder, Options, PrepareLog};
//! use words::{AppInfo, Gpid, Record};
//!
//! let folder = Arc::new(MemoryFolder::new()); // RealFolder::open("data/replica1/log")? on a disk
//! let created = Record::Created { gpid: Gpid::new(1, 0), app: AppInfo::default() };
//! let (mut log, opened) = PrepareLog::open(folder.clone(), Options::default())?;
//! assert!(opened.records.is_empty());
//! log.append(&[created.clone()])?;
//! log.sync()?; // now, and not before, `created` is durable
//! drop(log);
//! let (_log, opened) = PrepareLog::open(folder, Options::default())?;
//! assert_eq!((opened.records, opened.damage), (vec![created], Damage::None));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # On disk
//! The log is a row of *segments*, files named `log.1`, `log.2`, ... without a gap; the first ones have been
//! collected, the last one is written to. Numbers are little-endian, checksums CRC-32C.
//!
//! A segment begins with 36 bytes:
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `holdflog` |
//! | 8 | 4 | version of the format: 2 |
//! | 12 | 8 | the segment's number |
//! | 20 | 8 | length of the segment before in bytes, 0 if this is the first |
//! | 28 | 4 | length of the restatement that follows, in bytes |
//! | 32 | 4 | checksum of bytes 0 to 31 |
//!
//! Then frames follow, one a record, without padding. The first ones are the *restatement*: for each partition
//! that was removed a `Removed` record; for each that was created and not removed, in the order of their numbers, a `Created` record and a `Ballot` record
//! with its highest ballot; then, for each partition with damage, a frame without a payload. It is all that
//! older segments say beyond mutations, so they can be removed. A frame:
//!
//! | at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | length of the payload, *n* (a frame has at most 1 GiB) |
//! | 4 | 4 | the partition's app |
//! | 8 | 4 | the partition's index |
//! | 12 | 4 | how many bytes right before it were not synced yet when it was written |
//! | 16 | 4 | checksum of: the segment's number (8 bytes), the frame's offset in the file (8 bytes), bytes 0 to 15 |
//! | 20 | *n* | the record ([`words::Record`] in [postcard](https://postcard.jamesmunns.com)'s format) |
//! | 20 + *n* | 4 | checksum of bytes 0 to 19 + *n* |
//!
//! The header has a checksum of its own, so that a payload that rots costs its partition and no other. Number
//! and offset are in it so that a frame is valid only where it was written: a copy of one elsewhere, say in a
//! client's payload behind a header that rotted, is not taken for a record.
//!
//! A new segment is written as `log.N.new`, synced, renamed, and the folder synced; before all that, the one
//! before it is synced. So a header and a restatement are never torn, a torn tail can be in the last segment
//! only, and a crash while a segment is made leaves at most a `.new` file, which the next start removes.
//!
//! # What recovery makes of bad bytes (§7.2)
//! Recovery walks from frame to frame. Behind a bad payload it goes on where the header says; behind a bad
//! header it tries every byte until a whole frame is found. A disk may have written the end of what it was given
//! and not its beginning, so a whole frame behind a bad place proves nothing by itself: what counts is whether
//! one was written after that place was synced. What rots in the very last write before a stop can't be told
//! from a torn one.
//!
//! | what is bad | where | what it is |
//! | --- | --- | --- |
//! | anything behind the restatement | in the last segment, no frame says that it was synced | a torn tail: cut off |
//! | a payload, its header being intact | elsewhere | [`Damage::Partitions`] with its partition |
//! | a frame's header, a segment's header, a segment that is missing or was cut | elsewhere | [`Damage::All`] |
//! | the version, the checksum being right | any segment | [`LogError::Version`] |
//!
//! Damage stays until the partition that it touches was removed or created anew *later in the log*: until then
//! every start tells of it again, from where it is or from a restatement. A log with damage goes on in a new
//! segment.

mod direct;
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

/// Bytes of a block, what the log writes a file by: no usual disk or file system has larger ones.
const BLOCK: usize = 4096;
