//! What has changed, when and why (`admin history`), and what the guardian says of a partition (`admin why`).

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{
    AdminReply, AdminRequest, BalanceKind, Change, Command, Explanation, Level, MetaState, RefusalKind,
    STEPS_KEPT, WallTime,
};
use words::{Ballot, Configuration, Gpid, NodeAddress, NodeId};

fn past(cluster: &mut Cluster, gpid: Option<Gpid>, limit: u32) -> Vec<String> {
    let AdminReply::History { changes, .. } = cluster.admin(AdminRequest::History { gpid, limit }) else {
        panic!("no history")
    };
    let print = |it: Option<Configuration>| it.map_or("?".to_owned(), |it| it.to_string());
    changes
        .into_iter()
        .map(|change| match change.after {
            Some(after) => format!("{} -> {after}: {}", print(change.before), change.cause),
            None => change.cause,
        })
        .collect()
}

#[test]
fn each_step_says_which_rule_whose_proposal_or_which_request() {
    let mut cluster = Cluster::healthy(4, 1);
    let kind = BalanceKind::MovePrimary;
    let (from, to) = ("replica1".to_owned(), "replica2".to_owned());
    cluster.admin(AdminRequest::Balance { gpid: gpid(0), kind, from, to });
    cluster.down(2);
    cluster.pass(seconds(30));
    assert_eq!(
        past(&mut cluster, Some(gpid(0)), 100),
        [
            "{0,-,[]} -> {1,r1,[]}: guardian, new_partition: a new partition begins on r1",
            "{1,r1,[]} -> {2,r1,[r2]}: r1 proposed it, asked by the guardian, too_few_members: \
             1 of 3 members; r2 is learning",
            "{2,r1,[r2]} -> {3,r1,[r2,r3]}: r1 proposed it, asked by the guardian, too_few_members: \
             2 of 3 members; r3 is learning",
            "{3,r1,[r2,r3]} -> {4,r2,[r3,r1]}: r1 proposed it, asked by the guardian, operator_wants: \
             an operator wants r2 to be primary",
            "{4,r2,[r3,r1]} -> {5,r1,[r3]}: guardian, primary_is_lost: r2 is dead; r1 takes over",
            "{5,r1,[r3]} -> {6,r1,[r3,r4]}: r1 proposed it, asked by the guardian, too_few_members: \
             2 of 3 members; r4 is added",
        ]
    );
    assert_eq!(past(&mut cluster, Some(gpid(0)), 1).len(), 1);
    let reply = cluster.admin(AdminRequest::History { gpid: Some(gpid(7)), limit: 1 });
    assert!(matches!(reply, AdminReply::Refused(refusal) if refusal.kind == RefusalKind::NotFound));
}

#[test]
fn a_primary_that_proposes_by_itself_is_named() {
    let mut cluster = Cluster::healthy(3, 1);
    let without = Configuration { ballot: Ballot(4), primary: Some(node(1)), secondaries: vec![node(3)] };
    cluster.propose(1, 0, without);
    assert_eq!(past(&mut cluster, Some(gpid(0)), 2)[0], "{3,r1,[r2,r3]} -> {4,r1,[r3]}: r1 proposed it");
    let mut cluster = Cluster::healthy(3, 1);
    let left = Configuration { ballot: Ballot(4), primary: Some(node(2)), secondaries: vec![node(3)] };
    cluster.propose(1, 0, left);
    let why = "r1 proposed it, since its log does not get further";
    assert_eq!(past(&mut cluster, Some(gpid(0)), 2)[0], format!("{{3,r1,[r2,r3]}} -> {{4,r2,[r3]}}: {why}"));
}

#[test]
fn what_is_no_configuration_is_kept_for_the_whole_cluster() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    cluster.create("a", 1, 1);
    cluster.admin(AdminRequest::SetLevel { level: Level::Steady });
    cluster.admin(AdminRequest::BlackList { node: "replica1".to_owned(), listed: true });
    cluster.admin(AdminRequest::SetReplicaCount { name: "a".to_owned(), count: 3 });
    cluster.admin(AdminRequest::DropApp { name: "a".to_owned(), hold_seconds: Some(60) });
    assert_eq!(
        past(&mut cluster, None, 100),
        [
            "r1 is replica1 at 127.0.0.1:34801",
            "app `a` created, 1 partitions, 1 replicas each",
            "the level is steady: no balancing",
            "r1 is put on the black list",
            "app `a`: 3 replicas wanted",
            "app `a` dropped; it can be recalled for 60 s",
        ]
    );
}

/// A refused command leaves no trace; one that is carried out has the time that the leader gave it; the oldest step
/// makes room for the newest, in storage too.
#[test]
fn the_newest_steps_are_kept_also_when_they_are_read_back() {
    let mut state = MetaState::default();
    let (name, app_type) = ("a".to_owned(), "counter".to_owned());
    let create = Command::CreateApp { name, app_type, partition_count: 1, replica_count: 1 };
    let address = NodeAddress { node: NodeId(1), name: "replica1".to_owned(), address: "a:1".to_owned() };
    for command in [create.clone(), Command::RegisterNode(address)] {
        state.apply(&command, WallTime(0)).expect("it is legal");
    }
    assert!(state.apply(&create, WallTime(0)).is_err());
    let mut stored: Vec<Change> = state.values().collect();
    for ballot in 1..=25 {
        let configuration =
            Configuration { ballot: Ballot(ballot), primary: Some(NodeId(1)), secondaries: vec![] };
        let cause = "a test".to_owned();
        let command = Command::SetConfiguration { gpid: gpid(0), configuration, cause };
        let changes = state.apply(&command, WallTime(ballot)).expect("it is legal");
        assert_eq!(changes.len(), 2, "the change, and one record of it");
        assert!(state.apply(&command, WallTime(99)).is_err());
        stored.extend(changes);
    }
    let kept: Vec<u64> = state.steps(gpid(0)).map(|step| step.at.0).collect();
    assert_eq!(kept, (26 - STEPS_KEPT..=25).collect::<Vec<_>>());
    assert_eq!(state.events().count(), 2);
    let mut read = MetaState::default();
    // As they lie in storage: by their places, not by their age.
    stored.sort_by_key(|change| match change {
        Change::Step { step, .. } => step.configuration.ballot.0 % STEPS_KEPT,
        _ => 0,
    });
    let last = |change: &Change| matches!(change, Change::Configuration { configuration, .. } if configuration.ballot.0 != 25);
    stored.into_iter().filter(|change| !last(change)).for_each(|change| read.put(change));
    assert_eq!(read, state);
}

fn why(cluster: &mut Cluster) -> Explanation {
    match cluster.admin(AdminRequest::Why { gpid: gpid(0) }) {
        AdminReply::Why(explanation) => *explanation,
        other => panic!("{other:?}"),
    }
}

fn opinions(explanation: &Explanation) -> Vec<String> {
    let print = |node: &meta_core::NodeOpinion| {
        format!("{}: {}; {}; {}", node.node.node, node.standing, node.replica, node.opinion)
    };
    explanation.nodes.iter().map(print).collect()
}

#[test]
fn why_a_partition_waits_for_a_member_that_left() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(3);
    cluster.pass(seconds(2));
    cluster.propose(
        1,
        0,
        Configuration { ballot: Ballot(4), primary: Some(node(1)), secondaries: vec![node(2)] },
    );
    cluster.admin(AdminRequest::BlackList { node: "replica4".to_owned(), listed: true });
    cluster.up(4);
    cluster.admin(AdminRequest::BlackList { node: "replica4".to_owned(), listed: true });
    cluster.pass(seconds(4));
    let explanation = why(&mut cluster);
    assert_eq!(explanation.rule, "too_few_members");
    assert_eq!(explanation.reason, "2 of 3 members; waits for r3 to return");
    assert_eq!(explanation.action, "wait, until the time is up or a node comes");
    assert_eq!((explanation.since_ms, explanation.until_ms), (4000, Some(6000)));
    assert!(!explanation.partition.healthy);
    assert_eq!(
        opinions(&explanation),
        [
            "r1: alive; pri, 4.0; is the primary",
            "r2: alive; sec, 4.0; is a secondary",
            "r3: dead for 5 s; not reported yet; can't be added: it is not alive",
            "r4: alive; none; can't be added: it is on the black list",
        ]
    );
}

#[test]
fn why_nothing_is_done_for_a_healthy_partition_and_for_none() {
    let mut cluster = Cluster::healthy(3, 1);
    let explanation = why(&mut cluster);
    assert_eq!((explanation.rule.as_str(), explanation.reason.as_str()), ("all_is_well", "healthy"));
    assert_eq!(
        (explanation.action.as_str(), explanation.until_ms),
        ("nothing, until something changes", None)
    );
    assert!(explanation.partition.healthy);
    let reply = cluster.admin(AdminRequest::Why { gpid: Gpid::new(9, 0) });
    assert!(matches!(reply, AdminReply::Refused(refusal) if refusal.kind == RefusalKind::NotFound));
}

#[test]
fn a_change_that_is_not_durable_yet_is_waited_for() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.commits_at_once = false;
    cluster.down(1);
    cluster.pass(seconds(3));
    let explanation = why(&mut cluster);
    assert_eq!(explanation.reason, "r1 is dead; r2 takes over");
    assert_eq!(explanation.action, "wait until {4,r2,[r3]} is durable");
}
