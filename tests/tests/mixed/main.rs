//! Everything at once: faults of every kind at random moments, from a seed that is printed, while clients read and
//! write and their history is recorded. When they stop, the cluster heals by itself.
//!
//! `HOLDFAST_SEED=N` takes the same choices again; what the processes make of them differs each time.

mod disks;
mod faults;

use std::time::{Duration, Instant};

use disks::{ForgetfulDisks, small_disks};
use faults::Faults;
use forgetful::can_mount;
use tests::{CLIENT, Cluster, Dice, Load, Network, SmallDisk, report, short_or_full, wait_for};

const META: &str = "meta1";
const REPLICAS: [&str; 5] = ["replica1", "replica2", "replica3", "replica4", "replica5"];
const HOSTS: [&str; 7] = [CLIENT, META, REPLICAS[0], REPLICAS[1], REPLICAS[2], REPLICAS[3], REPLICAS[4]];

const APP: &str = "counter.instance0";
const PARTITIONS: usize = 8;

/// The load goes on for so long after the last fault, so that the cluster heals under load.
const AFTER: u64 = 15;

#[test]
fn mixed() {
    let Some(network) = Network::for_test("mixed", &HOSTS) else { return };
    if !SmallDisk::can_be("mixed") || !can_mount("mixed") {
        return;
    }
    let seconds = short_or_full("mixed", 60, 600);
    let seed = Dice::seed();
    report(&format!("mixed: HOLDFAST_SEED={seed}"));

    // Unmounted once no server uses them any more: so they go after the cluster.
    let forgetful = ForgetfulDisks::mount();
    let mut cluster = Cluster::prepare_in(network);
    forgetful.place(&mut cluster);
    for setting in [
        // Little data has many segments and checkpoints.
        "replication.log_segment_mb=2",
        "replication.checkpoint_decrees=5000",
        "replication.checkpoint_interval_ms=10000",
        // A member that is lost is replaced while the run lasts.
        "meta_server.replica_assign_delay_ms_for_dropouts=4000",
    ] {
        cluster.set(setting);
    }
    let small = small_disks(&cluster);
    for server in [META].into_iter().chain(REPLICAS) {
        cluster.restart(server);
    }
    cluster.wait_until_whole(APP);

    let load =
        Load::start(&cluster, APP, seconds + AFTER, &["--clients", "12", "--keys", "48", "--reads", "50"]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut faults = Faults::new(&mut cluster, &small, &forgetful, Dice::new(seed));
    faults.run_until(end);
    let counts = faults.end_all();

    let healed = Instant::now();
    wait_until_all_serve(&cluster);
    cluster.wait_until_whole(APP);
    let healed = healed.elapsed();
    let summary = load.finish();
    wait_until_equal(&cluster);
    assert_eq!(cluster.ended(), Vec::<&str>::new(), "ended by themselves");
    report(&format!("mixed: healed after {:.1} s, {summary:?}", healed.as_secs_f64()));
    report(&format!("mixed: {counts}"));
}

/// Each partition does a write and a read.
fn wait_until_all_serve(cluster: &Cluster) {
    // Names enough for every partition to have one.
    for name in 0..PARTITIONS * 4 {
        let name = format!("healed-{name}");
        let value = wait_for("a write", || {
            let answer = cluster.counter(&["add", &name, "1"]);
            answer.stdout.trim().parse::<i64>().map_err(|_| format!("{answer:?}"))
        });
        assert!(cluster.read(&name) >= value, "{name} was {value}");
    }
}

/// All members of each partition have committed as much.
fn wait_until_equal(cluster: &Cluster) {
    wait_for("all replicas to be equal", || {
        let partitions = cluster.partitions(APP)?;
        let unequal: Vec<_> = partitions.iter().filter(|partition| !partition.is_equal()).collect();
        if unequal.is_empty() { Ok(()) } else { Err(format!("{unequal:?}")) }
    });
}
