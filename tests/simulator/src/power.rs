//! How processes start and end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use replica_core::{ApplyTask, Event, Identity, Lacking, NodeCore, RecoveredApp, Replay};
use replica_log::{Crash, Damage, LogReader, Options, PrepareLog};
use replicated_app::ReplicatedApp;
use words::{Gpid, Life, Mutation, MutationId};

use crate::clock::Moment;
use crate::log_bounds::Ledger;
use crate::machine::{Disk, Loss, Presence, Process};
use crate::rot::rot;
use crate::sometimes::Sometimes;
use crate::violation::{Checked, check};
use crate::world::{Answer, Happening, World, trace};

impl World<'_> {
    /// A node's process starts with whatever its disk holds.
    pub(crate) fn start(&mut self, index: usize) -> Checked {
        if self.machines[index].process.is_some() || self.machines[index].presence != Presence::Here {
            return Ok(());
        }
        let machine = &mut self.machines[index];
        machine.epoch += 1;
        machine.frozen_until = Moment::default();
        machine.busy_until = Moment::default();
        if machine.disk.is_nobodys {
            // It does not start like that; its operator gives it an empty directory.
            self.tally.note(Sometimes::IdentityLost);
            self.wipe(index);
            self.start_later(index);
            return Ok(());
        }
        let cramped = machine.ills.room(self.now).is_err();
        if cramped && self.dice.permille(500) {
            self.tally.note(Sometimes::NoRoomToStart); // its new life can't be noted
            self.start_later(index);
            return Ok(());
        }
        let machine = &mut self.machines[index];
        machine.disk.life += 1;
        let options = Options { segment_bytes: self.plan.segment_bytes, ahead_bytes: self.plan.ahead_bytes };
        if let Some((operations, loss)) = machine.dies_starting.take() {
            self.die_starting(index, options, operations, loss);
            return Ok(());
        }
        let Ok((log, opened)) = PrepareLog::open(Arc::new((*machine.disk.log).clone()), options) else {
            // There is no room, or a fault of the disk waited for its first use; the process ends, and starts again.
            if cramped {
                self.tally.note(Sometimes::NoRoomToOpen);
            }
            machine.cut_again();
            self.start_later(index);
            return Ok(());
        };
        machine.disk.on_opened(&opened.records)?;
        for record in &opened.records {
            trace!(self, machine.disk.node, "   finds {record}");
        }
        let ledger = Ledger::found(&opened.records, log.bytes());
        let mut replay = Replay::new(&self.plan.settings);
        for record in &opened.records {
            replay.on_record(record);
        }
        let excused = !machine.disk.doubtful.is_empty();
        let expected = match &opened.damage {
            Damage::None => true,
            Damage::Partitions(all) => all.keys().all(|gpid| machine.disk.given_up.contains(gpid)),
            Damage::All => false,
        };
        check(excused || expected, "log", || {
            format!("{} finds {:?} though nothing was damaged", machine.disk.node, opened.damage)
        })?;
        match &opened.damage {
            Damage::None => {}
            Damage::Partitions(all) => all.iter().for_each(|(&gpid, reason)| replay.damaged(gpid, reason)),
            Damage::All => replay.damaged_all(),
        }
        let noted: Vec<Gpid> = replay.replicas().map(|(gpid, _)| gpid).collect();
        // An app that the log does not note was being created or deleted.
        machine.disk.apps.retain(|gpid, _| noted.contains(gpid));
        let mut open = Vec::new();
        let mut apps = Vec::new();
        for gpid in noted {
            let folder = machine.disk.apps.get_mut(&gpid).ok_or_else(|| std::io::ErrorKind::NotFound.into());
            let durable: Result<MutationId, std::io::Error> = folder.and_then(|folder| {
                let hosted = folder.open(self.subject)?;
                let id = hosted.2;
                // A power cut may have come between a checkpoint and the removal of the one before.
                folder.tidy(id.decree);
                open.push((gpid, hosted));
                Ok(id)
            });
            if durable.is_err() && machine.disk.rotten.remove(&gpid) {
                machine.disk.doubtful.insert(gpid);
                self.tally.note(Sometimes::RotNoticed);
            }
            apps.push(RecoveredApp { gpid, durable });
        }
        let mut recovered = replay.finish(apps);
        let mut tasks = Vec::new();
        for lacking in recovered.lacking() {
            self.tally.note(Sometimes::LogReadToCatchUp);
            match read_back(&log.reader(), &lacking) {
                Ok(mutations) => {
                    let task = |mutation| ApplyTask { gpid: lacking.gpid, mutation };
                    tasks.extend(mutations.into_iter().map(task));
                }
                Err(reason) => {
                    check(excused, "log", || format!("{}: {}: {reason}", machine.disk.node, lacking.gpid))?;
                    recovered.give_up(lacking.gpid, reason);
                }
            }
        }
        let now = machine.clock.now(self.now);
        let identity = Identity {
            node: machine.disk.node,
            life: Life(machine.disk.life),
            name: name(index),
            address: name(index),
        };
        let core = NodeCore::new(identity, self.plan.settings.clone(), recovered, now);
        let mut process = Process {
            core,
            log,
            ledger,
            to_log: Vec::new(),
            log_waits: false,
            syncing: Vec::new(),
            to_collect: None,
            apps: BTreeMap::new(),
            failed: BTreeSet::new(),
            inbox: VecDeque::new(),
            todo: VecDeque::new(),
            wake_at: Moment::NEVER,
            waiting: BTreeMap::new(),
            last_token: 0,
            session: None,
            to_meta_at: Moment::default(),
            offers: BTreeMap::new(),
            last_offer: 0,
            last_incarnation: 0,
            seen: BTreeMap::new(),
            adding: BTreeMap::new(),
        };
        for (gpid, hosted) in open {
            process.host(gpid, hosted);
        }
        machine.process = Some(process);
        let epoch = machine.epoch;
        trace!(self, machine.disk.node, "STARTS life {}", machine.disk.life);
        self.truth.on_start(&self.machines[index], &tasks)?;
        for task in &tasks {
            self.apply(index, task)?;
        }
        self.hand_in(index, Event::Tick);
        let at = self.now + Duration::from_micros(self.dice.between(100, 20_000));
        self.put(at, Happening::Connect { machine: index, epoch });
        Ok(())
    }

    /// A process dies; what it had not synced fares as `loss` says.
    pub(crate) fn crash(&mut self, index: usize, loss: Loss) {
        if self.machines[index].process.is_none() {
            return;
        }
        trace!(self, self.machines[index].disk.node, "CRASHES, {loss:?}");
        self.end_process(index);
        let number = self.dice.between(0, u64::MAX);
        let machine = &mut self.machines[index];
        match loss {
            Loss::Kept => {}
            Loss::Power => {
                let outcome = self.lose_power(index);
                self.machines[index].disk.settled |= outcome == Crash::Lose;
            }
            Loss::Cut(outcome) => {
                machine.disk.settled |= outcome == Crash::Lose;
                machine.disk.log.crash(outcome);
            }
            Loss::App(gpid) => {
                if machine.disk.apps.remove(&gpid).is_some() {
                    self.tally.note(Sometimes::AppLost);
                    machine.disk.doubtful.insert(gpid);
                }
            }
            Loss::Rot => {
                if let Some(place) = rot(&machine.disk, number, false) {
                    self.tally.note(place);
                    machine.disk.doubtful.extend(self.gpids.iter().chain(&self.dropped));
                }
            }
            Loss::RottenCheckpoint(gpid) => self.rot_checkpoint(index, gpid, number),
            Loss::RottenBeside(gpid) => self.rot_beside(index, gpid, number),
            Loss::RottenIdentity => {
                machine.disk.is_nobodys = true;
                machine.disk.doubtful.extend(self.gpids.iter().chain(&self.dropped));
            }
            Loss::Everything => {
                self.tally.note(Sometimes::Wiped);
                self.wipe(index);
            }
        }
        self.start_later(index);
    }

    /// An empty data directory takes the old one's place.
    pub(crate) fn wipe(&mut self, index: usize) {
        let node = words::NodeId(self.places.len() as u128 + 101);
        self.places.insert(node, index);
        self.machines[index].disk = Disk::empty(node);
    }

    /// A machine is without power for a moment: what was not synced is lost, kept, or a part of it is.
    fn lose_power(&mut self, index: usize) -> Crash {
        let number = self.dice.between(0, u64::MAX);
        let outcome = self.dice.pick(&[
            Crash::Lose,
            Crash::Keep,
            Crash::Torn(number),
            Crash::Torn(number),
            Crash::Scattered(number),
            Crash::Scattered(number),
        ]);
        match outcome {
            Crash::Torn(_) => self.tally.note(Sometimes::TornTail),
            Crash::Scattered(_) => self.tally.note(Sometimes::ScatteredTail),
            Crash::Lose | Crash::Keep => {}
        }
        self.machines[index].disk.log.crash(outcome);
        outcome
    }

    /// A process reads its disk, mends what it finds there, and dies somewhere in that.
    fn die_starting(&mut self, index: usize, options: Options, operations: u64, loss: Loss) {
        let disk = &self.machines[index].disk;
        trace!(self, disk.node, "DIES STARTING, after {operations} operations, {loss:?}");
        disk.log.fail_after(operations);
        drop(PrepareLog::open(Arc::new((*disk.log).clone()), options));
        disk.log.fail_after(u64::MAX);
        if loss == Loss::Power {
            self.lose_power(index);
        }
        self.tally.note(Sometimes::CrashStarting);
        self.start_later(index);
    }

    /// A process ends by itself; nothing is lost.
    pub(crate) fn exit(&mut self, index: usize) {
        trace!(self, self.machines[index].disk.node, "EXITS");
        let apps = self.machines[index].process.as_mut().map(|process| std::mem::take(&mut process.apps));
        for hosted in apps.into_iter().flatten().map(|(_, hosted)| hosted) {
            // The process ends either way.
            let _ = Box::new(hosted.app).close(false);
        }
        self.end_process(index);
        self.start_later(index);
    }

    fn start_later(&mut self, index: usize) {
        if self.script.is_on() {
            return; // when a scenario says so
        }
        // Without trouble nothing keeps it: what must recover is the cluster, not a machine.
        let longest = if self.is_troubled() { self.dice.pick(&[5, 50, 1_000, 5_000, 12_000]) } else { 50 };
        let at = self.now + Duration::from_millis(self.dice.between(1, longest));
        self.put(at, Happening::Start { machine: index });
    }

    /// A node that was asked to stop is still there.
    pub(crate) fn on_kill(&mut self, index: usize, epoch: u64) -> Checked {
        if self.machines[index].epoch == epoch && self.machines[index].process.is_some() {
            let loss = self.dice.pick(&[Loss::Kept, Loss::Power]);
            self.crash(index, loss);
            self.tally.note(Sometimes::KilledStopping);
        }
        Ok(())
    }

    pub(crate) fn end_process(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.epoch += 1;
        machine.strike = None;
        machine.frozen_until = Moment::default();
        machine.busy_until = Moment::default();
        let peer = machine.disk.node;
        let Some(process) = machine.process.take() else { return };
        machine.disk.settled = process.syncing.is_empty();
        for waiting in process.waiting.into_values() {
            if self.dice.permille(self.plan.refused_permille) {
                let at = self.now + self.network.stream_delay(&mut self.dice);
                let (op, attempt) = (waiting.op, waiting.attempt);
                self.put(at, Happening::Answer { op, attempt, machine: index, answer: Answer::Broken });
            }
        }
        if let Some(session) = process.session {
            self.close_session(index, session);
        }
        for other in 0..self.machines.len() {
            if other != index
                && self.machines[other].process.is_some()
                && self.dice.permille(self.plan.refused_permille)
            {
                self.notice_gone(other, index, peer);
            }
        }
    }
}

/// What an app lacks that is committed, from the log.
fn read_back(reader: &LogReader, lacking: &Lacking) -> Result<Vec<Arc<Mutation>>, String> {
    let Lacking { gpid, from, upto } = *lacking;
    let read = reader.read(gpid, from, upto.decree, usize::MAX);
    let mutations = read.map_err(|error| error.to_string())?;
    let last = mutations.last().map(|mutation| mutation.id);
    if last == Some(upto) { Ok(mutations) } else { Err(format!("the log has {last:?} instead of {upto}")) }
}

/// A machine's name in the configuration file.
pub(crate) fn name(index: usize) -> String {
    format!("replica{}", index + 1)
}
