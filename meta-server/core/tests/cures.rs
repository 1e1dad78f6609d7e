//! rDSN's cures, in the order of their list: what the meta server does when things go wrong half-way.

mod cluster;

use cluster::{Cluster, gpid, millis, node, seconds};
use words::{Configuration, RoleName};

fn current(cluster: &Cluster) -> Configuration {
    cluster.meta.state().configuration(gpid(0)).expect("a partition").clone()
}

/// Node 3 is no member any more, its process is gone.
fn without_node_3() -> Cluster {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(3);
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.propose(1, 0, proposed);
    cluster.pass(millis(200));
    assert_eq!(cluster.configuration(0), "{4,r1,[r2]}");
    cluster
}

#[test]
fn cure_1_a_lost_message_that_makes_a_node_primary_is_repeated_to_the_same_node() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    cluster.node(1).by_hand = true;
    cluster.create("a", 1, 1);
    cluster.pass(seconds(3));
    let told = cluster.told(1);
    assert!(told.iter().filter(|told| *told == "1.0 {1,r1,[]}").count() >= 3, "{told:?}");
    assert_eq!(cluster.configuration(0), "{1,r1,[]}");
}

#[test]
fn cure_2_if_the_new_primary_dies_too_another_takes_over() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(1);
    cluster.pass(millis(101));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
    cluster.down(2);
    cluster.pass(millis(101));
    assert_eq!(cluster.configuration(0), "{5,r3,[]}");
    // Nobody is left: the partition waits, and says for whom. A former member is not taken.
    cluster.down(3);
    cluster.pass(seconds(20));
    cluster.up(1);
    cluster.up(2);
    cluster.pass(seconds(20));
    assert_eq!(cluster.configuration(0), "{5,r3,[]}");
    assert_eq!(
        cluster.decision(0),
        "r3 is dead and no secondary is live; one of r3 must return with its data"
    );
    // Cure 15.
    cluster.up(3);
    cluster.pass(seconds(3));
    assert_eq!(cluster.configuration(0), "{7,r3,[r1,r2]}");
}

#[test]
fn cure_3_a_lost_request_to_add_a_secondary_is_repeated() {
    let mut cluster = without_node_3();
    cluster.node(1).by_hand = true;
    cluster.up(3);
    cluster.told(1);
    cluster.pass(millis(3100));
    // After 125 ms, 250 ms, 500 ms, and then every second.
    assert_eq!(cluster.told(1), ["1.0 4 add r3"; 5]);
}

#[test]
fn cure_4_a_request_for_another_ballot_is_decided_anew() {
    let mut cluster = Cluster::healthy(4, 1);
    cluster.node(1).by_hand = true;
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.told(1);
    cluster.propose(1, 0, proposed);
    let proposed = current(&cluster).without_secondary(node(2));
    cluster.propose(1, 0, proposed);
    let told = cluster.told(1);
    assert_eq!(told[0], "1.0 {4,r1,[r2]}");
    assert!(told[1].starts_with("1.0 4 add "), "{told:?}");
    assert_eq!(told[2], "1.0 {5,r1,[]}");
    assert_eq!(told[3], told[1].replace("1.0 4", "1.0 5"), "the same node, on the new ballot");
}

#[test]
fn cure_5_if_the_node_being_added_dies_another_is_chosen() {
    let mut cluster = without_node_3();
    cluster.node(1).by_hand = true;
    cluster.up(4);
    cluster.up(5);
    cluster.pass(seconds(10));
    cluster.told(1);
    cluster.down(4);
    cluster.pass(millis(101));
    assert_eq!(cluster.told(1), ["1.0 4 add r5"]);
}

#[test]
fn cure_6_if_the_primary_dies_while_a_node_is_added_the_next_one_adds_it() {
    let mut cluster = without_node_3();
    cluster.node(1).by_hand = true;
    cluster.up(3);
    cluster.down(1);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{6,r2,[r3]}");
}

#[test]
fn a_node_that_makes_no_progress_is_given_up_for_another() {
    let mut cluster = without_node_3();
    cluster.node(1).by_hand = true;
    cluster.up(4);
    cluster.pass(seconds(10));
    cluster.up(5);
    cluster.told(1);
    cluster.pass(seconds(31));
    let told = cluster.told(1);
    assert_eq!(told.first().map(String::as_str), Some("1.0 4 add r4"));
    assert_eq!(told.last().map(String::as_str), Some("1.0 4 add r5"));
}

/// The primary lists who learns; one that it does not list any more on the same ballot was given up.
#[test]
fn a_node_that_the_primary_has_given_up_is_given_up() {
    let mut cluster = without_node_3();
    cluster.node(1).by_hand = true;
    cluster.up(4);
    cluster.pass(seconds(10));
    cluster.up(5);
    // What it has learned so far would speak for it.
    let learned = cluster.node(1).replicas[&gpid(0)].clone();
    cluster.node(4).replicas.insert(gpid(0), words::ReplicaReport { role: RoleName::Learner, ..learned });
    cluster.report(4);
    cluster.node(1).replicas.get_mut(&gpid(0)).expect("a replica").learners = vec![node(4)];
    cluster.report(1);
    cluster.told(1);
    cluster.node(1).replicas.get_mut(&gpid(0)).expect("a replica").learners.clear();
    cluster.report(1);
    assert_eq!(cluster.told(1), ["1.0 4 add r5"]);
}

#[test]
fn a_restarted_node_is_added_as_soon_as_it_is_back() {
    let mut cluster = without_node_3();
    cluster.up(4);
    cluster.pass(seconds(2));
    assert_eq!(cluster.decision(0), "2 of 3 members; waits for r3 to return");
    cluster.up(3);
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r3]}");
}

#[test]
fn a_replacement_is_added_once_the_delay_is_over() {
    let mut cluster = without_node_3();
    cluster.up(4);
    cluster.pass(millis(9700));
    assert_eq!(cluster.configuration(0), "{4,r1,[r2]}");
    cluster.pass(millis(200));
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r4]}");
    // Everybody is healthy: what the one that left still holds is not needed.
    cluster.up(3);
    cluster.pass(seconds(2));
    assert_eq!(cluster.node(3).replicas.len(), 0);
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r4]}");
}

#[test]
fn a_replica_that_can_not_be_trusted_is_removed_collected_and_learned_again() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.node(3).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Error;
    cluster.report(3);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r3]}");
    assert_eq!(cluster.node(3).replicas[&gpid(0)].role, RoleName::Secondary);
    // The primary's own.
    cluster.node(1).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Error;
    cluster.report(1);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{7,r2,[r3,r1]}");
}

/// The wrong meta server, or one that lost its state: nothing is deleted on its word (PITFALLS 37).
#[test]
fn a_partition_that_was_never_heard_of_is_left_alone() {
    let mut donor = Cluster::healthy(3, 1);
    let replicas = std::mem::take(&mut donor.node(1).replicas);
    let mut cluster = Cluster::new();
    cluster.node(1).replicas = replicas;
    cluster.up(1);
    cluster.pass(seconds(5));
    assert_eq!(cluster.node(1).replicas.len(), 1);
}

#[test]
fn partitions_that_need_a_node_are_looked_at_when_one_comes() {
    let mut cluster = Cluster::new();
    cluster.create("a", 50, 2);
    assert_eq!(cluster.decision(7), "no live node to begin on");
    cluster.up(1);
    assert_eq!(cluster.decision(7), "waits for more nodes to arrive");
    cluster.pass(millis(1500));
    assert_eq!(cluster.configuration(7), "{1,r1,[]}");
    assert_eq!(cluster.decision(7), "1 of 2 members; no other live node can be added");
    cluster.up(2);
    assert_eq!(cluster.configuration(7), "{2,r1,[r2]}");
    // With as many nodes as replicas nobody else is waited for.
    let mut cluster = Cluster::new();
    cluster.create("a", 50, 2);
    cluster.up(1);
    cluster.up(2);
    assert_eq!(
        (cluster.configuration(0), cluster.configuration(1)),
        ("{2,r1,[r2]}".into(), "{2,r2,[r1]}".into())
    );
}
