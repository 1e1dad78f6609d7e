//! A handful of cores wired together without delays or faults: what the protocol does when nothing goes
//! wrong, and directed cases. The simulator (tests/simulator) is where things go wrong.

mod alone;
mod costs;
mod harness;
mod loss;
mod one_node;
mod regressions;
mod restart;
mod rules;
mod terms;

use std::time::Duration;

use harness::Cluster;
use replica_core::Settings;
use words::{Decree, NodeId, Refusal, Reply, RoleName};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

const R1: NodeId = NodeId(1);
const R2: NodeId = NodeId(2);
const R3: NodeId = NodeId(3);

/// r1 leads, r2 and r3 follow.
fn three() -> Cluster {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.add(R3);
    assert_eq!(cluster.configuration.to_string(), "{3,r1,[r2,r3]}");
    cluster
}

/// The same, and r1 leads by other settings from now on.
fn three_with(change: impl FnOnce(&mut Settings)) -> Cluster {
    let mut cluster = three();
    change(&mut cluster.settings);
    cluster.restart(R1);
    cluster.push_configuration();
    cluster.pass(Duration::from_secs(1));
    cluster
}

/// r3 is gone, and misses 3,000 writes: more than the list has.
fn two_go_on() -> Cluster {
    let mut cluster = three();
    cluster.kill(R3);
    cluster.unreachable(R3);
    for _ in 0..3000 {
        cluster.write(R1, 1);
    }
    cluster
}

#[test]
fn a_cluster_forms_by_learning_and_serves() {
    let mut cluster = three();
    let reply = cluster.write(R1, 5);
    assert!(matches!(reply, Some(Reply::Done { .. })), "{reply:?}");
    assert_eq!(cluster.read(R1), Ok(5));
    assert_eq!(cluster.role(R2), RoleName::Secondary);
    // The commit point rides on the next heartbeat.
    cluster.pass(Duration::from_millis(100));
    let committed: Vec<Decree> = [R1, R2, R3].map(|node| cluster.replica(node).last_committed()).to_vec();
    assert!(committed.windows(2).all(|pair| pair[0] == pair[1]), "{committed:?}");
    assert_eq!(cluster.total(R3), 5);
}

#[test]
fn only_the_primary_serves() {
    let mut cluster = three();
    let refused = Some(Reply::Refused(Refusal::NotPrimary { ballot: words::Ballot(3), primary: Some(R1) }));
    assert_eq!(cluster.write(R2, 1), refused);
    assert_eq!(cluster.read(R2), Err(refused));
}

#[test]
fn a_dead_secondary_is_proposed_out_and_learns_when_it_is_back() {
    let mut cluster = three();
    cluster.write(R1, 1);
    cluster.kill(R2);
    cluster.unreachable(R2);
    assert_eq!(cluster.configuration.to_string(), "{4,r1,[r3]}");
    assert!(matches!(cluster.write(R1, 2), Some(Reply::Done { .. })));
    cluster.restart(R2);
    cluster.add(R2);
    assert_eq!(cluster.configuration.to_string(), "{5,r1,[r3,r2]}");
    assert!(matches!(cluster.write(R1, 3), Some(Reply::Done { .. })));
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.total(R2), 6);
}

#[test]
fn a_promoted_secondary_waits_for_the_lease_that_it_granted() {
    let mut cluster = three();
    cluster.write(R1, 7);
    cluster.kill(R1);
    cluster.promote(R2);
    assert_eq!(cluster.role(R2), RoleName::Primary);
    assert_eq!(cluster.read(R2), Err(Some(Reply::Refused(Refusal::NotReady))));
    cluster.pass(Duration::from_millis(200));
    assert!(!cluster.can_read(R2), "r1 may still read under r2's lease");
    cluster.pass(Duration::from_millis(400));
    assert_eq!(cluster.read(R2), Ok(7));
    assert!(matches!(cluster.write(R2, 1), Some(Reply::Done { .. })));
}

#[test]
fn a_primary_without_leases_does_not_read() {
    let mut cluster = three();
    cluster.kill(R3);
    cluster.pass(Duration::from_millis(600));
    assert_eq!(cluster.read(R1), Err(Some(Reply::Refused(Refusal::NoLease))));
}

#[test]
fn a_handover_makes_nobody_wait() {
    let mut cluster = three();
    cluster.write(R1, 3);
    cluster.hand_over(R1, R2);
    assert_eq!(cluster.configuration.to_string(), "{4,r2,[r3,r1]}");
    assert_eq!((cluster.role(R1), cluster.role(R2)), (RoleName::Secondary, RoleName::Primary));
    assert_eq!(cluster.read(R2), Ok(3), "no lease had to run out");
    assert!(matches!(cluster.write(R2, 1), Some(Reply::Done { .. })));
}

#[test]
fn a_restarted_primary_serves_only_under_a_higher_ballot() {
    let mut cluster = three();
    cluster.write(R1, 4);
    cluster.kill(R1);
    cluster.restart(R1);
    assert_eq!(cluster.configuration.to_string(), "{4,r1,[r2,r3]}");
    cluster.pass(Duration::from_millis(700));
    assert_eq!(cluster.read(R1), Ok(4));
}

#[test]
fn all_of_them_restart_and_nothing_is_lost() {
    let mut cluster = three();
    for _ in 0..10 {
        cluster.write(R1, 1);
    }
    for node in [R1, R2, R3] {
        cluster.kill(node);
    }
    for node in [R1, R2, R3] {
        cluster.restart(node);
    }
    cluster.pass(Duration::from_millis(700));
    assert_eq!(cluster.read(R1), Ok(10));
}

#[test]
fn a_learner_that_missed_more_than_the_list_learns_from_log_or_checkpoint() {
    for log_has in [true, false] {
        let mut cluster = two_go_on();
        cluster.log_readable = log_has;
        cluster.restart(R3);
        cluster.add(R3);
        cluster.pass(Duration::from_millis(200));
        assert_eq!(cluster.role(R3), RoleName::Secondary, "log readable: {log_has}");
        assert_eq!(cluster.total(R3), 3000);
        assert_eq!(cluster.installed > 0, !log_has);
        // What it has is read, too.
        let portion = cluster.settings.resend_batch + 1;
        assert_eq!(
            cluster.most_read,
            if log_has { portion } else { 0 },
            "small ones are bounded by their number"
        );
    }
}

#[test]
fn a_group_of_one_reads_and_does_not_write() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    assert_eq!(cluster.read(R1), Ok(0));
    assert_eq!(cluster.write(R1, 1), Some(Reply::Refused(Refusal::NotEnoughReplicas)));
}
