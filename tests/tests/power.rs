//! Power cuts: the servers keep their data on disks that forget what was not synced ([`forgetful`]), and lose power
//! under load. `kill -9` alone never loses what the operating system has cached, so it can't find a missing sync.
//!
//! A server is killed, and then its disk forgets: nothing happens between the two, so that is a power cut at the
//! moment of the kill.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{BuildHasher, RandomState};
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

use forgetful::{Disk, Forgetful, Outcome, can_mount};
use tempfile::TempDir;
use tests::{Cluster, Load, REPLICAS, report, short_or_full};

const APP: &str = "counter.instance0";
const SERVERS: [&str; 4] = ["meta1", REPLICAS[0], REPLICAS[1], REPLICAS[2]];

/// One of them; no seed would repeat what four processes do.
fn any<T: Copy>(of: &[T]) -> T {
    let random = RandomState::new().hash_one(0);
    of[usize::try_from(random % of.len() as u64).expect("an index")]
}

/// A cluster, each server with a disk of its own.
struct Powered {
    // Dropped in this order: the processes end, the disks are unmounted, the folders go.
    cluster: Cluster,
    disks: BTreeMap<&'static str, Forgetful>,
    _mountpoints: TempDir,
    outcomes: Vec<(&'static str, Outcome)>,
}

impl Powered {
    /// A running cluster; `None` if nothing can be mounted here.
    fn start(test: &str) -> Option<Self> {
        if !can_mount(test) {
            return None;
        }
        let mut cluster = Cluster::prepare();
        let mountpoints = tempfile::Builder::new().prefix("holdfast-disks-").tempdir().expect("a folder");
        let mut disks = BTreeMap::new();
        for name in SERVERS {
            let mountpoint = mountpoints.path().join(name);
            std::fs::create_dir(&mountpoint).expect("a mountpoint");
            disks.insert(name, Forgetful::mount(&mountpoint, Disk::default()).expect("a mount"));
            cluster.place(name, mountpoint);
        }
        cluster.start_all();
        Some(Self { cluster, disks, _mountpoints: mountpoints, outcomes: Vec::new() })
    }

    /// The power of these servers goes at once, and is back on their disks.
    fn cut(&mut self, names: &[&'static str], outcome: impl Fn(&str) -> Outcome) {
        for name in names {
            self.cluster.kill(name);
        }
        for &name in names {
            let outcome = outcome(name);
            let disk = &self.disks[name];
            disk.cut_power(outcome);
            disk.restore_power();
            self.outcomes.push((name, outcome));
        }
    }

    fn restart(&mut self, names: &[&'static str]) {
        for name in names {
            self.cluster.restart(name);
        }
    }

    fn tell(&self, test: &str, what: &dyn Debug) {
        let operations: u64 = self.disks.values().map(Forgetful::operations).sum();
        let count = |wanted: fn(&Outcome) -> bool| {
            self.outcomes.iter().filter(|(_, outcome)| wanted(outcome)).count()
        };
        report(&format!(
            "{test}: {} power cuts ({} lost, {} kept, {} torn), {operations} operations on the disks, {what:?}",
            self.outcomes.len(),
            count(|outcome| *outcome == Outcome::Lost),
            count(|outcome| *outcome == Outcome::Kept),
            count(|outcome| matches!(outcome, Outcome::Torn(_) | Outcome::Journaled(_))),
        ));
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        if !panicking() {
            return;
        }
        report(&format!("power cuts: {:?}", self.outcomes));
        for (name, disk) in &self.disks {
            let copy = self.cluster.folder().join(format!("{name}.disk"));
            let copied = std::fs::create_dir(&copy).and_then(|()| disk.disk().copy_to(&copy));
            report(&format!("what is on the disk of {name} is in {}: {copied:?}", copy.display()));
        }
    }
}

/// What RocksDB keeps needs a file system with a journal ([`Outcome::Journaled`]); what is ours needs none.
fn any_outcome(name: &str) -> Outcome {
    let number = RandomState::new().hash_one(1);
    if name == "meta1" {
        return any(&[Outcome::Lost, Outcome::Kept, Outcome::Journaled(number)]);
    }
    any(&[Outcome::Lost, Outcome::Kept, Outcome::Torn(number), Outcome::Journaled(number)])
}

#[test]
fn power_cuts() {
    let test = "power::power_cuts";
    let Some(mut powered) = Powered::start(test) else { return };
    let seconds = short_or_full(test, 30, 120);
    let begin = Instant::now();
    let options = ["--clients", "64", "--keys", "64", "--reads", "20"];
    let mut load = Load::start(&powered.cluster, APP, seconds, &options);
    sleep(Duration::from_secs(2));
    while begin.elapsed() + Duration::from_secs(3) < Duration::from_secs(seconds) && load.runs() {
        let name = any(&SERVERS);
        powered.cut(&[name], any_outcome);
        sleep(Duration::from_secs(1));
        powered.restart(&[name]);
        sleep(Duration::from_secs(2));
    }
    let summary = load.finish();
    powered.tell(test, &summary);
    powered.cluster.wait_until_whole(APP);
}

#[test]
fn all_lose_power_at_once() {
    let test = "power::all_lose_power_at_once";
    let Some(mut powered) = Powered::start(test) else { return };
    let cuts = short_or_full(test, 3, 20);
    for _ in 0..cuts {
        let options = ["--clients", "64", "--keys", "64", "--reads", "20"];
        let load = Load::start(&powered.cluster, APP, 6, &options);
        sleep(Duration::from_secs(2));
        powered.cut(&SERVERS, any_outcome);
        powered.restart(&SERVERS);
        let summary = load.finish();
        powered.tell(test, &summary);
        powered.cluster.wait_until_whole(APP);
    }
}

/// The same with disks whose syncs do nothing: if that passed, these tests could not fail.
#[test]
fn disks_that_lie_are_found_out() {
    let test = "power::disks_that_lie_are_found_out";
    let Some(mut powered) = Powered::start(test) else { return };
    for name in REPLICAS {
        powered.disks[name].lie();
    }
    let load = Load::start(&powered.cluster, APP, 6, &["--clients", "64", "--keys", "64", "--reads", "20"]);
    sleep(Duration::from_secs(3));
    powered.cut(&REPLICAS, |_| Outcome::Lost);
    powered.restart(&REPLICAS);
    let verdict = load.judge();
    powered.tell(test, &verdict);
    let complaint = verdict.expect_err("acknowledged writes were lost, and nobody noticed");
    assert!(complaint.contains("violated"), "it failed, but not for what was lost: {complaint}");
}
