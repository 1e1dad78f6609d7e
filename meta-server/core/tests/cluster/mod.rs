//! A meta server and nodes that do what they are told, in virtual time: enough of a replica server to see what
//! the meta server makes of it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meta_core::{
    AdminReply, AdminRequest, Command, MetaCore, MetaEvent, MetaOutput, MetaSettings, MetaState, SessionId,
    WallTime,
};
use words::{
    AppInfo, AppTerms, Ballot, Command as Order, Configuration, Decree, DiskSpace, Gpid, Life, MetaToNode,
    NodeId, NodeToMeta, Proposal, ReplicaDescription, ReplicaReport, RoleName, Time,
};

/// One node: its session, and its replicas as it would report them.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) session: Option<SessionId>,
    pub(crate) life: u64,
    pub(crate) leaving: bool,
    pub(crate) disk: DiskSpace,
    /// Beacons are lost, or the node hangs.
    pub(crate) silent: bool,
    pub(crate) replicas: BTreeMap<Gpid, ReplicaReport>,
    pub(crate) configurations: BTreeMap<Gpid, Configuration>,
    beacon_due: Time,
    /// What it was told and nobody has looked at.
    pub(crate) told: Vec<MetaToNode>,
    /// Whether it does what it is told; otherwise the test does.
    pub(crate) by_hand: bool,
}

/// The meta server and its nodes.
pub(crate) struct Cluster {
    pub(crate) meta: MetaCore,
    pub(crate) now: Time,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) replies: Vec<AdminReply>,
    /// Who was refused, and why.
    pub(crate) refused: Vec<(SessionId, String)>,
    /// Whether commands take effect at once; if not they wait in `uncommitted`.
    pub(crate) commits_at_once: bool,
    pub(crate) uncommitted: VecDeque<Command>,
    /// Every configuration that took effect, in order.
    pub(crate) history: Vec<(Gpid, Configuration)>,
    /// Decides for each message whether it arrives.
    pub(crate) arrives: Box<dyn FnMut() -> bool>,
    /// What nodes say of the app that their replicas are of.
    pub(crate) app: AppInfo,
    last_session: SessionId,
    next_token: u64,
    out: MetaOutput,
}

pub(crate) const fn node(number: u128) -> NodeId {
    NodeId(number)
}

pub(crate) const fn gpid(partition: u32) -> Gpid {
    Gpid::new(1, partition)
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Cluster {
    /// A meta server that has just started with nothing.
    pub(crate) fn new() -> Self {
        Self::with_state(MetaState::default())
    }

    pub(crate) fn with_state(state: MetaState) -> Self {
        Self::with_settings(state, MetaSettings::default())
    }

    pub(crate) fn with_settings(state: MetaState, settings: MetaSettings) -> Self {
        let now = Time(1_000_000_000);
        Self {
            meta: MetaCore::new(state, settings, now),
            now,
            nodes: BTreeMap::new(),
            replies: vec![],
            refused: vec![],
            commits_at_once: true,
            uncommitted: VecDeque::new(),
            history: vec![],
            arrives: Box::new(|| true),
            app: AppInfo::default(),
            last_session: 0,
            next_token: 0,
            out: MetaOutput::default(),
        }
    }

    /// Nodes 1 to `nodes` and an app of `partitions` partitions, given the time to become healthy.
    pub(crate) fn healthy(nodes: u128, partitions: u32) -> Self {
        let mut cluster = Self::new();
        for number in 1..=nodes {
            cluster.up(number);
        }
        cluster.create("a", partitions, 3);
        cluster.pass(seconds(10));
        cluster
    }

    /// The meta server restarts: all that is not durable is gone, and every session.
    pub(crate) fn restart_meta(&mut self) {
        let state = self.meta.state().clone();
        self.meta = MetaCore::new(state, MetaSettings::default(), self.now);
        self.uncommitted.clear();
        self.out = MetaOutput::default();
        for node in self.nodes.values_mut() {
            node.session = None;
        }
    }

    /// Every meta server is lost with its disk; those who had a session come to a new, empty one.
    pub(crate) fn wipe_meta(&mut self) {
        self.app = self.meta.state().apps().next().map(|app| app.info.clone()).unwrap_or_default();
        let live: Vec<NodeId> =
            self.nodes.iter().filter(|(_, entry)| entry.session.is_some()).map(|(&node, _)| node).collect();
        self.meta = MetaCore::new(MetaState::default(), MetaSettings::default(), self.now);
        self.uncommitted.clear();
        self.out = MetaOutput::default();
        self.nodes.values_mut().for_each(|entry| entry.session = None);
        live.into_iter().for_each(|NodeId(number)| self.connect(number));
    }

    pub(crate) fn create(&mut self, name: &str, partition_count: u32, replica_count: u32) -> AdminReply {
        let (name, app_type) = (name.to_owned(), "counter".to_owned());
        self.admin(AdminRequest::CreateApp { name, app_type, partition_count, replica_count })
    }

    pub(crate) fn admin(&mut self, request: AdminRequest) -> AdminReply {
        self.ask(request);
        self.replies.pop().expect("a request is answered at once if commits are")
    }

    /// An admin asks for something whose answer may take its time.
    pub(crate) fn ask(&mut self, request: AdminRequest) {
        self.next_token += 1;
        self.step(MetaEvent::Admin { token: self.next_token, request });
    }

    pub(crate) fn configuration(&self, partition: u32) -> String {
        self.meta.state().configuration(gpid(partition)).expect("a partition").to_string()
    }

    /// What the guardian last decided.
    pub(crate) fn decision(&self, partition: u32) -> String {
        self.meta.describe_app("a").expect("the app").partitions[partition as usize].decision.clone()
    }

    pub(crate) fn node(&mut self, number: u128) -> &mut Node {
        self.nodes.entry(node(number)).or_default()
    }

    /// The node's process starts: a new life, a session; its replicas have no part to play yet.
    pub(crate) fn up(&mut self, number: u128) {
        let entry = self.node(number);
        entry.life += 1;
        entry.silent = false;
        entry.configurations.clear();
        for report in entry.replicas.values_mut().filter(|report| report.role != RoleName::Error) {
            report.role = RoleName::Inactive;
            report.learners.clear();
        }
        self.connect(number);
    }

    /// The node opens a session, beacons and reports.
    pub(crate) fn connect(&mut self, number: u128) {
        self.last_session += 1;
        let session = self.last_session;
        self.node(number).session = Some(session);
        self.step(MetaEvent::SessionOpened { session });
        self.beacon(number);
        self.report(number);
    }

    /// The node's process ends, and its session with it.
    pub(crate) fn down(&mut self, number: u128) {
        if let Some(session) = self.node(number).session.take() {
            self.step(MetaEvent::SessionClosed { session });
        }
    }

    pub(crate) fn beacon(&mut self, number: u128) {
        let now = self.now;
        let entry = self.node(number);
        entry.beacon_due = now + millis(300);
        let (life, leaving, disk) = (Life(entry.life), entry.leaving, entry.disk);
        let (name, address) = (format!("replica{number}"), format!("127.0.0.1:{}", 34800 + number));
        self.say(number, NodeToMeta::Beacon { node: node(number), life, name, address, leaving, disk });
    }

    pub(crate) fn report(&mut self, number: u128) {
        let entry = self.node(number);
        let (life, replicas) = (Life(entry.life), entry.replicas.values().cloned().collect());
        self.say(number, NodeToMeta::Report { node: node(number), life, replicas });
    }

    pub(crate) fn propose(&mut self, number: u128, partition: u32, proposed: Configuration) {
        let proposal = Proposal { gpid: gpid(partition), node: node(number), proposed };
        self.say(number, NodeToMeta::Propose(proposal));
    }

    /// The node says something, if it has a session and the message is not lost.
    pub(crate) fn say(&mut self, number: u128, message: NodeToMeta) {
        if let Some(session) = self.node(number).session.filter(|_| (self.arrives)()) {
            self.step(MetaEvent::Message { session, message });
        }
    }

    /// What the node was told since it was last asked, as print.
    pub(crate) fn told(&mut self, number: u128) -> Vec<String> {
        let told = std::mem::take(&mut self.node(number).told);
        let print = |message: &MetaToNode| match message {
            MetaToNode::BeaconAck => None,
            MetaToNode::Nodes(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(|address| address.node.to_string()).collect();
                Some(format!("nodes {}", nodes.join(" ")))
            }
            MetaToNode::Configuration(c) => {
                let dropped = if c.terms.dropped { " dropped" } else { "" };
                Some(format!("{} {}{dropped}", c.gpid, c.configuration))
            }
            MetaToNode::Command { gpid, ballot, command } => Some(match command {
                Order::AddSecondary(node) => format!("{gpid} {ballot} add {node}"),
                Order::Remove(node) => format!("{gpid} {ballot} remove {node}"),
                Order::HandOver(node) => format!("{gpid} {ballot} hand over to {node}"),
            }),
            MetaToNode::Collect { gpid, ballot } => Some(format!("{gpid} {ballot} collect")),
            MetaToNode::Describe { gpid } => Some(format!("describe {gpid}")),
        };
        told.iter().filter_map(print).collect()
    }

    /// Time passes; nodes that live beacon.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            let live = |entry: &&Node| entry.session.is_some() && !entry.silent;
            let beacon = self.nodes.values().filter(live).map(|entry| entry.beacon_due).min();
            let next = self.meta.deadline().min(beacon.unwrap_or(Time::NEVER)).min(end);
            self.now = self.now.max(next);
            let now = self.now;
            let due = self.nodes.iter().filter(|(_, entry)| live(entry) && entry.beacon_due <= now);
            for NodeId(number) in due.map(|(&node, _)| node).collect::<Vec<_>>() {
                self.beacon(number);
                self.report(number);
            }
            if self.meta.deadline() <= self.now {
                self.step(MetaEvent::Tick);
            }
        }
    }

    /// One event, and all that follows from it.
    pub(crate) fn step(&mut self, event: MetaEvent) {
        self.meta.step(self.now, event, &mut self.out);
        self.carry_out();
    }

    /// The oldest command that waits takes effect.
    pub(crate) fn commit_one(&mut self) {
        let command = self.uncommitted.pop_front().expect("a command waits");
        self.committed(command);
        self.carry_out();
    }

    fn committed(&mut self, command: Command) {
        let configured = match &command {
            Command::SetConfiguration { gpid, configuration, .. } => Some((*gpid, configuration.clone())),
            _ => None,
        };
        self.meta.step(
            self.now,
            MetaEvent::Committed { command, at: WallTime(self.now.0 / 1_000_000) },
            &mut self.out,
        );
        if let Some((gpid, configuration)) = configured
            && self.meta.state().configuration(gpid) == Some(&configuration)
        {
            self.history.push((gpid, configuration));
        }
    }

    fn carry_out(&mut self) {
        let before = self.history.len();
        loop {
            let recent = self.history.len() - before;
            assert!(recent < 10_000, "it never ends: {:?}", &self.history[self.history.len() - 8..]);
            self.uncommitted.extend(self.out.commit.drain(..));
            self.refused.append(&mut self.out.refuse);
            self.replies.extend(self.out.replies.drain(..).map(|(_, reply)| reply));
            if self.commits_at_once && !self.uncommitted.is_empty() {
                let command = self.uncommitted.pop_front().expect("it is not empty");
                self.committed(command);
                continue;
            }
            let sent = std::mem::take(&mut self.out.send);
            if sent.is_empty() {
                return;
            }
            for (session, message) in sent {
                let arrives = (self.arrives)();
                let receiver = self.nodes.iter_mut().find(|(_, entry)| entry.session == Some(session));
                let Some((&receiver, entry)) = receiver.filter(|(_, entry)| arrives && !entry.silent) else {
                    continue;
                };
                entry.told.push(message.clone());
                if !entry.by_hand {
                    self.obey(receiver, message);
                }
            }
        }
    }

    /// What a replica server would do, without the time that it takes.
    fn obey(&mut self, receiver: NodeId, message: MetaToNode) {
        match message {
            MetaToNode::Configuration(c) if c.terms.dropped => self.rest(receiver, c.gpid),
            MetaToNode::Configuration(c) => self.take_configuration(receiver, c.gpid, c.configuration),
            MetaToNode::Command { gpid, ballot, command } => {
                let replica = self.nodes[&receiver].replicas.get(&gpid);
                if replica.is_none_or(|report| report.role != RoleName::Primary) {
                    return; // a broken replica does nothing
                }
                let current = self.nodes[&receiver].configurations.get(&gpid);
                let leads = |c: &&Configuration| c.primary == Some(receiver) && c.ballot == ballot;
                let Some(current) = current.filter(leads).cloned() else { return };
                let proposed = match command {
                    Order::AddSecondary(node) => {
                        self.learn(receiver, node, gpid);
                        if current.is_member(node)
                            || self.nodes.get(&node).is_none_or(|n| n.session.is_none())
                        {
                            return;
                        }
                        current.with_secondary(node)
                    }
                    Order::Remove(node) => current.without_secondary(node),
                    Order::HandOver(node) => current.handed_over_to(node),
                };
                self.propose_later(receiver, gpid, proposed);
            }
            MetaToNode::Collect { gpid, .. } => {
                self.nodes.get_mut(&receiver).expect("it was told").replicas.remove(&gpid);
            }
            MetaToNode::Describe { gpid } => self.describe(receiver, gpid),
            MetaToNode::BeaconAck | MetaToNode::Nodes(_) => {}
        }
    }

    fn describe(&mut self, receiver: NodeId, gpid: Gpid) {
        let entry = &self.nodes[&receiver];
        let (Some(session), Some(report)) = (entry.session, entry.replicas.get(&gpid).cloned()) else {
            return;
        };
        let ballot = report.ballot;
        let configuration = entry.configurations.get(&gpid).filter(|known| known.ballot == ballot).cloned();
        let description = ReplicaDescription {
            confirmed: report.last_committed,
            report,
            app: self.app.clone(),
            terms: AppTerms::default(),
            configuration: configuration.unwrap_or(Configuration { ballot, ..Configuration::default() }),
        };
        let message = NodeToMeta::Describe(description);
        self.meta.step(self.now, MetaEvent::Message { session, message }, &mut self.out);
    }

    fn learn(&mut self, from: NodeId, learner: NodeId, gpid: Gpid) {
        let Some(state) = self.nodes[&from].replicas.get(&gpid).cloned() else { return };
        if let Some(entry) = self.nodes.get_mut(&learner).filter(|entry| entry.session.is_some()) {
            let report = ReplicaReport { role: RoleName::Learner, learners: vec![], ..state };
            entry.replicas.insert(gpid, report);
        }
    }

    fn propose_later(&mut self, proposer: NodeId, gpid: Gpid, proposed: Configuration) {
        let Some(session) = self.nodes[&proposer].session.filter(|_| (self.arrives)()) else { return };
        let message = NodeToMeta::Propose(Proposal { gpid, node: proposer, proposed });
        self.meta.step(self.now, MetaEvent::Message { session, message }, &mut self.out);
    }

    /// Its app was dropped.
    fn rest(&mut self, receiver: NodeId, gpid: Gpid) {
        let entry = self.nodes.get_mut(&receiver).expect("it was told");
        if let Some(report) = entry.replicas.get_mut(&gpid).filter(|report| report.role != RoleName::Error) {
            report.role = RoleName::Inactive;
        }
    }

    fn take_configuration(&mut self, receiver: NodeId, gpid: Gpid, configuration: Configuration) {
        let entry = self.nodes.get_mut(&receiver).expect("it was told");
        if entry.configurations.get(&gpid).is_some_and(|known| known.ballot > configuration.ballot) {
            return;
        }
        let role = if configuration.primary == Some(receiver) {
            RoleName::Primary
        } else if configuration.secondaries.contains(&receiver) {
            RoleName::Secondary
        } else {
            RoleName::Inactive
        };
        let new = ReplicaReport {
            gpid,
            role,
            ballot: Ballot(0),
            last_committed: Decree(0),
            last_prepared: Decree(0),
            last_durable: Decree(0),
            learners: vec![],
            copying: None,
        };
        // Only the first configuration makes a replica out of nothing (§4.8).
        if !entry.replicas.contains_key(&gpid) && configuration.ballot != Ballot(1) {
            return;
        }
        let report = entry.replicas.entry(gpid).or_insert(new);
        if report.role != RoleName::Error {
            report.role = role;
            report.ballot = configuration.ballot;
        }
        entry.configurations.insert(gpid, configuration);
        let life = Life(entry.life);
        let replicas = entry.replicas.values().cloned().collect();
        let Some(session) = entry.session.filter(|_| (self.arrives)()) else { return };
        let message = NodeToMeta::Report { node: receiver, life, replicas };
        self.meta.step(self.now, MetaEvent::Message { session, message }, &mut self.out);
    }
}
