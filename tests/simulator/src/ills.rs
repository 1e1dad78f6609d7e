//! What a machine suffers from for a while: its disk has no room, its app can't make checkpoints, and the like.

use std::io;

use crate::clock::Moment;

/// Something that a machine suffers from for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// The disk is full.
    DiskFull,
    /// The system gives no file handles.
    NoHandles,
    /// An app's checkpoint fails, half made.
    CheckpointFails,
    /// An app's checkpoint takes longer than anybody waits for it.
    CheckpointSlow,
    /// An app begins no checkpoint.
    CheckpointRefused,
    /// An app does not give the checkpoint that it has made.
    CheckpointWithheld,
    /// An app does not take a checkpoint over.
    TakeOverFails,
    /// An app takes long to apply.
    ApplySlow,
    /// An app panics while it applies.
    ApplyPanics,
    /// Of an installed checkpoint nobody knows whether it counts.
    InstallFails,
}

/// Until when a machine suffers from what.
#[derive(Debug, Default)]
pub(crate) struct Ills([Moment; 10]);

impl Ills {
    /// It suffers from this until then.
    pub(crate) fn befall(&mut self, ill: Ill, until: Moment) {
        let before = &mut self.0[ill as usize];
        *before = until.max(*before);
    }

    pub(crate) fn has(&self, ill: Ill, now: Moment) -> bool {
        self.0[ill as usize] > now
    }

    /// What the system says to whoever wants to write or to make a file now.
    ///
    /// # Errors
    /// There is no room, or no handle.
    pub(crate) fn room(&self, now: Moment) -> io::Result<()> {
        if self.has(Ill::DiskFull, now) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.has(Ill::NoHandles, now) {
            return Err(io::Error::other("no file handle is left (injected)"));
        }
        Ok(())
    }

    /// What it says while an app suffers from this.
    ///
    /// # Errors
    /// It does.
    pub(crate) fn spare(&self, ill: Ill, now: Moment) -> io::Result<()> {
        if self.has(ill, now) { Err(io::Error::other(format!("{ill:?} (injected)"))) } else { Ok(()) }
    }
}
