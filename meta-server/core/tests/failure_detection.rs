//! rDSN's failure detector, case by case in the order of its list. Where sessions and leases between nodes make
//! another thing of a case, its test says which. The four cases with several meta servers are seen here from the one
//! that leads: to those that follow no node can open a session, so nothing reaches their cores.

mod cluster;

use cluster::{Cluster, gpid, millis, node, seconds};
use meta_core::{
    AdminReply, AdminRequest, Level, MetaEvent, MetaSettings, MetaState, ProposalKind, RefusalKind,
};
use words::{DiskSpace, Life, NodeToMeta, RoleName};

fn alive(cluster: &Cluster) -> Vec<bool> {
    cluster.meta.list_nodes(cluster.now).iter().map(|status| status.alive).collect()
}

#[test]
fn detection_1_a_node_connects_and_disconnects() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    assert_eq!(alive(&cluster), [true]);
    cluster.down(1);
    cluster.pass(millis(101));
    assert_eq!(alive(&cluster), [false]);
    cluster.up(1);
    assert_eq!(alive(&cluster), [true]);
}

/// A follower serves no sessions; a meta server that was deposed and does not know it is harmless: what it decides
/// never becomes durable, so no node hears of it.
#[test]
fn detection_2_whoever_does_not_lead_changes_nothing() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.commits_at_once = false;
    cluster.told(2);
    cluster.down(1);
    cluster.pass(seconds(20));
    assert_eq!(cluster.uncommitted.len(), 1, "it would like to");
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    assert_eq!(cluster.told(2), Vec::<String>::new());
}

/// Another meta server leads, from what is durable: every node has a fresh grace, and keeps its part.
#[test]
fn detection_3_the_leader_changes_suddenly() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.pass(seconds(60));
    cluster.restart_meta();
    assert_eq!(alive(&cluster), [false, false, false], "nobody was heard yet");
    cluster.pass(millis(1400));
    (1..=3).for_each(|number| cluster.connect(number));
    cluster.pass(seconds(5));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
}

/// Nodes that find the new leader at different times: the grace counts from the first that does.
#[test]
fn detection_4_the_old_leader_dies_and_nodes_take_their_time_to_find_the_new_one() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.restart_meta();
    cluster.pass(millis(1300));
    cluster.connect(2);
    cluster.connect(3);
    cluster.pass(millis(1400));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}", "2.7 s after the start");
    cluster.connect(1);
    cluster.pass(seconds(5));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
}

#[test]
fn detection_5_a_node_that_dies_while_the_leader_changes_is_noticed_by_the_new_one() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(1);
    cluster.restart_meta();
    cluster.connect(2);
    cluster.connect(3);
    cluster.pass(millis(1501));
    assert_eq!(alive(&cluster), [false, true, true]);
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// The node starts again, `times` times, after `span` each.
fn flap(cluster: &mut Cluster, number: u128, times: usize, span: std::time::Duration) {
    for _ in 0..times {
        cluster.down(number);
        cluster.pass(millis(200));
        cluster.up(number);
        cluster.pass(span);
    }
}

/// rDSN bans such a node. Ours gets no new replicas; what it has it keeps, and catches up with what it missed: that
/// costs little, and a partition may need it.
#[test]
fn detection_6_a_node_that_starts_again_and_again_is_given_nothing_new_until_it_is_stable() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.up(4);
    flap(&mut cluster, 4, 5, seconds(2));
    let started = cluster.now;
    cluster.down(3);
    let current = cluster.meta.state().configuration(gpid(0)).expect("a partition").clone();
    cluster.propose(1, 0, current.without_secondary(node(3)));
    cluster.pass(seconds(20));
    assert_eq!(
        cluster.decision(0),
        "2 of 3 members; r4 starts again and again, and is added once it has run for a while"
    );
    let AdminReply::Why(why) = cluster.admin(AdminRequest::Why { gpid: gpid(0) }) else { panic!() };
    assert_eq!(why.nodes[3].opinion, "can't be added: it starts again and again");
    let (kind, target) = (ProposalKind::AddSecondary, "replica4".to_owned());
    let reply = cluster.admin(AdminRequest::Propose { gpid: gpid(0), kind, node: target });
    let AdminReply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert_eq!(refusal.kind, RefusalKind::FailedPrecondition);
    assert_eq!(refusal.message, "r4 starts again and again; look at its log, or choose another node");
    // It began its last life two seconds before `started`.
    cluster.pass(started + seconds(58) - cluster.now);
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r4]}");
}

#[test]
fn detection_6_what_a_node_has_it_keeps_however_often_it_starts() {
    let mut cluster = Cluster::healthy(4, 1);
    for _ in 0..8 {
        cluster.down(2);
        let current = cluster.meta.state().configuration(gpid(0)).expect("a partition").clone();
        cluster.propose(1, 0, current.without_secondary(node(2)));
        cluster.pass(millis(200));
        cluster.up(2);
        assert!(cluster.configuration(0).ends_with("r1,[r3,r2]}"), "{}", cluster.configuration(0));
    }
}

#[test]
fn detection_6_long_lives_between_starts_are_no_flapping_and_nobody_else_is_better_than_nothing() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    flap(&mut cluster, 1, 8, seconds(61));
    flap(&mut cluster, 1, 4, seconds(1));
    cluster.create("a", 1, 1);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{1,r1,[]}");
    // One that flaps leads a new partition if there is no other: there is nothing to lose yet.
    let mut cluster = Cluster::new();
    cluster.up(1);
    flap(&mut cluster, 1, 8, seconds(1));
    cluster.create("a", 1, 1);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{1,r1,[]}");
}

#[test]
fn detection_7_an_old_message_is_ignored() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.up(3);
    let now_lives = cluster.node(3).life;
    // A report of the life before says that the node holds nothing; a beacon of it that it leaves.
    cluster.say(3, NodeToMeta::Report { node: node(3), life: Life(now_lives - 1), replicas: vec![] });
    let (name, address) = ("replica3".to_owned(), "elsewhere:1".to_owned());
    let (leaving, disk) = (true, DiskSpace::default());
    cluster.say(
        3,
        NodeToMeta::Beacon { node: node(3), life: Life(now_lives - 1), name, address, leaving, disk },
    );
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    let described = cluster.meta.describe_app("a").expect("the app");
    assert_eq!(described.partitions[0].replicas[2].1.role, RoleName::Secondary);
    assert_eq!(cluster.meta.state().node(node(3)).expect("known").address, "127.0.0.1:34803");
}

#[test]
fn detection_8_a_node_that_is_not_on_the_white_list_is_refused_with_a_clear_line() {
    let replica_white_list = vec!["replica1".to_owned(), "r2".to_owned(), "127.0.0.1:34803".to_owned()];
    let settings = MetaSettings { replica_white_list, ..MetaSettings::default() };
    let mut cluster = Cluster::with_settings(MetaState::default(), settings);
    (1..=4).for_each(|number| cluster.up(number));
    assert_eq!(alive(&cluster), [true; 3], "by name, by id, by address");
    let session = cluster.node(4).session.expect("it tries");
    let why = "replica4 at 127.0.0.1:34804 is not on `[meta_server] replica_white_list`";
    assert_eq!(cluster.refused[0], (session, why.to_owned()));
    assert_eq!(cluster.told(4), Vec::<String>::new());
    assert!(cluster.meta.state().node(node(4)).is_none());
}

/// rDSN's leases come from the meta server; ours are between nodes (§5), so no answer of any meta server renews one.
/// What is left of the case: what a meta server that does not lead hears does not keep a node alive in the eyes of
/// the one that does.
#[test]
fn detection_9_beacons_to_another_meta_server_renew_nothing_here() {
    let mut cluster = Cluster::healthy(3, 1);
    let mut other = Cluster::with_state(cluster.meta.state().clone());
    (1..=3).for_each(|number| other.up(number));
    cluster.node(1).silent = true;
    cluster.pass(millis(1501));
    assert_eq!((alive(&cluster), alive(&other)), (vec![false, true, true], vec![true; 3]));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// Of five nodes three are not heard. More likely than that they died is that the network failed: nobody copies what
/// they have; but primaries are replaced, which leases make safe.
#[test]
fn most_nodes_not_heard_freezes_copies_until_one_returns() {
    let mut cluster = Cluster::healthy(5, 4);
    let before: usize = replicas(&cluster);
    [3, 4, 5].into_iter().for_each(|number| cluster.node(number).silent = true);
    cluster.pass(seconds(60));
    assert_eq!(cluster.meta.level(), Level::Freezed);
    assert_eq!(
        cluster.meta.level_status().why,
        "no balancing, and no copies are made: 2 of 5 nodes are alive; likelier than that the others died is that \
         the network failed. If they did, `admin level lively` says so"
    );
    let app = &cluster.meta.list_apps(false)[0];
    assert!(app.readable >= 3, "whoever has a live secondary is led");
    assert!(replicas(&cluster) < before, "no copies");
    assert!((0..4).any(|partition| {
        cluster.decision(partition).ends_with("no copies are made: 2 of 5 nodes are alive")
    }));
    cluster.node(3).silent = false;
    cluster.pass(seconds(30));
    assert_eq!(cluster.meta.level(), Level::Lively);
    assert_eq!(cluster.meta.list_apps(false)[0].healthy, 4);
}

fn replicas(cluster: &Cluster) -> usize {
    cluster.meta.state().configurations().map(|(_, configuration)| configuration.len()).sum()
}

/// An operator who sets the level says that those who died before are dead.
#[test]
fn an_operator_ends_the_freeze_and_more_deaths_begin_it_anew() {
    let mut cluster = Cluster::healthy(6, 4);
    (3..=6).for_each(|number| cluster.down(number));
    cluster.pass(seconds(30));
    assert_eq!(cluster.meta.level(), Level::Freezed);
    cluster.admin(AdminRequest::SetLevel { level: Level::Lively });
    assert_eq!(cluster.meta.level(), Level::Lively);
    cluster.pass(seconds(30));
    let two = |members: usize| members >= 1;
    assert!(cluster.meta.state().configurations().all(|(_, it)| two(it.len())));
    let decisions: Vec<String> = (0..4).map(|partition| cluster.decision(partition)).collect();
    assert!(decisions.iter().all(|it| !it.contains("no copies")), "{decisions:?}");
}

/// Clusters of one and two nodes, and whatever is left of three or four, never freeze: there is nobody to copy to.
#[test]
fn small_clusters_do_not_freeze() {
    for (nodes, dead) in [(1, 1), (2, 1), (3, 1), (3, 2), (4, 2), (4, 3)] {
        let mut cluster = Cluster::healthy(nodes, 2);
        (nodes - dead + 1..=nodes).for_each(|number| cluster.down(number));
        cluster.pass(seconds(30));
        assert_eq!(cluster.meta.level(), Level::Lively, "{dead} of {nodes}");
    }
    // Who was replaced, or holds nothing any more, has left and does not count.
    let mut cluster = Cluster::healthy(2, 2);
    for number in 3..=9 {
        cluster.up(number);
        cluster.down(number);
    }
    cluster.pass(seconds(30));
    assert_eq!(cluster.meta.level(), Level::Lively);
    cluster.step(MetaEvent::Tick);
}
