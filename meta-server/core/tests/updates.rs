//! rDSN's configuration updates: what is durable before it is told, when a replacement comes, and that nothing gets
//! lost on the way through storage. Those about the balancer are beside it.

mod cluster;

use cluster::{Cluster, gpid, millis, node, seconds};
use words::Configuration;

fn current(cluster: &Cluster) -> Configuration {
    cluster.meta.state().configuration(gpid(0)).expect("a partition").clone()
}

#[test]
fn update_1_a_removed_primary_is_durable_before_it_is_told() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.commits_at_once = false;
    (1..=3).for_each(|number| drop(cluster.told(number)));
    cluster.down(1);
    cluster.pass(seconds(1));
    assert_eq!((cluster.told(2), cluster.told(3)), (vec![], vec![]));
    cluster.commit_one();
    assert_eq!(cluster.told(2)[0], "1.0 {4,r2,[r3]}");
    assert_eq!(cluster.told(3)[0], "1.0 {4,r2,[r3]}");
}

#[test]
fn update_2_a_kicked_secondary_is_durable_before_it_is_told() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.commits_at_once = false;
    (1..=3).for_each(|number| drop(cluster.told(number)));
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.propose(1, 0, proposed);
    cluster.pass(seconds(1));
    assert_eq!((cluster.told(1), cluster.told(3)), (vec![], vec![]));
    cluster.commit_one();
    assert_eq!(cluster.told(1)[0], "1.0 {4,r1,[r2]}");
    assert_eq!(cluster.told(3)[0], "1.0 {4,r1,[r2]}");
}

/// r3 leaves, and r4 is there to replace it.
fn one_left() -> Cluster {
    let mut cluster = Cluster::healthy(4, 1);
    cluster.down(3);
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.propose(1, 0, proposed);
    cluster
}

#[test]
fn update_3_a_replacement_is_not_added_before_its_delay_is_over() {
    let mut cluster = one_left();
    cluster.pass(millis(9_900));
    assert_eq!(cluster.configuration(0), "{4,r1,[r2]}");
}

#[test]
fn update_4_with_fewer_replicas_than_a_write_needs_it_is_added_at_once() {
    let mut cluster = one_left();
    cluster.down(2);
    let proposed = current(&cluster).without_secondary(node(2));
    cluster.propose(1, 0, proposed);
    assert_eq!(cluster.configuration(0), "{6,r1,[r4]}");
}

#[test]
fn update_5_a_replacement_is_added_when_its_delay_is_over() {
    let mut cluster = one_left();
    cluster.pass(millis(10_100));
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r4]}");
}
