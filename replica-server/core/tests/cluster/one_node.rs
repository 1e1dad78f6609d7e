//! What one node does by the rules of §4 to §7 with messages that come late, twice, or from the wrong one.

use std::time::Duration;

use bytes::Bytes;
use replica_core::{Event, Settings, Work};
use words::{
    AddLearner, Ballot, Command, Decree, Gpid, HeartbeatAck, Learn, LearnCheckpoint, LearnFailed,
    LearnMutations, MetaToNode, MutationId, NodeId, NodeToMeta, PeerMessage, PrepareAck, Record, RoleName,
    Signature, StepDown, Write, WriteKind,
};

use crate::alone::{Alone, LEADER, LEARNING, ME, OTHER, app, id, mutation};
use crate::harness::GPID;

fn step_down(ballot: u64) -> PeerMessage {
    PeerMessage::StepDown(StepDown { gpid: GPID, ballot: Ballot(ballot) })
}

fn ack(ballot: u64, confirmed: u64, learning: Option<Signature>) -> PeerMessage {
    let (ballot, confirmed) = (Ballot(ballot), Decree(confirmed));
    PeerMessage::PrepareAck(PrepareAck { gpid: GPID, ballot, confirmed, learning })
}

fn granted(sequence: u64) -> PeerMessage {
    PeerMessage::HeartbeatAck(HeartbeatAck { sequence, exceptions: Vec::new() })
}

fn proposals(node: &Alone) -> usize {
    node.told_meta.iter().filter(|message| matches!(message, NodeToMeta::Propose(_))).count()
}

/// The primary of ballot 7 once it has reconciled, with one secondary; and what both have.
fn leading() -> (Alone, u64) {
    let mut node = Alone::secondary(6);
    node.configuration(7, ME, &[LEADER]);
    let all = node.replica().last_prepared().0;
    node.from(LEADER, ack(7, all, None));
    (node, all)
}

/// §5.2.
#[test]
fn only_the_primary_of_the_highest_known_ballot_is_covered() {
    let mut node = Alone::secondary(6);
    assert!(node.covers(LEADER, 6));
    assert!(!node.covers(LEADER, 5), "a lower ballot");
    assert!(!node.covers(OTHER, 6), "another node");
    assert!(!node.covers(OTHER, 7), "another node, which knows more");
}

/// §5.4, §5.5: a step-down that comes late, of a ballot that is over, releases nothing that was granted since.
#[test]
fn a_step_down_releases_its_ballot_and_lower_ones() {
    for (ballot, released) in [(5, false), (6, true)] {
        let mut node = Alone::secondary(6);
        assert!(node.covers(LEADER, 6));
        node.from(LEADER, step_down(ballot));
        node.configuration(7, ME, &[]);
        assert_eq!(node.can_read(), released, "after a step-down of ballot {ballot}");
        node.pass(Settings::default().grant());
        assert!(node.can_read());
    }
}

/// §5.4: not only for the primary before.
#[test]
fn every_lease_that_was_granted_is_waited_for() {
    let mut node = Alone::secondary(6);
    assert!(node.covers(LEADER, 6));
    node.configuration(7, OTHER, &[ME]);
    assert!(node.covers(OTHER, 7));
    node.from(OTHER, step_down(7));
    node.configuration(8, ME, &[]);
    assert!(!node.can_read(), "the primary of ballot 6 may still read");
    node.pass(Settings::default().grant());
    assert!(node.can_read());
}

/// §5.4: the replica that was here before may have granted a lease.
#[test]
fn a_replica_that_was_made_anew_waits_too() {
    let mut node = Alone::secondary(6);
    assert!(node.covers(LEADER, 6));
    node.meta(MetaToNode::Collect { gpid: GPID, ballot: Ballot(7) });
    assert!(!node.has_replica());
    node.become_secondary(9, OTHER);
    node.configuration(10, ME, &[]);
    assert_eq!(node.replica().role(), RoleName::Primary);
    assert!(!node.can_read(), "the primary of ballot 6 may still read");
    node.pass(Settings::default().grant());
    assert!(node.can_read());
}

/// A primary of ballot 9 that was one in ballot 7 too, and held a lease of its secondary then, or had asked for one.
fn primary_again(granted_before: bool) -> (Alone, u64) {
    let mut node = Alone::secondary(6);
    node.configuration(7, ME, &[LEADER]);
    let asked = node.last_heartbeat(LEADER);
    node.from(LEADER, ack(7, 1, None));
    if granted_before {
        node.from(LEADER, granted(asked));
    }
    node.configuration(8, LEADER, &[ME]);
    node.configuration(9, ME, &[LEADER]);
    (node, asked)
}

/// §5.3, §5.5.
#[test]
fn a_lease_of_an_earlier_tenure_is_none() {
    for granted_before in [true, false] {
        let (mut node, asked) = primary_again(granted_before);
        if !granted_before {
            node.from(LEADER, granted(asked));
        }
        let all = node.replica().last_prepared().0;
        node.from(LEADER, ack(9, all, None));
        assert_eq!(node.replica().last_committed().0, all, "it has reconciled");
        assert!(!node.can_read(), "granted before: {granted_before}");
        let asked = node.last_heartbeat(LEADER);
        node.from(LEADER, granted(asked));
        assert!(node.can_read());
    }
}

/// §3.2: what was acknowledged in another ballot says nothing of this one.
#[test]
fn an_acknowledgement_of_an_earlier_ballot_is_none() {
    let (mut node, _) = primary_again(true);
    let all = node.replica().last_prepared().0;
    node.from(LEADER, ack(7, all, None));
    assert_eq!(node.replica().last_committed().0, 1);
    node.from(LEADER, ack(9, all, None));
    assert_eq!(node.replica().last_committed().0, all);
}

/// §7.6: all disks are full. It could not serve under the ballot without a member, its log would not take it.
#[test]
fn nobody_is_suspected_while_the_own_log_is_stuck_too() {
    let (mut node, all) = leading();
    let three_seconds_with_heartbeats = |node: &mut Alone| {
        for _ in 0..30 {
            node.pass(Duration::from_millis(100));
            node.from(LEADER, granted(node.last_heartbeat(LEADER)));
        }
    };
    three_seconds_with_heartbeats(&mut node);
    // The first one still gets into its log, and both get into no other.
    for (token, is_stuck) in [(1, false), (2, true)] {
        node.log_is_stuck = is_stuck;
        let write = Write { session: None, kind: WriteKind::Update, payload: Bytes::from_static(b"5") };
        node.run(Event::Write { gpid: GPID, write, token, patience: None });
    }
    three_seconds_with_heartbeats(&mut node);
    assert_eq!(node.replica().last_prepared().0, all + 3, "they were sent, and a question whose log works");
    assert!(proposals(&node) == 0 && node.can_read());
    node.log_goes_on();
    three_seconds_with_heartbeats(&mut node);
    assert!(proposals(&node) > 0, "now it is only the other one that does not have it");
}

/// A write to the primary of ballot 7, whose log has just stopped; and what all have then. The others acknowledge it, and
/// grant leases for as long as it can be waited for.
fn leading_with_a_stuck_log(others: &[NodeId]) -> (Alone, u64) {
    let mut node = Alone::secondary(6);
    node.configuration(7, ME, others);
    let all = node.replica().last_prepared().0;
    others.iter().for_each(|&other| node.from(other, ack(7, all, None)));
    node.log_is_stuck = true;
    let write = Write { session: None, kind: WriteKind::Update, payload: Bytes::from_static(b"5") };
    node.run(Event::Write { gpid: GPID, write, token: 1, patience: None });
    let all = all + 1;
    others.iter().for_each(|&other| node.from(other, ack(7, all, None)));
    for _ in 0..29 {
        node.pass(Duration::from_millis(100));
        others.iter().for_each(|&other| node.from(other, granted(node.last_heartbeat(other))));
    }
    assert_eq!((node.replica().last_prepared().0, proposals(&node)), (all, 0), "not yet");
    node.pass(Duration::from_millis(100));
    (node, all)
}

/// §7.6: a disk that hangs takes no write for as long as it hangs, and leases are in memory.
#[test]
fn a_primary_whose_log_is_stuck_gives_way_to_one_whose_log_works() {
    let (mut node, all) = leading_with_a_stuck_log(&[LEADER, OTHER]);
    assert_eq!(node.replica().last_prepared().0, all + 1, "the question whose log works");
    for other in [LEADER, OTHER] {
        node.from(other, ack(7, all, None));
    }
    assert_eq!(proposals(&node), 0, "that it worked before says nothing");
    node.from(OTHER, ack(7, all + 1, None));
    assert_eq!(proposals(&node), 0, "alone it could take no writes either (§3.6)");
    node.from(LEADER, ack(7, all + 1, None));
    let proposed = node.told_meta.iter().find_map(|message| match message {
        NodeToMeta::Propose(proposal) => Some(proposal.proposed.clone()),
        _ => None,
    });
    let proposed = proposed.expect("two whose logs work");
    assert_eq!((proposed.primary, &proposed.secondaries[..]), (Some(LEADER), &[OTHER][..]));
    assert!(node.can_read(), "until the outcome is known");
}

/// ... unless its own goes on before they have answered.
#[test]
fn a_primary_whose_log_goes_on_leads_on() {
    let (mut node, all) = leading_with_a_stuck_log(&[LEADER, OTHER]);
    node.log_goes_on();
    node.from(OTHER, ack(7, all + 1, None));
    assert_eq!(proposals(&node), 0);
}

/// §4.5.
#[test]
fn a_new_primary_changes_nothing_before_it_has_reconciled() {
    let mut node = Alone::secondary(6);
    node.configuration(7, ME, &[LEADER]);
    let all = node.replica().last_prepared().0;
    for command in [Command::HandOver(LEADER), Command::AddSecondary(OTHER)] {
        node.meta(MetaToNode::Command { gpid: GPID, ballot: Ballot(7), command });
    }
    assert_eq!(proposals(&node), 0);
    node.from(LEADER, ack(7, all, None));
    node.meta(MetaToNode::Command { gpid: GPID, ballot: Ballot(7), command: Command::HandOver(LEADER) });
    assert_eq!(proposals(&node), 1);
}

/// §4.8: never created empty in place of what was lost.
#[test]
fn a_node_that_has_nothing_does_not_begin_empty() {
    let mut node = Alone::in_life(2);
    node.configuration(3, LEADER, &[ME]);
    assert_eq!(node.replica().role(), RoleName::Error);
    // §4.4: and once in error, it takes no part.
    node.prepare(LEADER, None, mutation(4, 1), id(0, 0), 0);
    assert_eq!(node.replica().role(), RoleName::Error);
}

/// §4.8: nor does one that has the note of a replica, and nothing else.
#[test]
fn a_replica_without_its_app_is_in_error() {
    let raised = Record::Ballot { gpid: GPID, ballot: Ballot(3) };
    let node = Alone::without_its_app(&[raised]);
    assert_eq!(node.replica().role(), RoleName::Error);
}

/// §5.5: until the outcome is known it reads on, so its leases are not given up before.
#[test]
fn a_primary_steps_down_when_it_is_none_any_more() {
    let (mut node, _) = leading();
    node.meta(MetaToNode::Command { gpid: GPID, ballot: Ballot(7), command: Command::HandOver(LEADER) });
    let steps_down =
        |node: &Alone| node.sent.iter().any(|envelope| matches!(envelope.body, PeerMessage::StepDown(_)));
    assert!(proposals(&node) == 1 && !steps_down(&node), "it only asked");
    node.configuration(8, LEADER, &[ME]);
    assert!(steps_down(&node));
}

/// §6.1.
#[test]
fn prepares_of_another_learning_are_ignored() {
    let mut node = Alone::learner(5);
    node.prepare(LEADER, Some(Signature(6)), mutation(5, 1), id(0, 0), 0);
    assert_eq!(node.replica().last_prepared(), Decree(0));
    node.prepare(LEADER, Some(LEARNING), mutation(5, 1), id(0, 0), 0);
    assert_eq!(node.replica().last_prepared(), Decree(1));
}

/// What a new primary's first learner is invited with.
fn invitation(node: &mut Alone) -> Signature {
    node.from(OTHER, PeerMessage::Hello);
    let command = Command::AddSecondary(OTHER);
    node.meta(MetaToNode::Command { gpid: GPID, ballot: Ballot(1), command });
    let invited = node.sent.iter().rev().find_map(|envelope| match &envelope.body {
        PeerMessage::AddLearner(invitation) => Some(invitation.signature),
        _ => None,
    });
    invited.expect("it is invited")
}

/// §6.1: late messages of a learning that an earlier life began must not be taken for those of another one.
#[test]
fn signatures_differ_from_life_to_life() {
    let of_life = |life| {
        let mut node = Alone::in_life(life);
        node.configuration(1, ME, &[]);
        invitation(&mut node)
    };
    assert!(of_life(1) < of_life(2));
}

/// §6.1, S9.
#[test]
fn acknowledgements_of_another_learning_are_ignored() {
    let mut node = Alone::first();
    let signature = invitation(&mut node);
    let question = Learn { gpid: GPID, ballot: Ballot(1), signature, last_committed: id(0, 0) };
    node.from(OTHER, PeerMessage::Learn(question));
    let all = node.replica().last_prepared().0;
    for other in [None, Some(Signature(signature.0 - 1))] {
        node.from(OTHER, ack(1, all, other));
        assert_eq!(proposals(&node), 0, "{other:?}");
    }
    node.from(OTHER, ack(1, all, Some(signature)));
    assert_eq!(proposals(&node), 1);
}

/// §6.2: it never shortens what came as prepares meanwhile.
#[test]
fn a_late_answer_from_the_log_changes_nothing() {
    let mut node = Alone::learner(5);
    for decree in 1..=3 {
        let previous = if decree == 1 { id(0, 0) } else { id(5, decree - 1) };
        node.prepare(LEADER, Some(LEARNING), mutation(5, decree), previous, 0);
    }
    let (gpid, ballot, signature) = (GPID, Ballot(5), LEARNING);
    let mutations = vec![mutation(5, 1)];
    let late = LearnMutations { gpid, ballot, signature, mutations };
    node.from(LEADER, PeerMessage::LearnMutations(late));
    assert_eq!(node.replica().last_prepared(), Decree(3));
}

fn checkpoint(decree: u64) -> PeerMessage {
    let (gpid, ballot, signature) = (GPID, Ballot(5), LEARNING);
    let checkpoint = LearnCheckpoint { gpid, ballot, signature, checkpoint: id(5, decree), transfer: 1 };
    PeerMessage::LearnCheckpoint(checkpoint)
}

fn fetches(node: &Alone) -> bool {
    node.work.iter().any(|work| matches!(work, Work::FetchCheckpoint { .. }))
}

/// §6.2: nor does a checkpoint.
#[test]
fn a_late_checkpoint_is_not_fetched() {
    let mut node = Alone::learner(5);
    node.prepare(LEADER, Some(LEARNING), mutation(5, 1), id(0, 0), 0);
    node.from(LEADER, checkpoint(9));
    assert!(!fetches(&node), "it follows already");
    let mut node = Alone::learner(5);
    node.from(LEADER, checkpoint(9));
    assert!(fetches(&node));
}

/// §6.2: the app that it would be applied to is about to be replaced.
#[test]
fn nothing_is_taken_while_a_checkpoint_replaces_the_app() {
    let mut node = Alone::learner(5);
    node.from(LEADER, checkpoint(9));
    node.prepare(LEADER, Some(LEARNING), mutation(5, 1), id(0, 0), 0);
    assert_eq!(node.replica().last_prepared(), Decree(0));
    node.configuration(6, LEADER, &[OTHER]);
    assert_eq!(node.replica().role(), RoleName::Learner);
}

/// §7.3: a node is its data directory, whatever address it is reached at.
#[test]
fn what_is_meant_for_another_node_is_dropped() {
    let mut node = Alone::secondary(6);
    let prepared = node.replica().last_prepared();
    node.hears(LEADER, OTHER, step_down(6));
    let before = node.sent.len();
    node.hears(LEADER, OTHER, PeerMessage::Hello);
    assert_eq!((node.sent.len(), node.replica().last_prepared()), (before, prepared));
}

/// §6.3: learning is of a ballot.
#[test]
fn learning_begins_anew_under_another_ballot() {
    let mut node = Alone::first();
    let signature = invitation(&mut node);
    let question = Learn { gpid: GPID, ballot: Ballot(1), signature, last_committed: id(0, 0) };
    node.from(OTHER, PeerMessage::Learn(question));
    node.configuration(2, ME, &[]);
    let all = node.replica().last_prepared().0;
    node.from(OTHER, ack(2, all, Some(signature)));
    assert_eq!(proposals(&node), 0);
}

fn breaks(node: &mut Alone) {
    node.run(Event::ReplicaFailed { gpid: GPID, reason: "its app panicked".to_owned() });
}

/// Which partitions hold the log back, as the next collection is told.
fn holds_the_log(node: &mut Alone) -> bool {
    node.work.clear();
    node.run(Event::CheckpointDone { gpid: Gpid::new(9, 9), result: Ok(MutationId::ZERO) });
    let held = node.work.iter().find_map(|work| match work {
        Work::CollectLog { durable } => Some(durable.iter().any(|&(gpid, _)| gpid == GPID)),
        _ => None,
    });
    held.expect("a checkpoint is followed by a collection")
}

/// §4.4: it is a member of the latest configuration as long as nobody knows better. (Simulator, seed 8008344: its
/// log was collected, and a restart took what was left for a replica that had never had anything.)
#[test]
fn a_broken_replica_stays_broken_when_its_log_is_gone() {
    let mut node = Alone::secondary(6);
    assert!(holds_the_log(&mut node), "nothing is durable in its app");
    breaks(&mut node);
    assert!(!holds_the_log(&mut node));
    let kept: Vec<Record> =
        node.logged.iter().filter(|record| !matches!(record, Record::Prepare { .. })).cloned().collect();
    let mut restarted = Alone::with_an_empty_app(&kept);
    assert_eq!(restarted.replica().role(), RoleName::Error);
    restarted.configuration(7, ME, &[]);
    assert_eq!(restarted.replica().error(), Some("its app panicked"));
}

/// A disk that is full takes no note, and a log that is collected may make it take one.
#[test]
fn the_log_of_a_broken_replica_is_held_until_that_is_noted() {
    let mut node = Alone::secondary(6);
    node.log_is_stuck = true;
    breaks(&mut node);
    assert!(holds_the_log(&mut node));
}

/// §4.8, §5.4: who was given up had granted leases that this node knows nothing of (simulator, seed 8019651); and who
/// was given up may be told by a deposed meta server that it leads (seed 8078163).
#[test]
fn who_leads_and_was_no_member_asks_for_a_ballot_and_waits_for_a_full_lease() {
    let mut node = Alone::secondary(6);
    node.configuration(7, LEADER, &[OTHER, ME]);
    node.configuration(8, ME, &[]);
    assert!(node.can_read(), "it was a member");

    let mut node = Alone::secondary(6);
    node.configuration(7, LEADER, &[OTHER]);
    node.configuration(8, ME, &[]);
    assert_eq!((node.replica().role(), proposals(&node)), (RoleName::Inactive, 1));
    node.configuration(9, ME, &[]);
    assert_eq!(node.replica().role(), RoleName::Primary);
    assert!(!node.can_read());
    node.pass(Settings::default().grant());
    assert!(node.can_read());
}

/// Or its teacher counts it as a learner for ever, and the meta server does not have it collected. (Simulator,
/// seed 8099498: what a learner said when it failed was lost.)
#[test]
fn a_broken_learner_that_is_invited_again_says_that_it_failed() {
    let mut node = Alone::learner(6);
    breaks(&mut node);
    node.sent.clear();
    node.invite(6, LEADER);
    let failed = PeerMessage::LearnFailed(LearnFailed { gpid: GPID, signature: LEARNING });
    assert_eq!(node.sent.iter().map(|envelope| &envelope.body).collect::<Vec<_>>(), [&failed]);
}

#[test]
fn a_new_replica_does_not_follow_a_deposed_primary() {
    let deposed = NodeId(8);
    let mut node = Alone::in_life(1);
    node.invite(5, LEADER); // makes the replica; it knows of no learning yet, nor of what came after ballot 8
    node.prepare(deposed, None, mutation(8, 50), id(8, 49), 49);
    assert!(!node.covers(deposed, 8), "S4: it lets a deposed primary read; it is {}", node.replica().role());
}

#[test]
fn a_new_replica_is_no_member() {
    let mut node = Alone::in_life(1);
    node.invite(5, LEADER);
    node.configuration(6, LEADER, &[OTHER, ME]);
    assert_eq!(node.replica().role(), RoleName::Error, "it has nothing of the partition");
}

/// What a learner takes waits for its disk in memory, so it must not take more and more (L2).
#[test]
fn a_learner_takes_no_more_than_its_disk_does() {
    let mut node = Alone::learner(5);
    node.log_is_stuck = true;
    let questions =
        |node: &Alone| node.sent.iter().filter(|e| matches!(e.body, PeerMessage::Learn(_))).count();
    let mut asked = vec![questions(&node)];
    for decree in 1..=2 {
        let (ballot, signature, mutations) = (Ballot(5), LEARNING, vec![mutation(4, decree)]);
        let part = LearnMutations { gpid: GPID, ballot, signature, mutations };
        node.from(LEADER, PeerMessage::LearnMutations(part));
        asked.push(questions(&node));
    }
    assert_eq!(asked, [1, 2, 2], "one part is on its way to the disk while the next one comes");
    node.pass(Settings::default().prepare_timeout);
    let invitation = AddLearner { gpid: GPID, ballot: Ballot(6), signature: Signature(9), app: app() };
    node.from(LEADER, PeerMessage::AddLearner(invitation.clone()));
    assert_eq!(questions(&node), 2, "it begins no other learning");
    node.log_goes_on();
    assert_eq!(questions(&node), 3);
    node.from(LEADER, PeerMessage::AddLearner(invitation));
    assert_eq!(questions(&node), 4);
}
