//! Proposals: compare-and-set on the ballot, one change at a time, every answer the configuration that holds.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use words::{Configuration, NodeToMeta};

fn current(cluster: &Cluster) -> Configuration {
    cluster.meta.state().configuration(gpid(0)).expect("a partition").clone()
}

/// Three members, and every node does only what the test makes it do.
fn quiet() -> Cluster {
    let mut cluster = Cluster::healthy(4, 1);
    for number in 1..=4 {
        cluster.node(number).by_hand = true;
        cluster.told(number);
    }
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster
}

#[test]
fn a_change_is_told_to_the_proposer_and_to_members_old_and_new() {
    let mut cluster = quiet();
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.propose(1, 0, proposed);
    for number in 1..=3 {
        assert_eq!(cluster.told(number)[0], "1.0 {4,r1,[r2]}", "r{number}");
    }
    assert_eq!(cluster.told(4), Vec::<String>::new());
}

#[test]
fn what_is_not_acceptable_is_answered_with_what_holds() {
    let mut cluster = quiet();
    let now = current(&cluster);
    let holds = "1.0 {3,r1,[r2,r3]}";
    cluster.down(4);
    cluster.pass(seconds(1));
    let old = Configuration { ballot: words::Ballot(2), ..now.clone() };
    let twice = now.with_secondary(node(2));
    let unknown = now.with_secondary(node(99));
    let dead = now.with_secondary(node(4));
    let stranger = Configuration { primary: Some(node(4)), ..now.bumped() };
    for (what, proposed) in [
        ("an old ballot", old.bumped()),
        ("a ballot of the future", now.bumped().bumped()),
        ("a node twice", twice),
        ("a node that nobody knows", unknown),
        ("a dead node", dead),
        ("a primary that is no member", stranger),
    ] {
        cluster.told(1);
        cluster.propose(1, 0, proposed);
        assert_eq!(cluster.told(1), [holds], "{what}");
    }
    // Only the primary may propose, and only for itself.
    cluster.propose(2, 0, now.promoted(node(2)));
    assert_eq!(cluster.told(2), [holds]);
    let proposal = words::Proposal { gpid: gpid(0), node: node(1), proposed: now.promoted(node(2)) };
    cluster.say(2, NodeToMeta::Propose(proposal));
    assert_eq!(cluster.told(2), [holds]);
    assert_eq!(current(&cluster), now);
}

#[test]
fn a_handover_to_a_node_that_leaves_is_refused_and_to_another_accepted() {
    let mut cluster = quiet();
    cluster.node(2).leaving = true;
    cluster.beacon(2);
    let now = current(&cluster);
    cluster.propose(1, 0, now.handed_over_to(node(2)));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.propose(1, 0, now.handed_over_to(node(3)));
    assert_eq!(cluster.configuration(0), "{4,r3,[r2,r1]}");
}

/// §7.6: whose disk is full, too, would soon be where the primary is now, and could not even read.
#[test]
fn a_primary_whose_log_is_stuck_gives_way_where_somebody_has_room() {
    for (with_room, accepted) in [(&[][..], false), (&[3][..], true), (&[2, 3][..], true)] {
        let mut cluster = quiet();
        for number in 1..=3 {
            cluster.node(number).disk.is_low = !with_room.contains(&number);
            cluster.beacon(number);
        }
        cluster.told(1);
        let proposed = current(&cluster).promoted(node(2));
        cluster.propose(1, 0, proposed);
        let expected = if accepted { "{4,r2,[r3]}" } else { "{3,r1,[r2,r3]}" };
        assert_eq!(cluster.configuration(0), expected, "room on {with_room:?}");
    }
}

#[test]
fn a_repeated_proposal_is_answered_and_changes_nothing_more() {
    let mut cluster = quiet();
    let proposed = current(&cluster).without_secondary(node(3));
    cluster.propose(1, 0, proposed.clone());
    cluster.told(1);
    cluster.propose(1, 0, proposed);
    assert_eq!(cluster.told(1), ["1.0 {4,r1,[r2]}"]);
    cluster.say(2, NodeToMeta::Query { gpid: gpid(0) });
    assert_eq!(cluster.told(2).last().map(String::as_str), Some("1.0 {4,r1,[r2]}"));
}

/// PITFALLS 3: what is being made durable may or may not come to be, so nobody is told either.
#[test]
fn while_a_change_is_made_durable_everybody_waits_for_its_outcome() {
    let mut cluster = quiet();
    cluster.commits_at_once = false;
    let now = current(&cluster);
    cluster.propose(1, 0, now.without_secondary(node(3)));
    cluster.propose(1, 0, now.without_secondary(node(2)));
    cluster.say(4, NodeToMeta::Query { gpid: gpid(0) });
    cluster.down(2);
    cluster.connect(2);
    cluster.down(3);
    cluster.pass(seconds(1));
    assert_eq!(cluster.uncommitted.len(), 1, "the second proposal and the guardian wait");
    assert_eq!(cluster.told(1), Vec::<String>::new());
    assert_eq!(cluster.told(4), Vec::<String>::new());
    assert_eq!(cluster.told(2), ["nodes r1 r2 r3 r4"]);
    cluster.commit_one();
    for number in [1, 2, 4] {
        assert_eq!(cluster.told(number)[0], "1.0 {4,r1,[r2]}", "r{number}");
    }
}

/// A change that was under way when its app was dropped comes to nothing.
#[test]
fn a_dropped_app_is_not_reconfigured_any_more() {
    let mut cluster = quiet();
    cluster.commits_at_once = false;
    let proposed = current(&cluster).without_secondary(node(3));
    let drop = meta_core::AdminRequest::DropApp { name: "a".to_owned(), hold_seconds: None };
    cluster.step(meta_core::MetaEvent::Admin { token: 1, request: drop });
    cluster.propose(1, 0, proposed.clone());
    cluster.commit_one();
    cluster.commit_one();
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.propose(1, 0, proposed);
    assert_eq!(cluster.told(1).last().map(String::as_str), Some("1.0 {3,r1,[r2,r3]} dropped"));
    assert_eq!(cluster.uncommitted.len(), 0);
    let load: u32 =
        cluster.meta.list_nodes(cluster.now).iter().map(|status| status.primaries + status.secondaries).sum();
    assert_eq!(load, 0);
}
