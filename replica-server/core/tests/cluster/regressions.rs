//! Mistakes that a review against the protocol found, each kept as the test that showed it.

use std::time::Duration;

use words::{Ballot, Command, Configuration, MetaToNode, Reply, RoleName};

use crate::harness::{Cluster, GPID};
use crate::{R1, R2, R3, three};

/// A dropped app is collected although its replicas serve.
#[test]
fn collect_of_a_dropped_app() {
    let mut cluster = three();
    for node in [R1, R2, R3] {
        cluster.meta(node, MetaToNode::Collect { gpid: GPID, ballot: Ballot(3) });
    }
    for node in [R1, R2, R3] {
        assert!(!cluster.has(node), "{node} keeps the dropped app");
    }
}

/// A learner that restarts while it copies is invited again soon.
#[test]
fn a_learner_restarts_while_it_copies() {
    let mut cluster = three();
    cluster.log_readable = false;
    cluster.kill(R3);
    cluster.unreachable(R3);
    for _ in 0..3000 {
        cluster.write(R1, 1);
    }
    cluster.restart(R3);
    cluster.fetch_hangs = true;
    cluster.add(R3);
    cluster.kill(R3);
    cluster.fetch_hangs = false;
    cluster.restart(R3);
    for _ in 0..20 {
        cluster.add(R3);
    }
    assert_eq!(cluster.role(R3), RoleName::Secondary, "8 s later");
}

/// A proposal that is refused for ever does not keep a dead secondary in.
#[test]
fn a_refused_addition_blocks_nothing() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.refuse = |proposed| proposed.is_member(R3);
    cluster.add(R3);
    assert_eq!(cluster.configuration.to_string(), "{2,r1,[r2]}");
    cluster.kill(R2);
    cluster.unreachable(R2);
    cluster.pass(Duration::from_secs(20));
    assert!(!cluster.configuration.is_member(R2), "{}", cluster.configuration);
}

/// Nor does a refused handover stop writes for ever.
#[test]
fn a_refused_handover_goes_on_as_before() {
    let mut cluster = three();
    cluster.refuse = |proposed| proposed.primary == Some(R2);
    cluster.hand_over(R1, R2);
    cluster.pass(Duration::from_secs(20));
    let reply = cluster.write(R1, 1);
    assert!(matches!(reply, Some(Reply::Done { .. })), "{reply:?}");
}

/// The disk was full when the first replica was to be made; now it is not.
#[test]
fn a_creation_that_failed_is_tried_again() {
    let mut cluster = Cluster::of(1);
    cluster.creations_fail = 1;
    cluster.create(R1);
    cluster.push_configuration();
    cluster.pass(Duration::from_secs(10));
    cluster.push_configuration();
    assert_eq!(cluster.role(R1), RoleName::Primary);
}

/// A learner that is slower than the others gets in although the load never pauses.
#[test]
fn a_slow_learner_gets_in_under_load() {
    let mut cluster = Cluster::of(3);
    cluster.create(R1);
    cluster.add(R2);
    cluster.slow = Some((R3, Duration::from_millis(15)));
    cluster.command(Command::AddSecondary(R3));
    for _ in 0..2000 {
        let reply = cluster.write(R1, 1);
        if cluster.configuration.is_member(R3) {
            return;
        }
        assert!(matches!(reply, None | Some(Reply::Done { .. })), "{reply:?}");
        cluster.pass(Duration::from_millis(5));
    }
    assert_eq!(cluster.role(R3), RoleName::Learner);
    let lag = cluster.lag(R1, R3);
    cluster.pass(Duration::from_secs(1));
    let without_load = cluster.configuration.is_member(R3);
    panic!("10 s of load: r3 is no member, {lag} behind; a second without load: member {without_load}");
}

/// A learner gets in although one step of its learning takes longer than the prepare list reaches back.
#[test]
fn a_learner_that_learns_in_small_steps_gets_to_the_list() {
    let mut cluster = Cluster::of(2);
    cluster.settings.list_tail = 3;
    cluster.settings.window = 1;
    cluster.settings.mutation_2pc_min_replica_count = 1;
    cluster.restart(R1);
    cluster.log_read_limit = 24;
    cluster.create(R1);
    for _ in 0..100 {
        cluster.write(R1, 1);
    }
    cluster.slow = Some((R2, Duration::from_millis(80)));
    cluster.command(Command::AddSecondary(R2));
    for _ in 0..1000 {
        cluster.write(R1, 1);
        cluster.pass(Duration::from_millis(5));
    }
    assert_eq!(
        cluster.role(R2),
        RoleName::Secondary,
        "{} behind in {}",
        cluster.lag(R1, R2),
        cluster.configuration
    );
}

/// A loss was declared, and a member that had been given up comes back with another history of the same length: it
/// learns afresh (§6.4), by the log as well as by the list.
#[test]
fn a_member_that_was_given_up_does_not_go_on_where_it_was() {
    for list_tail in [3, 1024] {
        let mut cluster = three();
        cluster.settings.list_tail = list_tail;
        cluster.settings.mutation_2pc_min_replica_count = 1;
        cluster.kill(R3);
        cluster.unreachable(R3);
        for _ in 0..5 {
            cluster.write(R1, 1);
        }
        cluster.kill(R1);
        cluster.kill(R2);
        cluster.restart(R3);
        let ballot = Ballot(cluster.configuration.ballot.0 + 1);
        cluster.configuration = Configuration { ballot, primary: Some(R3), secondaries: Vec::new() };
        cluster.push_configuration();
        cluster.pass(Duration::from_secs(1));
        for _ in 0..50 {
            cluster.write(R3, 2);
        }
        cluster.restart(R1);
        for _ in 0..20 {
            cluster.add(R1);
            cluster.write(R3, 2);
        }
        cluster.pass(Duration::from_secs(1));
        assert_eq!(cluster.role(R1), RoleName::Secondary, "list tail {list_tail}");
        assert_eq!(cluster.total(R1), cluster.total(R3), "list tail {list_tail}: they are different (S12)");
    }
}

mod alone {
    //! One core, its disk done by hand.
    use std::sync::Arc;

    use replica_core::{Event, Identity, NodeCore, Output, Recovered, RecoveredApp, Replay, Settings, Work};
    use words::{
        AddLearner, AppId, AppInfo, AppTerms, Ballot, Claim, Configuration, Decree, Envelope, Heartbeat,
        Life, MetaToNode, Mutation, MutationId, NodeId, Now, PartitionConfiguration, PeerMessage, Prepare,
        Record, RoleName, Signature, Time,
    };

    use crate::harness::GPID;

    const ME: NodeId = NodeId(1);
    const DEPOSED: NodeId = NodeId(8);
    const LEADER: NodeId = NodeId(2);

    fn app() -> AppInfo {
        AppInfo {
            id: AppId(1),
            name: "a.b".into(),
            app_type: "sum".into(),
            partition_count: 1,
            replica_count: 3,
        }
    }

    fn id(ballot: u64, decree: u64) -> MutationId {
        MutationId { ballot: Ballot(ballot), decree: Decree(decree) }
    }

    fn mutation(ballot: u64, decree: u64) -> Arc<Mutation> {
        Arc::new(Mutation { id: id(ballot, decree), timestamp_us: 0, writes: Vec::new() })
    }

    fn prepare(ballot: u64, of: u64, decree: u64, committed: u64) -> Record {
        Record::Prepare {
            gpid: GPID,
            ballot: Ballot(ballot),
            mutation: mutation(of, decree),
            replaces: false,
            last_committed: Decree(committed),
        }
    }

    struct Alone {
        core: NodeCore,
        now: Time,
        appended: Vec<Record>,
        sent: Vec<Envelope>,
    }

    impl Alone {
        fn new(recovered: Recovered) -> Self {
            let now = Time(1_000_000_000);
            let identity = Identity { node: ME, life: Life(1), name: "r1".into(), address: String::new() };
            let core = NodeCore::new(identity, Settings::default(), recovered, Now { time: now, wall_us: 0 });
            Self { core, now, appended: Vec::new(), sent: Vec::new() }
        }

        fn run(&mut self, event: Event) {
            let mut events = std::collections::VecDeque::from([event]);
            while let Some(event) = events.pop_front() {
                let (mut out, now) = (Output::default(), Now { time: self.now, wall_us: 0 });
                self.core.step(now, event, &mut out);
                self.core.flush(now, &mut out);
                if let Some(&(last, _)) = out.append.last() {
                    events.push_back(Event::LogDurable(last));
                }
                self.appended.extend(out.append.into_iter().map(|(_, record)| record));
                self.sent.extend(out.send);
                for task in out.apply {
                    events.push_back(Event::Applied {
                        gpid: GPID,
                        decree: task.mutation.id.decree,
                        answers: vec![],
                    });
                }
                for work in out.work {
                    match work {
                        Work::Create { gpid, .. } => {
                            events.push_back(Event::Created { gpid, result: Ok(()) });
                        }
                        Work::Remove { gpid } => events.push_back(Event::Removed { gpid }),
                        _ => {}
                    }
                }
            }
        }

        fn from(&mut self, from: NodeId, body: PeerMessage) {
            self.run(Event::Message(Envelope { from, from_life: Life(1), to: ME, to_life: Life(1), body }));
        }
    }

    fn add_learner(ballot: u64) -> PeerMessage {
        PeerMessage::AddLearner(AddLearner {
            gpid: GPID,
            ballot: Ballot(ballot),
            signature: Signature(7),
            app: app(),
        })
    }

    #[test]
    fn a_new_replica_does_not_follow_a_deposed_primary() {
        let mut node = Alone::new(Recovered::default());
        node.from(LEADER, add_learner(14));
        let late = Prepare {
            gpid: GPID,
            ballot: Ballot(8),
            mutation: mutation(8, 50),
            previous: id(8, 49),
            last_committed: Decree(49),
            learning: None,
        };
        node.from(DEPOSED, PeerMessage::Prepare(late));
        let role = node.core.replica(GPID).unwrap().role();
        let claims = vec![Claim { gpid: GPID, ballot: Ballot(8), last_committed: Decree(49) }];
        node.from(DEPOSED, PeerMessage::Heartbeat(Heartbeat { sequence: 1, claims }));
        let mut acks = node.sent.iter().filter_map(|envelope| match &envelope.body {
            PeerMessage::HeartbeatAck(ack) => Some(ack.exceptions.clone()),
            _ => None,
        });
        assert_eq!(acks.next_back(), Some(vec![GPID]), "S4: it lets a deposed primary read; it is {role}");
    }

    #[test]
    fn a_new_replica_is_no_member() {
        let mut node = Alone::new(Recovered::default());
        node.from(LEADER, add_learner(5));
        let configuration =
            Configuration { ballot: Ballot(6), primary: Some(LEADER), secondaries: vec![NodeId(3), ME] };
        let partition =
            PartitionConfiguration { gpid: GPID, app: app(), terms: AppTerms::default(), configuration };
        node.run(Event::Meta(MetaToNode::Configuration(partition)));
        assert_eq!(
            node.core.replica(GPID).unwrap().role(),
            RoleName::Error,
            "it has nothing of the partition"
        );
    }

    /// Divergent log, checkpoint in place, `Installed` lost in the crash.
    fn diverged() -> Vec<Record> {
        let mut log = vec![
            Record::Created { gpid: GPID, app: app() },
            Record::Ballot { gpid: GPID, ballot: Ballot(3) },
        ];
        log.extend((1..=100).map(|decree| prepare(3, 3, decree, decree.saturating_sub(1).min(89))));
        log.push(Record::Ballot { gpid: GPID, ballot: Ballot(4) });
        log
    }

    fn replay(log: &[Record], durable: MutationId) -> Recovered {
        let mut replay = Replay::new();
        log.iter().for_each(|record| replay.on_record(record));
        replay.finish(vec![RecoveredApp { gpid: GPID, durable: Ok(durable) }])
    }

    #[test]
    fn a_checkpoint_whose_record_was_lost_is_noted_at_restart() {
        let mut log = diverged();
        let mut node = Alone::new(replay(&log, id(4, 92)));
        node.run(Event::Tick);
        // It follows a primary of ballot 5 from there.
        for decree in 93..=95 {
            let m = Prepare {
                gpid: GPID,
                ballot: Ballot(5),
                mutation: mutation(5, decree),
                previous: if decree == 93 { id(4, 92) } else { id(5, decree - 1) },
                last_committed: Decree(decree - 1),
                learning: None,
            };
            node.from(LEADER, PeerMessage::Prepare(m));
        }
        assert_eq!(node.core.replica(GPID).unwrap().last_prepared(), Decree(95));
        log.append(&mut node.appended);
        // The app checkpoints at 94, the node restarts: what does its list say of 91?
        let node = Alone::new(replay(&log, id(5, 94)));
        let replica = node.core.replica(GPID).unwrap();
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
            let node = Alone::new(replay(&log(suffix_kept), id(2, 10)));
            let replica = node.core.replica(GPID).unwrap();
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
        let node = Alone::new(replay(&log, id(3, 47)));
        let replica = node.core.replica(GPID).unwrap();
        assert_eq!((replica.error(), replica.last_prepared()), (None, Decree(47)));
        // Raised instead, what follows stays.
        let mut log = log[..22].to_vec();
        log.extend((10..=47).map(|decree| prepare(3, 2, decree, decree - 1)));
        let node = Alone::new(replay(&log, id(2, 47)));
        let replica = node.core.replica(GPID).unwrap();
        assert_eq!((replica.error(), replica.last_prepared()), (None, Decree(68)));
    }

    /// A meta server that was deposed, and does not know it yet, goes on telling the first configuration. (Simulator,
    /// seed 5012754: a node that had removed the replica in an earlier life created the partition anew, empty.)
    #[test]
    fn a_replica_that_was_removed_is_not_created_anew() {
        let mut log = diverged();
        log.push(Record::Removed { gpid: GPID, ballot: Ballot(4) });
        let mut replay = Replay::new();
        log.iter().for_each(|record| replay.on_record(record));
        let mut node = Alone::new(replay.finish(Vec::new()));
        let configuration = Configuration { ballot: Ballot(1), primary: Some(ME), secondaries: vec![] };
        let partition =
            PartitionConfiguration { gpid: GPID, app: app(), terms: AppTerms::default(), configuration };
        node.run(Event::Meta(MetaToNode::Configuration(partition)));
        assert!(node.core.replica(GPID).is_none());
    }

    /// Nobody has compared what it has with what the primary has: it may be a history that was given up.
    /// (Simulator, seed 691.)
    #[test]
    fn a_learner_acknowledges_nothing_before_it_follows() {
        let mut node = Alone::new(replay(&diverged(), id(3, 89)));
        node.from(LEADER, add_learner(5));
        let replica = node.core.replica(GPID).unwrap();
        assert_eq!((replica.role(), replica.confirmed()), (RoleName::Learner, Decree(89)));
        let acknowledges = |e: &Envelope| matches!(e.body, PeerMessage::PrepareAck(_));
        assert!(!node.sent.iter().any(acknowledges), "S8");
    }

    #[test]
    fn a_replica_whose_note_is_damaged_is_in_error() {
        let mut replay = Replay::new();
        let log = diverged();
        log[1..].iter().for_each(|record| replay.on_record(record));
        replay.damaged(GPID, "its prepare log is damaged");
        let mut node = Alone::new(replay.finish(Vec::new()));
        let configuration = Configuration { ballot: Ballot(1), primary: Some(ME), secondaries: vec![] };
        let partition =
            PartitionConfiguration { gpid: GPID, app: app(), terms: AppTerms::default(), configuration };
        node.run(Event::Meta(MetaToNode::Configuration(partition)));
        assert_eq!(node.core.replica(GPID).unwrap().role(), RoleName::Error, "never created empty (§4.8)");
    }
}
