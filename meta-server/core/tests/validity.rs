//! rDSN's ten checks of a pending proposal, in the order of its list. Its proposals wait in the meta server until a
//! node has done them; ours are goals of an operator that the guardian asks the primary for. What makes no sense is
//! refused when it is asked for, with a line that says why; what stops making sense is dropped, and the guardian
//! decides anew.

mod cluster;

use cluster::{Cluster, gpid, millis, node, seconds};
use meta_core::{AdminReply, AdminRequest};
use words::RoleName;

/// `{3,r1,[r2,r3]}` and a fourth node. The primary does only what the test makes it do.
fn quiet() -> Cluster {
    let mut cluster = Cluster::healthy(4, 1);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.node(1).by_hand = true;
    cluster.told(1);
    cluster
}

fn propose(cluster: &mut Cluster, kind: &str, target: u128) -> String {
    let (kind, node) = (kind.parse().expect("a type"), format!("replica{target}"));
    match cluster.admin(AdminRequest::Propose { gpid: gpid(0), kind, node }) {
        AdminReply::Accepted(message) => message,
        AdminReply::Refused(refusal) => format!("refused: {}", refusal.message),
        other => panic!("{other:?}"),
    }
}

fn asked(cluster: &mut Cluster) -> Vec<String> {
    let mut told = cluster.told(1);
    told.dedup();
    told
}

#[test]
fn validity_1_without_a_pending_one_nothing_is_asked() {
    let mut cluster = quiet();
    cluster.pass(seconds(10));
    assert_eq!(asked(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.decision(0), "healthy");
}

/// rDSN: the target (who is asked) is invalid. Ours is always the primary; without one nothing is asked.
#[test]
fn validity_2_there_is_nobody_to_ask() {
    let mut cluster = Cluster::new();
    cluster.create("a", 1, 3);
    cluster.pass(seconds(1));
    let kind = "add_secondary".parse().expect("a type");
    let reply = cluster.admin(AdminRequest::Propose { gpid: gpid(0), kind, node: "replica1".to_owned() });
    let AdminReply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert_eq!(refusal.message, "no node `replica1`; `admin nodes` lists the nodes");
}

#[test]
fn validity_3_the_node_is_none_that_is_known() {
    let mut cluster = quiet();
    let line = "refused: no node `replica9`; `admin nodes` lists the nodes";
    assert_eq!(propose(&mut cluster, "add_secondary", 9), line);
    assert_eq!(asked(&mut cluster), Vec::<String>::new());
}

#[test]
fn validity_4_who_is_asked_dies() {
    let mut cluster = quiet();
    propose(&mut cluster, "remove", 3);
    assert_eq!(asked(&mut cluster), ["1.0 3 remove r3"]);
    cluster.down(1);
    cluster.pass(seconds(2));
    // The one that follows it is asked for the same, and does it; then the guardian heals what that left.
    assert!(cluster.history.iter().any(|(_, it)| it.to_string() == "{5,r2,[]}"), "{:?}", cluster.history);
    assert_eq!(
        propose(&mut cluster, "downgrade_to_secondary", 1).split(':').next(),
        Some("refused"),
        "the dead one leads no more"
    );
}

#[test]
fn validity_5_the_node_dies() {
    let mut cluster = quiet();
    propose(&mut cluster, "add_secondary", 4);
    assert_eq!(asked(&mut cluster), ["1.0 3 add r4"]);
    cluster.down(4);
    cluster.pass(seconds(5));
    assert_eq!(asked(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.decision(0), "healthy");
    let line = "refused: r4 is not alive; choose another node";
    assert_eq!(propose(&mut cluster, "add_secondary", 4), line);
}

#[test]
fn validity_6_a_primary_is_assigned_where_there_is_one() {
    let mut cluster = quiet();
    let line = "refused: r1 is primary; use upgrade_to_primary to move that role to a secondary";
    assert_eq!(propose(&mut cluster, "assign_primary", 2), line);
}

#[test]
fn validity_7_a_node_is_promoted_that_is_no_secondary() {
    let mut cluster = quiet();
    let line = "refused: r4 is no secondary: {3,r1,[r2,r3]}";
    assert_eq!(propose(&mut cluster, "upgrade_to_primary", 4), line);
    // One that stops being a secondary while the primary is asked.
    propose(&mut cluster, "upgrade_to_primary", 3);
    assert_eq!(asked(&mut cluster), ["1.0 3 hand over to r3"]);
    let current = cluster.meta.state().configuration(gpid(0)).expect("a partition").clone();
    cluster.propose(1, 0, current.without_secondary(node(3)));
    assert_eq!(cluster.configuration(0), "{4,r1,[r2]}");
    let asked = asked(&mut cluster);
    assert_eq!(asked.last().map(String::as_str), Some("1.0 4 add r3"), "decided anew: {asked:?}");
}

#[test]
fn validity_8_a_secondary_is_added_that_is_one() {
    let mut cluster = quiet();
    let line = "refused: r2 is a member already: {3,r1,[r2,r3]}";
    assert_eq!(propose(&mut cluster, "add_secondary", 2), line);
    assert_eq!(propose(&mut cluster, "upgrade_to_secondary", 2), line);
}

#[test]
fn validity_9_a_node_is_removed_that_is_no_member() {
    let mut cluster = quiet();
    let line = "refused: r4 is no member of {3,r1,[r2,r3]} and does not learn";
    assert_eq!(propose(&mut cluster, "remove", 4), line);
    assert_eq!(propose(&mut cluster, "downgrade_to_inactive", 4), line);
}

/// rDSN watches how the learner's numbers change. Ours has to come nearer within the learn timeout, and the primary
/// says when it has given a learner up.
#[test]
fn validity_10_a_learner_that_makes_no_progress_is_dropped_and_decided_anew() {
    let mut cluster = quiet();
    propose(&mut cluster, "add_secondary", 4);
    cluster.pass(seconds(29));
    assert_eq!(asked(&mut cluster), ["1.0 3 add r4"]);
    cluster.pass(seconds(2));
    cluster.told(1);
    cluster.pass(seconds(10));
    assert_eq!(asked(&mut cluster), Vec::<String>::new());
    assert_eq!(cluster.decision(0), "healthy");
    // One that the primary lists, and then does not list any more.
    propose(&mut cluster, "add_secondary", 4);
    let learners = |cluster: &mut Cluster, learners: Vec<words::NodeId>| {
        cluster.node(1).replicas.get_mut(&gpid(0)).expect("a replica").learners = learners;
        cluster.report(1);
    };
    learners(&mut cluster, vec![node(4)]);
    learners(&mut cluster, vec![]);
    cluster.told(1);
    cluster.pass(seconds(10));
    assert_eq!(asked(&mut cluster), Vec::<String>::new());
    // A broken replica is not added by a primary's proposal either, though the node is alive.
    let learned = cluster.node(1).replicas[&gpid(0)].clone();
    cluster.node(4).replicas.insert(gpid(0), words::ReplicaReport { role: RoleName::Error, ..learned });
    cluster.report(4);
    let current = cluster.meta.state().configuration(gpid(0)).expect("a partition").clone();
    cluster.propose(1, 0, current.with_secondary(node(4)));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.pass(millis(1));
}
