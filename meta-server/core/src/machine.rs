//! The meta server's state machine: one event in, what is owed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use words::{AppId, Configuration, Gpid, MetaToNode, NodeAddress, NodeId, PartitionConfiguration, Time};

use crate::admin::{AdminReply, RefusalKind};
use crate::apps::dropped_apps;
use crate::balancer::Balancer;
use crate::first_app::FirstApp;
use crate::nodes::Nodes;
use crate::partition::Partition;
use crate::recovery::Stranger;
use crate::{
    AdminToken, AppStatus, Command, Level, MetaEvent, MetaOutput, MetaSettings, MetaState, Refused, WallTime,
};

/// Partitions in one slice of the sweep.
const SWEEP_SLICE: usize = 256;

/// The meta server without I/O: the durable state, and what is known besides and can be lost.
#[derive(Debug)]
pub struct MetaCore {
    /// What is durable; changes only when a command comes back as committed.
    pub(crate) state: MetaState,
    pub(crate) settings: MetaSettings,
    pub(crate) nodes: Nodes,
    pub(crate) partitions: BTreeMap<Gpid, Partition>,
    /// Replicas of partitions that this meta server never heard of, by the node that holds each. They stay where
    /// they are: it may have lost its state, or be the wrong one (PITFALLS 37).
    pub(crate) strangers: BTreeMap<Gpid, BTreeMap<NodeId, Stranger>>,
    /// The app that a new cluster begins with, and whom to answer.
    pub(crate) first_app: Option<FirstApp>,
    /// Commands that are being made durable, in order, and whom to answer.
    in_flight: VecDeque<(Command, Option<AdminToken>)>,
    /// Partitions to look at before this step ends.
    pub(crate) dirty: BTreeSet<Gpid>,
    /// Partitions that wait for a node to come.
    pub(crate) starving: BTreeSet<Gpid>,
    /// When to look at a partition again, each at most once.
    pub(crate) timers: BTreeSet<(Time, Gpid)>,
    /// Partitions that are not as they should be, or about to change.
    pub(crate) unsettled: BTreeSet<Gpid>,
    /// What moves to spread the load.
    pub(crate) balancer: Balancer,
    /// The sweep looks at every partition now and then, should any cause have been missed.
    next_sweep: Time,
    swept: Option<Gpid>,
    /// When to ask whether a dropped app has expired.
    pub(crate) expiries: BTreeMap<AppId, Time>,
    /// When the last step was.
    pub(crate) stepped: Time,
    /// When an operator last set the level: who died before that is known to be dead.
    pub(crate) level_set: Time,
}

impl MetaCore {
    /// A meta server that has just started: every node known gets a fresh grace before it can be taken for dead.
    #[must_use]
    pub fn new(state: MetaState, settings: MetaSettings, now: Time) -> Self {
        let known = state.nodes().map(|address| address.node);
        let mut nodes = Nodes::new(known, &settings, now);
        let mut partitions = BTreeMap::new();
        for (gpid, configuration) in state.configurations() {
            partitions.insert(gpid, Partition { changed: now, ..Partition::default() });
            if state.app_of(gpid).is_some() {
                nodes.reconfigured(gpid, &Configuration::default(), configuration);
            }
        }
        Self {
            dirty: partitions.keys().copied().collect(),
            expiries: dropped_apps(&state).map(|id| (id, now)).collect(),
            next_sweep: now + settings.sweep,
            state,
            settings,
            nodes,
            partitions,
            strangers: BTreeMap::new(),
            first_app: None,
            in_flight: VecDeque::new(),
            starving: BTreeSet::new(),
            timers: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            balancer: Balancer::new(now),
            swept: None,
            stepped: now,
            level_set: Time::default(),
        }
    }

    /// Takes one event; what is owed for it is appended to `out`.
    pub fn step(&mut self, now: Time, event: MetaEvent, out: &mut MetaOutput) {
        // Ticks are due more often than this. If none came, this process was stopped or its disk stalled, and what
        // nodes said meanwhile still waits to be read.
        if now.since(self.stepped) > self.settings.sweep * 2 {
            self.nodes.grace(now);
        }
        self.stepped = now;
        match event {
            MetaEvent::SessionOpened { session } => self.nodes.opened(session),
            MetaEvent::SessionClosed { session } => {
                if let Some(node) = self.nodes.closed(session, now) {
                    self.mark(node);
                }
            }
            MetaEvent::Message { session, message } => self.on_message(now, session, message, out),
            MetaEvent::Committed { command, at } => self.on_committed(now, &command, at, out),
            MetaEvent::Admin { token, request } => self.on_admin(now, token, request, out),
            MetaEvent::Tick => self.on_tick(now, out),
        }
        if self.first_app.is_some() {
            self.create_first_app_if_due(now, out);
        }
        self.cure_dirty(now, out);
        if self.balancer.deadline() <= now {
            self.balance(now);
            self.cure_dirty(now, out);
        }
    }

    fn cure_dirty(&mut self, now: Time, out: &mut MetaOutput) {
        while let Some(gpid) = self.dirty.pop_first() {
            self.cure(now, gpid, out);
        }
    }

    /// When [`MetaEvent::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let timer = self.timers.first().map_or(Time::NEVER, |&(time, _)| time);
        let own = self.next_sweep.min(self.next_expiry()).min(self.balancer.deadline());
        timer.min(self.nodes.deadline()).min(own)
    }

    /// The durable state.
    #[must_use]
    pub fn state(&self) -> &MetaState {
        &self.state
    }

    fn on_tick(&mut self, now: Time, out: &mut MetaOutput) {
        for node in self.nodes.expire(now) {
            self.mark(node);
        }
        while let Some(&(time, gpid)) = self.timers.first() {
            if time > now {
                break;
            }
            self.timers.pop_first();
            self.dirty.insert(gpid);
        }
        self.expire_apps(now, out);
        if self.next_sweep <= now {
            self.next_sweep = now + self.settings.sweep;
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.swept.map_or(Unbounded, Excluded);
        let slice: Vec<Gpid> =
            self.partitions.range((from, Unbounded)).map(|(&gpid, _)| gpid).take(SWEEP_SLICE).collect();
        // A short slice was the last one: begin again.
        self.swept = slice.last().copied().filter(|_| slice.len() == SWEEP_SLICE);
        self.dirty.extend(slice);
    }

    /// A node changed: look at all that has to do with it.
    pub(crate) fn mark(&mut self, node: NodeId) {
        self.balancer.changed();
        if let Some(entry) = self.nodes.get(node) {
            self.dirty.extend(entry.partitions());
        }
    }

    /// Has a command made durable; `token` is answered then.
    pub(crate) fn commit(&mut self, command: Command, token: Option<AdminToken>, out: &mut MetaOutput) {
        self.in_flight.push_back((command.clone(), token));
        out.commit.push(command);
    }

    /// Commands that are not durable yet.
    pub(crate) fn uncommitted(&self) -> impl Iterator<Item = &Command> {
        self.in_flight.iter().map(|(command, _)| command)
    }

    /// Has a partition's next configuration made durable: the only way to change one, but for a declared loss.
    pub(crate) fn reconfigure(
        &mut self,
        gpid: Gpid,
        partition: &mut Partition,
        configuration: Configuration,
        cause: String,
        out: &mut MetaOutput,
    ) {
        self.begin_change(gpid, partition, &configuration);
        self.commit(Command::SetConfiguration { gpid, configuration, cause }, None, out);
    }

    /// Until the outcome of a change is known it counts for the load of nodes, and nothing else is begun for the
    /// partition.
    pub(crate) fn begin_change(
        &mut self,
        gpid: Gpid,
        partition: &mut Partition,
        configuration: &Configuration,
    ) {
        assert!(partition.pending.is_none(), "one change of a partition at a time");
        let before = self.state.configuration(gpid).expect("a partition has a configuration");
        self.nodes.reconfigured(gpid, before, configuration);
        partition.pending = Some(configuration.clone());
        self.unsettled.insert(gpid);
    }

    fn on_committed(&mut self, now: Time, command: &Command, at: WallTime, out: &mut MetaOutput) {
        let ours = self.in_flight.pop_front_if(|(ours, _)| ours == command);
        let token = ours.and_then(|(_, token)| token);
        match command {
            Command::CreateApp { name, .. } => {
                let result = self.state.apply(command, at).map(|_| self.app_created(name, now));
                reply(token, result, out);
            }
            Command::DropApp { name, .. } => {
                let id = self.state.app_named(name).map(|app| app.info.id);
                let result = self.state.apply(command, at).map(|_| self.app_dropped(now, at, id, out));
                reply(token, result, out);
            }
            Command::SetConfiguration { gpid, configuration, cause: _ } => {
                // Refused if its app was dropped meanwhile; whoever asked is told what holds.
                let _ = self.reconfigured(now, *gpid, configuration, (command, at), out);
            }
            Command::AcceptLoss { gpid, configuration, cause } => {
                let accepted = AdminReply::Accepted(self.state.with_names(&format!("{gpid}: {cause}")));
                let result = self.reconfigured(now, *gpid, configuration, (command, at), out);
                reply(token, result.map(|()| accepted), out);
            }
            Command::SetReplicaCount { name, count } => {
                let result = self.state.apply(command, at).map(|_| self.replica_count_set(name, *count, out));
                reply(token, result, out);
            }
            Command::Recover { configurations, .. } => {
                let result = self.state.apply(command, at).map(|_| self.recovered(now, configurations, out));
                reply(token, result, out);
            }
            Command::RecallApp { id, .. } => {
                let result = self.state.apply(command, at).map(|_| self.app_recalled(now, *id, out));
                reply(token, result, out);
            }
            Command::ExpireApp { id, .. } => match self.state.apply(command, at) {
                Ok(_) => self.app_expired(*id, out),
                Err(_) => self.expire_later(now, at, *id, crate::apps::ASK_AGAIN),
            },
            Command::RenameApp { name, new_name } => {
                let result = self.state.apply(command, at).map(|_| self.app_renamed(name, new_name, out));
                reply(token, result, out);
            }
            Command::ChangeEnvs { name, .. } => {
                let result = self.state.apply(command, at).map(|_| self.envs_changed(name, out));
                reply(token, result, out);
            }
            Command::RegisterNode(address) => {
                if self.state.apply(command, at).is_ok() {
                    self.node_registered(now, address, out);
                }
            }
            Command::SetLevel(level) => {
                let result = self.state.apply(command, at).map(|_| self.level_was_set(*level, now));
                reply(token, result, out);
            }
            Command::BlackList { node, listed } => {
                let result = self.state.apply(command, at).map(|_| self.black_list_changed(*node, *listed));
                reply(token, result, out);
            }
            Command::Drain { node, drained } => {
                let result = self.state.apply(command, at).map(|_| self.drain_changed(*node, *drained));
                reply(token, result, out);
            }
            Command::RemoveNode(node) => {
                // Its name is known only before.
                let name = self.state.with_names(&node.to_string());
                let result = self.state.apply(command, at).map(|_| self.node_removed(*node, &name));
                reply(token, result, out);
            }
        }
    }

    fn level_was_set(&mut self, level: Level, now: Time) -> AdminReply {
        self.level_set = now;
        self.dirty.extend(self.partitions.keys());
        AdminReply::Accepted(format!("the level is {level}: {}", level.leaves_out()))
    }

    fn black_list_changed(&mut self, node: NodeId, listed: bool) -> AdminReply {
        self.mark(node);
        self.dirty.append(&mut self.starving);
        let what = match listed {
            true => "gets no new replicas; those that it has stay",
            false => "may get replicas again",
        };
        AdminReply::Accepted(self.state.with_names(&format!("{node} {what}")))
    }

    /// Tells a node that its replica is not needed any more.
    pub(crate) fn collect(&self, gpid: Gpid, node: NodeId, out: &mut MetaOutput) {
        let Some(ballot) = self.state.configuration(gpid).map(|configuration| configuration.ballot) else {
            return;
        };
        if let Some(session) = self.nodes.session_of(node) {
            out.send.push((session, MetaToNode::Collect { gpid, ballot }));
        }
    }

    /// A change of configuration is durable, or was refused since its app was dropped meanwhile. Everybody whom
    /// it concerns, or who asked meanwhile, is told what holds now (§4.2).
    fn reconfigured(
        &mut self,
        now: Time,
        gpid: Gpid,
        after: &Configuration,
        (command, at): (&Command, WallTime),
        out: &mut MetaOutput,
    ) -> Result<(), Refused> {
        self.balancer.changed();
        let Some(before) = self.state.configuration(gpid).cloned() else {
            return Err(Refused::NoSuchPartition(gpid));
        };
        let result = self.state.apply(command, at);
        let partition = self.partitions.get_mut(&gpid).expect("every partition is known");
        let counted = partition.pending.take().unwrap_or_else(|| before.clone());
        let mut audience = std::mem::take(&mut partition.waiting);
        if result.is_ok() {
            partition.reconfigured(&before, after, now);
            audience.extend(before.members().chain(after.members()));
        }
        let nobody = Configuration::default();
        let holds = match (&result, self.state.app_of(gpid)) {
            (_, None) => &nobody,
            (Ok(_), Some(_)) => after,
            (Err(_), Some(_)) => &before,
        };
        self.nodes.reconfigured(gpid, &counted, holds);
        for node in audience {
            self.tell(gpid, node, out);
        }
        self.dirty.insert(gpid);
        result.map(|_| ())
    }

    fn node_registered(&mut self, now: Time, address: &NodeAddress, out: &mut MetaOutput) {
        if let Some(entry) = self.nodes.get_mut(address.node) {
            entry.registering = entry.registering.take().filter(|registering| registering != address);
        }
        let same_address =
            |other: &&NodeAddress| other.address == address.address && other.node != address.node;
        let others: Vec<NodeId> = self.state.nodes().filter(same_address).map(|other| other.node).collect();
        for node in self.nodes.replaces(address.node, &others, now) {
            self.mark(node);
        }
        for session in self.nodes.live_sessions() {
            out.send.push((session, MetaToNode::Nodes(vec![address.clone()])));
        }
        self.mark(address.node);
        self.dirty.append(&mut self.starving);
    }

    /// Tells a node a partition's configuration; one that is about to change is told once it has (PITFALLS 3).
    pub(crate) fn tell(&mut self, gpid: Gpid, node: NodeId, out: &mut MetaOutput) {
        let Some(ballot) = self.state.configuration(gpid).map(|configuration| configuration.ballot) else {
            return;
        };
        let Some(partition) = self.partitions.get_mut(&gpid) else { return };
        if partition.pending.is_some() {
            partition.waiting.insert(node);
        } else {
            partition.told.insert(node, (ballot, self.stepped));
            self.send_configuration(gpid, node, out);
        }
    }

    /// ... that seems not to know it. Not if it was told just now: a node to which thousands of partitions come
    /// reports many times before it has taken them all in.
    pub(crate) fn tell_again(&mut self, gpid: Gpid, node: NodeId, out: &mut MetaOutput) {
        let (Some(configuration), Some(partition)) =
            (self.state.configuration(gpid), self.partitions.get(&gpid))
        else {
            return;
        };
        if !partition.was_told(node, configuration.ballot, self.stepped, self.settings.ask_again) {
            self.tell(gpid, node, out);
        }
    }

    /// ... one that is known not to be changing.
    pub(crate) fn send_configuration(&self, gpid: Gpid, node: NodeId, out: &mut MetaOutput) {
        let Some(app) = self.state.app(gpid.app).filter(|app| app.status != AppStatus::Gone) else { return };
        let Some(session) = self.nodes.session_of(node) else { return };
        let configuration = self.state.configuration(gpid).expect("a partition has a configuration").clone();
        let (app, terms) = (app.info.clone(), app.terms());
        let message = PartitionConfiguration { gpid, app, terms, configuration };
        out.send.push((session, MetaToNode::Configuration(message)));
    }
}

fn reply(token: Option<AdminToken>, result: Result<AdminReply, Refused>, out: &mut MetaOutput) {
    let Some(token) = token else { return };
    let reply = result.unwrap_or_else(|refused| {
        let kind = match refused {
            Refused::AppExists(_) => RefusalKind::AlreadyExists,
            Refused::NoSuchApp(_)
            | Refused::NotDropped(_)
            | Refused::Expired { .. }
            | Refused::NoSuchPartition(_)
            | Refused::UnknownNode(_) => RefusalKind::NotFound,
            Refused::Name { .. }
            | Refused::PartitionCount(_)
            | Refused::ReplicaCount(_)
            | Refused::Env(_) => RefusalKind::InvalidArgument,
            Refused::IllegalStep { .. }
            | Refused::NotExpired(_)
            | Refused::NotEmpty
            | Refused::StillMember { .. } => RefusalKind::FailedPrecondition,
        };
        AdminReply::refused(kind, refused.to_string())
    });
    out.replies.push((token, reply));
}
