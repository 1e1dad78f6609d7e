//! Mistakes that a review against the protocol found, each kept as the test that showed it.

use std::time::Duration;

use replica_core::Settings;
use words::{Ballot, Command, Configuration, MetaToNode, Refusal, Reply, RoleName};

use crate::harness::{Cluster, GPID};
use crate::{R1, R2, R3, three, three_with, two_go_on};

/// A dropped app is collected although its replicas serve.
#[test]
fn collect_of_a_dropped_app() {
    let mut cluster = three();
    for node in [R1, R2, R3] {
        cluster.meta(node, MetaToNode::Collect { gpid: GPID, ballot: Ballot(3) });
    }
    for node in [R1, R2, R3] {
        assert!(!cluster.has(node), "{node} keeps the dropped app");
    }
}

/// A learner that restarts while it copies is invited again soon.
#[test]
fn a_learner_restarts_while_it_copies() {
    let mut cluster = two_go_on();
    cluster.log_readable = false;
    cluster.restart(R3);
    cluster.fetch_hangs = true;
    cluster.add(R3);
    cluster.kill(R3);
    cluster.fetch_hangs = false;
    cluster.restart(R3);
    for _ in 0..20 {
        cluster.add(R3);
    }
    assert_eq!(cluster.role(R3), RoleName::Secondary, "8 s later");
}

/// A proposal that is refused for ever does not keep a dead secondary in.
#[test]
fn a_refused_addition_blocks_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.refuse = |proposed| proposed.is_member(R3);
    cluster.add(R3);
    assert_eq!(cluster.configuration.to_string(), "{2,r1,[r2]}");
    cluster.kill(R2);
    cluster.unreachable(R2);
    cluster.pass(Duration::from_secs(20));
    assert!(!cluster.configuration.is_member(R2), "{}", cluster.configuration);
}

/// An empty meta server that asks a primary who the members are must hear of those that it proposed to add, too: had
/// that been taken up, they could have acted (§4.9).
#[test]
fn a_primary_describes_whom_it_counts() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.refuse = |proposed| proposed.is_member(R3);
    cluster.add(R3);
    cluster.meta(R1, MetaToNode::Describe { gpid: GPID });
    let description = cluster.described.pop().expect("it is answered");
    assert_eq!(description.configuration.to_string(), "{2,r1,[r2,r3]}");
    cluster.meta(R2, MetaToNode::Describe { gpid: GPID });
    let description = cluster.described.pop().expect("it is answered");
    assert_eq!(description.configuration.to_string(), "{2,r1,[r2]}");
}

/// Nor does a refused handover stop writes for ever.
#[test]
fn a_refused_handover_goes_on_as_before() {
    let mut cluster = three();
    cluster.refuse = |proposed| proposed.primary == Some(R2);
    cluster.hand_over(R1, R2);
    cluster.pass(Duration::from_secs(20));
    let reply = cluster.write(R1, 1);
    assert!(matches!(reply, Some(Reply::Done { .. })), "{reply:?}");
}

/// The disk was full when the first replica was to be made; now it is not.
#[test]
fn a_creation_that_failed_is_tried_again() {
    let mut cluster = Cluster::of(1);
    cluster.creations_fail = 1;
    cluster.create(R1);
    cluster.push_configuration();
    cluster.pass(Duration::from_secs(10));
    cluster.push_configuration();
    assert_eq!(cluster.role(R1), RoleName::Primary);
}

/// A learner that is slower than the others gets in although the load never pauses.
#[test]
fn a_slow_learner_gets_in_under_load() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.slow = Some((R3, Duration::from_millis(15)));
    cluster.command(Command::AddSecondary(R3));
    for _ in 0..2000 {
        let reply = cluster.write(R1, 1);
        if cluster.configuration.is_member(R3) {
            return;
        }
        assert!(matches!(reply, None | Some(Reply::Done { .. })), "{reply:?}");
        cluster.pass(Duration::from_millis(5));
    }
    assert_eq!(cluster.role(R3), RoleName::Learner);
    let lag = cluster.lag(R1, R3);
    cluster.pass(Duration::from_secs(1));
    let without_load = cluster.configuration.is_member(R3);
    panic!("10 s of load: r3 is no member, {lag} behind; a second without load: member {without_load}");
}

/// A learner gets in although one step of its learning takes longer than the prepare list reaches back.
#[test]
fn a_learner_that_learns_in_small_steps_gets_to_the_list() {
    let mut cluster = Cluster::of(2);
    cluster.settings.list_tail = 3;
    cluster.settings.window = 1;
    cluster.settings.mutation_2pc_min_replica_count = 1;
    cluster.restart(R1);
    cluster.log_read_limit = 24;
    cluster.create(R1);
    for _ in 0..100 {
        cluster.write(R1, 1);
    }
    cluster.slow = Some((R2, Duration::from_millis(80)));
    cluster.command(Command::AddSecondary(R2));
    for _ in 0..1000 {
        cluster.write(R1, 1);
        cluster.pass(Duration::from_millis(5));
    }
    assert_eq!(
        cluster.role(R2),
        RoleName::Secondary,
        "{} behind in {}",
        cluster.lag(R1, R2),
        cluster.configuration
    );
}

/// A loss was declared, and a member that had been given up comes back with another history of the same length: it
/// learns afresh (§6.4), by the log as well as by the list.
#[test]
fn a_member_that_was_given_up_does_not_go_on_where_it_was() {
    for list_tail in [3, Settings::default().list_tail, 1024] {
        let mut cluster = three();
        cluster.settings.list_tail = list_tail;
        cluster.settings.mutation_2pc_min_replica_count = 1;
        cluster.kill(R3);
        cluster.unreachable(R3);
        for _ in 0..5 {
            cluster.write(R1, 1);
        }
        cluster.kill(R1);
        cluster.kill(R2);
        cluster.restart(R3);
        let ballot = Ballot(cluster.configuration.ballot.0 + 1);
        cluster.configuration = Configuration { ballot, primary: Some(R3), secondaries: Vec::new() };
        cluster.push_configuration();
        cluster.pass(Duration::from_secs(1));
        for _ in 0..50 {
            cluster.write(R3, 2);
        }
        cluster.restart(R1);
        for _ in 0..20 {
            cluster.add(R1);
            cluster.write(R3, 2);
        }
        cluster.pass(Duration::from_secs(1));
        assert_eq!(cluster.role(R1), RoleName::Secondary, "list tail {list_tail}");
        assert_eq!(cluster.total(R1), cluster.total(R3), "list tail {list_tail}: they are different (S12)");
    }
}

/// Seed 9658942 of the simulator: the last member left could not read its newest checkpoint back, and went on offering
/// it. Nobody writes here, so nothing would ever have made another one due.
#[test]
fn who_can_not_read_its_checkpoint_takes_another() {
    let mut cluster = two_go_on();
    cluster.log_readable = false;
    cluster.checkpoint_is_done(R1);
    cluster.checkpoint_is_damaged = true;
    cluster.restart(R3);
    for _ in 0..10 {
        cluster.add(R3);
        cluster.pass(Duration::from_secs(1));
    }
    assert_eq!((cluster.role(R3), cluster.total(R3)), (RoleName::Secondary, 3000));
    assert_eq!((cluster.checkpoints_asked, cluster.installed), (1, 1));
}

/// Seed 9635583 of the simulator: with a line longer than clients wait, each write was done just after its client had
/// given up, and nobody was served.
#[test]
fn who_has_waited_in_line_for_too_long_is_told_so() {
    let mut cluster = three_with(|settings| settings.window = 1);
    let count = |replies: &[Option<Reply>]| {
        let done = replies.iter().filter(|reply| matches!(reply, Some(Reply::Done { .. }))).count();
        let busy = replies.iter().filter(|&reply| *reply == Some(Reply::Refused(Refusal::Busy))).count();
        (done, busy)
    };
    let (long, short) = (Duration::from_secs(60), Duration::from_millis(500));
    // Nothing is done until the one that is gone is proposed out.
    cluster.kill(R3);
    let replies = cluster.write_many(R1, 10, short, Duration::from_secs(3));
    assert_eq!(count(&replies), (1, 9), "the first one had its decree");
    cluster.kill(R2);
    let replies = cluster.write_many(R1, 10, long, Duration::from_secs(3));
    assert_eq!(count(&replies).1, 0, "who has time waits");
}
