//! An empty meta server is rebuilt from what nodes hold (§4.9): above every ballot seen, with those who surely have
//! all that was acknowledged, and not by itself.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest, RecoveryPlan, RefusalKind};
use words::{Ballot, Decree, Gpid, ReplicaReport, RoleName};

fn plan(cluster: &mut Cluster) -> RecoveryPlan {
    match cluster.admin(AdminRequest::PlanRecovery { leave_out: vec![] }) {
        AdminReply::Recovery(plan) => plan,
        other => panic!("not a plan: {other:?}"),
    }
}

fn recover_without(
    cluster: &mut Cluster,
    leave_out: &[&str],
    others_are_stopped: bool,
) -> Result<String, String> {
    let leave_out = leave_out.iter().map(|&name| name.to_owned()).collect();
    match cluster.admin(AdminRequest::Recover { leave_out, others_are_stopped }) {
        AdminReply::Accepted(message) => Ok(message),
        AdminReply::Refused(refusal) => {
            assert_eq!(refusal.kind, RefusalKind::FailedPrecondition);
            Err(refusal.message)
        }
        other => panic!("not an answer: {other:?}"),
    }
}

fn recover(cluster: &mut Cluster, others_are_stopped: bool) -> Result<String, String> {
    recover_without(cluster, &[], others_are_stopped)
}

/// The configuration that is planned for a partition, whether that is certain, and what is said about it.
fn planned(cluster: &mut Cluster, partition: usize) -> (String, bool, Vec<String>) {
    let planned = plan(cluster).apps.remove(0).partitions.remove(partition);
    let configuration = planned.configuration.map_or_else(|| "none".to_owned(), |c| c.to_string());
    (configuration, planned.certain, planned.notes)
}

/// The process of a node ends and starts again: it does not remember who the members were.
fn restart(cluster: &mut Cluster, number: u128) {
    cluster.down(number);
    cluster.up(number);
}

#[test]
fn all_members_go_on_above_every_ballot_seen() {
    let mut cluster = Cluster::healthy(3, 2);
    assert_eq!(cluster.configuration(0), "{3,r1,[r3,r2]}");
    cluster.wipe_meta();
    cluster.pass(seconds(1));
    assert_eq!(planned(&mut cluster, 0), ("{1003,r1,[r3,r2]}".to_owned(), true, vec![]));
    assert!(cluster.meta.state().apps().next().is_none(), "a plan changes nothing");
    assert_eq!(recover(&mut cluster, false), Ok("1 apps with 2 partitions are known again".to_owned()));
    assert_eq!(cluster.configuration(0), "{1003,r1,[r3,r2]}");
    cluster.pass(seconds(2));
    let app = cluster.meta.describe_app("a").expect("the app");
    assert_eq!((app.app.id, app.app.replica_count), (gpid(0).app, 3));
    assert_eq!((app.partitions[1].decision.as_str(), app.partitions[1].replicas.len()), ("healthy", 3));
    assert_eq!(
        recover(&mut cluster, false),
        Err(
            "this meta server is not empty, it knows app `a`; only one that lost all of its state is rebuilt"
                .to_owned()
        )
    );
    // And the next app gets the next number.
    let AdminReply::Created(app) = cluster.create("b", 1, 1) else { panic!("created") };
    assert_eq!(app.id.0, 2);
}

/// Who remembers the members keeps them together; but only the primary knows whom it proposed to add. Had the meta
/// server taken that up and made that node primary, nobody who is here need have heard of it.
#[test]
fn without_the_primarys_memory_nothing_is_certain() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.node(1).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Inactive;
    cluster.node(1).configurations.clear();
    cluster.wipe_meta();
    cluster.pass(seconds(1));
    let (configuration, certain, notes) = planned(&mut cluster, 0);
    assert_eq!((configuration.as_str(), certain), ("{1003,r1,[r2,r3]}", false));
    assert_eq!(
        notes,
        [
            "the primary of {3,r1,[r2,r3]} does not lead any more: whom it proposed to add may have acted since"
        ]
    );
    recover(&mut cluster, false).expect_err("it is not certain");
    recover(&mut cluster, true).expect("the admin stated it");
    assert_eq!(cluster.configuration(0), "{1003,r1,[r2,r3]}");
}

#[test]
fn a_member_that_is_missing_may_know_more() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.node(2).silent = true;
    cluster.node(2).session = None;
    cluster.wipe_meta();
    cluster.pass(seconds(1));
    let (configuration, certain, notes) = planned(&mut cluster, 0);
    assert_eq!((configuration.as_str(), certain), ("{1003,r1,[]}", false));
    assert_eq!(notes, ["of the last known members {3,r1,[r2,r3]} there is no sound copy on r2"]);
    let refused = recover(&mut cluster, false).expect_err("it is not certain");
    assert!(
        refused.starts_with("1 partitions may lose what only servers that are not here have"),
        "{refused}"
    );
    recover(&mut cluster, true).expect("the admin stated it");
    cluster.pass(seconds(20));
    let configuration = cluster.meta.state().configuration(gpid(0)).expect("a partition").clone();
    assert_eq!(configuration.primary, Some(node(1)));
    assert!(configuration.is_member(node(3)), "who was here joined again: {configuration}");
    // The one that was missing finds itself outdated, whatever it had heard meanwhile.
    assert!(configuration.ballot > Ballot(1000));
}

#[test]
fn without_memories_the_highest_ballot_and_what_is_confirmed_in_it_decide() {
    let mut cluster = Cluster::healthy(3, 1);
    (1..=3).for_each(|number| restart(&mut cluster, number));
    // Was a member long ago; its log is longer, with what was never committed. And one that knows less.
    for (number, ballot, committed, prepared) in [(1, 5, 10, 99), (2, 6, 90, 95), (3, 6, 80, 97)] {
        let report = cluster.node(number).replicas.get_mut(&gpid(0)).expect("a replica");
        (report.role, report.ballot) = (RoleName::Inactive, Ballot(ballot));
        (report.last_committed, report.last_prepared) = (Decree(committed), Decree(prepared));
        cluster.node(number).configurations.clear();
    }
    cluster.wipe_meta();
    for number in 1..=3 {
        cluster.node(number).by_hand = true;
        cluster.node(number).configurations.clear();
    }
    let (configuration, certain, notes) = planned(&mut cluster, 0);
    assert_eq!((configuration.as_str(), certain), ("{1006,r2,[]}", false));
    assert_eq!(notes, ["no node that is here remembers who the members were"]);
}

#[test]
fn copies_that_cannot_be_trusted_do_not_lead_and_gaps_are_refused() {
    let mut cluster = Cluster::healthy(3, 2);
    for number in 1..=3 {
        cluster.node(number).replicas.get_mut(&gpid(1)).expect("a replica").role = RoleName::Error;
    }
    cluster.wipe_meta();
    cluster.pass(seconds(1));
    let says = "nobody has reported a copy of 1.1 that can be trusted; start the servers that have one, or leave the \
                app out (--leave-out a)";
    assert_eq!(plan(&mut cluster).obstacles, [says]);
    assert_eq!(recover(&mut cluster, true), Err(says.to_owned()));
    for number in 1..=3 {
        cluster.node(number).replicas.remove(&gpid(1));
    }
    cluster.pass(seconds(1));
    assert_eq!(
        recover(&mut cluster, true),
        Err(says.to_owned()),
        "never created empty in place of what was lost"
    );
    assert_eq!(
        recover_without(&mut cluster, &["b"], true).unwrap_err(),
        format!("{says} (1 more: --dry-run)")
    );
    assert_eq!(
        recover_without(&mut cluster, &["a"], true),
        Err("every app is left out, so there is nothing to recover".to_owned())
    );
    assert!(cluster.node(1).replicas.contains_key(&gpid(0)), "what is left out stays where it is");
}

#[test]
fn two_apps_of_one_name_are_for_the_operator_to_choose_from() {
    let mut cluster = Cluster::healthy(3, 1);
    let dropped = Gpid::new(2, 0);
    cluster.node(3).replicas.insert(dropped, ReplicaReport { gpid: dropped, ..report() });
    cluster.wipe_meta();
    cluster.pass(seconds(1));
    let refused = recover(&mut cluster, true).unwrap_err();
    assert_eq!(
        refused,
        "apps 1 and 2 are both called `a`: one of them may have been dropped; leave it out (--leave-out NUMBER)"
    );
    recover_without(&mut cluster, &["2"], true).expect("the operator chose");
    assert_eq!(cluster.meta.state().apps().count(), 1);
    assert!(cluster.node(3).replicas.contains_key(&dropped), "it stays where it is");
}

fn report() -> ReplicaReport {
    ReplicaReport {
        gpid: gpid(0),
        role: RoleName::Inactive,
        ballot: Ballot(7),
        last_committed: Decree(7),
        last_prepared: Decree(7),
        last_durable: Decree(7),
        learners: vec![],
        copying: None,
    }
}

/// An empty meta server may be one that lost its state: nodes tell.
#[test]
fn a_new_cluster_gets_its_first_app_and_one_that_is_not_new_does_not() {
    let first = AdminRequest::CreateFirstApp {
        name: "first".to_owned(),
        app_type: "counter".to_owned(),
        partition_count: 1,
        replica_count: 3,
    };
    let mut new = Cluster::new();
    new.ask(first.clone());
    new.up(1);
    new.up(2);
    assert!(new.replies.is_empty(), "others may come, with data");
    new.up(3);
    assert!(matches!(new.replies.pop(), Some(AdminReply::Created(_))));

    let mut small = Cluster::new();
    small.ask(first.clone());
    small.pass(seconds(60));
    small.up(1);
    small.pass(seconds(2));
    assert!(matches!(small.replies.pop(), Some(AdminReply::Created(_))), "nobody else came");

    let mut wiped = Cluster::healthy(3, 1);
    wiped.wipe_meta();
    wiped.ask(first);
    wiped.pass(seconds(60));
    assert!(wiped.replies.is_empty());
    wiped.ask(AdminRequest::Recover { leave_out: vec![], others_are_stopped: false });
    let [AdminReply::Accepted(_), AdminReply::Refused(refusal)] = &wiped.replies[..] else {
        panic!("recovered, and the first app is not needed any more: {:?}", wiped.replies)
    };
    assert_eq!(refusal.message, "there are apps already");
}

/// Its number would be that of an app that nodes hold replicas of.
#[test]
fn nothing_is_created_over_replicas_of_unknown_apps() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.wipe_meta();
    let AdminReply::Refused(refusal) = cluster.create("b", 1, 3) else { panic!("it is to be refused") };
    assert_eq!(refusal.kind, RefusalKind::FailedPrecondition);
    assert!(
        refusal.message.starts_with("nodes hold replicas of app 1, which this meta server does not know")
    );
    let mut cluster = Cluster::new();
    assert_eq!(
        recover(&mut cluster, true),
        Err("no node has reported a replica; start the replica servers, then `admin nodes` shows them"
            .to_owned())
    );
}
