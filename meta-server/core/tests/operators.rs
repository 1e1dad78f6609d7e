//! What operators ask for: carried out step by step, or refused with a sentence that says why.

mod cluster;

use cluster::{Cluster, gpid, seconds};
use meta_core::{AdminReply, AdminRequest, BalanceKind, ProposalKind, RefusalKind};
use words::{DiskSpace, RoleName};

fn propose(cluster: &mut Cluster, kind: &str, target: &str) -> String {
    let kind: ProposalKind = kind.parse().expect("a type that rDSN has");
    print(cluster.admin(AdminRequest::Propose { gpid: gpid(0), kind, node: target.to_owned() }))
}

fn balance(cluster: &mut Cluster, kind: &str, from: &str, to: &str) -> String {
    let kind: BalanceKind = kind.parse().expect("a type that rDSN has");
    let (from, to) = (from.to_owned(), to.to_owned());
    print(cluster.admin(AdminRequest::Balance { gpid: gpid(0), kind, from, to }))
}

fn print(reply: AdminReply) -> String {
    match reply {
        AdminReply::Accepted(message) => message,
        AdminReply::Refused(refusal) => format!("refused: {}", refusal.message),
        other => panic!("not an answer to a proposal: {other:?}"),
    }
}

#[test]
fn the_primarys_role_moves() {
    let mut cluster = Cluster::healthy(3, 1);
    assert_eq!(
        propose(&mut cluster, "upgrade_to_primary", "replica2"),
        "1.0: the primary is asked for r2 to be primary"
    );
    assert_eq!(cluster.configuration(0), "{4,r2,[r3,r1]}");
    balance(&mut cluster, "move_pri", "127.0.0.1:34802", "r3");
    assert_eq!(cluster.configuration(0), "{5,r3,[r1,r2]}");
    propose(&mut cluster, "downgrade_to_secondary", "r3");
    assert_eq!(cluster.configuration(0), "{6,r1,[r2,r3]}");
}

#[test]
fn copies_add_first_and_then_remove() {
    let mut cluster = Cluster::healthy(4, 1);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    assert_eq!(
        balance(&mut cluster, "copy_pri", "r1", "r4"),
        "1.0: the primary is asked for r4 to be a member, then for r4 to be primary, then for r1 to be no member"
    );
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{6,r4,[r2,r3]}");
    balance(&mut cluster, "copy_sec", "r2", "r1");
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{8,r4,[r3,r1]}");
    let ballots: Vec<_> = cluster.history.iter().map(|(_, c)| c.len()).collect();
    assert_eq!(ballots, [1, 2, 3, 4, 4, 3, 4, 3], "never fewer members than before");
}

#[test]
fn what_is_removed_is_healed() {
    let mut cluster = Cluster::healthy(4, 1);
    propose(&mut cluster, "remove", "r3");
    assert_eq!(cluster.history.last().expect("a change").1.to_string(), "{5,r1,[r2,r3]}");
    propose(&mut cluster, "downgrade_to_inactive", "r1");
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{8,r2,[r3,r1]}");
    propose(&mut cluster, "add_secondary", "r4");
    cluster.pass(seconds(1));
    assert_eq!(cluster.history[8].1.to_string(), "{9,r2,[r3,r1,r4]}");
    assert_eq!(cluster.meta.state().configuration(gpid(0)).expect("a partition").len(), 3);
}

#[test]
fn each_refusal_says_why() {
    let mut cluster = Cluster::healthy(4, 1);
    let mut refuses = |kind: &str, node: &str, why: &str| {
        assert_eq!(propose(&mut cluster, kind, node), format!("refused: {why}"), "{kind} {node}");
    };
    let members = "{3,r1,[r2,r3]}";
    refuses("remove", "r9", "no node `r9`; `admin nodes` lists the nodes");
    refuses("assign_primary", "r2", "r1 is primary; use upgrade_to_primary to move that role to a secondary");
    refuses("upgrade_to_primary", "r1", "r1 is the primary already");
    refuses("upgrade_to_primary", "r4", &format!("r4 is no secondary: {members}"));
    refuses("add_secondary", "r2", &format!("r2 is a member already: {members}"));
    refuses("upgrade_to_secondary", "r1", &format!("r1 is a member already: {members}"));
    refuses("remove", "r4", &format!("r4 is no member of {members} and does not learn"));
    refuses("downgrade_to_secondary", "r2", &format!("r2 is not the primary: {members}"));

    cluster.down(4);
    cluster.node(2).leaving = true;
    cluster.beacon(2);
    cluster.node(3).disk = DiskSpace { capacity: 100, available: 9, is_low: true };
    cluster.beacon(3);
    cluster.pass(seconds(1));
    let mut refuses = |kind: &str, node: &str, why: &str| {
        assert_eq!(propose(&mut cluster, kind, node), format!("refused: {why}"), "{kind} {node}");
    };
    refuses("add_secondary", "r4", "r4 is not alive; choose another node");
    refuses("upgrade_to_primary", "r2", "r2 is stopping; choose another node");
    let full =
        "the disk of r3 is almost full, so it would take no writes; choose another node, or make room there";
    refuses("upgrade_to_primary", "r3", full);
    assert_eq!(
        balance(&mut cluster, "copy_sec", "r1", "r4"),
        format!("refused: r1 is no secondary: {members}")
    );
    assert_eq!(cluster.configuration(0), members);
    assert!("move".parse::<BalanceKind>().is_err());
}

#[test]
fn a_lost_primary_can_be_replaced_only_by_a_member() {
    let mut cluster = Cluster::healthy(3, 1);
    for number in [2, 3, 1] {
        cluster.down(number);
    }
    cluster.pass(seconds(20));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.up(4);
    // Who fell silent together with all others is given a grace from then on that one is heard again.
    cluster.pass(seconds(20));
    assert_eq!(
        propose(&mut cluster, "assign_primary", "r4"),
        "refused: r4 is no member of {3,r1,[r2,r3]} and may miss acknowledged writes; a member must return with its data"
    );
    assert_eq!(
        propose(&mut cluster, "remove", "r2"),
        "refused: the primary, r1, is not alive; wait until it is replaced"
    );
    cluster.node(2).replicas.get_mut(&gpid(0)).expect("a replica").role = RoleName::Error;
    cluster.up(2);
    assert_eq!(
        propose(&mut cluster, "assign_primary", "r2"),
        "refused: the replica on r2 can't be trusted; it is collected first"
    );
}

/// The validations that drop a proposal: here the node that it is about dies, or nothing comes of it.
#[test]
fn a_plan_that_can_not_be_carried_out_is_forgotten() {
    let mut cluster = Cluster::healthy(4, 1);
    cluster.node(1).by_hand = true;
    balance(&mut cluster, "copy_sec", "r2", "r4");
    assert_eq!(cluster.decision(0), "an operator wants r4 to be a member");
    cluster.down(4);
    cluster.pass(seconds(1));
    assert_eq!(cluster.decision(0), "healthy");

    propose(&mut cluster, "remove", "r3");
    assert_eq!(cluster.decision(0), "an operator wants r3 to be no member");
    cluster.pass(seconds(31));
    assert_eq!(cluster.decision(0), "healthy");
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    let asked = cluster.told(1).iter().filter(|told| *told == "1.0 3 remove r3").count();
    assert!((30..=33).contains(&asked), "asked {asked} times");
}

#[test]
fn apps_are_created_with_care() {
    let mut cluster = Cluster::new();
    let create = |name: &str, app_type: &str, partition_count, replica_count| AdminRequest::CreateApp {
        name: name.to_owned(),
        app_type: app_type.to_owned(),
        partition_count,
        replica_count,
    };
    let mut refused = |request| match cluster.admin(request) {
        AdminReply::Refused(refusal) => (refusal.kind, refusal.message),
        other => panic!("it should be refused: {other:?}"),
    };
    use RefusalKind::InvalidArgument;
    for (name, app_type, partitions, replicas, why) in [
        (
            "a",
            "abacus",
            1,
            3,
            "unknown app type `abacus`; the replica servers host: counter, kv, card, echo, election",
        ),
        ("a", "counter", 0, 3, "0 partitions: write a number from 1 to 4096"),
        ("a", "counter", 4097, 3, "4097 partitions: write a number from 1 to 4096"),
        ("a", "counter", 1, 0, "0 replicas: write a number from 1 to 9"),
        ("a", "counter", 1, 10, "10 replicas: write a number from 1 to 9"),
    ] {
        assert_eq!(refused(create(name, app_type, partitions, replicas)), (InvalidArgument, why.to_owned()));
    }
    for name in ["", "A", "a b", "../a", "-a", &"a".repeat(129)] {
        assert_eq!(refused(create(name, "counter", 1, 3)).0, InvalidArgument, "{name:?}");
    }
    let missing = refused(AdminRequest::DropApp { name: "a".to_owned(), hold_seconds: None });
    assert_eq!(missing, (RefusalKind::NotFound, "no app `a`; `admin ls` lists the apps".to_owned()));
    assert_eq!(refused(AdminRequest::DescribeApp { name: "a".to_owned() }), missing);

    assert!(matches!(cluster.create("counter.instance-0_x", 4096, 9), AdminReply::Created(_)));
    match cluster.create("counter.instance-0_x", 1, 1) {
        AdminReply::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::AlreadyExists),
        other => panic!("it exists: {other:?}"),
    }
}

#[test]
fn people_read_names() {
    let mut state = meta_core::MetaState::default();
    let nodes = [(1_u128 << 96, "replica1"), (2 << 96, "replica2"), (3 << 96, "replica2"), (4, "replica4")];
    for (id, name) in nodes {
        let (node, name, address) = (words::NodeId(id), name.to_owned(), "127.0.0.1:1".to_owned());
        state.put(meta_core::Change::Node(words::NodeAddress { node, name, address }));
    }
    assert_eq!(
        state.with_names("{3,00000001,[00000002,00000003,r4]}"),
        "{3,replica1,[replica2/00000002,replica2/00000003,r4]}"
    );
}
