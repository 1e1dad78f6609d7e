//! The meta server: the real core; its disk, its sessions and its operator are simulated.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meta_core::{
    AdminReply, AdminRequest, BalanceKind, Command, Level, MetaCore, MetaEvent, MetaOutput, MetaSettings,
    MetaState, WallTime,
};
use words::{AppId, Configuration, Gpid, NodeId};

use crate::clock::{Clock, Moment};
use crate::machine::APP_TYPE;
use crate::meta_server::sessions::Session;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

mod leaders;
mod sessions;

/// The meta servers: whoever leads them, and what is durable on a majority.
pub(crate) struct MetaServer {
    clock: Clock,
    /// What it commits becomes durable.
    leader: Option<Leader>,
    /// It led before and has not noticed that another one does: it goes on answering nodes and admins from what it
    /// knows, and nothing that it commits becomes durable.
    deposed: Option<Leader>,
    /// What is on the disks.
    pub(crate) durable: MetaState,
    /// On their way to the disks, in order.
    committing: VecDeque<Command>,
    sessions: BTreeMap<u64, Session>,
    last_session: u64,
    last_token: u64,
    last_epoch: u64,
    /// What nodes say is looked at late until then.
    pub(crate) slow_until: Moment,
    /// Nothing is looked at until then.
    pub(crate) frozen_until: Moment,
    output: MetaOutput,
}

/// One who leads, or takes itself for it.
struct Leader {
    core: MetaCore,
    epoch: u64,
    wake_at: Moment,
}

impl MetaServer {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            leader: None,
            deposed: None,
            durable: MetaState::default(),
            committing: VecDeque::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            last_token: 0,
            last_epoch: 0,
            slow_until: Moment::default(),
            frozen_until: Moment::default(),
            output: MetaOutput::default(),
        }
    }

    /// The machine at the other end of a session.
    pub(crate) fn machine_of(&self, session: u64) -> Option<usize> {
        self.sessions.get(&session).map(|session| session.machine)
    }

    fn led_by(&self, epoch: u64) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.epoch == epoch)
    }

    fn leader_of(&mut self, epoch: u64) -> Option<&mut Leader> {
        self.leader.iter_mut().chain(&mut self.deposed).find(|leader| leader.epoch == epoch)
    }

    /// The level that holds.
    pub(crate) fn level(&self) -> Option<Level> {
        self.leader.as_ref().map(|leader| leader.core.level())
    }

    /// What is durable of a partition's configuration.
    pub(crate) fn configuration(&self, gpid: Gpid) -> Option<&Configuration> {
        self.durable.configuration(gpid)
    }
}

impl World<'_> {
    /// S5, S6: whatever becomes durable is one legal step from what was.
    fn make_durable(&mut self, command: &Command, at: WallTime) {
        if let Command::SetConfiguration { gpid, configuration, cause } = command {
            let before = self.meta.durable.configuration(*gpid).cloned().unwrap_or_default();
            if self.meta.durable.apply(command, at).is_ok() {
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
            self.make_another_durable(command, at);
        }
    }

    /// A refusal changes nothing; the core hears of the command all the same.
    fn make_another_durable(&mut self, command: &Command, at: WallTime) {
        let lost = match command {
            Command::AcceptLoss { gpid, .. } => self.meta.configuration(*gpid).cloned(),
            _ => None,
        };
        if self.meta.durable.apply(command, at).is_err() {
            return;
        }
        match command {
            Command::CreateApp { name, .. } => {
                let created = self.meta.durable.app_named(name).map(|app| app.info.clone());
                self.on_app_created(&created.expect("it was just created"));
            }
            Command::DropApp { .. } => self.tally.note(Sometimes::AppDropped),
            Command::RecallApp { .. } => self.tally.note(Sometimes::AppRecalled),
            Command::ChangeEnvs { .. } => self.tally.note(Sometimes::EnvsChanged),
            Command::ExpireApp { id, .. } => {
                let info = self.meta.durable.app(*id).expect("it has just expired").info.clone();
                self.on_app_gone(&info);
            }
            Command::AcceptLoss { gpid, configuration, cause } => {
                trace!(self, "meta", "{gpid} -> {configuration}: {cause}");
                self.tally.note(Sometimes::LossDeclared);
                self.truth.on_loss(*gpid, &lost.expect("it was there"), configuration);
            }
            Command::Recover { configurations, .. } => {
                for (gpid, configuration) in configurations {
                    trace!(self, "meta", "{gpid} -> {configuration}: recovered");
                    self.truth.on_recovery(*gpid, configuration);
                }
            }
            Command::SetReplicaCount { name, count } => {
                trace!(self, "meta", "{count} replicas for {name}");
                self.tally.note(Sometimes::ReplicaCountChanged);
            }
            _ => {}
        }
    }

    fn wall_time(&self) -> WallTime {
        WallTime(self.now.0 / 1_000_000)
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

    fn step_meta(&mut self, epoch: u64, event: MetaEvent) {
        let now = self.meta.clock.time(self.now);
        let mut output = std::mem::take(&mut self.meta.output);
        if let Some(leader) = self.meta.leader_of(epoch) {
            trace!(self, format_args!("meta {epoch}"), "<- {event:?}");
            leader.core.step(now, event, &mut output);
        }
        self.carry_out_meta(epoch, output);
    }

    fn carry_out_meta(&mut self, epoch: u64, mut output: MetaOutput) {
        for command in output.commit.drain(..) {
            if self.meta.led_by(epoch) {
                self.begin_commit(epoch, command);
            } else {
                self.tally.note(Sometimes::DeposedLeaderCommits);
                trace!(self, format_args!("meta {epoch}"), "   commits in vain: {command:?}");
            }
        }
        for (session, message) in output.send.drain(..) {
            self.send_to_node(session, message);
        }
        for (_, reply) in output.replies.drain(..) {
            trace!(self, format_args!("meta {epoch}"), "   reply {reply:?}");
            match reply {
                AdminReply::Accepted(_) => self.tally.note(Sometimes::Ordered),
                AdminReply::Refused(_) => self.tally.note(Sometimes::OrderRefused),
                _ => {}
            }
            self.script.on_admin(reply);
        }
        self.meta.output = output;
        let (clock, now) = (self.meta.clock.clone(), self.now);
        let Some(leader) = self.meta.leader_of(epoch) else { return };
        let due = clock.moment(leader.core.deadline()).max(now + Duration::from_micros(1));
        if due < leader.wake_at {
            leader.wake_at = due;
            self.put(due, Happening::MetaWake { epoch });
        }
    }

    fn begin_commit(&mut self, epoch: u64, command: Command) {
        self.meta.committing.push_back(command);
        if self.meta.committing.len() == 1 {
            self.commit_later(epoch);
        }
    }

    fn commit_later(&mut self, epoch: u64) {
        let slow = self.meta.slow_until > self.now;
        let span = if slow { self.plan.speed.slow_sync } else { self.plan.speed.meta_commit };
        let at = self.now + self.dice.span(span);
        self.put(at, Happening::MetaDurable { epoch });
    }

    pub(crate) fn on_meta_wake(&mut self, epoch: u64) -> Checked {
        let (now, thaws) = (self.now, self.meta.frozen_until);
        let Some(leader) = self.meta.leader_of(epoch).filter(|leader| leader.wake_at == now) else {
            return Ok(());
        };
        if thaws > now {
            leader.wake_at = thaws;
            self.put(thaws, Happening::MetaWake { epoch });
            return Ok(());
        }
        leader.wake_at = Moment::NEVER;
        self.step_meta(epoch, MetaEvent::Tick);
        Ok(())
    }

    pub(crate) fn on_meta_durable(&mut self, epoch: u64) -> Checked {
        if !self.meta.led_by(epoch) {
            return Ok(());
        }
        if self.meta.frozen_until > self.now {
            self.put(self.meta.frozen_until, Happening::MetaDurable { epoch });
            return Ok(());
        }
        if let Some(command) = self.meta.committing.pop_front() {
            let at = self.wall_time();
            self.make_durable(&command, at);
            if !self.meta.committing.is_empty() {
                self.commit_later(epoch);
            }
            self.lose_answer(&command)?;
            self.step_meta(epoch, MetaEvent::Committed { command, at });
        }
        self.truth.verdict()
    }

    /// Exactly now, when a change is durable and nobody has heard of it, whoever asked for it loses its session.
    fn lose_answer(&mut self, command: &Command) -> Checked {
        let Command::SetConfiguration { configuration, .. } = command else { return Ok(()) };
        if !self.is_troubled() || !self.dice.permille(self.plan.lost_answer_permille) {
            return Ok(());
        }
        self.tally.note(Sometimes::AnswerLost);
        let all = self.dice.permille(300);
        // Who proposed it is primary now or, after a handover, the last of the secondaries.
        let last = configuration.secondaries.last().copied();
        for node in configuration.members() {
            let asked = all || configuration.primary == Some(node) || last == Some(node);
            if let Some(&machine) = self.places.get(&node).filter(|_| asked) {
                self.break_session(machine)?;
            }
        }
        Ok(())
    }

    // ---- the operator ----

    pub(crate) fn ask_meta(&mut self, request: AdminRequest) {
        self.meta.last_token += 1;
        let token = self.meta.last_token;
        if let Some(epoch) = self.who_answers().filter(|_| self.meta.frozen_until <= self.now) {
            self.step_meta(epoch, MetaEvent::Admin { token, request });
        }
    }

    /// Somebody looks for apps by name and by number, also for some that never were.
    pub(crate) fn look_up_apps(&mut self) {
        let Some(leader) = &self.meta.leader else { return };
        let known = self.meta.durable.apps().map(|app| (app.info.name.clone(), app.info.id));
        for (name, id) in known.chain([("nobody".to_owned(), AppId(99))]) {
            let found = [leader.core.query(&name, AppId(0)), leader.core.query("", id)];
            trace!(self, "client", "{name} or {id}: {found:?}");
        }
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
        balancer_moves_in_flight: 0,
        // So short that what is kept from a node that starts again and again it gets within a run.
        stable_rs_min_running: Duration::from_secs(4),
        max_successive_unstable_restart: 2,
        app_types: vec![APP_TYPE.to_owned()],
        ..MetaSettings::default()
    }
}
