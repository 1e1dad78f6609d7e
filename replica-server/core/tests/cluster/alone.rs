//! One core whose neighbours, disk and meta server are played by a test, message by message.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use replica_core::{
    Event, Identity, LogSequence, NodeCore, Output, Recovered, RecoveredApp, Replay, Replica, Settings, Work,
};
use words::{
    AddLearner, AppId, AppInfo, AppTerms, Ballot, Claim, Configuration, Decree, Envelope, Heartbeat,
    LearnFromList, Life, MetaToNode, Mutation, MutationId, NodeId, NodeToMeta, Now, PartitionConfiguration,
    PeerMessage, Prepare, Record, Signature, Time, Writes,
};

use crate::harness::GPID;

pub(crate) const ME: NodeId = NodeId(1);
pub(crate) const LEADER: NodeId = NodeId(2);
pub(crate) const OTHER: NodeId = NodeId(3);
/// The learning by which [`Alone::secondary`] gets in.
pub(crate) const LEARNING: Signature = Signature(7);

/// See the module. Its disk is as quick as can be; long work is done at once, but for what fetches or reads.
pub(crate) struct Alone {
    core: NodeCore,
    now: Time,
    life: Life,
    pub(crate) sent: Vec<Envelope>,
    pub(crate) told_meta: Vec<NodeToMeta>,
    pub(crate) work: Vec<Work>,
    pub(crate) logged: Vec<Record>,
    /// Nothing gets durable any more: its disk is full.
    pub(crate) log_is_stuck: bool,
    heartbeats: u64,
}

pub(crate) fn id(ballot: u64, decree: u64) -> MutationId {
    MutationId { ballot: Ballot(ballot), decree: Decree(decree) }
}

pub(crate) fn mutation(ballot: u64, decree: u64) -> Arc<Mutation> {
    Arc::new(Mutation { id: id(ballot, decree), timestamp_us: 0, writes: Writes::default() })
}

pub(crate) fn app() -> AppInfo {
    let name = "a.b".to_owned();
    AppInfo { id: AppId(1), name, app_type: "sum".to_owned(), partition_count: 1, replica_count: 3 }
}

/// A log that begins with the replica's creation.
fn created(records: &[Record]) -> Vec<Record> {
    [&[Record::Created { gpid: GPID, app: app() }], records].concat()
}

impl Alone {
    /// A node that has nothing yet, in one of its lives.
    pub(crate) fn in_life(life: u64) -> Self {
        Self::found(life, Recovered::default())
    }

    /// One that finds these records of its replica in its log, and no app.
    pub(crate) fn without_its_app(records: &[Record]) -> Self {
        Self::finds(&created(records), None)
    }

    /// One that finds these records of its replica in its log, and an app that has nothing.
    pub(crate) fn with_an_empty_app(records: &[Record]) -> Self {
        Self::finds(&created(records), Some(MutationId::ZERO))
    }

    /// One that finds these records in its log, and an app that is durable up to there, or none.
    pub(crate) fn finds(records: &[Record], durable: Option<MutationId>) -> Self {
        let mut replay = Replay::new(&Settings::default());
        records.iter().for_each(|record| replay.on_record(record));
        let app = durable.map(|durable| RecoveredApp { gpid: GPID, durable: Ok(durable) });
        Self::found(2, replay.finish(app.into_iter().collect()))
    }

    pub(crate) fn found(life: u64, recovered: Recovered) -> Self {
        let (life, now) = (Life(life), Time(1_000_000_000));
        let identity = Identity { node: ME, life, name: "r1".to_owned(), address: String::new() };
        let core = NodeCore::new(identity, Settings::default(), recovered, Now { time: now, wall_us: 0 });
        let (sent, told_meta, work, logged) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { core, now, life, sent, told_meta, work, logged, log_is_stuck: false, heartbeats: 0 }
    }

    /// The first replica of a new partition, which leads.
    pub(crate) fn first() -> Self {
        let mut node = Self::in_life(1);
        node.configuration(1, ME, &[]);
        node
    }

    /// One that learns from the leader in this ballot.
    pub(crate) fn learner(ballot: u64) -> Self {
        let mut node = Self::in_life(1);
        node.begin_to_learn(ballot, LEADER);
        node
    }

    /// One that got in by learning, and has the decree 1 of the ballot before.
    pub(crate) fn secondary(ballot: u64) -> Self {
        let mut node = Self::in_life(1);
        node.become_secondary(ballot, LEADER);
        // What a replica that was here before may have granted has run out.
        node.pass(Settings::default().grant());
        node
    }

    pub(crate) fn become_secondary(&mut self, ballot: u64, leader: NodeId) {
        self.begin_to_learn(ballot - 1, leader);
        let (gpid, ballot_before) = (GPID, Ballot(ballot - 1));
        let follow = LearnFromList { gpid, ballot: ballot_before, signature: LEARNING };
        self.from(leader, PeerMessage::LearnFromList(follow));
        self.prepare(leader, Some(LEARNING), mutation(ballot - 1, 1), MutationId::ZERO, 1);
        self.configuration(ballot, leader, &[ME]);
    }

    pub(crate) fn begin_to_learn(&mut self, ballot: u64, leader: NodeId) {
        // The first one makes the replica, the second one is what it follows.
        self.invite(ballot, leader);
        self.invite(ballot, leader);
    }

    pub(crate) fn invite(&mut self, ballot: u64, leader: NodeId) {
        let invitation = AddLearner { gpid: GPID, ballot: Ballot(ballot), signature: LEARNING, app: app() };
        self.from(leader, PeerMessage::AddLearner(invitation));
    }

    pub(crate) fn replica(&self) -> &Replica {
        self.core.replica(GPID).expect("it is there")
    }

    pub(crate) fn has_replica(&self) -> bool {
        self.core.replica(GPID).is_some()
    }

    pub(crate) fn can_read(&self) -> bool {
        self.replica().can_read(self.now)
    }

    pub(crate) fn from(&mut self, from: NodeId, body: PeerMessage) {
        self.hears(from, ME, body);
    }

    pub(crate) fn hears(&mut self, from: NodeId, to: NodeId, body: PeerMessage) {
        let to_life = self.life;
        self.run(Event::Message(Envelope { from, from_life: Life(1), to, to_life, body }));
    }

    /// The mutation as its own ballot's primary prepares it.
    pub(crate) fn prepare(
        &mut self,
        from: NodeId,
        learning: Option<Signature>,
        mutation: Arc<Mutation>,
        previous: MutationId,
        last_committed: u64,
    ) {
        let (ballot, last_committed) = (mutation.id.ballot, Decree(last_committed));
        let prepare = Prepare { gpid: GPID, ballot, mutation, previous, last_committed, learning };
        self.from(from, PeerMessage::Prepare(prepare));
    }

    pub(crate) fn configuration(&mut self, ballot: u64, primary: NodeId, secondaries: &[NodeId]) {
        let (ballot, secondaries) = (Ballot(ballot), secondaries.to_vec());
        let configuration = Configuration { ballot, primary: Some(primary), secondaries };
        let partition =
            PartitionConfiguration { gpid: GPID, app: app(), terms: AppTerms::default(), configuration };
        self.meta(MetaToNode::Configuration(partition));
    }

    pub(crate) fn meta(&mut self, message: MetaToNode) {
        self.run(Event::Meta(message));
    }

    /// Whether it covers the partition for that node and ballot, if asked for a lease.
    pub(crate) fn covers(&mut self, node: NodeId, ballot: u64) -> bool {
        self.heartbeats += 1;
        let claims = vec![Claim { gpid: GPID, ballot: Ballot(ballot), last_committed: Decree(0) }];
        self.from(node, PeerMessage::Heartbeat(Heartbeat { sequence: self.heartbeats, claims }));
        let exceptions = self.sent.iter().rev().find_map(|envelope| match &envelope.body {
            PeerMessage::HeartbeatAck(ack) => Some(ack.exceptions.clone()),
            _ => None,
        });
        exceptions.expect("a heartbeat is acknowledged").is_empty()
    }

    /// The newest heartbeat that it sent to a node.
    pub(crate) fn last_heartbeat(&self, to: NodeId) -> u64 {
        let newest = self.sent.iter().rev().find_map(|envelope| match &envelope.body {
            PeerMessage::Heartbeat(heartbeat) if envelope.to == to => Some(heartbeat.sequence),
            _ => None,
        });
        newest.expect("it sent one")
    }

    pub(crate) fn log_goes_on(&mut self) {
        self.log_is_stuck = false;
        self.run(Event::LogDurable(self.logged.len() as LogSequence));
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.run(Event::Tick);
    }

    pub(crate) fn run(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (mut out, now) = (Output::default(), Now { time: self.now, wall_us: 0 });
            self.core.step(now, event, &mut out);
            self.core.flush(now, &mut out);
            let durable = out.append.last().filter(|_| !self.log_is_stuck);
            events.extend(durable.map(|&(last, _)| Event::LogDurable(last)));
            self.logged.extend(out.append.into_iter().map(|(_, record)| record));
            self.sent.extend(out.send);
            self.told_meta.extend(out.meta);
            events.extend(out.apply.into_iter().map(|task| Event::Applied {
                gpid: task.gpid,
                decree: task.mutation.id.decree,
                answers: Vec::new(),
            }));
            events.extend(out.work.iter().filter_map(|work| match work {
                Work::Create { gpid, .. } => Some(Event::Created { gpid: *gpid, result: Ok(()) }),
                Work::Remove { gpid } => Some(Event::Removed { gpid: *gpid }),
                _ => None,
            }));
            self.work.extend(out.work);
        }
    }
}
