//! One node's state machine: its replicas, its peers, its session with the meta server.

mod behind;
mod touch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::time::Duration;

use words::{
    Ballot, Configuration, DiskSpace, Envelope, Gpid, Life, MetaToNode, NodeId, NodeToMeta, Now,
    PartitionConfiguration, PeerMessage, Time,
};

use crate::disk;
use crate::peers::{Peers, Received};
use crate::replica::{Replica, refuse_unable};
use crate::step::Counters;
use crate::{Event, LogSequence, Output, Recovered, Settings, Work};

/// Reports about changes are this far apart at least.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// How long a node that stops waits for others to take its primaries over.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks whether they have.
const STOP_POLL: Duration = Duration::from_millis(20);

/// Who a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its data directory's UUID.
    pub node: NodeId,
    /// Raised at each start.
    pub life: Life,
    /// Its name in `config.ini`.
    pub name: String,
    /// Where it can be reached, `host:port`.
    pub address: String,
}

/// See the crate's front page for the contract with the shell.
#[derive(Debug)]
pub struct NodeCore {
    identity: Identity,
    settings: Settings,
    replicas: BTreeMap<Gpid, Replica>,
    peers: Peers,
    counters: Counters,
    outbox: Vec<(NodeId, PeerMessage)>,
    /// Whose records are on their way to the disk, in the order of their numbers.
    in_log: VecDeque<(LogSequence, Gpid)>,
    /// Replicas that something happened to since the last flush, each once (`Replica::touched`).
    touched: Vec<Gpid>,
    /// When each replica is called (`Replica::call_at`).
    calls: BTreeSet<(Time, Gpid)>,
    next_beacon: Time,
    next_report: Time,
    /// Not before this time does a change make a report.
    report_pause_until: Time,
    report_due: bool,
    collect_due: bool,
    stopping: Stopping,
    disk: DiskSpace,
    /// What was found at start to be applied and logged, before anything else.
    first: Output,
    /// The ballots of replicas that were removed: a late message of an older one must not bring them back below
    /// it, nor have the partition created anew (§4.8).
    removed: BTreeMap<Gpid, Ballot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Primaries are being handed over, until this time at most; looked at again at the second.
    HandingOver(Time, Time),
    Done,
}

impl NodeCore {
    /// A node as it starts, with what it found on its disk. The first [`flush`](Self::flush) hands over what
    /// there is to apply.
    #[must_use]
    pub fn new(identity: Identity, settings: Settings, recovered: Recovered, now: Now) -> Self {
        let peers = Peers::new(identity.node, identity.life);
        let counters = Counters::of_life(identity.life.0);
        let mut node = Self {
            identity,
            settings,
            replicas: BTreeMap::new(),
            peers,
            counters,
            outbox: Vec::new(),
            in_log: VecDeque::new(),
            touched: Vec::new(),
            calls: BTreeSet::new(),
            next_beacon: now.time,
            next_report: now.time,
            report_pause_until: Time::default(),
            report_due: false,
            collect_due: false,
            stopping: Stopping::No,
            disk: DiskSpace::default(),
            first: Output::default(),
            removed: recovered.removed,
        };
        let mut out = Output::default();
        for recovered in recovered.replicas {
            let replica = node.with_step(now, &mut out, |step| Replica::recovered(step, recovered));
            node.insert(replica);
        }
        node.first = out;
        node
    }

    /// All replicas, by partition.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// The replica of a partition.
    #[must_use]
    pub fn replica(&self, gpid: Gpid) -> Option<&Replica> {
        self.replicas.get(&gpid)
    }

    /// Takes one event.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Output) {
        self.hand_over_first(out);
        match event {
            Event::Message(envelope) => self.on_envelope(now, envelope, out),
            Event::Meta(message) => self.on_meta(now, message, out),
            Event::MetaConnected => self.on_meta_connected(now, out),
            Event::PeerUnreachable(node) => {
                self.with_all(now, out, |replica, step| replica.suspect(step, node));
            }
            Event::Write { gpid, write, token, patience } => {
                self.with_asked(now, gpid, token, out, |r, step| r.on_write(step, write, token, patience));
            }
            Event::Read { gpid, request, token } => {
                self.with_asked(now, gpid, token, out, |r, step| r.on_read(step, request, token));
            }
            Event::LogDurable(sequence) => self.on_log_durable(now, sequence, out),
            Event::Applied { gpid, decree, answers } => {
                self.with(now, gpid, out, |r, step| r.on_applied(step, decree, answers));
            }
            Event::Created { gpid, result } => self.on_created(now, gpid, &result, out),
            Event::Removed { gpid } => self.on_removed(now, gpid, out),
            Event::CheckpointDone { gpid, result } => {
                self.collect_due = true;
                self.with(now, gpid, out, |r, step| r.on_checkpoint_done(step, result));
            }
            Event::CheckpointOffered { gpid, signature, result } => {
                self.with(now, gpid, out, |r, step| r.on_checkpoint_offered(step, signature, result));
            }
            Event::LogRead { gpid, signature, mutations } => {
                self.with(now, gpid, out, |r, step| r.on_log_read(step, signature, mutations));
            }
            Event::CheckpointCopied { gpid, signature, progress } => {
                self.with(now, gpid, out, |r, _| r.on_checkpoint_copied(signature, progress));
            }
            Event::CheckpointInstalled { gpid, signature, result } => {
                self.collect_due = true;
                self.with(now, gpid, out, |r, step| r.on_checkpoint_installed(step, signature, result));
            }
            Event::ReplicaFailed { gpid, reason } => {
                self.with(now, gpid, out, |r, step| r.fail(step, reason));
            }
            Event::DiskMeasured { capacity, available } => {
                self.on_disk_measured(now, capacity, available, out);
            }
            Event::Stop => self.on_stop(now),
            Event::Tick => self.on_tick(now, out),
        }
    }

    /// Ends a round of steps: what clients wrote becomes mutations, heartbeats, beacons and reports that are
    /// due go out, and [`deadline`](Self::deadline) is set anew.
    pub fn flush(&mut self, now: Now, out: &mut Output) {
        self.hand_over_first(out);
        if self.stopping != Stopping::No {
            self.go_on_stopping(now, out);
        }
        for index in 0..self.touched.len() {
            self.with(now, self.touched[index], out, |replica, step| replica.flush(step));
        }
        self.settle_touched(now);
        self.send_heartbeats(now, out);
        // A silent peer was suspected: that may have touched replicas again.
        self.settle_touched(now);
        self.tell_meta(now, out);
        if std::mem::take(&mut self.collect_due) {
            let durable = self.replicas.values().filter_map(|r| Some((r.gpid(), r.collectable()?))).collect();
            out.work.push(Work::CollectLog { durable });
        }
    }

    /// When to call again, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let replica = self.calls.first().map_or(Time::NEVER, |&(time, _)| time);
        let report = if self.report_due { self.report_pause_until } else { self.next_report };
        let stop = match self.stopping {
            Stopping::HandingOver(_, poll) => poll,
            _ => Time::NEVER,
        };
        replica.min(self.peers.deadline()).min(self.next_beacon).min(report).min(stop)
    }

    fn hand_over_first(&mut self, out: &mut Output) {
        out.append.append(&mut self.first.append);
        out.apply.append(&mut self.first.apply);
    }

    fn on_envelope(&mut self, now: Now, envelope: Envelope, out: &mut Output) {
        let from = envelope.from;
        let received = self.peers.receive(now.time, &envelope, &mut out.send);
        if matches!(received, Received::Met | Received::DeliverFirst) {
            // What was meant for it before could not be addressed, or was lost with its earlier life.
            self.with_all(now, out, |replica, step| replica.on_peer_met(step, from));
        }
        if matches!(received, Received::Deliver | Received::DeliverFirst) {
            self.on_message(now, from, envelope.body, out);
        }
    }

    fn on_message(&mut self, now: Now, from: NodeId, message: PeerMessage, out: &mut Output) {
        match message {
            PeerMessage::Hello | PeerMessage::Welcome => {}
            PeerMessage::Prepare(m) => {
                if !self.try_with(now, m.gpid, out, |r, step| r.on_prepare(step, from, &m)) {
                    self.with_step(now, out, |step| refuse_unable(step, from, &m));
                }
            }
            PeerMessage::PrepareAck(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_prepare_ack(step, from, &m));
            }
            PeerMessage::PrepareRefused(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_prepare_refused(step, from, &m));
            }
            PeerMessage::Heartbeat(m) => self.on_heartbeat(now, from, &m, out),
            PeerMessage::HeartbeatAck(m) => {
                // Nothing waits for a lease, so the replicas are not touched.
                for (gpid, ballot, until) in self.peers.on_ack(&self.settings, from, &m) {
                    if let Some(replica) = self.replicas.get_mut(&gpid) {
                        replica.on_lease(from, ballot, until);
                    }
                }
            }
            PeerMessage::StepDown(m) => self.with(now, m.gpid, out, |r, step| r.on_step_down(step, from, &m)),
            PeerMessage::AddLearner(m) => {
                let takes_new = self.stopping == Stopping::No && !self.disk.is_low;
                if !self.replicas.contains_key(&m.gpid) && takes_new {
                    let (gpid, app) = (m.gpid, m.app.clone());
                    let ballot = self.removed.get(&gpid).copied().unwrap_or_default();
                    let replica =
                        self.with_step(now, out, |step| Replica::create_learner(step, gpid, app, ballot));
                    self.insert(replica);
                }
                self.with(now, m.gpid, out, |r, step| r.on_add_learner(step, from, &m));
            }
            PeerMessage::Learn(m) => self.with(now, m.gpid, out, |r, step| r.on_learn(step, from, &m)),
            PeerMessage::LearnFromList(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_learn_from_list(step, &m));
            }
            PeerMessage::LearnMutations(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_learn_mutations(step, &m));
            }
            PeerMessage::LearnCheckpoint(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_learn_checkpoint(step, &m));
            }
            PeerMessage::LearnStartOver(m) => {
                self.with(now, m.gpid, out, |r, step| r.on_learn_start_over(step, &m));
            }
            PeerMessage::LearnFailed(m) => {
                self.with(now, m.gpid, out, |r, _| r.on_learn_failed(from, m.signature));
            }
        }
    }

    fn on_heartbeat(&mut self, now: Now, from: NodeId, heartbeat: &words::Heartbeat, out: &mut Output) {
        let mut exceptions = Vec::new();
        for claim in &heartbeat.claims {
            let replica = self.replicas.get_mut(&claim.gpid);
            let (covered, news) = replica.map_or((false, false), |replica| {
                (replica.grant(now.time, &self.settings, from, claim), replica.is_news(claim))
            });
            if !covered {
                exceptions.push(claim.gpid);
            }
            if news {
                self.with(now, claim.gpid, out, |replica, step| replica.on_news(step, from, claim));
            }
        }
        let ack = words::HeartbeatAck { sequence: heartbeat.sequence, exceptions };
        self.with_step(now, out, |step| step.send(from, PeerMessage::HeartbeatAck(ack)));
    }

    fn on_log_durable(&mut self, now: Now, sequence: LogSequence, out: &mut Output) {
        // Whoever has several records among them finds nothing new from the second on.
        while let Some((_, gpid)) = self.in_log.pop_front_if(|(number, _)| *number <= sequence) {
            self.with(now, gpid, out, |replica, step| replica.on_log_durable(step, sequence));
        }
    }

    fn on_meta(&mut self, now: Now, message: MetaToNode, out: &mut Output) {
        match message {
            // Addresses are the shell's; that the meta server lives decides nothing here.
            MetaToNode::BeaconAck | MetaToNode::Nodes(_) => {}
            MetaToNode::Configuration(partition) => self.on_configuration(now, partition, out),
            MetaToNode::Command { gpid, ballot, command } => {
                self.with(now, gpid, out, |r, step| r.on_command(step, ballot, command));
            }
            MetaToNode::Collect { gpid, ballot } => {
                self.with(now, gpid, out, |r, step| r.on_collect(step, ballot));
            }
            MetaToNode::Describe { gpid } => {
                let description = self.replicas.get(&gpid).and_then(Replica::description);
                out.meta.extend(description.map(NodeToMeta::Describe));
            }
        }
    }

    fn on_configuration(&mut self, now: Now, partition: PartitionConfiguration, out: &mut Output) {
        let PartitionConfiguration { gpid, app, terms, configuration } = partition;
        if self.replicas.contains_key(&gpid) {
            return self.with(now, gpid, out, |r, step| {
                if r.on_app(step, app, terms) {
                    r.on_configuration(step, &configuration);
                }
            });
        }
        if terms.dropped {
            return; // what is not here is not asked for
        }
        if self.removed.get(&gpid).is_some_and(|&ballot| configuration.ballot <= ballot) {
            return; // from before it was removed: this node is no member any more
        }
        let first =
            Configuration { ballot: Ballot(1), primary: Some(self.identity.node), secondaries: Vec::new() };
        if configuration == first {
            let replica =
                self.with_step(now, out, |step| Replica::create_first(step, gpid, app, configuration));
            self.insert(replica);
            self.with(now, gpid, out, |replica, _| replica.take_terms(terms));
        } else if configuration.is_member(self.identity.node) {
            self.insert(Replica::lost(gpid, app, configuration));
        }
    }

    fn insert(&mut self, mut replica: Replica) {
        replica.touched = true;
        self.touched.push(replica.gpid());
        self.replicas.insert(replica.gpid(), replica);
    }

    fn on_removed(&mut self, now: Now, gpid: Gpid, out: &mut Output) {
        let mut gone = false;
        self.with(now, gpid, out, |replica, step| gone = replica.on_removed(step));
        if gone {
            let ballot = self.forget(now, gpid);
            self.removed.insert(gpid, ballot);
        }
    }

    fn on_created(&mut self, now: Now, gpid: Gpid, result: &io::Result<()>, out: &mut Output) {
        let mut failed = false;
        self.with(now, gpid, out, |replica, step| failed = replica.on_created(step, result));
        if failed {
            self.forget(now, gpid);
        }
    }

    /// Returns the ballot that the replica had.
    fn forget(&mut self, now: Now, gpid: Gpid) -> Ballot {
        self.peers.set_partners(now.time, gpid, &[]);
        self.report_due = true;
        let Some(replica) = self.replicas.remove(&gpid) else { return Ballot::default() };
        self.calls.remove(&(replica.call_at, gpid));
        replica.ballot()
    }

    fn on_meta_connected(&mut self, now: Now, out: &mut Output) {
        self.next_beacon = now.time;
        self.next_report = now.time;
        self.with_all(now, out, |replica, step| replica.on_meta_connected(step));
    }

    fn on_tick(&mut self, now: Now, out: &mut Output) {
        while let Some(&(time, gpid)) = self.calls.first()
            && time <= now.time
        {
            self.calls.pop_first();
            self.with(now, gpid, out, |replica, step| {
                replica.call_at = Time::NEVER;
                replica.on_time(step);
            });
        }
    }

    fn on_stop(&mut self, now: Now) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::HandingOver(now.time + STOP_PATIENCE, now.time);
            self.next_beacon = now.time; // tells the meta server that it leaves
        }
    }

    fn on_disk_measured(&mut self, now: Now, capacity: u64, available: u64, out: &mut Output) {
        let was_low = self.disk.is_low;
        self.disk = disk::judge(&self.settings, was_low, capacity, available);
        if self.disk.is_low != was_low {
            self.next_beacon = now.time;
            if self.disk.is_low {
                self.make_room(now, out);
            }
        }
    }

    fn go_on_stopping(&mut self, now: Now, out: &mut Output) {
        let Stopping::HandingOver(until, _) = self.stopping else { return };
        let mut waits = false;
        self.with_all(now, out, |replica, step| waits |= replica.hand_over_to_anyone(step));
        if waits && now.time < until {
            self.stopping = Stopping::HandingOver(until, now.time + STOP_POLL);
        } else {
            self.stopping = Stopping::Done;
            out.work.push(Work::Stopped);
        }
    }

    fn send_heartbeats(&mut self, now: Now, out: &mut Output) {
        for (node, silent) in self.peers.due(now.time, &self.settings) {
            let partitions = self.peers.partitions(node);
            if silent {
                self.peers.suspected(now.time, node);
                for &gpid in &partitions {
                    self.with(now, gpid, out, |replica, step| replica.suspect(step, node));
                }
            }
            let claims = partitions.iter().filter_map(|gpid| self.replicas.get(gpid)?.claim()).collect();
            let heartbeat = self.peers.heartbeat(now.time, &self.settings, node, claims);
            self.with_step(now, out, |step| step.send(node, PeerMessage::Heartbeat(heartbeat)));
        }
    }

    fn tell_meta(&mut self, now: Now, out: &mut Output) {
        let Identity { node, life, .. } = self.identity;
        if self.next_beacon <= now.time {
            self.next_beacon = now.time + self.settings.beacon;
            out.meta.push(NodeToMeta::Beacon {
                node,
                life,
                name: self.identity.name.clone(),
                address: self.identity.address.clone(),
                leaving: self.stopping != Stopping::No,
                disk: self.disk,
            });
        }
        let changed = self.report_due && self.report_pause_until <= now.time;
        if self.next_report <= now.time {
            self.bound_replay(now, out);
        }
        if changed || self.next_report <= now.time {
            self.report_due = false;
            self.report_pause_until = now.time + REPORT_PAUSE;
            self.next_report = now.time + self.settings.report;
            // What held the log back may be over: a learner, a replica that was removed, a disk that failed.
            self.collect_due = true;
            let replicas = self.replicas.values().filter_map(Replica::report).collect();
            out.meta.push(NodeToMeta::Report { node, life, replicas });
            // Whoever waits to hear its part asks: the answer may have been lost.
            let waiting = self.replicas.values().filter(|replica| replica.waits_for_configuration());
            out.meta.extend(waiting.map(|replica| NodeToMeta::Query { gpid: replica.gpid() }));
        }
    }
}
