//! The levels, and the black list: what operators keep the meta server from doing.

mod cluster;

use cluster::{Cluster, node, seconds};
use meta_core::{AdminReply, AdminRequest, BalanceKind, Level, LevelStatus, ProposalKind, RefusalKind};
use words::{Ballot, Configuration};

const LEVELS: [Level; 5] = [Level::Stopped, Level::Blind, Level::Freezed, Level::Steady, Level::Lively];

fn set(cluster: &mut Cluster, level: Level) {
    let reply = cluster.admin(AdminRequest::SetLevel { level });
    assert_eq!(reply, AdminReply::Accepted(format!("the level is {level}: {}", level.leaves_out())));
}

fn black_list(cluster: &mut Cluster, number: u128, listed: bool) -> AdminReply {
    cluster.admin(AdminRequest::BlackList { node: format!("replica{number}"), listed })
}

fn status(level: Level, set: Level, why: &str) -> LevelStatus {
    LevelStatus { level, set, why: why.to_owned() }
}

#[track_caller]
fn refused(reply: AdminReply) -> (RefusalKind, String) {
    match reply {
        AdminReply::Refused(refusal) => (refusal.kind, refusal.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_level_is_read_as_it_is_written() {
    for level in LEVELS {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    let unknown = "lazy".parse::<Level>().expect_err("there is none").to_string();
    assert_eq!(unknown, "unknown type `lazy`; write one of stopped, blind, freezed, steady, lively");
    assert!(LEVELS.is_sorted());
}

/// The primary of a partition and a whole node die: who cures that, at which level?
#[test]
fn each_level_leaves_out_one_thing_more() {
    for (level, cured) in
        [(Level::Lively, true), (Level::Steady, true), (Level::Freezed, false), (Level::Blind, false)]
    {
        let mut cluster = Cluster::healthy(4, 1);
        assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
        set(&mut cluster, level);
        cluster.down(1);
        cluster.pass(seconds(30));
        let expected = if cured { "{5,r2,[r3,r4]}" } else { "{3,r1,[r2,r3]}" };
        assert_eq!(cluster.configuration(0), expected, "{level}");
        if !cured {
            assert_eq!(cluster.decision(0), format!("the level is {level}: {}", level.leaves_out()));
        }
        set(&mut cluster, Level::Lively);
        cluster.pass(seconds(30));
        assert_eq!(cluster.configuration(0), "{5,r2,[r3,r4]}", "{level}");
    }
}

/// A primary that may not leave a dead secondary out can commit nothing: a freeze does not stop writes.
#[test]
fn a_primarys_proposal_is_taken_unless_the_level_is_blind() {
    let without = Configuration { ballot: Ballot(4), primary: Some(node(1)), secondaries: vec![node(3)] };
    for level in LEVELS {
        let mut cluster = Cluster::healthy(3, 1);
        set(&mut cluster, level);
        cluster.node(1).by_hand = true;
        cluster.node(1).told.clear();
        cluster.propose(1, 0, without.clone());
        let holds = if level <= Level::Blind { "{3,r1,[r2,r3]}" } else { "{4,r1,[r3]}" };
        assert_eq!(cluster.configuration(0), holds, "{level}");
        assert_eq!(cluster.told(1)[0], format!("1.0 {holds}"), "{level}: the primary is told what holds");
    }
}

/// Operators are answered at every level; what they ask for is done as far as the level allows.
#[test]
fn operators_are_refused_what_the_level_leaves_out() {
    let gpid = cluster::gpid(0);
    let (kind, other) = (ProposalKind::Remove, "replica2".to_owned());
    let propose = AdminRequest::Propose { gpid, kind, node: other.clone() };
    let (kind, from) = (BalanceKind::MovePrimary, "replica1".to_owned());
    let balance = AdminRequest::Balance { gpid, kind, from, to: "replica3".to_owned() };
    let change = AdminRequest::BlackList { node: other, listed: true };
    for level in LEVELS {
        let mut cluster = Cluster::healthy(3, 1);
        set(&mut cluster, level);
        for (request, lowest) in
            [(&change, Level::Blind), (&propose, Level::Freezed), (&balance, Level::Freezed)]
        {
            let reply = cluster.admin(request.clone());
            if level >= lowest {
                assert!(matches!(reply, AdminReply::Accepted(_)), "{level} {reply:?}");
                continue;
            }
            let message =
                format!("the level is {level}: {}; `admin level lively` changes that", level.leaves_out());
            assert_eq!(refused(reply), (RefusalKind::FailedPrecondition, message));
        }
        assert!(matches!(cluster.admin(AdminRequest::ListApps { all: false }), AdminReply::Apps { .. }));
    }
}

/// An operator's orders are carried out while the guardian itself does nothing.
#[test]
fn at_freezed_an_operator_moves_a_primary() {
    let mut cluster = Cluster::healthy(3, 1);
    set(&mut cluster, Level::Freezed);
    let (gpid, kind) = (cluster::gpid(0), BalanceKind::MovePrimary);
    cluster.admin(AdminRequest::Balance {
        gpid,
        kind,
        from: "replica1".to_owned(),
        to: "replica3".to_owned(),
    });
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{4,r3,[r2,r1]}");
}

#[test]
fn the_level_and_the_black_list_outlive_the_meta_server_and_every_status_says_them() {
    let mut cluster = Cluster::healthy(3, 1);
    let lively = status(Level::Lively, Level::Lively, "nothing is left out");
    assert_eq!(cluster.admin(AdminRequest::GetLevel), AdminReply::Level(lively));
    set(&mut cluster, Level::Steady);
    black_list(&mut cluster, 2, true);
    cluster.restart_meta();
    let steady = status(Level::Steady, Level::Steady, "no balancing: as set by an operator");
    assert_eq!(cluster.admin(AdminRequest::GetLevel), AdminReply::Level(steady.clone()));
    let AdminReply::Nodes { nodes, level } = cluster.admin(AdminRequest::ListNodes) else { panic!() };
    assert_eq!(level, steady);
    assert_eq!(nodes.iter().map(|node| node.black_listed).collect::<Vec<_>>(), [false, true, false]);
    let AdminReply::Apps { level, .. } = cluster.admin(AdminRequest::ListApps { all: false }) else {
        panic!()
    };
    assert_eq!(level, steady);
    assert_eq!(cluster.meta.describe_app("a").expect("the app").level, steady);
    let state = cluster.meta.state();
    let mut read = meta_core::MetaState::default();
    state.values().for_each(|change| read.put(change));
    assert_eq!(&read, state);
}

#[test]
fn a_node_on_the_black_list_gets_nothing_new_and_keeps_what_it_has() {
    let mut cluster = Cluster::healthy(4, 1);
    assert_eq!(
        black_list(&mut cluster, 4, true),
        AdminReply::Accepted("r4 gets no new replicas; those that it has stay".to_owned())
    );
    black_list(&mut cluster, 2, true);
    cluster.down(1);
    cluster.pass(seconds(30));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}", "r2 is a member, so it leads; r4 is not taken");
    assert_eq!(cluster.decision(0), "2 of 3 members; no other live node can be added");
    let (kind, node) = (ProposalKind::AddSecondary, "replica4".to_owned());
    let add = AdminRequest::Propose { gpid: cluster::gpid(0), kind, node };
    assert_eq!(
        refused(cluster.admin(add)),
        (
            RefusalKind::FailedPrecondition,
            "r4 is on the black list; `admin node black-list remove` takes it off".to_owned()
        )
    );
    assert_eq!(
        black_list(&mut cluster, 4, false),
        AdminReply::Accepted("r4 may get replicas again".to_owned())
    );
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{5,r2,[r3,r4]}");
    let (kind, message) = refused(black_list(&mut cluster, 9, true));
    assert_eq!(
        (kind, message),
        (RefusalKind::NotFound, "no node `replica9`; `admin nodes` lists the nodes".to_owned())
    );
}
