//! What an app author reads first, and all that an app needs: implement [`ReplicatedApp`] for a service that
//! runs on one node, register it under a type name, and get it partitioned and replicated.
//!
//! # What the framework promises
//! * [`apply`](ReplicatedApp::apply) is called once for each committed decree in a life of the app, in order,
//!   without gaps (S11); what a session already did is left out before the app sees it (§8.2).
//! * After [`open`](AppType::open) the first decree applied is the one after
//!   [`last_durable_decree`](ReplicatedApp::last_durable_decree): the framework replays from its prepare log
//!   what the app had not yet made durable. So an app writes a checkpoint now and then and needs no log.
//! * One thread at a time calls an app; nothing needs a lock. Only a [`CheckpointJob`] and [`ReadJob`]s run beside it.
//!
//! # What the app promises
//! * `apply` is deterministic: the same state and mutation give the same state and answers on every replica.
//!   No clock (use [`Batch::timestamp_us`]), no randomness, no iteration over a `HashMap`.
//! * A checkpoint is whole or not there: written beside, synced, renamed.
//!
//! An app whose state is small enough to be written whole has its checkpoints written by [`Checkpoints`].
//!
//! docs/write-an-app.md goes through an app line by line.

mod checkpoints;
mod digest;

use std::io;
use std::path::{Path, PathBuf};

pub use bytes::Bytes;
pub use checkpoints::Checkpoints;
pub use digest::Digest;
pub use removal::remove_folder;
pub use words::{AppAnswer, AppInfo, Change, Decree, Gpid, Rejection};

/// A single-node service that can be replicated.
pub trait ReplicatedApp: Send {
    /// Applies one committed mutation, the one with decree `batch.decree`. Returns one answer for each
    /// request, in their order. A request that makes no sense is answered with a [`Rejection`] and changes
    /// nothing; `batch.requests` can be empty.
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer>;

    /// What the last [`apply`](Self::apply) changed, for clients that watch; called once after each. It depends
    /// on the state and the batch alone, as answers do. An app that publishes nothing leaves this out.
    fn take_changes(&mut self) -> Vec<Change> {
        Vec::new()
    }

    /// Answers a request that changes nothing, from the state as it is.
    fn read(&self, request: &[u8]) -> AppAnswer;

    /// The same, for an app whose state is partly in files: what it can't answer from memory it leaves to a job, so
    /// that nobody else waits for the disk. An app whose state is in memory leaves this out.
    fn start_read(&self, request: &Bytes) -> Reading {
        Reading::Answered(self.read(request))
    }

    /// Why this app can't be believed any more, if so: its files turned out to be damaged, or can't be written. Asked
    /// after each `apply` and each read, also one that a job has ended; the framework then gives up the replica,
    /// nobody is told what that call answered, and the state is learned afresh from another. An app whose state is in
    /// memory has no such reason.
    fn failure(&self) -> Option<&str> {
        None
    }

    /// The last decree whose effect, and that of all before it, is on stable storage. The prepare log is cut
    /// below it (§7.5).
    fn last_durable_decree(&self) -> Decree;

    /// Makes all that was applied durable before it returns.
    ///
    /// # Errors
    /// What the file system says; the app goes on with its older checkpoint.
    fn sync_checkpoint(&mut self) -> io::Result<()>;

    /// Takes a snapshot of what is applied *now* and returns the slow part, which makes that snapshot durable,
    /// to run on another thread; or `None` if there is nothing new. The job must raise what
    /// [`last_durable_decree`](Self::last_durable_decree) returns when it is done.
    ///
    /// # Errors
    /// What the file system says.
    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>>;

    /// Hands over the newest durable checkpoint for another replica to learn from. Its files must stay
    /// readable until the next call into the app; the framework links or copies them before that.
    ///
    /// # Errors
    /// `NotFound` if no checkpoint was ever written; otherwise what the file system says.
    fn get_checkpoint(&self) -> io::Result<LearnState>;

    /// Takes over a checkpoint that another replica's [`get_checkpoint`](Self::get_checkpoint) handed over.
    ///
    /// # Errors
    /// `InvalidData` for a checkpoint that makes no sense; otherwise what the file system says. The app is
    /// then as it was.
    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()>;

    /// A number that depends on all of the state and nothing else: equal on replicas that applied the same
    /// decrees. Tests compare it (S12); it may be slow. [`Digest`] makes one of bytes.
    fn digest(&self) -> u64;

    /// Ends the app. With `clean_up` all that it stored is to be deleted.
    ///
    /// # Errors
    /// What the file system says.
    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()>;
}

/// What became of a read that was started.
pub enum Reading {
    /// It is answered.
    Answered(AppAnswer),
    /// It is answered elsewhere.
    Later(ReadJob),
}

/// The slow part of a read, which runs on another thread, beside what the app is called for next. Answers from the
/// state after some decree, no older than when the read was started, and says which: that decree is committed and
/// applied, and the read has not returned yet, so a linearizable one may see it. An error means that nobody can tell;
/// it is for [`failure`](ReplicatedApp::failure) to say whether the app can go on.
pub type ReadJob = Box<dyn FnOnce() -> io::Result<(Decree, AppAnswer)> + Send>;

/// The slow part of a checkpoint. Returns the decree that is durable now.
pub type CheckpointJob = Box<dyn FnOnce() -> io::Result<Decree> + Send>;

/// One committed mutation, as an app sees it.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its decree: one above that of the call before.
    pub decree: Decree,
    /// Microseconds since 1970 as the primary saw it; the same on all replicas, never falls (§3.7). No measure of
    /// time that passes: the next primary's clock may be far ahead of this one's.
    pub timestamp_us: u64,
    /// What clients asked for, in the order in which it is to be applied.
    pub requests: &'a [Bytes],
}

/// A checkpoint on its way from one replica to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnState {
    /// Its last decree: it holds the effect of `1..=decree`.
    pub decree: Decree,
    /// The folder that `files` are in.
    pub folder: PathBuf,
    /// Names of the files, relative to `folder`; they may have folders in them.
    pub files: Vec<PathBuf>,
    /// What the app wants to hand over beside files; small.
    pub blob: Bytes,
}

/// What becomes of a checkpoint that is applied; rDSN's two modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// It becomes the state, and durable: `last_durable_decree` is its decree afterwards.
    Learn,
    /// It becomes a durable checkpoint; the state in memory, which is at that decree or further, stays.
    Copy,
}

/// What an app is opened with.
#[derive(Clone, Debug)]
pub struct OpenContext<'a> {
    /// The partition.
    pub gpid: Gpid,
    /// The app that it is a part of.
    pub app: &'a AppInfo,
    /// Where the app keeps its files; nobody else writes there. Exists, and is empty the first time.
    pub folder: &'a Path,
}

/// An app type: makes apps. Registered with a replica server under its name.
pub trait AppType: Send + Sync {
    /// The name under which an operator creates apps of this type, for example `counter`.
    fn name(&self) -> &'static str;

    /// Opens the app of one partition, with whatever state is durable in its folder.
    ///
    /// # Errors
    /// What the file system says; `InvalidData` if files are damaged or missing. The replica is then in
    /// `Error` and is learned afresh from another: never open with less than was durable.
    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>>;
}

/// The app types that a server hosts, by name.
#[derive(Default)]
pub struct Registry {
    types: Vec<Box<dyn AppType>>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more app type.
    ///
    /// # Panics
    /// If a type of that name is registered: two apps under one name would corrupt each other.
    #[must_use]
    pub fn with(mut self, app_type: impl AppType + 'static) -> Self {
        assert!(self.get(app_type.name()).is_none(), "app type `{}` is registered twice", app_type.name());
        self.types.push(Box::new(app_type));
        self
    }

    /// The app type of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&dyn AppType> {
        self.types.iter().find(|app_type| app_type.name() == name).map(AsRef::as_ref)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.types.iter().map(|app_type| app_type.name())
    }
}
