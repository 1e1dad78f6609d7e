//! Rules whose loss breaks no promise at once, so that no seed of the simulator would tell: each has its test, and
//! a planted mistake (tests/simulator/mistakes) that the test has to find.

use std::time::Duration;

use replica_core::Settings;
use words::{Command, Refusal, Reply, RoleName};

use crate::harness::Cluster;
use crate::{R1, R2, R3, three, three_with};

/// §3.5: what is in flight is bounded, however many write.
#[test]
fn a_full_window_takes_no_more() {
    let mut cluster = three();
    cluster.kill(R2);
    cluster.kill(R3);
    let window = Settings::default().window as u64;
    for _ in 0..window * 3 {
        assert_eq!(cluster.write(R1, 1), None, "nobody acknowledges");
    }
    let replica = cluster.replica(R1);
    assert_eq!(replica.last_prepared().0 - replica.last_committed().0, window);
}

/// §4.7: until the meta server says that it may be collected.
#[test]
fn who_left_keeps_its_data() {
    let mut cluster = three();
    cluster.write(R1, 5);
    cluster.pass(Duration::from_millis(200)); // the commit point gets around
    cluster.command(Command::Remove(R3));
    assert_eq!(cluster.configuration.to_string(), "{4,r1,[r2]}");
    cluster.push_configuration();
    assert!(cluster.has(R3), "its data is gone");
    assert_eq!(cluster.role(R3), RoleName::Inactive);
    assert_eq!(cluster.total(R3), 5);
}

/// §6.4: the last member that is left to an operator knows less than one that comes back later.
#[test]
fn who_is_ahead_of_a_forced_primary_learns_afresh() {
    let mut cluster = three();
    cluster.write(R1, 1);
    cluster.kill(R3);
    cluster.unreachable(R3);
    for _ in 0..20 {
        cluster.write(R1, 2);
    }
    cluster.kill(R1);
    cluster.kill(R2);
    cluster.restart(R3);
    // What the operator declares: r1 and r2 are lost.
    cluster.configuration = cluster.configuration.bumped();
    (cluster.configuration.primary, cluster.configuration.secondaries) = (Some(R3), Vec::new());
    cluster.push_configuration();
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.read(R3), Ok(1), "what r3 knew");
    cluster.restart(R1);
    for _ in 0..4 {
        cluster.add(R1);
    }
    assert_eq!(cluster.role(R1), RoleName::Secondary, "{:?}", cluster.replica(R1).error());
    let reply = cluster.write(R3, 8);
    assert!(matches!(reply, Some(Reply::Done { .. })), "{reply:?}");
    cluster.pass(Duration::from_millis(200));
    assert_eq!((cluster.total(R3), cluster.total(R1)), (9, 9));
}

/// §7.5: or it would hold the log of all others for ever.
#[test]
fn an_idle_partition_is_asked_for_a_checkpoint() {
    let mut cluster = three();
    cluster.write(R1, 1);
    assert_eq!(cluster.checkpoints_asked, 0);
    cluster.pass(Settings::default().checkpoint_interval + Duration::from_secs(1));
    assert!(cluster.checkpoints_asked > 0, "an interval has passed, and something is not durable");
}

/// §7.6: a disk that is full fails each attempt.
#[test]
fn a_checkpoint_that_failed_is_not_tried_again_with_each_mutation() {
    let mut cluster = three_with(|settings| {
        settings.checkpoint_decrees = 3;
        settings.report = Duration::from_secs(3600); // which looks at all replicas together
    });
    let pause = Settings::default().checkpoint_interval / 10;
    (0..3).for_each(|_| drop(cluster.write(R1, 1)));
    assert_eq!(cluster.checkpoints_asked, 1);
    for _ in 0..3 {
        cluster.fail_checkpoint(R1);
        let asked = cluster.checkpoints_asked;
        for span in [pause / 2, pause / 3] {
            (0..3).for_each(|_| drop(cluster.write(R1, 1)));
            cluster.pass(span);
        }
        assert_eq!(cluster.checkpoints_asked, asked);
        cluster.pass(pause - pause / 2 - pause / 3);
        assert_eq!(cluster.checkpoints_asked, asked + 1);
    }
}

/// §7.6: what makes the disk low may be the log, and idle partitions what holds it.
#[test]
fn a_low_disk_is_no_time_to_wait_for_the_next_checkpoint() {
    let mut cluster = three();
    cluster.write(R1, 1);
    cluster.pass(Duration::from_secs(1));
    cluster.measure_disk(R1, 10);
    assert_eq!(cluster.checkpoints_asked, 0, "there is room");
    cluster.measure_disk(R1, 9);
    assert_eq!(cluster.checkpoints_asked, 1);
    cluster.measure_disk(R1, 8);
    assert_eq!(cluster.checkpoints_asked, 1, "nothing is left that would make room");
}

/// §7.6: a primary whose disk is low serves reads alone; a secondary goes on taking what the primary sends; a node
/// that never had the replica does not get it.
#[test]
fn a_node_whose_disk_is_low_takes_no_clients_writes_and_no_new_replicas() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    for node in [R2, R3] {
        cluster.measure_disk(node, 9);
    }
    assert!(matches!(cluster.write(R1, 5), Some(Reply::Done { .. })), "a secondary's disk is its own affair");
    cluster.add(R3);
    assert!(!cluster.has(R3));
    cluster.measure_disk(R1, 9);
    assert_eq!(cluster.write(R1, 5), Some(Reply::Refused(Refusal::DiskFull)));
    assert_eq!(cluster.read(R1), Ok(5));
    for node in [R1, R2, R3] {
        cluster.measure_disk(node, 11);
    }
    assert!(matches!(cluster.write(R1, 5), Some(Reply::Done { .. })));
    cluster.add(R3);
    assert_eq!(cluster.total(R3), 10);
}
