//! The smallest shell there can be: everything is done at once, in order.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use replica_core::{
    Event, Identity, Lacking, NodeCore, Output, RecoveredApp, Replay, Replica, Sessions, Settings, Work,
    apply_mutation,
};
use replicated_app::{ApplyMode, Batch, CheckpointJob, LearnState, ReplicatedApp};
use words::{
    AppAnswer, AppId, AppInfo, AppTerms, Command, Configuration, Decree, Gpid, Life, MetaToNode, MutationId,
    NodeId, NodeToMeta, Now, PartitionConfiguration, Record, ReplicaDescription, Reply, RoleName, Time,
    Write, WriteKind,
};

pub(crate) const GPID: Gpid = Gpid::new(1, 0);

/// Adds what it is asked to add.
#[derive(Clone, Debug, Default)]
struct Sum(u64);

impl ReplicatedApp for Sum {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        let add = |request: &Bytes| {
            self.0 += u64::from(request[0]);
            Ok(Bytes::new())
        };
        batch.requests.iter().map(add).collect()
    }
    fn read(&self, _: &[u8]) -> AppAnswer {
        Ok(Bytes::copy_from_slice(&self.0.to_le_bytes()))
    }
    fn last_durable_decree(&self) -> Decree {
        Decree::ZERO
    }
    fn sync_checkpoint(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        Ok(None)
    }
    fn get_checkpoint(&self) -> io::Result<LearnState> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn apply_checkpoint(&mut self, _: ApplyMode, _: &LearnState) -> io::Result<()> {
        Ok(())
    }
    fn digest(&self) -> u64 {
        self.0
    }
    fn close(self: Box<Self>, _: bool) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Hosted {
    app: Sum,
    sessions: Sessions,
    applied: MutationId,
}

struct Node {
    life: u64,
    core: Option<NodeCore>,
    log: Vec<Record>,
    hosted: Option<Hosted>,
    /// The state that a restart begins with.
    durable: Option<Hosted>,
}

/// Nodes and a meta server that does what it is asked.
pub(crate) struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    pub(crate) configuration: Configuration,
    now: Time,
    pub(crate) replies: BTreeMap<u64, Reply>,
    next_token: u64,
    /// Whether the prepare log can be read for learners.
    pub(crate) log_readable: bool,
    /// How many mutations one read of the log gives.
    pub(crate) log_read_limit: usize,
    /// The most that was read from a log at once.
    pub(crate) most_read: usize,
    /// What nodes that start from now on are told.
    pub(crate) settings: Settings,
    /// Checkpoints that learners installed.
    pub(crate) installed: usize,
    /// Checkpoints that nodes wanted their apps to take.
    pub(crate) checkpoints_asked: usize,
    /// Messages that get lost.
    pub(crate) lose: fn(&words::Envelope) -> bool,
    /// Proposals that the meta server won't have.
    pub(crate) refuse: fn(&Configuration) -> bool,
    /// Checkpoints that are never fetched to the end.
    pub(crate) fetch_hangs: bool,
    /// The newest checkpoint of whoever is asked for it can't be read back; until another one is taken.
    pub(crate) checkpoint_is_damaged: bool,
    /// How many creations of an app fail.
    pub(crate) creations_fail: usize,
    /// What this node sends arrives so much later.
    pub(crate) slow: Option<(NodeId, Duration)>,
    /// On what terms the app serves.
    pub(crate) terms: AppTerms,
    /// How nodes that were asked describe their replica.
    pub(crate) described: Vec<ReplicaDescription>,
    held: VecDeque<(Time, NodeId, Event)>,
    /// What all nodes did so far.
    pub(crate) cost: Cost,
}

/// What nodes did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Records for the prepare log.
    pub(crate) records: usize,
    /// Turns of a node that had something for it: syncs, if each is over before the next one.
    pub(crate) appends: usize,
    /// Messages to other nodes.
    pub(crate) messages: usize,
}

fn app() -> AppInfo {
    AppInfo {
        id: AppId(1),
        name: "sum.instance0".into(),
        app_type: "sum".into(),
        partition_count: 1,
        replica_count: 3,
    }
}

impl Node {
    /// Applies what its app lacks, from the log.
    fn catch_up(&mut self, lacking: &Lacking) {
        let hosted = self.hosted.as_mut().expect("only a hosted app lacks something");
        for decree in lacking.from.0..=lacking.upto.decree.0 {
            let here = |record: &Record| match record {
                Record::Prepare { mutation, .. } if mutation.id.decree.0 == decree => Some(mutation.clone()),
                _ => None,
            };
            let mutation = self.log.iter().rev().find_map(here).expect("the log has it");
            apply_mutation(&mut hosted.app, &mut hosted.sessions, &mutation);
            hosted.applied = mutation.id;
        }
        assert_eq!(hosted.applied, lacking.upto);
    }
}

impl Cluster {
    pub(crate) fn of(count: u128) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            configuration: Configuration::default(),
            now: Time(1_000_000_000),
            replies: BTreeMap::new(),
            next_token: 0,
            log_readable: true,
            log_read_limit: usize::MAX,
            most_read: 0,
            settings: Settings::default(),
            installed: 0,
            checkpoints_asked: 0,
            lose: |_| false,
            refuse: |_| false,
            described: Vec::new(),
            fetch_hangs: false,
            checkpoint_is_damaged: false,
            creations_fail: 0,
            slow: None,
            terms: AppTerms::default(),
            held: VecDeque::new(),
            cost: Cost::default(),
        };
        for node in (1..=count).map(NodeId) {
            let fresh = Node { life: 0, core: None, log: Vec::new(), hosted: None, durable: None };
            cluster.nodes.insert(node, fresh);
            cluster.restart(node);
        }
        cluster
    }

    pub(crate) fn create(&mut self, primary: NodeId) {
        self.configuration =
            Configuration { ballot: words::Ballot(1), primary: Some(primary), secondaries: Vec::new() };
        self.push_configuration();
    }

    pub(crate) fn add(&mut self, node: NodeId) {
        self.command(Command::AddSecondary(node));
        // A node without the replica makes one first, and is invited again.
        self.pass(Settings::default().resend * 2);
    }

    pub(crate) fn hand_over(&mut self, _from: NodeId, to: NodeId) {
        self.command(Command::HandOver(to));
    }

    pub(crate) fn promote(&mut self, node: NodeId) {
        self.configuration = self.configuration.promoted(node);
        self.push_configuration();
    }

    pub(crate) fn meta(&mut self, node: NodeId, message: MetaToNode) {
        self.run(node, Event::Meta(message));
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.nodes[&node].core.as_ref().unwrap().replica(GPID).is_some()
    }

    pub(crate) fn kill(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().core = None;
    }

    /// All that is applied there is durable in the app.
    pub(crate) fn checkpoint_is_done(&mut self, node: NodeId) {
        let applied = self.nodes[&node].hosted.as_ref().unwrap().applied;
        self.run(node, Event::CheckpointDone { gpid: GPID, result: Ok(applied) });
    }

    pub(crate) fn unreachable(&mut self, dead: NodeId) {
        for node in self.alive() {
            self.run(node, Event::PeerUnreachable(dead));
        }
    }

    /// The node starts again with nothing on its disk but who it is.
    pub(crate) fn lose_everything(&mut self, node: NodeId) {
        let state = self.nodes.get_mut(&node).unwrap();
        (state.log, state.durable) = (Vec::new(), None);
        self.restart(node);
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        let now = self.now();
        let state = self.nodes.get_mut(&node).unwrap();
        state.life += 1;
        state.hosted = state.durable.clone();
        let mut replay = Replay::new(&self.settings);
        state.log.iter().for_each(|record| replay.on_record(record));
        let durable = |hosted: &Hosted| RecoveredApp { gpid: GPID, durable: Ok(hosted.applied) };
        let recovered = replay.finish(state.durable.iter().map(durable).collect());
        recovered.lacking().iter().for_each(|lacking| state.catch_up(lacking));
        let identity =
            Identity { node, life: Life(state.life), name: node.to_string(), address: String::new() };
        state.core = Some(NodeCore::new(identity, self.settings.clone(), recovered, now));
        self.run(node, Event::MetaConnected);
    }

    pub(crate) fn write(&mut self, node: NodeId, add: u8) -> Option<Reply> {
        let write = Write { session: None, kind: WriteKind::Update, payload: Bytes::from(vec![add]) };
        let token = self.token();
        self.run(node, Event::Write { gpid: GPID, write, token, patience: None });
        self.replies.remove(&token)
    }

    /// Takes all these writes before it does anything else; answers the replies.
    pub(crate) fn write_in_one_turn(&mut self, node: NodeId, writes: Vec<Write>) -> Vec<Option<Reply>> {
        let (now, mut out) = (self.now(), Output::default());
        let tokens: Vec<u64> = writes.iter().map(|_| self.token()).collect();
        let core = self.nodes.get_mut(&node).unwrap().core.as_mut().unwrap();
        for (&token, write) in tokens.iter().zip(writes) {
            core.step(now, Event::Write { gpid: GPID, write, token, patience: None }, &mut out);
        }
        core.flush(now, &mut out);
        let mut queue = VecDeque::new();
        self.carry_out(node, out, &mut queue);
        self.run_all(queue);
        tokens.iter().map(|token| self.replies.remove(token)).collect()
    }

    /// The replies to so many writes at once, after `span`.
    pub(crate) fn write_many(
        &mut self,
        node: NodeId,
        count: usize,
        patience: Duration,
        span: Duration,
    ) -> Vec<Option<Reply>> {
        let tokens: Vec<u64> = (0..count).map(|_| self.token()).collect();
        for &token in &tokens {
            let write = Write { session: None, kind: WriteKind::Update, payload: Bytes::from(vec![1]) };
            self.run(node, Event::Write { gpid: GPID, write, token, patience: Some(patience) });
        }
        self.pass(span);
        tokens.iter().map(|token| self.replies.remove(token)).collect()
    }

    /// The meta server changes the app's terms, and tells everybody.
    pub(crate) fn change_terms(&mut self, change: impl FnOnce(&mut AppTerms)) {
        self.terms.revision += 1;
        change(&mut self.terms);
        self.push_configuration();
    }

    pub(crate) fn read(&mut self, node: NodeId) -> Result<u64, Option<Reply>> {
        let token = self.token();
        self.run(node, Event::Read { gpid: GPID, request: Bytes::new(), token });
        match self.replies.remove(&token) {
            Some(Reply::Done { answer: Ok(bytes), .. }) => {
                Ok(u64::from_le_bytes(bytes[..].try_into().unwrap()))
            }
            other => Err(other),
        }
    }

    /// Lets time pass in small steps, so that whatever is due happens.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = self.now + Duration::from_millis(5);
            while self.held.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, to, event) = self.held.pop_front().unwrap();
                self.run(to, event);
            }
            for node in self.alive() {
                if self.nodes[&node].core.as_ref().unwrap().deadline() <= self.now {
                    self.run(node, Event::Tick);
                }
            }
        }
    }

    /// A checkpoint that the node was asked for can't be written.
    pub(crate) fn fail_checkpoint(&mut self, node: NodeId) {
        let result = Err(io::ErrorKind::StorageFull.into());
        self.run(node, Event::CheckpointDone { gpid: GPID, result });
    }

    /// The node finds that so many percent of its disk are available.
    pub(crate) fn measure_disk(&mut self, node: NodeId, available: u64) {
        self.run(node, Event::DiskMeasured { capacity: 100, available });
    }

    pub(crate) fn replica(&self, node: NodeId) -> &Replica {
        self.nodes[&node].core.as_ref().unwrap().replica(GPID).unwrap()
    }

    pub(crate) fn lag(&self, ahead: NodeId, behind: NodeId) -> u64 {
        self.replica(ahead).last_committed().0 - self.replica(behind).last_committed().0
    }

    pub(crate) fn role(&self, node: NodeId) -> RoleName {
        self.replica(node).role()
    }

    pub(crate) fn can_read(&self, node: NodeId) -> bool {
        self.replica(node).can_read(self.now)
    }

    pub(crate) fn total(&self, node: NodeId) -> u64 {
        self.nodes[&node].hosted.as_ref().unwrap().app.0
    }

    fn now(&self) -> Now {
        Now { time: self.now, wall_us: self.now.0 / 1000 }
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn alive(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.core.is_some()).map(|(&id, _)| id).collect()
    }

    pub(crate) fn command(&mut self, command: Command) {
        let (primary, ballot) = (self.configuration.primary.unwrap(), self.configuration.ballot);
        self.run(primary, Event::Meta(MetaToNode::Command { gpid: GPID, ballot, command }));
    }

    pub(crate) fn push_configuration(&mut self) {
        for node in self.alive() {
            let message = self.configuration_message();
            self.run(node, Event::Meta(message));
        }
    }

    fn configuration_message(&self) -> MetaToNode {
        let configuration = self.configuration.clone();
        MetaToNode::Configuration(PartitionConfiguration {
            gpid: GPID,
            app: app(),
            terms: self.terms.clone(),
            configuration,
        })
    }

    /// Takes one event, and whatever follows from it, until nothing does.
    fn run(&mut self, node: NodeId, event: Event) {
        self.run_all(VecDeque::from([(node, event)]));
    }

    fn run_all(&mut self, mut queue: VecDeque<(NodeId, Event)>) {
        while let Some((node, event)) = queue.pop_front() {
            let now = self.now();
            let mut out = Output::default();
            let Some(core) = &mut self.nodes.get_mut(&node).unwrap().core else { continue };
            core.step(now, event, &mut out);
            core.flush(now, &mut out);
            self.carry_out(node, out, &mut queue);
        }
    }

    fn carry_out(&mut self, id: NodeId, out: Output, queue: &mut VecDeque<(NodeId, Event)>) {
        let node = self.nodes.get_mut(&id).unwrap();
        let last = out.append.last().map(|(sequence, _)| *sequence);
        self.cost.records += out.append.len();
        self.cost.appends += usize::from(last.is_some());
        self.cost.messages += out.send.len();
        node.log.extend(out.append.into_iter().map(|(_, record)| record));
        let lose = self.lose;
        for envelope in out.send.into_iter().filter(|e| !lose(e)) {
            match self.slow {
                Some((slow, by)) if slow == id => {
                    self.held.push_back((self.now + by, envelope.to, Event::Message(envelope)));
                }
                _ => queue.push_back((envelope.to, Event::Message(envelope))),
            }
        }
        for task in out.apply {
            let hosted = node.hosted.as_mut().expect("only a hosted app applies");
            assert_eq!(task.mutation.id.decree, hosted.applied.decree.next(), "in order, without gaps");
            let answers = apply_mutation(&mut hosted.app, &mut hosted.sessions, &task.mutation);
            hosted.applied = task.mutation.id;
            queue.push_back((id, Event::Applied { gpid: GPID, decree: hosted.applied.decree, answers }));
        }
        for read in out.reads {
            let hosted = node.hosted.as_ref().unwrap();
            let reply = Reply::Done { decree: hosted.applied.decree, answer: hosted.app.read(&read.request) };
            self.replies.insert(read.token, reply);
        }
        self.replies.extend(out.replies);
        queue.extend(last.map(|sequence| (id, Event::LogDurable(sequence))));
        for message in out.meta {
            self.on_meta(id, message, queue);
        }
        for work in out.work {
            let event = self.work(id, work);
            queue.extend(event.map(|event| (id, event)));
        }
    }

    fn on_meta(&mut self, from: NodeId, message: NodeToMeta, queue: &mut VecDeque<(NodeId, Event)>) {
        match message {
            NodeToMeta::Propose(proposal) => {
                if !(self.refuse)(&proposal.proposed)
                    && self.configuration.check_step(&proposal.proposed).is_ok()
                {
                    self.configuration = proposal.proposed;
                }
                for node in self.alive() {
                    queue.push_back((node, Event::Meta(self.configuration_message())));
                }
            }
            NodeToMeta::Describe(description) => self.described.push(description),
            NodeToMeta::Query { .. } => queue.push_back((from, Event::Meta(self.configuration_message()))),
            NodeToMeta::Beacon { .. } | NodeToMeta::Report { .. } => {}
        }
    }

    fn work(&mut self, id: NodeId, work: Work) -> Option<Event> {
        match work {
            Work::Create { gpid, .. } if self.creations_fail > 0 => {
                self.creations_fail -= 1;
                Some(Event::Created { gpid, result: Err(io::ErrorKind::StorageFull.into()) })
            }
            Work::Create { gpid, .. } => {
                let node = self.nodes.get_mut(&id).unwrap();
                (node.hosted, node.durable) = (Some(Hosted::default()), Some(Hosted::default()));
                Some(Event::Created { gpid, result: Ok(()) })
            }
            Work::OfferCheckpoint { gpid, signature, .. } if self.checkpoint_is_damaged => {
                let result = Err(io::ErrorKind::InvalidData.into());
                Some(Event::CheckpointOffered { gpid, signature, result })
            }
            Work::OfferCheckpoint { gpid, signature, .. } => {
                let hosted = self.nodes[&id].hosted.as_ref().unwrap();
                let result = Ok((hosted.applied, 1));
                Some(Event::CheckpointOffered { gpid, signature, result })
            }
            Work::FetchCheckpoint { .. } if self.fetch_hangs => None,
            Work::FetchCheckpoint { gpid, signature, from, .. } => {
                self.installed += 1;
                let copy = self.nodes[&from].hosted.clone().unwrap();
                let node = self.nodes.get_mut(&id).unwrap();
                (node.hosted, node.durable) = (Some(copy.clone()), Some(copy.clone()));
                Some(Event::CheckpointInstalled { gpid, signature, result: Ok(copy.applied) })
            }
            Work::ReadLog { gpid, signature, from, to, .. } => {
                let mut found = BTreeMap::new();
                for record in &self.nodes[&id].log {
                    if let Record::Prepare { mutation, .. } = record {
                        found.insert(mutation.id.decree, mutation.clone());
                    }
                }
                let wanted =
                    found.range(from..=to).take(self.log_read_limit).map(|(_, mutation)| mutation.clone());
                let mutations: Vec<_> = if self.log_readable { wanted.collect() } else { Vec::new() };
                self.most_read = self.most_read.max(mutations.len());
                Some(Event::LogRead { gpid, signature, mutations })
            }
            Work::Remove { gpid } => Some(Event::Removed { gpid }),
            Work::Checkpoint { gpid } => {
                self.checkpoints_asked += 1;
                let applied = self.nodes[&id].hosted.as_ref().unwrap().applied;
                let was_damaged = std::mem::take(&mut self.checkpoint_is_damaged);
                was_damaged.then_some(Event::CheckpointDone { gpid, result: Ok(applied) })
            }
            Work::CollectLog { .. } | Work::Stopped => None,
        }
    }
}
