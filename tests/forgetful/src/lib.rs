//! A file system that forgets what was not synced, so that a power cut can be tried on real processes.
//!
//! It keeps everything in memory, twice: as it is, and as the disk has it. A write changes only the first; `fsync`
//! and `fdatasync` of a file, or `O_SYNC` and `O_DSYNC`, bring its content to the disk, `fsync` of a folder its names
//! (files and folders made in it, renamed, removed). [`Forgetful::cut_power`] forgets the rest ([`Outcome`]), and
//! every handle that was open is of no use from then on.
//!
//! All that changes something is one [`Operation`] of a journal, so a test can run a program once and then look at
//! the disk as it was after each of them: [`Disk::after`], [`Disk::cut`], [`Disk::copy_to`].
//!
//! It is as strict as POSIX, and stricter than most file systems: `fsync` of a new file does not bring its name to
//! the disk, and one name of two may survive that were changed in one folder. It does what our servers and RocksDB
//! need: no symbolic links, no rename from one folder to another, no shared mappings; times and permissions are
//! not kept.

mod crash_points;
mod disk;
mod file;
mod folder;
mod mount;
mod served;
mod state;

pub use crash_points::{Point, Recorder, Run, report, report_left_out};
pub use disk::{Disk, Inode, Operation, Outcome, Refused};
pub use mount::{Forgetful, Hang, can_mount};
