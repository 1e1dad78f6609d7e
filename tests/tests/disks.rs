//! Disks that are full or hang, and files that are damaged, under load. That nothing is lost or doubled and no read stale
//! is what `Load::finish` checks. The tests with a full disk need root, for a small one to be mounted.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use forgetful::{Disk, Forgetful, can_mount};
use tests::{Cluster, Load, Part, REPLICAS, SmallDisk, can_be_damaged, flip_a_bit, report, wait_for};

const APP: &str = "counter.instance0";
const DISK_MIB: u64 = 64;

/// How long a disk is full: longer than each of the protocol's time-outs.
const FULL: Duration = Duration::from_secs(4);

const LOAD: [&str; 6] = ["--clients", "16", "--keys", "16", "--reads", "30"];

/// Settings with which little data has many segments and checkpoints.
fn prepare(partitions: u32) -> Cluster {
    let mut cluster = Cluster::prepare();
    cluster.set(&format!("replication.app.partition_count={partitions}"));
    cluster.set("replication.log_segment_mb=1");
    cluster.set("replication.checkpoint_decrees=1000");
    cluster
}

fn start(cluster: &mut Cluster) {
    for server in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.restart(server);
    }
    cluster.wait_until_whole(APP);
}

/// A cluster of one partition, with a small disk for each server; the primary's comes first.
fn with_small_disks(test: &str) -> Option<(Cluster, Vec<(&'static str, SmallDisk)>)> {
    if !SmallDisk::can_be(test) {
        return None;
    }
    let mut cluster = prepare(1);
    let disks = REPLICAS.map(|name| (name, SmallDisk::new(&cluster.data(name), DISK_MIB)));
    start(&mut cluster);
    let primary = cluster.partitions(APP).expect("they were just seen")[0].primary.clone();
    let mut disks = Vec::from(disks);
    disks.sort_by_key(|(name, _)| primary.as_deref() != Some(name));
    Some((cluster, disks))
}

/// Fills the disks of `count` servers from the `first` on while clients write, and frees them again.
fn fill_for_a_while(test: &'static str, first: usize, count: usize, meanwhile: impl FnOnce(&Cluster)) {
    let Some((cluster, disks)) = with_small_disks(test) else { return };
    assert_eq!(cluster.add("apples", 5), 5);
    let load = Load::start(&cluster, APP, 12, &LOAD);
    sleep(Duration::from_secs(2));
    let full = &disks[first..first + count];
    let waits = |name: &str| cluster.log(name).contains("waits until it can be written");
    wait_for("a log that can't be written", || {
        // Again and again: a log that is cut makes room.
        full.iter().for_each(|(_, disk)| disk.fill());
        if full.iter().any(|(name, _)| waits(name)) { Ok(()) } else { Err("there is room".to_owned()) }
    });
    sleep(FULL);
    assert_eq!(cluster.read("apples"), 5, "reads go on");
    meanwhile(&cluster);
    full.iter().for_each(|(_, disk)| disk.free());
    let summary = load.finish();
    // No server was started again.
    cluster.wait_until_whole(APP);
    assert_eq!(cluster.add("apples", 1), 6);
    report(&format!("{test}: {summary:?}"));
}

#[test]
fn a_secondarys_disk_is_full() {
    fill_for_a_while("a_secondarys_disk_is_full", 1, 1, |cluster| {
        assert_eq!(cluster.add("pears", 1), 1, "writes go on");
    });
}

/// Its disk would take no write for as long as it is full, and its leases are in memory: it gives way.
#[test]
fn a_primarys_disk_is_full() {
    fill_for_a_while("a_primarys_disk_is_full", 0, 1, |cluster| {
        assert_eq!(cluster.add("pears", 1), 1, "writes go on");
    });
}

#[test]
fn all_disks_are_full() {
    fill_for_a_while("all_disks_are_full", 0, REPLICAS.len(), |_| ());
}

/// No error, no answer at all: only the primary itself can tell, and its heartbeats say nothing of it.
#[test]
fn a_primarys_disk_hangs() {
    let test = "a_primarys_disk_hangs";
    if !can_mount(test) {
        return;
    }
    // Dropped in the opposite order: the processes end, the disks are unmounted, the folders go.
    let mountpoints = tempfile::Builder::new().prefix("holdfast-disks-").tempdir().expect("a folder");
    let disks = REPLICAS.map(|name| {
        let mountpoint = mountpoints.path().join(name);
        fs::create_dir(&mountpoint).expect("a mountpoint");
        (name, Forgetful::mount(&mountpoint, Disk::default()).expect("a mount"))
    });
    let mut cluster = prepare(1);
    disks.iter().for_each(|(name, disk)| cluster.place(name, disk.mountpoint().to_owned()));
    start(&mut cluster);
    let primary = cluster.partitions(APP).expect("they were just seen")[0].primary.clone();
    let (name, disk) = disks.iter().find(|(name, _)| primary.as_deref() == Some(name)).expect("one of them");
    let says = |what: &str| if cluster.log(name).contains(what) { Ok(()) } else { Err(cluster.log(name)) };
    let load = Load::start(&cluster, APP, 12, &LOAD);
    sleep(Duration::from_secs(2));
    let hang = disk.hang();
    sleep(FULL);
    assert_eq!(cluster.add("pears", 1), 1, "writes go on");
    assert_eq!(cluster.read("pears"), 1);
    wait_for("its log to say so", || says("the data directory's disk does not work"));
    drop(hang);
    wait_for("its log to say so", || says("the data directory's disk works again"));
    let summary = load.finish();
    // No server was started again.
    cluster.wait_until_whole(APP);
    report(&format!("{test}: {summary:?}"));
}

/// A client that writes meanwhile is told why it can't (§7.6).
#[test]
fn a_write_to_a_full_disk_is_refused_clearly() {
    let Some((cluster, disks)) = with_small_disks("a_write_to_a_full_disk_is_refused_clearly") else {
        return;
    };
    assert_eq!(cluster.add("apples", 5), 5);
    disks.iter().for_each(|(_, disk)| disk.fill());
    let refused = wait_for("a refusal that names the reason", || {
        let answer = cluster.counter(&["--timeout", "3000", "add", "apples", "1"]);
        if answer.stderr.contains("the node's disk is almost full") {
            Ok(answer)
        } else {
            Err(format!("{answer:?}"))
        }
    });
    assert_ne!(refused.code, 0, "{refused:?}");
    disks.iter().for_each(|(_, disk)| disk.free());
    let now = cluster.read("apples");
    let added = wait_for("a write", || {
        let answer = cluster.counter(&["add", "apples", "1"]);
        answer.stdout.trim().parse::<i64>().map_err(|_| format!("{answer:?}"))
    });
    // Writes that ended as unknown may have been done, in this order or after the read.
    assert!(added > now, "{added} after {now}");
}

/// Kills a secondary under load, damages a file of it, starts it again: it says so, and learns what it lost.
fn damage_a_file(test: &'static str, part: Part, complaint: &str) {
    let mut cluster = prepare(8);
    start(&mut cluster);
    let load = Load::start(&cluster, APP, 120, &LOAD);
    sleep(Duration::from_secs(4));
    let victim = REPLICAS[0];
    let damaged = wait_for("a file to damage", || {
        if !can_be_damaged(&cluster.data(victim), part) {
            return Err(format!("no {part:?}"));
        }
        cluster.kill(victim);
        // It may have been deleted a moment before.
        let damaged = flip_a_bit(&cluster.data(victim), part);
        cluster.restart(victim);
        damaged.ok_or_else(|| format!("no {part:?} any more"))
    });
    let lines = wait_for("a complaint", || {
        let log = cluster.log(victim);
        let lines = log.lines().filter(|line| line.contains(complaint)).count();
        if lines > 0 { Ok(lines) } else { Err(format!("{victim} has not said `{complaint}`")) }
    });
    cluster.wait_until_whole(APP);
    let summary = load.stop();
    let name = damaged.strip_prefix(cluster.folder()).unwrap_or(Path::new("?")).display().to_string();
    report(&format!("{test}: {name}, {lines} complaints, {summary:?}"));
}

#[test]
fn a_segment_of_the_log_is_damaged() {
    damage_a_file("a_segment_of_the_log_is_damaged", Part::Segment, "prepare log is damaged");
}

#[test]
fn a_replicas_current_is_damaged() {
    damage_a_file("a_replicas_current_is_damaged", Part::Current, "CURRENT is damaged");
}

#[test]
fn a_replicas_framework_file_is_damaged() {
    damage_a_file("a_replicas_framework_file_is_damaged", Part::Framework, "is damaged");
}
