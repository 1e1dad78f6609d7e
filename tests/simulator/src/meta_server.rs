//! The meta server: the real core; its disk, its sessions and its operator are simulated.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meta_core::{
    AdminReply, AdminRequest, BalanceKind, Command, MetaCore, MetaEvent, MetaOutput, MetaSettings, MetaState,
};
use replica_core::Event;
use words::{Configuration, Gpid, MetaToNode, NodeId, NodeToMeta, Proposal};

use crate::clock::{Clock, Moment};
use crate::machine::APP_TYPE;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// The meta server's machine.
pub(crate) struct MetaServer {
    clock: Clock,
    pub(crate) core: Option<MetaCore>,
    /// What is on its disk.
    pub(crate) durable: MetaState,
    /// On their way to the disk, in order.
    committing: VecDeque<Command>,
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    last_token: u64,
    epoch: u64,
    wake_at: Moment,
    output: MetaOutput,
}

struct Session {
    machine: usize,
    /// When the last message to the node arrives: a stream keeps its order.
    arrives: Moment,
}

impl MetaServer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            core: None,
            durable: MetaState::default(),
            committing: VecDeque::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            last_token: 0,
            epoch: 0,
            wake_at: Moment::NEVER,
            output: MetaOutput::default(),
        }
    }

    /// The machine at the other end of a session.
    pub(crate) fn machine_of(&self, session: u64) -> Option<usize> {
        self.sessions.get(&session).map(|session| session.machine)
    }

    /// What is durable of a partition's configuration.
    pub(crate) fn configuration(&self, gpid: Gpid) -> Option<&Configuration> {
        self.durable.configuration(gpid)
    }
}

impl World<'_> {
    pub(crate) fn start_meta(&mut self) -> Checked {
        let meta = &mut self.meta;
        if meta.core.is_none() {
            meta.epoch += 1;
            meta.wake_at = Moment::NEVER;
            let now = meta.clock.time(self.now);
            meta.core = Some(MetaCore::new(meta.durable.clone(), self.plan.meta.clone(), now));
            trace!(self, "meta", "STARTS");
            self.carry_out_meta();
        }
        Ok(())
    }

    pub(crate) fn crash_meta(&mut self) {
        if self.meta.core.take().is_none() {
            return;
        }
        trace!(self, "meta", "CRASHES with {} commands under way", self.meta.committing.len());
        self.meta.epoch += 1;
        // Of what was on its way to the disk any beginning may be there.
        let count = self.meta.committing.len();
        if count > 0 {
            self.tally.note(Sometimes::MetaCrashMidCommit);
        }
        let kept = self.dice.index(count + 1);
        let commands: Vec<Command> = self.meta.committing.drain(..).take(kept).collect();
        for command in commands {
            self.make_durable(&command);
        }
        for (session, Session { machine, .. }) in std::mem::take(&mut self.meta.sessions) {
            let at = self.now + self.network.stream_delay(&mut self.dice);
            self.put(at, Happening::SessionLost { machine, session });
        }
    }

    /// S5, S6: whatever becomes durable is one legal step from what was.
    fn make_durable(&mut self, command: &Command) {
        if let Command::SetConfiguration { gpid, configuration, cause } = command {
            let before = self.meta.durable.configuration(*gpid).cloned().unwrap_or_default();
            if self.meta.durable.apply(command).is_ok() {
                trace!(self, "meta", "{gpid} {before} -> {configuration}: {cause}");
                self.truth.on_configuration(*gpid, &before, configuration);
                self.note_change(&before, configuration);
                for node in before.members().chain(configuration.members()) {
                    if let Some(&place) = self.places.get(&node) {
                        self.provoke(place);
                    }
                }
            }
        } else {
            self.make_another_durable(command);
        }
    }

    /// A refusal changes nothing; the core hears of the command all the same.
    fn make_another_durable(&mut self, command: &Command) {
        let before = match command {
            Command::DropApp { name } => self.meta.durable.app_named(name).map(|app| app.info.clone()),
            _ => None,
        };
        if self.meta.durable.apply(command).is_err() {
            return;
        }
        match command {
            Command::CreateApp { name, .. } => {
                let created = self.meta.durable.app_named(name).map(|app| app.info.clone());
                self.on_app_created(&created.expect("it was just created"));
            }
            Command::DropApp { .. } => self.on_app_dropped(&before.expect("it was there")),
            Command::SetReplicaCount { name, count } => {
                trace!(self, "meta", "{count} replicas for {name}");
                self.tally.note(Sometimes::ReplicaCountChanged);
            }
            _ => {}
        }
    }

    fn note_change(&mut self, before: &Configuration, after: &Configuration) {
        let same_primary = before.primary == after.primary;
        if after.len() < before.len() && same_primary {
            self.tally.note(Sometimes::MemberRemoved);
        }
        if after.len() == before.len() && !before.is_empty() {
            self.tally.note(if same_primary { Sometimes::Bumped } else { Sometimes::Handover });
        }
    }

    fn step_meta(&mut self, event: MetaEvent) {
        let now = self.meta.clock.time(self.now);
        if let Some(core) = &mut self.meta.core {
            trace!(self, "meta", "<- {event:?}");
            core.step(now, event, &mut self.meta.output);
            self.carry_out_meta();
        }
    }

    fn carry_out_meta(&mut self) {
        let epoch = self.meta.epoch;
        let mut output = std::mem::take(&mut self.meta.output);
        for command in output.commit.drain(..) {
            self.meta.committing.push_back(command);
            if self.meta.committing.len() == 1 {
                let at = self.now + self.dice.span(self.plan.speed.meta_commit);
                self.put(at, Happening::MetaDurable { epoch });
            }
        }
        for (session, message) in output.send.drain(..) {
            self.send_to_node(session, message);
        }
        for (_, reply) in output.replies.drain(..) {
            trace!(self, "meta", "   reply {reply:?}");
            match reply {
                AdminReply::Accepted(_) => self.tally.note(Sometimes::Ordered),
                AdminReply::Refused(_) => self.tally.note(Sometimes::OrderRefused),
                _ => {}
            }
            self.script.on_admin(reply);
        }
        self.meta.output = output;
        let Some(core) = &self.meta.core else { return };
        let due = self.meta.clock.moment(core.deadline()).max(self.now + Duration::from_micros(1));
        if due < self.meta.wake_at {
            self.meta.wake_at = due;
            self.put(due, Happening::MetaWake { epoch });
        }
    }

    pub(crate) fn on_meta_wake(&mut self, epoch: u64) -> Checked {
        if self.meta.epoch == epoch && self.meta.wake_at == self.now {
            self.meta.wake_at = Moment::NEVER;
            self.step_meta(MetaEvent::Tick);
        }
        Ok(())
    }

    pub(crate) fn on_meta_durable(&mut self, epoch: u64) -> Checked {
        if self.meta.epoch != epoch {
            return Ok(());
        }
        if let Some(command) = self.meta.committing.pop_front() {
            self.make_durable(&command);
            if !self.meta.committing.is_empty() {
                let at = self.now + self.dice.span(self.plan.speed.meta_commit);
                self.put(at, Happening::MetaDurable { epoch });
            }
            self.step_meta(MetaEvent::Committed { command });
        }
        self.truth.verdict()
    }

    // ---- sessions ----

    pub(crate) fn on_connect(&mut self, index: usize, epoch: u64) -> Checked {
        let machine = &self.machines[index];
        let idle = machine.process.as_ref().is_some_and(|process| process.session.is_none());
        if machine.epoch != epoch || !idle {
            return Ok(());
        }
        let meta = self.network.meta();
        let open = self.network.is_open(index, meta, self.now) && self.network.is_open(meta, index, self.now);
        if self.meta.core.is_none() || !open || machine.frozen_until > self.now {
            self.connect_later(index, epoch);
            return Ok(());
        }
        self.meta.last_session += 1;
        let session = self.meta.last_session;
        self.meta.sessions.insert(session, Session { machine: index, arrives: self.now });
        if let Some(process) = &mut self.machines[index].process {
            process.session = Some(session);
            process.to_meta_at = self.now;
        }
        self.step_meta(MetaEvent::SessionOpened { session });
        self.hand_in(index, Event::MetaConnected);
        Ok(())
    }

    fn connect_later(&mut self, index: usize, epoch: u64) {
        let at = self.now + Duration::from_millis(self.dice.between(20, 200));
        self.put(at, Happening::Connect { machine: index, epoch });
    }

    pub(crate) fn tell_meta(&mut self, index: usize, message: NodeToMeta) -> Checked {
        self.look_for_addition(index, &message)?;
        let machine = &self.machines[index];
        trace!(self, machine.disk.node, "-> meta {message:?}");
        let Some(process) = &machine.process else { return Ok(()) };
        let Some(session) = process.session else { return Ok(()) };
        if !self.network.is_open(index, self.network.meta(), self.now) {
            let at = self.now + self.break_delay();
            self.put(at, Happening::SessionLost { machine: index, session });
            return Ok(());
        }
        let delay = self.network.stream_delay(&mut self.dice);
        if let Some(process) = &mut self.machines[index].process {
            process.to_meta_at = (self.now + delay).max(process.to_meta_at + Duration::from_nanos(1));
            let at = process.to_meta_at;
            self.dispatch(at, Happening::ToMeta { session, message });
        }
        Ok(())
    }

    /// S9, at the first proposal to add a node; from here on it is a member for S2.
    fn look_for_addition(&mut self, index: usize, message: &NodeToMeta) -> Checked {
        let NodeToMeta::Propose(Proposal { gpid, proposed, .. }) = message else { return Ok(()) };
        let Some(process) = &mut self.machines[index].process else { return Ok(()) };
        let Some(replica) = process.core.replica(*gpid) else { return Ok(()) };
        let current = replica.configuration();
        let Some(&added) = proposed.secondaries.iter().find(|&&node| !current.is_member(node)) else {
            return Ok(());
        };
        let committed = replica.last_committed();
        let ballot = current.ballot;
        if process.adding.insert(*gpid, (ballot, added)).is_some() {
            return Ok(());
        }
        self.truth.on_propose_addition(&self.machines, &self.places, *gpid, ballot, (added, committed))
    }

    /// How long it takes until a connection over a link that was cut is given up.
    fn break_delay(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(50, 800))
    }

    pub(crate) fn on_to_meta(&mut self, session: u64, message: NodeToMeta) -> Checked {
        if self.meta.sessions.contains_key(&session) {
            self.step_meta(MetaEvent::Message { session, message });
        }
        Ok(())
    }

    fn send_to_node(&mut self, session: u64, message: MetaToNode) {
        let meta = self.network.meta();
        let Some(machine) = self.meta.sessions.get(&session).map(|session| session.machine) else { return };
        trace!(self, "meta", "-> {} {message:?}", self.machines[machine].disk.node);
        if !self.network.is_open(meta, machine, self.now) {
            let at = self.now + self.break_delay();
            self.put(at, Happening::SessionClosed { session });
            return;
        }
        let delay = self.network.stream_delay(&mut self.dice);
        if let Some(stream) = self.meta.sessions.get_mut(&session) {
            stream.arrives = (self.now + delay).max(stream.arrives + Duration::from_nanos(1));
            let at = stream.arrives;
            self.dispatch(at, Happening::FromMeta { machine, session, message });
        }
    }

    pub(crate) fn on_from_meta(&mut self, machine: usize, session: u64, message: MetaToNode) -> Checked {
        let same = self.machines[machine].process.as_ref().is_some_and(|p| p.session == Some(session));
        if same {
            self.hand_in(machine, Event::Meta(message));
        }
        Ok(())
    }

    /// A node notices that its session broke, and opens another one.
    pub(crate) fn on_session_lost(&mut self, index: usize, session: u64) -> Checked {
        let epoch = self.machines[index].epoch;
        if let Some(process) = &mut self.machines[index].process
            && process.session == Some(session)
        {
            process.session = None;
            self.close_session(index, session);
            self.connect_later(index, epoch);
        }
        Ok(())
    }

    /// The node's end of a session is closed; the meta server hears of it, at once or after a while.
    pub(crate) fn close_session(&mut self, index: usize, session: u64) {
        let open = self.network.is_open(index, self.network.meta(), self.now);
        let delay = if open { self.network.stream_delay(&mut self.dice) } else { self.break_delay() };
        self.put(self.now + delay, Happening::SessionClosed { session });
    }

    pub(crate) fn on_session_closed(&mut self, session: u64) -> Checked {
        if let Some(Session { machine, .. }) = self.meta.sessions.remove(&session) {
            let at = self.now + self.network.stream_delay(&mut self.dice);
            self.put(at, Happening::SessionLost { machine, session });
            self.step_meta(MetaEvent::SessionClosed { session });
        }
        Ok(())
    }

    // ---- the operator ----

    pub(crate) fn ask_meta(&mut self, request: AdminRequest) {
        self.meta.last_token += 1;
        let token = self.meta.last_token;
        self.step_meta(MetaEvent::Admin { token, request });
    }

    /// An operator moves a role from one machine to another; whether that makes sense is the meta server's to
    /// judge.
    pub(crate) fn balance(&mut self, gpid: Gpid, kind: BalanceKind, from: usize, to: usize) {
        let (from, to) = (crate::power::name(from), crate::power::name(to));
        self.ask_meta(AdminRequest::Balance { gpid, kind, from, to });
    }

    /// On which machine the primary of a partition is, by the durable configuration.
    pub(crate) fn primary_of(&self, gpid: Gpid) -> Option<usize> {
        let primary: NodeId = self.meta.configuration(gpid)?.primary?;
        self.places.get(&primary).copied()
    }
}

/// The meta server's settings, in step with the nodes'.
pub(crate) fn settings(nodes: &replica_core::Settings, replica_assign_delay: Duration) -> MetaSettings {
    MetaSettings {
        failure_timeout: nodes.failure_timeout,
        learn_timeout: nodes.learn_timeout,
        mutation_2pc_min_replica_count: nodes.mutation_2pc_min_replica_count,
        replica_assign_delay,
        app_types: vec![APP_TYPE.to_owned()],
        ..MetaSettings::default()
    }
}
