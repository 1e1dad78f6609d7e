//! What waits for an operator: lost partitions with what is left of them, and replicas of unknown partitions, which
//! stay where they are.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest, Diagnosis};
use words::{Ballot, Decree, Gpid, ReplicaReport, RoleName};

fn diagnose(cluster: &mut Cluster) -> Diagnosis {
    match cluster.admin(AdminRequest::Diagnose) {
        AdminReply::Diagnosis(diagnosis) => diagnosis,
        other => panic!("not a diagnosis: {other:?}"),
    }
}

fn report(gpid: Gpid, role: RoleName, ballot: u64, last_prepared: u64) -> ReplicaReport {
    ReplicaReport {
        gpid,
        role,
        ballot: Ballot(ballot),
        last_committed: Decree(last_prepared),
        last_prepared: Decree(last_prepared),
        last_durable: Decree(0),
        learners: vec![],
        copying: None,
    }
}

#[test]
fn what_is_well_or_waited_for_is_not_lost() {
    let mut cluster = Cluster::healthy(3, 2);
    assert_eq!(diagnose(&mut cluster), Diagnosis::default());
    (1..=3).for_each(|number| cluster.down(number));
    assert_eq!(diagnose(&mut cluster), Diagnosis::default(), "their sessions may just have broken");
    cluster.pass(seconds(5));
    assert_eq!(diagnose(&mut cluster).lost.len(), 2);
    cluster.up(2);
    cluster.pass(seconds(1));
    assert_eq!(diagnose(&mut cluster), Diagnosis::default(), "a member returned");
}

#[test]
fn a_lost_partition_names_each_copy_and_the_safest_to_go_on_with() {
    let mut cluster = Cluster::healthy(3, 1);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    (1..=3).for_each(|number| cluster.down(number));
    for (number, prepared) in [(4, 15), (5, 17)] {
        cluster.node(number).replicas.insert(gpid(0), report(gpid(0), RoleName::Inactive, 2, prepared));
        cluster.up(number);
    }
    cluster.node(6).replicas.insert(gpid(0), report(gpid(0), RoleName::Error, 9, 99));
    cluster.up(6);
    cluster.pass(seconds(5));
    let diagnosis = diagnose(&mut cluster);
    let lost = &diagnosis.lost[0];
    assert_eq!((lost.gpid, lost.app_name.as_str()), (gpid(0), "a"));
    let copies: Vec<_> = lost.copies.iter().map(|copy| (copy.node.0, copy.can_lead)).collect();
    assert_eq!(copies[..2], [(5, true), (4, true)]);
    assert!(copies[2..].iter().all(|&(_, can_lead)| !can_lead), "{copies:?}");
    let gone = lost.copies.iter().find(|copy| copy.node == node(1)).expect("a member");
    assert!(gone.is_member && !gone.alive && gone.age_ms >= 4000, "{gone:?}");
    assert_eq!(
        lost.advice,
        "start r1, r2 or r3 with its data, then nothing is lost; or give up what only the others had: \
         admin accept-loss 1.0 r5 --the-others-are-stopped"
    );
    assert_eq!(diagnosis.nodes.len(), 6);
    // And that command is accepted.
    let request = AdminRequest::AcceptLoss { gpid: gpid(0), node: "r5".to_owned(), others_are_stopped: true };
    assert!(matches!(cluster.admin(request), AdminReply::Accepted(_)));
    assert_eq!(diagnose(&mut cluster), Diagnosis::default());
}

#[test]
fn members_without_a_replica_that_can_be_trusted_are_lost_too() {
    let mut cluster = Cluster::healthy(3, 1);
    for number in 1..=3 {
        cluster.down(number);
        cluster.node(number).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Error;
    }
    cluster.pass(seconds(5));
    (1..=3).for_each(|number| cluster.up(number));
    cluster.pass(seconds(1));
    let lost = diagnose(&mut cluster).lost;
    assert_eq!(
        lost[0].advice,
        "no member can return with its data; no live node has a copy that could be gone on with"
    );
}

/// PITFALLS 37: this meta server may be the wrong one, or have lost its state.
#[test]
fn replicas_of_unknown_partitions_are_listed_and_left_alone() {
    let mut cluster = Cluster::healthy(3, 1);
    let other = Gpid::new(7, 3);
    cluster.node(2).replicas.insert(other, report(other, RoleName::Inactive, 5, 50));
    cluster.pass(seconds(60));
    assert!(cluster.node(2).replicas.contains_key(&other), "nobody had it collected");
    let unknown = diagnose(&mut cluster).unknown;
    assert_eq!(unknown.len(), 1);
    assert_eq!((unknown[0].node, unknown[0].report.gpid, unknown[0].alive), (node(2), other, true));
    let AdminReply::Nodes { nodes, .. } = cluster.admin(AdminRequest::ListNodes) else { panic!("nodes") };
    assert_eq!(nodes.iter().map(|node| node.unknown).collect::<Vec<_>>(), [0, 1, 0]);
    cluster.node(2).replicas.remove(&other);
    cluster.pass(seconds(1));
    assert_eq!(diagnose(&mut cluster), Diagnosis::default());
}
