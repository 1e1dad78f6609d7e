//! rDSN's cures 7 to 15: all members are gone. rDSN chooses among the last two that left, by what they held. Ours
//! never chooses by what is left over: a member of the latest configuration has all that was acknowledged, and
//! nobody else surely has, so one of those is waited for, however long (§4.8). Only an admin can give them up.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest};
use words::{Ballot, Decree, RoleName};

/// `{4,r2,[r3]}`, then r2 dies and r3: both were the last, r1 left before them.
fn all_gone() -> Cluster {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(1);
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
    cluster.commits_at_once = false;
    cluster.down(2);
    cluster.down(3);
    cluster.pass(seconds(2));
    cluster.commits_at_once = true;
    assert_eq!(cluster.uncommitted.len(), 0, "they die together: nobody takes over");
    cluster
}

/// What a node would report of its replica.
fn holds(cluster: &mut Cluster, number: u128, ballot: u64, prepared: u64) {
    let report = cluster.node(number).replicas.get_mut(&gpid(0)).expect("a replica");
    (report.ballot, report.last_prepared) = (Ballot(ballot), Decree(prepared));
    report.last_committed = Decree(prepared);
}

const WAITS: &str = "r2 is dead and no secondary is live; one of r2, r3 must return with its data";

#[track_caller]
fn waits(cluster: &mut Cluster) {
    cluster.pass(seconds(60));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
    assert_eq!(cluster.decision(0), WAITS);
}

#[test]
fn cure_7_the_last_but_one_is_not_needed_a_member_that_returns_leads_at_once() {
    let mut cluster = all_gone();
    cluster.up(1);
    waits(&mut cluster);
    cluster.up(3);
    assert_eq!(cluster.configuration(0), "{6,r3,[r1]}", "it has all that was acknowledged: it was a member");
}

#[test]
fn cure_8_what_a_member_holds_is_unknown_until_it_has_reported() {
    let mut cluster = all_gone();
    cluster.up(1);
    waits(&mut cluster);
    cluster.node(3).session = Some(99);
    cluster.node(3).by_hand = true;
    cluster.step(meta_core::MetaEvent::SessionOpened { session: 99 });
    cluster.beacon(3);
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}", "alive, but what if its replica is broken?");
    assert_eq!(cluster.decision(0), WAITS);
    cluster.report(3);
    assert_eq!(cluster.configuration(0), "{5,r3,[]}");
}

#[test]
fn cure_9_it_is_known_who_left_and_nobody_has_reported() {
    let mut cluster = all_gone();
    cluster.restart_meta();
    waits(&mut cluster);
    let AdminReply::Why(why) = cluster.admin(AdminRequest::Why { gpid: gpid(0) }) else { panic!() };
    let seen: Vec<String> = why.nodes.iter().map(|it| format!("{}: {}", it.replica, it.opinion)).collect();
    assert_eq!(
        seen,
        [
            "not reported yet: can't be added: it is not alive",
            "not reported yet: is the primary; it is not alive",
            "not reported yet: is a secondary; it is not alive",
        ]
    );
}

#[test]
fn cure_10_one_that_returns_without_a_replica_is_passed_over_for_the_other() {
    let mut cluster = all_gone();
    cluster.node(3).replicas.clear();
    cluster.up(3);
    waits(&mut cluster);
    cluster.up(2);
    cluster.pass(seconds(5));
    // It was primary and goes on as that; r3 learns again.
    assert!(cluster.configuration(0).contains(",r2,["), "{}", cluster.configuration(0));
    assert!(cluster.configuration(0).contains("r3"), "{}", cluster.configuration(0));
}

#[test]
fn cure_11_neither_holds_one_so_it_waits_and_says_so() {
    let mut cluster = all_gone();
    cluster.node(2).replicas.clear();
    cluster.node(3).replicas.clear();
    cluster.up(2);
    cluster.up(3);
    cluster.pass(seconds(60));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}", "nothing is created empty in its place");
    assert_eq!(
        cluster.decision(0),
        "r2 has no replica and no secondary is live; one of r2, r3 must return with its data"
    );
    // Nor is r1, which left before them, however much it has.
    holds(&mut cluster, 1, 3, 99);
    cluster.up(1);
    cluster.pass(seconds(60));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// rDSN refuses to choose between a larger ballot and a larger decree. For members of the latest configuration both
/// are safe, and the larger ballot goes first: what the other has above may never have been committed.
#[test]
fn cure_12_a_larger_ballot_with_a_smaller_decree_leads() {
    let mut cluster = Cluster::healthy(3, 1);
    (1..=3).for_each(|number| cluster.node(number).by_hand = true);
    holds(&mut cluster, 2, 3, 10);
    holds(&mut cluster, 3, 2, 12);
    cluster.report(2);
    cluster.report(3);
    cluster.down(1);
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// A former member with less than was acknowledged is never taken by itself; an admin can, and states the loss.
#[test]
fn cure_13_what_is_left_is_below_what_was_committed() {
    let mut cluster = all_gone();
    holds(&mut cluster, 1, 3, 5);
    cluster.up(1);
    waits(&mut cluster);
    let accept = |others_are_stopped| AdminRequest::AcceptLoss {
        gpid: gpid(0),
        node: "replica1".to_owned(),
        others_are_stopped,
    };
    assert!(matches!(cluster.admin(accept(false)), AdminReply::Refused(_)));
    waits(&mut cluster);
    assert!(matches!(cluster.admin(accept(true)), AdminReply::Accepted(_)));
    assert_eq!(cluster.configuration(0), "{5,r1,[]}");
}

#[test]
fn cure_14_otherwise_the_larger_ballot_leads_and_of_equal_ones_the_larger_decree() {
    for (second, third, leads) in [((3, 10), (3, 12), 3), ((3, 12), (3, 10), 2), ((2, 12), (3, 12), 3)] {
        let mut cluster = Cluster::healthy(3, 1);
        (1..=3).for_each(|number| cluster.node(number).by_hand = true);
        holds(&mut cluster, 2, second.0, second.1);
        holds(&mut cluster, 3, third.0, third.1);
        cluster.report(2);
        cluster.report(3);
        cluster.down(1);
        cluster.pass(seconds(1));
        let current = cluster.meta.state().configuration(gpid(0)).expect("a partition");
        assert_eq!(current.primary, Some(node(leads)), "{second:?} {third:?}");
    }
}

#[test]
fn cure_15_a_single_member_that_left_is_taken_as_soon_as_it_is_back() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    cluster.create("a", 1, 1);
    cluster.pass(seconds(3));
    cluster.down(1);
    cluster.up(2);
    cluster.pass(seconds(60));
    assert_eq!(cluster.configuration(0), "{1,r1,[]}");
    assert_eq!(
        cluster.decision(0),
        "r1 is dead and no secondary is live; one of r1 must return with its data"
    );
    cluster.up(1);
    cluster.pass(seconds(3));
    assert_eq!(cluster.configuration(0), "{1,r1,[]}");
    assert_eq!(cluster.decision(0), "healthy");
    assert_eq!(cluster.node(1).replicas[&gpid(0)].role, RoleName::Primary);
}
