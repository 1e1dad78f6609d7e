//! Servers that are killed, stopped, frozen or lose their disk, under load. What the load itself checks (sums
//! that are exact, a history that is linearizable) is in `Load::finish`.

use std::hash::{BuildHasher, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Cluster, Load, REPLICAS, report, short_or_full, wait_for};

const APP: &str = "counter.instance0";

/// One of the replica servers; no seed would repeat what four processes do.
fn any_replica() -> &'static str {
    REPLICAS[(RandomState::new().hash_one(0) % 3) as usize]
}

/// The server that is primary of the one partition of `app`.
fn primary(cluster: &Cluster, app: &str) -> &'static str {
    wait_for("a primary", || {
        let partitions = cluster.partitions(app)?;
        let name = partitions.first().and_then(|partition| partition.primary.clone());
        let known = REPLICAS.into_iter().find(|replica| name.as_deref() == Some(replica));
        known.ok_or_else(|| format!("{partitions:?}"))
    })
}

#[test]
fn random_kills() {
    let mut cluster = Cluster::start();
    let seconds = short_or_full("random_kills", 30, 120);
    let begin = Instant::now();
    let mut load = Load::start(&cluster, APP, seconds, &["--clients", "64", "--keys", "64", "--reads", "20"]);
    let mut kills = 0;
    sleep(Duration::from_secs(3));
    while begin.elapsed() + Duration::from_secs(3) < Duration::from_secs(seconds) && load.runs() {
        let replica = any_replica();
        cluster.kill(replica);
        sleep(Duration::from_secs(2));
        cluster.restart(replica);
        kills += 1;
        sleep(Duration::from_secs(3));
    }
    let summary = load.finish();
    report(&format!("random_kills: {kills} kills, {summary:?}"));
    cluster.wait_until_whole(APP);
}

#[test]
fn all_killed_at_once() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster, APP, 15, &["--clients", "64", "--keys", "64", "--reads", "20"]);
    sleep(Duration::from_secs(5));
    for name in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.kill(name);
    }
    for name in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.restart(name);
    }
    let summary = load.finish();
    report(&format!("all_killed_at_once: {summary:?}"));
    cluster.wait_until_whole(APP);
}

#[test]
fn a_disk_is_lost() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut cluster = Cluster::start();
    for (value, name) in (1..).zip(names) {
        cluster.add(name, value);
    }
    let (old, replicas) = cluster.node("replica1").expect("replica1");
    cluster.kill("replica1");
    std::fs::remove_dir_all(cluster.data("replica1")).expect("the data of replica1");
    cluster.add("written meanwhile", 7);
    cluster.restart("replica1");
    wait_for("the new node to have all that the old one had", || {
        let (new, learned) = cluster.node("replica1")?;
        if new != old && learned == replicas {
            Ok(())
        } else {
            Err(format!("{new} has {learned} of {replicas}"))
        }
    });
    for name in ["replica2", "replica3"] {
        cluster.kill(name);
        wait_for("the partitions without it", || {
            let partitions = cluster.partitions(APP)?;
            let gone = |p: &tests::Partition| {
                p.primary.as_deref() != Some(name) && !p.secondaries.iter().any(|s| s == name)
            };
            if partitions.iter().all(gone) { Ok(()) } else { Err(format!("{partitions:?}")) }
        });
    }
    for (value, name) in (1..).zip(names) {
        assert_eq!(cluster.read(name), value, "{name}, with replica1 alone");
    }
    assert_eq!(cluster.read("written meanwhile"), 7, "with replica1 alone");
}

#[test]
fn without_the_meta_server() {
    let mut cluster = Cluster::start();
    let down = short_or_full("without_the_meta_server", 10, 60);
    let load = Load::start(&cluster, APP, down + 4, &["--clients", "16", "--keys", "64", "--reads", "50"]);
    sleep(Duration::from_secs(2));
    assert!(cluster.terminate("meta1").success());
    sleep(Duration::from_secs(down));
    cluster.restart("meta1");
    let summary = load.finish();
    report(&format!("without_the_meta_server: {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
}

#[test]
fn a_primary_is_killed() {
    let mut cluster = Cluster::start();
    let app = cluster.create("counter.one", "counter", 1);
    let kills = short_or_full("a_primary_is_killed", 3, 20);
    let mut gaps = Vec::new();
    for _ in 0..kills {
        let load = Load::start(&cluster, app, 5, &["--clients", "8", "--keys", "8", "--reads", "0"]);
        sleep(Duration::from_millis(1500));
        let replica = primary(&cluster, app);
        cluster.kill(replica);
        gaps.push(load.finish().longest_gap_ms);
        cluster.restart(replica);
        cluster.wait_until_whole(app);
    }
    gaps.sort_unstable_by(f64::total_cmp);
    report(&format!("a_primary_is_killed: milliseconds without a write, each time: {gaps:?}"));
}

#[test]
fn a_primary_is_stopped() {
    let mut cluster = Cluster::start();
    let app = cluster.create("counter.one", "counter", 1);
    let load = Load::start(&cluster, app, 8, &["--clients", "16", "--keys", "16", "--reads", "20"]);
    sleep(Duration::from_secs(3));
    let replica = primary(&cluster, app);
    let status = cluster.terminate(replica);
    assert!(status.success(), "{replica} ended with {status}");
    let summary = load.finish();
    report(&format!("a_primary_is_stopped: {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
}

#[test]
fn a_primary_is_frozen() {
    let cluster = Cluster::start();
    let app = cluster.create("counter.one", "counter", 1);
    // Many reads of few keys: a stale one would be seen.
    let load = Load::start(&cluster, app, 15, &["--clients", "16", "--keys", "2", "--reads", "70"]);
    sleep(Duration::from_secs(3));
    let replica = primary(&cluster, app);
    cluster.signal(replica, Signal::STOP);
    sleep(Duration::from_secs(5));
    cluster.signal(replica, Signal::CONT);
    let summary = load.finish();
    report(&format!("a_primary_is_frozen: {summary:?}"));
    let now = primary(&cluster, app);
    assert_ne!(now, replica, "the frozen primary was never deposed, so nothing was tried");
}
