//! A mounted disk, and the hand at its power switch.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};

use crate::served::Served;
use crate::state::State;
use crate::{Disk, Operation, Outcome};

/// Whether `test` can mount something here; if not, it says so by name and with what is missing.
///
/// # Panics
/// If it can't, and `HOLDFAST_CI` says that all tests have to run.
#[must_use]
pub fn can_mount(test: &str) -> bool {
    let Some(missing) = what_is_missing() else { return true };
    assert!(std::env::var_os("HOLDFAST_CI").is_none(), "{test} has to run here, and there is no {missing}");
    show(&format!("{test}: SKIPPED, there is no {missing}"));
    false
}

/// Prints a line. Not by `eprintln!`: what a test prints that passes is not shown.
pub(crate) fn show(line: &str) {
    // A closed standard error is no failure.
    let _ = writeln!(io::stderr().lock(), "        {line}");
}

fn what_is_missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    device.is_err().then_some("/dev/fuse")
}

/// A mounted disk. Dropping it unmounts it; no process may use it then.
#[derive(Debug)]
pub struct Forgetful {
    mountpoint: PathBuf,
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

/// A disk that hangs.
#[derive(Debug)]
pub struct Hang<'a> {
    _state: MutexGuard<'a, State>,
}

impl Forgetful {
    /// Mounts a disk on an existing folder.
    ///
    /// # Errors
    /// Those of the operating system; see [`can_mount`].
    pub fn mount(mountpoint: &Path, disk: Disk) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::new(disk)));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".to_owned())];
        let session = fuser::spawn_mount(Served::new(Arc::clone(&state)), mountpoint, &config)?;
        Ok(Self { mountpoint: mountpoint.to_owned(), state, session: Some(session) })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// From now on every sync is answered as done, and does nothing.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// From now on the journal grows, from nothing.
    pub fn record(&self) {
        self.state().journal = Some(Vec::new());
    }

    /// The journal since [`record`](Self::record).
    #[must_use]
    pub fn journal(&self) -> Vec<Operation> {
        self.state().journal.clone().unwrap_or_default()
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power goes: whoever uses it gets `EIO`, and so does, for ever, who had something open.
    pub fn cut_power(&self, outcome: Outcome) {
        self.state().cut_power(outcome);
    }

    /// The power is back.
    pub fn restore_power(&self) {
        self.state().powered = true;
    }

    /// Until that is dropped no request is answered, neither well nor badly.
    #[must_use]
    pub fn hang(&self) -> Hang<'_> {
        Hang { _state: self.state() }
    }

    /// The disk as it is now.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.state().disk.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unmounts it; what it held is answered.
    ///
    /// # Errors
    /// Those of the operating system, so if it is in use.
    pub fn unmount(mut self) -> io::Result<Disk> {
        self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join)?;
        Ok(self.disk())
    }
}

impl Drop for Forgetful {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.session.take().map(BackgroundSession::umount_and_join) {
            eprintln!("{} is still mounted: {error}", self.mountpoint.display());
        }
    }
}
