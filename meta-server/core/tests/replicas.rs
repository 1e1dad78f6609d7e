//! The number of replicas changes while the cluster runs: the guardian adds and removes secondaries.

mod cluster;

use cluster::{Cluster, gpid, seconds};
use meta_core::{AdminReply, AdminRequest, RefusalKind};
use words::MetaToNode;

fn set(cluster: &mut Cluster, name: &str, count: u32) -> AdminReply {
    cluster.admin(AdminRequest::SetReplicaCount { name: name.to_owned(), count })
}

fn members(cluster: &Cluster, partition: u32) -> usize {
    cluster.meta.state().configuration(gpid(partition)).expect("a partition").len()
}

#[test]
fn members_are_added_one_at_a_time() {
    let mut cluster = Cluster::healthy(5, 2);
    let answer = set(&mut cluster, "a", 5);
    assert_eq!(answer, AdminReply::Accepted("`a`: each partition gets 5 replicas".to_owned()));
    cluster.pass(seconds(2));
    assert_eq!([members(&cluster, 0), members(&cluster, 1)], [5, 5]);
    let sizes: Vec<usize> =
        cluster.history.iter().filter(|(of, _)| *of == gpid(0)).map(|(_, c)| c.len()).collect();
    assert_eq!(sizes, [1, 2, 3, 4, 5]);
    assert_eq!(cluster.meta.list_apps(false)[0].healthy, 2);
}

#[test]
fn the_worst_placed_secondaries_leave_and_never_the_primary() {
    let mut cluster = Cluster::healthy(4, 2);
    // The first partition is on r1, r2, r3, so r4 has fewest replicas and r1, the primary, is kept.
    let primaries: Vec<_> =
        (0..2).map(|p| cluster.meta.state().configuration(gpid(p)).expect("a partition").primary).collect();
    set(&mut cluster, "a", 1);
    cluster.pass(seconds(2));
    for (partition, primary) in (0..).zip(primaries) {
        let configuration = cluster.meta.state().configuration(gpid(partition)).expect("a partition");
        assert_eq!((configuration.primary, configuration.secondaries.len()), (primary, 0));
    }
    // What is left over is collected, and a dead secondary would have gone first.
    cluster.pass(seconds(5));
    assert_eq!(cluster.nodes.values().map(|node| node.replicas.len()).sum::<usize>(), 2);
}

#[test]
fn a_secondary_that_is_not_alive_leaves_first() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.node(1).by_hand = true;
    cluster.down(2);
    cluster.told(1);
    set(&mut cluster, "a", 2);
    assert!(cluster.told(1).contains(&"1.0 3 remove r2".to_owned()));
}

#[test]
fn members_hear_of_it_although_the_ballot_stays() {
    let mut cluster = Cluster::healthy(2, 1);
    assert_eq!(cluster.configuration(0), "{2,r1,[r2]}");
    for number in [1, 2] {
        cluster.node(number).told.clear();
    }
    set(&mut cluster, "a", 2);
    for number in [1, 2] {
        let told = std::mem::take(&mut cluster.node(number).told);
        let counts: Vec<u32> = told
            .iter()
            .filter_map(|message| match message {
                MetaToNode::Configuration(partition) => Some(partition.app.replica_count),
                _ => None,
            })
            .collect();
        assert_eq!(counts, [2], "r{number}");
    }
    assert_eq!(cluster.decision(0), "healthy");
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::healthy(3, 1);
    let before = cluster.meta.state().clone();
    for (name, count, kind, why) in [
        ("a", 0, RefusalKind::InvalidArgument, "0 replicas: write a number from 1 to 9"),
        ("a", 10, RefusalKind::InvalidArgument, "10 replicas: write a number from 1 to 9"),
        ("b", 3, RefusalKind::NotFound, "no app `b`; `admin ls` lists the apps"),
    ] {
        let AdminReply::Refused(refusal) = set(&mut cluster, name, count) else { panic!("{name} {count}") };
        assert_eq!((refusal.kind, refusal.message.as_str()), (kind, why));
    }
    assert_eq!(*cluster.meta.state(), before);
}
