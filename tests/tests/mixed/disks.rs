//! What the servers keep their data on: the meta server and two replica servers on disks that forget what was not
//! synced, the other replica servers on small ones.

use std::collections::BTreeMap;
use std::thread::panicking;

use forgetful::{Disk, Forgetful, Outcome};
use tempfile::TempDir;
use tests::{Cluster, Dice, SmallDisk, report};

use crate::{META, REPLICAS};

/// Who can lose power.
pub(crate) const POWERED: [&str; 3] = [META, REPLICAS[3], REPLICAS[4]];

/// Who can run out of space.
pub(crate) const CROWDED: [&str; 3] = [REPLICAS[0], REPLICAS[1], REPLICAS[2]];

const SMALL_MIB: u64 = 256;

/// Mounts a small disk for each of [`CROWDED`].
pub(crate) fn small_disks(cluster: &Cluster) -> BTreeMap<&'static str, SmallDisk> {
    CROWDED.into_iter().map(|name| (name, SmallDisk::new(&cluster.data(name), SMALL_MIB))).collect()
}

/// The disks of [`POWERED`].
pub(crate) struct ForgetfulDisks {
    disks: BTreeMap<&'static str, Forgetful>,
    // Dropped after them.
    mountpoints: TempDir,
}

impl ForgetfulDisks {
    pub(crate) fn mount() -> Self {
        let mountpoints = tempfile::Builder::new().prefix("holdfast-disks-").tempdir().expect("a folder");
        let disks = POWERED.into_iter().map(|name| {
            let mountpoint = mountpoints.path().join(name);
            std::fs::create_dir(&mountpoint).expect("a mountpoint");
            (name, Forgetful::mount(&mountpoint, Disk::default()).expect("a mount"))
        });
        Self { disks: disks.collect(), mountpoints }
    }

    pub(crate) fn place(&self, cluster: &mut Cluster) {
        for name in POWERED {
            cluster.place(name, self.mountpoints.path().join(name));
        }
    }

    /// The power of a server that was just killed went with it, and is back.
    pub(crate) fn cut_power(&self, name: &str, dice: &mut Dice) -> Outcome {
        let number = dice.within(0..u64::MAX);
        let mut outcomes = vec![Outcome::Lost, Outcome::Kept, Outcome::Journaled(number)];
        // RocksDB needs a file system with a journal; what is ours does not.
        if name != META {
            outcomes.push(Outcome::Torn(number));
        }
        let outcome = *dice.one_of(&outcomes);
        let disk = &self.disks[name];
        disk.cut_power(outcome);
        disk.restore_power();
        outcome
    }
}

impl Drop for ForgetfulDisks {
    fn drop(&mut self) {
        if !panicking() {
            return;
        }
        let Ok(kept) = tempfile::Builder::new().prefix("holdfast-disks-kept-").tempdir() else { return };
        let kept = kept.keep();
        for (name, disk) in &self.disks {
            let copy = kept.join(name);
            let copied = std::fs::create_dir(&copy).and_then(|()| disk.disk().copy_to(&copy));
            report(&format!("what is on the disk of {name} is in {}: {copied:?}", copy.display()));
        }
    }
}
