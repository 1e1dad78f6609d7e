//! A disk of a few MiB for one server's data, that can be filled up and freed again. Needs root.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Answer, report, requirement, run};

/// What these disks are called, with the id of the process after it.
const NAME: &str = "holdfast-";

/// A mounted disk. Dropping it unmounts it; if the test fails, what is on it is kept in its place.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Whether this machine can have such disks; if not, the test's name and what is missing are printed.
    #[must_use]
    pub fn can_be(test: &str) -> bool {
        requirement::is_met(test, "a small disk", &["mount", "umount"])
    }

    /// Mounts an empty disk at a folder, which is made.
    ///
    /// # Panics
    /// If it can't be mounted.
    #[must_use]
    pub fn new(folder: &Path, mib: u64) -> Self {
        unmount_leftovers();
        fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        let name = format!("{NAME}{}", std::process::id());
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), &name]).arg(folder);
        let answer = run(mount);
        assert_eq!(answer.code, 0, "{answer:?}");
        Self { folder: folder.to_owned() }
    }

    /// Leaves no room for anything: again, if something made room meanwhile.
    ///
    /// # Panics
    /// If the disk fails in another way than by being full.
    pub fn fill(&self) {
        let mut balloon = File::options().create(true).append(true).open(self.balloon()).expect("a file");
        let mut piece = vec![1; 1 << 20];
        while !piece.is_empty() {
            match balloon.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) => panic!("{}: {error}", self.folder.display()),
            }
        }
    }

    /// Leaves room for so many MiB.
    ///
    /// # Panics
    /// If there is less, or the disk fails.
    pub fn fill_but(&self, mib: u64) {
        let found = rustix::fs::statvfs(&self.folder).expect("a file system");
        let size = (found.f_bavail * found.f_frsize).checked_sub(mib << 20).expect("that much room");
        let size = usize::try_from(size).expect("a small disk");
        fs::write(self.balloon(), vec![1; size]).expect("room for it");
    }

    /// Makes room again.
    ///
    /// # Panics
    /// If it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.balloon()).expect("what filled it");
    }

    /// Not within the server's own folder of things, which it may tidy up.
    fn balloon(&self) -> PathBuf {
        self.folder.join("balloon")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let kept = self.folder.with_extension("kept");
        let failed = std::thread::panicking();
        if failed {
            let _ = fs::remove_file(self.balloon());
            let _ = Command::new("cp").arg("-a").arg(&self.folder).arg(&kept).stderr(Stdio::null()).status();
        }
        unmount(&self.folder);
    }
}

/// Unmounts the disks of test runs that are dead.
fn unmount_leftovers() {
    for line in fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let (name, folder) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let run = name.strip_prefix(NAME).and_then(|run| run.parse::<u32>().ok());
        if run.is_some_and(|run| !Path::new(&format!("/proc/{run}")).exists()) {
            unmount(Path::new(folder));
        }
    }
}

/// At once, though a server that is about to end may still use it.
fn unmount(folder: &Path) {
    let mut unmount = Command::new("umount");
    unmount.arg("--lazy").arg(folder);
    let Answer { code, stderr, .. } = run(unmount);
    if code != 0 {
        report(&format!("{} stays mounted: {stderr}", folder.display()));
    }
}
