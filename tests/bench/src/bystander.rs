//! What anybody would have had to wait for the disk meanwhile, and how long the disk itself stood still.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two syncs.
const REST: Duration = Duration::from_millis(5);
/// Between two looks at what the disk has completed.
const LOOK: Duration = Duration::from_millis(2);

/// What was seen of a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The longest time that a write of 4 KiB over what is there took with its sync.
    pub(crate) slowest_sync: Duration,
    /// The longest time for which the disk had something to do and completed none of it, as the kernel counts it;
    /// `None` if that is no disk of which it does.
    pub(crate) standstill: Option<Duration>,
}

/// What becomes of `during`, and what was seen of the disk with temporary files meanwhile.
///
/// # Panics
/// If the disk can't be written.
pub(crate) fn beside<T>(during: impl FnOnce() -> T) -> (T, Seen) {
    let (file, ended) = (tempfile::tempfile().expect("a file"), AtomicBool::new(false));
    let disk = Disk::of(&file).expect("a file has a disk");
    thread::scope(|scope| {
        let syncs = scope.spawn(|| slowest_sync(&file, &ended));
        let looks = scope.spawn(|| standstill(&disk, &ended));
        let result = during();
        ended.store(true, Ordering::Relaxed);
        let slowest_sync = syncs.join().expect("a disk that can be written");
        (result, Seen { slowest_sync, standstill: looks.join().expect("nothing in it panics") })
    })
}

fn slowest_sync(file: &File, ended: &AtomicBool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        let began = Instant::now();
        file.write_all_at(&[0x5a; 4096], 0).and_then(|()| file.sync_data()).expect("a disk");
        slowest = slowest.max(began.elapsed());
        thread::sleep(REST);
    }
    slowest
}

fn standstill(disk: &Disk, ended: &AtomicBool) -> Option<Duration> {
    let (mut before, mut since) = (disk.counts()?, Instant::now());
    let mut longest = Duration::ZERO;
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let (counts, now) = (disk.counts()?, Instant::now());
        // If there was nothing to do at the last look it may just have begun.
        if counts.completed == before.completed && before.under_way > 0 {
            longest = longest.max(now - since);
        } else {
            since = now;
        }
        before = counts;
    }
    Some(longest)
}

/// A disk, by its name in `/proc/diskstats`: major and minor number.
struct Disk(String, String);

/// What the kernel counts of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    /// Requests of all kinds.
    completed: u64,
    under_way: u64,
}

impl Disk {
    fn of(file: &File) -> io::Result<Self> {
        let device = file.metadata()?.dev();
        Ok(Self(rustix::fs::major(device).to_string(), rustix::fs::minor(device).to_string()))
    }

    fn counts(&self) -> Option<Counts> {
        self.counts_in(&fs::read_to_string("/proc/diskstats").ok()?)
    }

    /// By the kernel's `Documentation/admin-guide/iostats.rst`; older ones count fewer kinds.
    fn counts_in(&self, stats: &str) -> Option<Counts> {
        let mut lines = stats.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let disk = lines.find(|fields| fields.starts_with(&[&self.0, &self.1]))?;
        let counts: Vec<u64> = disk.iter().skip(3).filter_map(|field| field.parse().ok()).collect();
        let (reads, writes, under_way) = (counts.first()?, counts.get(4)?, *counts.get(8)?);
        let (discards, flushes) = (counts.get(11).unwrap_or(&0), counts.get(15).unwrap_or(&0));
        Some(Counts { completed: reads + writes + discards + flushes, under_way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_disk() {
        let stats = "   7       0 loop0 1 0 8 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
                     254       0 vda 100 5 800 9 2000 7 16000 4 3 11 12 30000 1 5 6 400000 8\n";
        let disk = |major: &str| Disk(major.to_owned(), "0".to_owned());
        let counted = Counts { completed: 432_100, under_way: 3 };
        assert_eq!(disk("254").counts_in(stats), Some(counted));
        assert_eq!(disk("8").counts_in(stats), None);
        let old = "254 0 vda 100 5 800 9 2000 7 16000 4 3 11 12";
        assert_eq!(disk("254").counts_in(old), Some(Counts { completed: 2_100, under_way: 3 }));
    }
}
