//! The balancer at work: what it waits for, that it ends, and that a drained node ends empty.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest, BalancePlan, BalancerStatus, Level};
use words::{AppId, NodeId};

fn status(cluster: &mut Cluster) -> BalancerStatus {
    match cluster.admin(AdminRequest::BalancerStatus) {
        AdminReply::Balancer(status) => status,
        other => panic!("not the balancer's status: {other:?}"),
    }
}

fn plan(cluster: &mut Cluster) -> BalancePlan {
    match cluster.admin(AdminRequest::BalancePlan) {
        AdminReply::BalancePlan(plan) => plan,
        other => panic!("not a plan: {other:?}"),
    }
}

fn accepted(cluster: &mut Cluster, request: AdminRequest) -> String {
    match cluster.admin(request) {
        AdminReply::Accepted(message) => message,
        AdminReply::Refused(refusal) => format!("refused: {}", refusal.message),
        other => panic!("not an answer to a change: {other:?}"),
    }
}

fn drain(cluster: &mut Cluster, node: &str, drained: bool) -> String {
    accepted(cluster, AdminRequest::Drain { node: node.to_owned(), drained })
}

fn level(cluster: &mut Cluster, level: Level) {
    cluster.admin(AdminRequest::SetLevel { level });
}

/// Of each node: how many partitions it leads, and how many it is a member of.
fn load(cluster: &Cluster) -> Vec<(usize, usize)> {
    let configurations: Vec<_> = cluster.meta.state().configurations().map(|(_, c)| c).collect();
    let of = |node: NodeId| {
        let leads = configurations.iter().filter(|c| c.primary == Some(node)).count();
        (leads, configurations.iter().filter(|c| c.is_member(node)).count())
    };
    cluster.nodes.keys().map(|&node| of(node)).collect()
}

/// From `first` on no partition had fewer members than it should have.
fn never_below(cluster: &Cluster, first: usize, members: usize) {
    for (gpid, configuration) in &cluster.history[first..] {
        assert!(configuration.len() >= members, "{gpid} {configuration}");
    }
}

#[test]
fn a_new_node_gets_its_share_in_small_steps() {
    let mut cluster = Cluster::healthy(3, 8);
    let before = cluster.history.len();
    assert_eq!(load(&cluster), [(3, 8), (3, 8), (2, 8)]);
    cluster.up(4);
    assert_eq!(plan(&mut cluster).in_the_way, None);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster), [(2, 6), (2, 6), (2, 6), (2, 6)]);
    never_below(&cluster, before, 3);
    // Six copies, each an addition and a removal; no more roles move than the new node gets.
    assert_eq!(cluster.history.len() - before, 6 * 2 + 2);
    assert_eq!(plan(&mut cluster).count, 0);
}

#[test]
fn after_a_restart_primaries_go_back_by_handover() {
    let mut cluster = Cluster::healthy(3, 6);
    cluster.down(1);
    cluster.pass(seconds(2));
    assert_eq!(load(&cluster)[0], (0, 4), "those that it led go on without it");
    cluster.up(1);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster), [(2, 6), (2, 6), (2, 6)]);
}

/// Of those that count: not what is dropped.
fn members(cluster: &Cluster, apps: &[u32]) -> Vec<usize> {
    let counted = || cluster.meta.state().configurations().filter(|(gpid, _)| apps.contains(&gpid.app.0));
    cluster.nodes.keys().map(|&node| counted().filter(|(_, c)| c.is_member(node)).count()).collect()
}

/// Seed 9353901 of the simulator: nothing had changed since the balancer found that nothing should move, but for an
/// app that was there again.
#[test]
fn an_app_that_is_recalled_is_spread_like_any_other() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    cluster.create("app", 2, 1);
    cluster.pass(seconds(10));
    cluster.admin(AdminRequest::DropApp { name: "app".to_owned(), hold_seconds: None });
    cluster.up(2);
    cluster.pass(seconds(60));
    assert_eq!(members(&cluster, &[1]), [2, 0], "nobody moves what is dropped");
    cluster.admin(AdminRequest::RecallApp { id: AppId(1), new_name: None });
    cluster.pass(seconds(60));
    assert_eq!(members(&cluster, &[1]), [1, 1]);
}

/// What is spread evenly together is not without some of it.
#[test]
fn the_others_are_spread_anew_when_an_app_is_dropped() {
    let mut cluster = Cluster::new();
    cluster.up(1);
    cluster.up(2);
    cluster.pass(seconds(1));
    let names = ["one", "two", "three", "four"];
    for name in names {
        cluster.create(name, 1, 1);
        cluster.pass(seconds(10));
    }
    let on_the_first: Vec<u32> = (1..=4).filter(|&app| members(&cluster, &[app]) == [1, 0]).collect();
    let others: Vec<u32> = (1..=4).filter(|app| !on_the_first.contains(app)).collect();
    assert_eq!((on_the_first.len(), others.len()), (2, 2));
    for app in on_the_first {
        let name = names[app as usize - 1].to_owned();
        cluster.admin(AdminRequest::DropApp { name, hold_seconds: None });
    }
    cluster.pass(seconds(60));
    assert_eq!(members(&cluster, &others), [1, 1]);
}

#[test]
fn it_waits_for_the_level_for_health_and_for_who_may_return() {
    let mut cluster = Cluster::healthy(3, 4);
    level(&mut cluster, Level::Steady);
    cluster.up(4);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster)[3], (0, 0));
    assert_eq!(status(&mut cluster).in_the_way.expect("something"), "the level is steady");
    assert_eq!(plan(&mut cluster).moves.len(), 3, "the plan shows what would move");

    level(&mut cluster, Level::Lively);
    cluster.node(2).silent = true;
    cluster.pass(seconds(3));
    let in_the_way = status(&mut cluster).in_the_way.expect("something");
    assert!(in_the_way.starts_with("1.0 is not healthy, and"), "{in_the_way}");
    cluster.down(4);
    cluster.pass(seconds(4));
    assert_eq!(load(&cluster)[3], (0, 0));
    // Nobody replaces the second node but the fourth, and that is gone, too. Three are left for four partitions.
    cluster.pass(seconds(60));
    assert_eq!(status(&mut cluster).in_the_way, None, "both are given up");
    assert_eq!(load(&cluster), [(2, 4), (0, 0), (2, 4), (0, 0)]);
}

#[test]
fn moves_are_few_at_a_time() {
    let mut cluster = Cluster::healthy(3, 30);
    cluster.up(4);
    // The new node does not learn, so whatever begins stays under way.
    for number in 1..=4 {
        cluster.node(number).by_hand = true;
    }
    cluster.pass(seconds(15));
    let status = status(&mut cluster);
    assert_eq!(status.under_way.len(), 4);
    assert!(status.left > 10, "{status:?}");
    let reason = "holds 30 of the app, its share is 22.50";
    assert!(status.under_way.iter().all(|order| order.reason.ends_with(reason)), "{status:?}");
}

#[test]
fn a_move_that_does_not_end_is_given_up_and_the_cluster_stays_whole() {
    let mut cluster = Cluster::healthy(3, 3);
    cluster.up(4);
    cluster.node(4).by_hand = true; // it takes no configuration
    let before = cluster.history.len();
    cluster.pass(seconds(300));
    never_below(&cluster, before, 3);
    cluster.node(4).by_hand = false;
    cluster.pass(seconds(120));
    let members: usize = load(&cluster).iter().map(|(_, holds)| holds).sum();
    assert_eq!(members, 9);
}

#[test]
fn a_drained_node_ends_empty_and_can_be_removed() {
    let mut cluster = Cluster::healthy(4, 8);
    level(&mut cluster, Level::Steady);
    let before = cluster.history.len();
    assert_eq!(
        drain(&mut cluster, "replica1", true),
        "r1 gets nothing new, and what it has goes elsewhere; `admin nodes` shows what is left"
    );
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster)[0], (0, 0), "also without balancing");
    never_below(&cluster, before, 3);
    let remove = |cluster: &mut Cluster, node: &str| {
        accepted(cluster, AdminRequest::RemoveNode { node: node.to_owned() })
    };
    assert_eq!(remove(&mut cluster, "r1"), "refused: r1 runs; drain it (`admin node drain`), then stop it");
    cluster.down(1);
    cluster.pass(seconds(10));
    assert_eq!(remove(&mut cluster, "r1"), "r1 is forgotten");
    assert_eq!(remove(&mut cluster, "r1"), "refused: no node `r1`; `admin nodes` lists the nodes");
    assert!(cluster.meta.state().node(node(1)).is_none());
    assert!(!cluster.meta.state().is_drained(node(1)));
    // If it comes back after all it is new.
    cluster.nodes.get_mut(&node(1)).expect("it was there").replicas.clear();
    level(&mut cluster, Level::Lively);
    cluster.up(1);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster)[0], (2, 6));
}

#[test]
fn a_drain_survives_the_meta_server_and_can_be_taken_back() {
    let mut cluster = Cluster::healthy(4, 4);
    drain(&mut cluster, "replica2", true);
    cluster.restart_meta();
    (1..=4).for_each(|number| cluster.connect(number));
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster)[1], (0, 0));
    assert_eq!(drain(&mut cluster, "replica2", false), "r2 is like any other node again");
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster), [(1, 3), (1, 3), (1, 3), (1, 3)]);
    assert!(drain(&mut cluster, "replica9", true).starts_with("refused: no node `replica9`"));
}

#[test]
fn a_drained_node_that_nobody_can_relieve_hands_its_primaries_over_and_says_what_is_left() {
    let mut cluster = Cluster::healthy(3, 3);
    drain(&mut cluster, "r1", true);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster)[0], (0, 3));
    assert_eq!(status(&mut cluster).stuck, 3);
    cluster.up(4);
    cluster.pass(seconds(60));
    assert_eq!(load(&cluster), [(0, 0), (1, 3), (1, 3), (1, 3)]);
    assert_eq!(status(&mut cluster).stuck, 0);
}

#[test]
fn a_node_that_is_a_member_is_not_removed() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(2);
    cluster.pass(seconds(60));
    cluster.down(3);
    cluster.pass(seconds(60));
    cluster.down(1);
    cluster.pass(seconds(60));
    assert_eq!(cluster.meta.state().configuration(gpid(0)).expect("it").len(), 1);
    let refused = accepted(&mut cluster, AdminRequest::RemoveNode { node: "r1".to_owned() });
    assert_eq!(
        refused,
        "refused: r1 is a member of 1.0; drain it (`admin node drain`), or wait until others have replaced it"
    );
}
