//! What a node makes of the log that it finds at its start, each kept as the test that showed it.

use std::time::Duration;

use replica_core::{Event, RecoveredApp, Replay, Settings, Work};
use words::{Ballot, Decree, Envelope, Gpid, MutationId, PeerMessage, Record, RoleName};

use crate::alone::{Alone, LEADER, ME, app, id, mutation};
use crate::harness::GPID;

fn prepare(ballot: u64, of: u64, decree: u64, committed: u64) -> Record {
    Record::Prepare {
        gpid: GPID,
        ballot: Ballot(ballot),
        mutation: mutation(of, decree),
        replaces: false,
        last_committed: Decree(committed),
    }
}

/// Divergent log, checkpoint in place, `Installed` lost in the crash.
fn diverged() -> Vec<Record> {
    let mut log =
        vec![Record::Created { gpid: GPID, app: app() }, Record::Ballot { gpid: GPID, ballot: Ballot(3) }];
    log.extend((1..=100).map(|decree| prepare(3, 3, decree, decree.saturating_sub(1).min(89))));
    log.push(Record::Ballot { gpid: GPID, ballot: Ballot(4) });
    log
}

#[test]
fn a_checkpoint_whose_record_was_lost_is_noted_at_restart() {
    let mut log = diverged();
    let mut node = Alone::finds(&log, Some(id(4, 92)));
    // It follows a primary of ballot 5 from there.
    for decree in 93..=95 {
        let previous = if decree == 93 { id(4, 92) } else { id(5, decree - 1) };
        node.prepare(LEADER, None, mutation(5, decree), previous, decree - 1);
    }
    assert_eq!(node.replica().last_prepared(), Decree(95));
    log.append(&mut node.logged);
    // The app checkpoints at 94, the node restarts: what does its list say of 91?
    let node = Alone::finds(&log, Some(id(5, 94)));
    let replica = node.replica();
    assert_eq!(replica.error(), None);
    assert_eq!(replica.identity_at(Decree(91)), None, "S1: (3,91) is taken for committed");
}

/// What is at or below a checkpoint can be cut from the log before a restart, so the log says itself whether
/// what follows was kept. (Simulator, seed 3038466: an acknowledged decree went with the power.)
#[test]
fn replay_keeps_what_memory_kept_behind_a_checkpoint() {
    let log = |suffix_kept| {
        vec![
            Record::Created { gpid: GPID, app: app() },
            prepare(2, 2, 11, 7),
            Record::Ballot { gpid: GPID, ballot: Ballot(4) },
            Record::Installed { gpid: GPID, checkpoint: id(2, 10), suffix_kept },
        ]
    };
    for (suffix_kept, last) in [(true, 11), (false, 10)] {
        let node = Alone::finds(&log(suffix_kept), Some(id(2, 10)));
        let replica = node.replica();
        assert_eq!(replica.error(), None);
        assert_eq!(replica.last_prepared(), Decree(last), "suffix kept: {suffix_kept}");
    }
}

/// The log is cut by segments, so it can begin with a stale suffix whose beginning is cut. (Simulator, seed
/// 3026687: it came back from the dead behind what had replaced it.)
#[test]
fn replay_removes_a_suffix_whose_beginning_is_cut() {
    let replacing = |ballot, decree| match prepare(ballot, ballot, decree, 9) {
        Record::Prepare { gpid, ballot, mutation, last_committed, .. } => {
            Record::Prepare { gpid, ballot, mutation, replaces: true, last_committed }
        }
        record => record,
    };
    let mut log = vec![Record::Created { gpid: GPID, app: app() }];
    log.extend((48..=68).map(|decree| prepare(2, 2, decree, 9)));
    log.push(replacing(3, 10));
    log.extend((11..=47).map(|decree| prepare(3, 3, decree, decree - 1)));
    let node = Alone::finds(&log, Some(id(3, 47)));
    let replica = node.replica();
    assert_eq!((replica.error(), replica.last_prepared()), (None, Decree(47)));
    // Raised instead, what follows stays.
    let mut log = log[..22].to_vec();
    log.extend((10..=47).map(|decree| prepare(3, 2, decree, decree - 1)));
    let node = Alone::finds(&log, Some(id(2, 47)));
    let replica = node.replica();
    assert_eq!((replica.error(), replica.last_prepared()), (None, Decree(68)));
}

/// A meta server that was deposed, and does not know it yet, goes on telling the first configuration. (Simulator,
/// seed 5012754: a node that had removed the replica in an earlier life created the partition anew, empty.)
#[test]
fn a_replica_that_was_removed_is_not_created_anew() {
    let mut log = diverged();
    log.push(Record::Removed { gpid: GPID, ballot: Ballot(4) });
    let mut node = Alone::finds(&log, None);
    node.configuration(1, ME, &[]);
    assert!(!node.has_replica());
}

/// Nobody has compared what it has with what the primary has: it may be a history that was given up.
/// (Simulator, seed 691.)
#[test]
fn a_learner_acknowledges_nothing_before_it_follows() {
    let mut node = Alone::finds(&diverged(), Some(id(3, 89)));
    node.begin_to_learn(5, LEADER);
    let replica = node.replica();
    assert_eq!((replica.role(), replica.confirmed()), (RoleName::Learner, Decree(89)));
    let acknowledges = |e: &Envelope| matches!(e.body, PeerMessage::PrepareAck(_));
    assert!(!node.sent.iter().any(acknowledges), "S8");
}

/// The log reaches further back than memory should, and an idle replica applies nothing that would shorten its list.
/// (Simulator, the bounds of L2: one seed in eight.)
#[test]
fn a_start_takes_no_more_into_memory_than_the_list_may_have() {
    let list_tail = Settings::default().list_tail;
    let last = 3 * list_tail as u64;
    let mut log = vec![Record::Created { gpid: GPID, app: app() }];
    log.extend((1..=last).map(|decree| prepare(2, 2, decree, decree)));
    let node = Alone::finds(&log, Some(id(2, last)));
    assert_eq!(node.replica().load().tail, list_tail);
}

/// A node that is killed again and again before `checkpoint_interval` has passed would have more to replay each time.
#[test]
fn what_took_long_to_replay_is_not_left_to_the_next_start() {
    let long = Settings::default().checkpoint_decrees / 64;
    for (last, asked) in [(long, 0), (long + 1, 1)] {
        let mut log = vec![Record::Created { gpid: GPID, app: app() }];
        log.extend((1..=last).map(|decree| prepare(2, 2, decree, decree)));
        let mut node = Alone::finds(&log, Some(MutationId::ZERO));
        let checkpoints =
            |node: &Alone| node.work.iter().filter(|work| matches!(work, Work::Checkpoint { .. })).count();
        node.pass(Duration::ZERO);
        assert_eq!(node.replica().applied(), Decree(last));
        assert_eq!(checkpoints(&node), asked, "{last} mutations were replayed");
        let durable = Ok(MutationId { ballot: Ballot(2), decree: Decree(last) });
        node.run(Event::CheckpointDone { gpid: GPID, result: durable });
        node.pass(Settings::default().checkpoint_interval);
        assert_eq!(checkpoints(&node), asked, "all is durable");
    }
}

/// What is not committed may have to be sent again; all else that memory does not keep is in the log.
#[test]
fn a_start_lets_go_only_of_what_is_committed() {
    let settings = Settings { list_tail: 3, list_tail_bytes: 1_000, ..Settings::default() };
    let mut replay = Replay::new(&settings);
    replay.on_record(&Record::Created { gpid: GPID, app: app() });
    (1..=40).for_each(|decree| replay.on_record(&prepare(2, 2, decree, decree.min(15))));
    let recovered = replay.finish(vec![RecoveredApp { gpid: GPID, durable: Ok(id(2, 4)) }]);
    let lacking: Vec<_> = recovered.lacking().into_iter().map(|it| (it.from, it.upto)).collect();
    assert_eq!(lacking, [(Decree(5), id(2, 15))]);
    let node = Alone::found(2, recovered);
    let replica = node.replica();
    assert_eq!((replica.applied(), replica.last_prepared()), (Decree(15), Decree(40)));
}

#[test]
fn a_replica_that_lacks_what_is_lost_is_in_error() {
    let mut replay = Replay::new(&Settings { list_tail: 3, ..Settings::default() });
    replay.on_record(&Record::Created { gpid: GPID, app: app() });
    (1..=40).for_each(|decree| replay.on_record(&prepare(2, 2, decree, decree)));
    let mut recovered = replay.finish(vec![RecoveredApp { gpid: GPID, durable: Ok(id(2, 4)) }]);
    recovered.give_up(GPID, "it can't be read back".to_owned());
    assert_eq!(recovered.lacking().len(), 0);
    assert_eq!(Alone::found(2, recovered).replica().error(), Some("it can't be read back"));
}

/// What a start has to replay counts, and not whose it is: of two partitions that both have less than is allowed the one
/// that is further behind takes a checkpoint. (Those after their own replay came to nothing.)
#[test]
fn what_a_start_has_to_replay_is_bounded_over_all_partitions() {
    let most = Settings::default().checkpoint_decrees;
    let other = Gpid::new(1, 1);
    for (behind, expected) in [([most * 6 / 10, most * 3 / 10], 0), ([most * 6 / 10, most * 4 / 10], 1)] {
        let mut replay = Replay::new(&Settings::default());
        for (gpid, last) in [GPID, other].into_iter().zip(behind) {
            replay.on_record(&Record::Created { gpid, app: app() });
            for decree in 1..=last {
                let (ballot, mutation, last_committed) = (Ballot(2), mutation(2, decree), Decree(decree));
                let prepare = Record::Prepare { gpid, ballot, mutation, replaces: false, last_committed };
                replay.on_record(&prepare);
            }
        }
        let empty = |gpid| RecoveredApp { gpid, durable: Ok(MutationId::ZERO) };
        let mut node = Alone::found(2, replay.finish(vec![empty(GPID), empty(other)]));
        node.pass(Duration::ZERO);
        for gpid in [GPID, other] {
            node.run(Event::CheckpointDone { gpid, result: Err(std::io::ErrorKind::Other.into()) });
        }
        node.work.clear();
        node.pass(Settings::default().report);
        let checkpoints: Vec<Gpid> = node
            .work
            .iter()
            .filter_map(|work| match work {
                Work::Checkpoint { gpid } => Some(*gpid),
                _ => None,
            })
            .collect();
        assert_eq!(checkpoints, vec![GPID; expected], "{behind:?}");
    }
}

#[test]
fn a_replica_whose_note_is_damaged_is_in_error() {
    let mut replay = Replay::new(&Settings::default());
    diverged()[1..].iter().for_each(|record| replay.on_record(record));
    replay.damaged(GPID, "its prepare log is damaged");
    let mut node = Alone::found(2, replay.finish(Vec::new()));
    node.configuration(1, ME, &[]);
    assert_eq!(node.replica().role(), RoleName::Error, "never created empty (§4.8)");
}
