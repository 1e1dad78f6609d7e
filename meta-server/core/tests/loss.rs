//! All members of a partition are lost, and an admin says so (§4.8): refused as long as anything better can be
//! hoped for; then one node goes on alone with what it has, under the next ballot.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest, RefusalKind};
use words::{Ballot, Decree, ReplicaReport, RoleName};

const PARTITION: &str = "{3,r1,[r2,r3]}";

fn declare(
    cluster: &mut Cluster,
    target: &str,
    others_are_stopped: bool,
) -> Result<String, (RefusalKind, String)> {
    let request = AdminRequest::AcceptLoss { gpid: gpid(0), node: target.to_owned(), others_are_stopped };
    match cluster.admin(request) {
        AdminReply::Accepted(message) => Ok(message),
        AdminReply::Refused(refusal) => Err((refusal.kind, refusal.message)),
        other => panic!("not an answer to a declared loss: {other:?}"),
    }
}

/// A node that was a member once and has what it had then.
fn lagging(cluster: &mut Cluster, number: u128, last_prepared: u64) {
    let report = ReplicaReport {
        gpid: gpid(0),
        role: RoleName::Inactive,
        ballot: Ballot(2),
        last_committed: Decree(last_prepared),
        last_prepared: Decree(last_prepared),
        last_durable: Decree(0),
        learners: vec![],
        copying: None,
    };
    cluster.node(number).replicas.insert(gpid(0), report);
    cluster.up(number);
}

/// Three members, all stopped, and r4, which has what it had long ago.
fn lost() -> Cluster {
    let mut cluster = Cluster::healthy(3, 1);
    assert_eq!(cluster.configuration(0), PARTITION);
    (1..=3).for_each(|number| cluster.down(number));
    lagging(&mut cluster, 4, 17);
    cluster.pass(seconds(5));
    assert_eq!(cluster.configuration(0), PARTITION);
    cluster
}

fn refusal(result: Result<String, (RefusalKind, String)>) -> String {
    result.expect_err("it is to be refused").1
}

#[test]
fn the_named_node_goes_on_alone_and_others_learn_from_it() {
    let mut cluster = lost();
    assert_eq!(
        declare(&mut cluster, "r4", true),
        Ok("1.0: an admin gave up the members {3,r1,[r2,r3]}; r4 leads with what it has".to_owned())
    );
    assert_eq!(cluster.configuration(0), "{4,r4,[]}");
    // Who was given up and returns is a learner like any other.
    (1..=3).for_each(|number| cluster.up(number));
    cluster.pass(seconds(5));
    let configuration = cluster.meta.state().configuration(gpid(0)).expect("a partition");
    assert_eq!((configuration.primary, configuration.len()), (Some(node(4)), 3));
}

#[test]
fn the_others_must_be_said_to_be_stopped() {
    let mut cluster = lost();
    let (kind, message) = declare(&mut cluster, "r4", false).expect_err("that is not enough");
    assert_eq!(kind, RefusalKind::InvalidArgument);
    assert!(message.starts_with("what only r1, r2, r3 had is lost for good by this;"), "{message}");
    assert_eq!(cluster.configuration(0), PARTITION);
}

#[test]
fn a_member_that_is_there_is_no_loss() {
    let mut cluster = Cluster::healthy(4, 1);
    assert_eq!(refusal(declare(&mut cluster, "r1", true)), "nothing is lost: r1 is a member and there");
    assert_eq!(
        refusal(declare(&mut cluster, "r4", true)),
        "r1 may have all that was acknowledged, and is not dead; wait for it, or stop it"
    );
    cluster.down(2);
    cluster.down(3);
    cluster.down(1);
    assert_eq!(
        refusal(declare(&mut cluster, "r4", true)),
        "r1 may have all that was acknowledged, and is not dead; wait for it, or stop it",
        "it may only have lost its session"
    );
    cluster.pass(seconds(5));
    assert_eq!(
        refusal(declare(&mut cluster, "r4", true)),
        "r4 has nothing of the partition; name a node that has (`admin ddd` lists the copies)"
    );
    assert_eq!(refusal(declare(&mut cluster, "r1", true)), "r1 is not alive; choose another node");
    assert_eq!(refusal(declare(&mut cluster, "r9", true)), "no node `r9`; `admin nodes` lists the nodes");
    // A secondary returns: it takes over by itself.
    cluster.up(2);
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{5,r2,[r4]}", "the dead left, r4 learned");
}

#[test]
fn members_whose_replicas_broke_are_lost_although_they_run() {
    let mut cluster = lost();
    for number in 1..=3 {
        cluster.node(number).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Error;
        cluster.up(number);
    }
    cluster.pass(seconds(1));
    assert_eq!(
        refusal(declare(&mut cluster, "r2", true)),
        "the replica on r2 can't be trusted; it is collected first"
    );
    declare(&mut cluster, "r4", true).expect("nobody else has anything");
    assert_eq!(cluster.configuration(0), "{4,r4,[]}");
}

#[test]
fn a_partition_that_is_new_lost_nothing() {
    let mut cluster = Cluster::new();
    cluster.node(1).leaving = true;
    cluster.up(1);
    cluster.create("a", 1, 3);
    assert_eq!(refusal(declare(&mut cluster, "r1", true)), "1.0 never had a member, so nothing is lost");
}

/// Of two admins the second is too late: his command was decided on a ballot that is over.
#[test]
fn a_loss_is_declared_once() {
    let mut cluster = lost();
    lagging(&mut cluster, 5, 15);
    declare(&mut cluster, "r4", true).expect("all members are lost");
    assert_eq!(
        refusal(declare(&mut cluster, "r5", true)),
        "r4 may have all that was acknowledged, and is not dead; wait for it, or stop it"
    );
}
