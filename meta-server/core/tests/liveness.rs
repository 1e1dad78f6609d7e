//! Who is alive: sessions, lives, beacons, silence, and what follows for the partitions.

mod cluster;

use cluster::{Cluster, millis, node, seconds};
use meta_core::MetaEvent;
use words::{DiskSpace, Life, NodeToMeta};

#[test]
fn a_cluster_forms_and_spreads_its_primaries() {
    let cluster = Cluster::healthy(3, 6);
    let nodes = cluster.meta.list_nodes(cluster.now);
    assert_eq!(
        nodes.iter().map(|status| (status.primaries, status.secondaries)).collect::<Vec<_>>(),
        [(2, 4); 3]
    );
    let app = &cluster.meta.list_apps(false)[0];
    assert_eq!((app.healthy, app.readable), (6, 6));
    assert_eq!(cluster.decision(0), "healthy");
}

#[test]
fn a_closed_session_means_death_after_the_grace_and_not_before() {
    let mut cluster = Cluster::healthy(3, 1);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.down(1);
    cluster.pass(millis(99));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.pass(millis(2));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

#[test]
fn a_session_that_is_opened_again_in_time_changes_nothing() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(1);
    cluster.pass(millis(90));
    cluster.connect(1);
    cluster.pass(seconds(5));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
}

#[test]
fn a_node_that_said_it_leaves_is_dead_as_soon_as_it_is_gone() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.node(1).leaving = true;
    cluster.beacon(1);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}", "it hands over by itself");
    cluster.down(1);
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

#[test]
fn silence_means_death_after_the_failure_timeout() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.beacon(1);
    cluster.node(1).silent = true;
    cluster.pass(millis(1499));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.pass(millis(2));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
    // Heard again: it is told at once where things stand, and comes back.
    cluster.node(1).silent = false;
    cluster.told(1);
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{5,r2,[r3,r1]}");
}

#[test]
fn after_a_restart_of_the_meta_server_every_node_has_a_fresh_grace() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.restart_meta();
    cluster.connect(2);
    cluster.connect(3);
    cluster.pass(millis(1499));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.pass(millis(2));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// A meta server that was stopped, or whose disk stalled, has not listened: silence then means nothing.
#[test]
fn nobody_dies_because_the_meta_server_was_away() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.now = cluster.now + seconds(60);
    cluster.step(MetaEvent::Tick);
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.node(1).silent = true;
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

/// Cut off from all, it sees all of them die. When the first is heard again the others are about to be: a secondary
/// that is a moment faster is no reason to replace a primary that never stopped serving.
#[test]
fn nobody_is_replaced_because_the_meta_server_was_cut_off() {
    let mut cluster = Cluster::healthy(3, 1);
    let cut = |cluster: &mut Cluster, silent| (1..=3).for_each(|number| cluster.node(number).silent = silent);
    cut(&mut cluster, true);
    cluster.pass(seconds(10));
    cut(&mut cluster, false);
    cluster.node(1).silent = true;
    cluster.pass(millis(1400));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.node(1).silent = false;
    cluster.pass(seconds(5));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    // One that does not come is lost once the grace is over.
    cut(&mut cluster, true);
    cluster.pass(seconds(10));
    cut(&mut cluster, false);
    cluster.node(1).silent = true;
    cluster.pass(seconds(2));
    assert_eq!(cluster.configuration(0), "{4,r2,[r3]}");
}

#[test]
fn a_newer_session_replaces_the_older_one_and_an_older_life_is_ignored() {
    let mut cluster = Cluster::healthy(3, 1);
    let old = cluster.node(1).session.expect("a session");
    cluster.up(1);
    // The old one's end says nothing about the node.
    cluster.step(MetaEvent::SessionClosed { session: old });
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    // A beacon of an earlier life, delayed, by a session of its own, is not answered and changes nothing.
    let stale = 1000;
    cluster.step(MetaEvent::SessionOpened { session: stale });
    let current = cluster.node(1).session.replace(stale);
    cluster.told(1);
    let (name, address) = ("replica1".to_owned(), "elsewhere:1".to_owned());
    let message = NodeToMeta::Beacon {
        node: node(1),
        life: Life(1),
        name,
        address,
        leaving: true,
        disk: DiskSpace::default(),
    };
    cluster.step(MetaEvent::Message { session: stale, message });
    assert_eq!(cluster.told(1), Vec::<String>::new());
    cluster.step(MetaEvent::SessionClosed { session: stale });
    cluster.node(1).session = current;
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    assert_eq!(cluster.meta.state().node(node(1)).expect("registered").address, "127.0.0.1:34801");
}

#[test]
fn messages_before_the_first_beacon_and_of_unknown_sessions_are_ignored() {
    let mut cluster = Cluster::healthy(3, 1);
    for session in [77, 78] {
        if session == 78 {
            cluster.step(MetaEvent::SessionOpened { session });
        }
        let report = NodeToMeta::Report { node: node(1), life: Life(1), replicas: vec![] };
        cluster.step(MetaEvent::Message { session, message: report });
    }
    cluster.step(MetaEvent::SessionClosed { session: 79 });
    cluster.pass(seconds(3));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
}

#[test]
fn a_session_begins_with_all_nodes_and_the_configurations_of_its_node() {
    let mut cluster = Cluster::healthy(3, 2);
    cluster.down(3);
    cluster.node(3).told.clear();
    cluster.connect(3);
    assert_eq!(cluster.told(3), ["nodes r1 r2 r3", "1.0 {3,r1,[r3,r2]}", "1.1 {3,r2,[r1,r3]}"]);
}

#[test]
fn a_new_address_is_made_durable_and_told_to_all() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.told(2);
    let (name, address) = ("replica1".to_owned(), "10.0.0.7:34801".to_owned());
    let life = Life(cluster.node(1).life);
    cluster.say(
        1,
        NodeToMeta::Beacon { node: node(1), life, name, address, leaving: false, disk: DiskSpace::default() },
    );
    assert_eq!(cluster.told(2), ["nodes r1"]);
    assert_eq!(cluster.meta.state().node(node(1)).expect("registered").address, "10.0.0.7:34801");
}

/// A data directory was removed: another node is at that address, and what the old one held will not be back.
#[test]
fn a_node_at_the_address_of_another_replaces_it_at_once() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.down(3);
    let current = cluster.meta.state().configuration(cluster::gpid(0)).expect("a partition").clone();
    cluster.propose(1, 0, current.without_secondary(node(3)));
    cluster.pass(seconds(1));
    assert_eq!(cluster.decision(0), "2 of 3 members; waits for r3 to return");
    cluster.up(4);
    let (name, address) = ("replica3".to_owned(), "127.0.0.1:34803".to_owned());
    cluster.say(
        4,
        NodeToMeta::Beacon {
            node: node(4),
            life: Life(1),
            name,
            address,
            leaving: false,
            disk: DiskSpace::default(),
        },
    );
    assert_eq!(cluster.configuration(0), "{5,r1,[r2,r4]}");
    let listed: Vec<_> =
        cluster.meta.list_nodes(cluster.now).into_iter().map(|status| status.node.node).collect();
    assert_eq!(listed, [node(1), node(2), node(4)]);
}

#[test]
fn a_node_whose_disk_is_low_is_shown_and_passed_over_until_there_is_room() {
    let mut cluster = Cluster::healthy(2, 1);
    cluster.node(3).disk = DiskSpace { capacity: 100, available: 9, is_low: true };
    cluster.up(3);
    cluster.pass(seconds(20));
    assert_eq!(cluster.configuration(0), "{2,r1,[r2]}");
    let shown: Vec<DiskSpace> = cluster.meta.list_nodes(cluster.now).iter().map(|node| node.disk).collect();
    assert_eq!(shown, [DiskSpace::default(), DiskSpace::default(), cluster.node(3).disk]);
    cluster.node(3).disk = DiskSpace { capacity: 100, available: 90, is_low: false };
    cluster.pass(seconds(1));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
}

/// It would refuse clients' writes, and others have room.
#[test]
fn a_node_whose_disk_is_low_leads_nothing_until_there_is_room() {
    let mut cluster = Cluster::healthy(3, 6);
    let leads = |cluster: &Cluster| {
        let configurations: Vec<_> = cluster.meta.state().configurations().map(|(_, c)| c.primary).collect();
        [1, 2, 3]
            .map(|number| configurations.iter().filter(|&&primary| primary == Some(node(number))).count())
    };
    assert_eq!(leads(&cluster), [2, 2, 2]);
    cluster.node(1).disk = DiskSpace { capacity: 100, available: 9, is_low: true };
    cluster.pass(seconds(2));
    assert_eq!(leads(&cluster), [0, 3, 3]);
    cluster.pass(seconds(60));
    assert_eq!(leads(&cluster), [0, 3, 3], "nobody gives it back what it can't do");
    cluster.node(1).disk = DiskSpace { capacity: 100, available: 90, is_low: false };
    cluster.pass(seconds(60));
    assert_eq!(leads(&cluster), [2, 2, 2]);
}
