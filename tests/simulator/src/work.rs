//! Long work: begun as a duty, done later, away from the node's thread; its result comes back as an event.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use replica_core::{Changes, Event, ReadTask, Token, Work};
use replicated_app::{ApplyMode, CheckpointJob, ReadJob, ReplicatedApp};
use words::{AppInfo, Decree, Gpid, MutationId, NodeId, Reply, Signature};

use crate::checksum::checksum;
use crate::home::copy_of;
use crate::ills::Ill;
use crate::machine::{Beside, Folder, Offer};
use crate::scenario::Failure;
use crate::sometimes::{Sometimes, Tally};
use crate::violation::{Checked, Violation, check};
use crate::watching::HISTORY;
use crate::witness::Act;
use crate::world::{Happening, World, trace};

/// Work under way.
pub(crate) enum Job {
    Create {
        gpid: Gpid,
        app: AppInfo,
    },
    Remove {
        gpid: Gpid,
    },
    Checkpoint {
        gpid: Gpid,
        incarnation: u64,
        beside: Beside,
        job: CheckpointJob,
    },
    Offer {
        gpid: Gpid,
        signature: Signature,
        at_least: Decree,
    },
    ReadLog {
        gpid: Gpid,
        signature: Signature,
        from: Decree,
        to: Decree,
        bytes: usize,
    },
    Read {
        gpid: Gpid,
        incarnation: u64,
        request: Bytes,
        token: Token,
        job: ReadJob,
    },
    Fetch {
        gpid: Gpid,
        incarnation: u64,
        signature: Signature,
        from: NodeId,
        transfer: u64,
        checkpoint: MutationId,
    },
}

/// The most that one read of the log answers, in bytes: several times the largest mutation, as in the shell, or a learner
/// would not come nearer under load.
const LOG_READ_BYTES: usize = 40_000;

/// What spoils the making of an offer, and the installing of what was fetched.
const SPOILS_AN_OFFER: &[Ill] =
    &[Ill::CheckpointWithheld, Ill::CheckpointFails, Ill::CheckpointSlow, Ill::DiskFull, Ill::NoHandles];
const SPOILS_A_FETCH: &[Ill] =
    &[Ill::TakeOverFails, Ill::InstallFails, Ill::ApplySlow, Ill::DiskFull, Ill::NoHandles];

impl World<'_> {
    pub(crate) fn start_work(&mut self, index: usize, work: Work) -> Checked {
        let node = self.machines[index].disk.node;
        trace!(self, node, "   start {work:?}");
        let job = match work {
            Work::Create { gpid, app } => Job::Create { gpid, app },
            Work::Remove { gpid } => Job::Remove { gpid },
            Work::Checkpoint { gpid } => match self.snapshot(index, gpid) {
                Some(job) => job,
                None => {
                    let result = Err(io::ErrorKind::NotFound.into());
                    self.hand_in(index, Event::CheckpointDone { gpid, result });
                    return Ok(());
                }
            },
            Work::OfferCheckpoint { gpid, signature, at_least } => {
                self.provoke_ill(index, SPOILS_AN_OFFER);
                Job::Offer { gpid, signature, at_least }
            }
            Work::ReadLog { gpid, signature, from, to, bytes } => {
                Job::ReadLog { gpid, signature, from, to, bytes }
            }
            Work::FetchCheckpoint { gpid, signature, from, transfer, checkpoint } => {
                self.provoke_ill(index, SPOILS_A_FETCH);
                let incarnation = self.incarnation(index, gpid);
                Job::Fetch { gpid, incarnation, signature, from, transfer, checkpoint }
            }
            Work::CollectLog { durable } => return self.collect_log(index, durable),
            Work::Stopped => {
                self.tally.note(Sometimes::GracefulStop);
                self.exit(index);
                return Ok(());
            }
        };
        self.begin_job(index, job);
        Ok(())
    }

    fn begin_job(&mut self, index: usize, job: Job) {
        let at = self.now + self.work_span(index, &job);
        let epoch = self.machines[index].epoch;
        self.put(at, Happening::Finish { machine: index, epoch, job });
    }

    /// A read that an app does not answer at once.
    pub(crate) fn read_later(&mut self, index: usize, task: &ReadTask, incarnation: u64, job: ReadJob) {
        let (gpid, request, token) = (task.gpid, task.request.clone(), task.token);
        self.begin_job(index, Job::Read { gpid, incarnation, request, token, job });
    }

    fn work_span(&mut self, index: usize, job: &Job) -> Duration {
        let slow = self.machines[index].ills.has(Ill::CheckpointSlow, self.now);
        let span = match job {
            Job::Fetch { .. } => self.plan.speed.transfer,
            Job::Checkpoint { .. } | Job::Offer { .. } if slow => {
                self.tally.note(Sometimes::CheckpointSlow);
                self.plan.speed.slow_work
            }
            _ => self.plan.speed.work,
        };
        self.dice.span(span)
    }

    fn incarnation(&self, index: usize, gpid: Gpid) -> u64 {
        let process = self.machines[index].process.as_ref();
        process.and_then(|process| process.apps.get(&gpid)).map_or(0, |hosted| hosted.incarnation)
    }

    /// The quick part of a checkpoint: what is applied now.
    fn snapshot(&mut self, index: usize, gpid: Gpid) -> Option<Job> {
        if self.machines[index].ills.has(Ill::CheckpointRefused, self.now) {
            self.tally.note(Sometimes::CheckpointRefused);
            return None;
        }
        let process = self.machines[index].process.as_mut()?;
        let hosted = process.apps.get_mut(&gpid)?;
        let job = hosted.app.async_checkpoint().ok()??;
        let beside = Beside::new(hosted.applied, hosted.sessions.encode());
        Some(Job::Checkpoint { gpid, incarnation: hosted.incarnation, beside, job })
    }

    /// S11: the log is cut only below what is durable in the app. Partitions that are not named hold nothing
    /// back, so each that has something here must be.
    fn collect_log(&mut self, index: usize, durable: Vec<(Gpid, Decree)>) -> Checked {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return Ok(()) };
        for &(gpid, decree) in &durable {
            let in_app = machine.disk.durable(gpid);
            check(decree <= in_app, "S11", || {
                format!(
                    "the log of {} is cut to {decree} of {gpid}, whose app is durable to {in_app}",
                    machine.disk.node
                )
            })?;
        }
        process.to_collect = Some(durable);
        self.sync_if_idle(index)
    }

    pub(crate) fn on_finish(&mut self, index: usize, epoch: u64, job: Job) -> Checked {
        let machine = &self.machines[index];
        if machine.epoch != epoch || machine.process.is_none() {
            return Ok(());
        }
        if machine.frozen_until > self.now {
            let at = machine.frozen_until;
            self.put(at, Happening::Finish { machine: index, epoch, job });
            return Ok(());
        }
        if matches!(job, Job::Create { .. } | Job::Remove { .. }) && machine.disk.log.operate().is_err() {
            return self.die_of_disk(index);
        }
        let event = match job {
            Job::Create { gpid, app } => self.finish_create(index, gpid, &app)?,
            Job::Remove { gpid } => self.finish_remove(index, gpid),
            Job::Checkpoint { gpid, incarnation, beside, job } => {
                let valid = self.incarnation(index, gpid) == incarnation;
                let result = self.finish_checkpoint(index, gpid, valid, beside, job);
                Event::CheckpointDone { gpid, result }
            }
            Job::Offer { gpid, signature, at_least } => {
                let result = self.finish_offer(index, gpid, at_least);
                Event::CheckpointOffered { gpid, signature, result }
            }
            Job::ReadLog { gpid, signature, from, to, bytes } => {
                let mutations = self.finish_read(index, gpid, from, to, bytes)?;
                Event::LogRead { gpid, signature, mutations }
            }
            Job::Read { gpid, incarnation, request, token, job } => {
                let valid = self.incarnation(index, gpid) == incarnation;
                return self.finish_late_read(index, gpid, valid, (&request, token), job);
            }
            Job::Fetch { gpid, incarnation, signature, from, transfer, checkpoint } => {
                let valid = self.incarnation(index, gpid) == incarnation;
                let result = if valid {
                    self.finish_fetch(index, gpid, from, transfer, checkpoint)?
                } else {
                    Err(io::ErrorKind::NotFound.into())
                };
                if result.is_err() {
                    self.tally.note(Sometimes::FetchFailed);
                }
                Event::CheckpointInstalled { gpid, signature, result }
            }
        };
        if self.machines[index].disk.log.is_dead() {
            return self.die_of_disk(index);
        }
        self.hand_in(index, event);
        Ok(())
    }

    fn finish_create(&mut self, index: usize, gpid: Gpid, app: &AppInfo) -> Result<Event, Violation> {
        check(crate::machine::is_ours(app), "§4.8", || format!("{gpid} is created as {app:?}"))?;
        let machine = &mut self.machines[index];
        if let Err(error) = machine.ills.room(self.now) {
            self.tally.note(Sometimes::NoRoomToCreate);
            return Ok(Event::Created { gpid, result: Err(error) });
        }
        let folder = Folder::new(gpid, app.clone());
        let opened = folder.open(self.subject).map_err(|error| Violation {
            rule: "app",
            what: format!("a new app of {gpid} can't be opened: {error}"),
        })?;
        if let Some(process) = &mut machine.process {
            process.host(gpid, opened);
        }
        machine.disk.apps.insert(gpid, folder);
        Ok(Event::Created { gpid, result: Ok(()) })
    }

    fn finish_remove(&mut self, index: usize, gpid: Gpid) -> Event {
        let machine = &mut self.machines[index];
        if let Some(process) = &mut machine.process {
            if let Some(hosted) = process.apps.remove(&gpid) {
                // Whatever it leaves behind goes with its home.
                let _ = Box::new(hosted.app).close(true);
            }
            process.offers.retain(|_, offer| offer.gpid != gpid);
        }
        machine.disk.apps.remove(&gpid);
        machine.disk.rotten.remove(&gpid);
        // Until the log says so durably, a restart finds a note without data.
        machine.disk.doubtful.insert(gpid);
        self.tally.note(Sometimes::Collected);
        self.provoke(index);
        Event::Removed { gpid }
    }

    fn finish_checkpoint(
        &mut self,
        index: usize,
        gpid: Gpid,
        valid: bool,
        beside: Beside,
        job: CheckpointJob,
    ) -> io::Result<MutationId> {
        let machine = &mut self.machines[index];
        let hosted = machine.process.as_ref().and_then(|process| process.apps.get(&gpid));
        let hosted = hosted.filter(|_| valid).ok_or(io::ErrorKind::NotFound)?;
        let folder = machine.disk.apps.get_mut(&gpid).ok_or(io::ErrorKind::NotFound)?;
        let id = beside.id;
        note_failure(machine.ills.room(self.now), Sometimes::CheckpointNoRoom, &mut self.tally)?;
        machine.disk.log.operate()?;
        folder.put_beside(beside);
        let spared = machine.ills.spare(Ill::CheckpointFails, self.now);
        note_failure(spared, Sometimes::CheckpointFailed, &mut self.tally)?;
        machine.disk.log.operate()?;
        job()?;
        machine.disk.log.operate()?;
        folder.tidy(hosted.app.last_durable_decree());
        machine.disk.rotten.remove(&gpid);
        self.tally.note(Sometimes::CheckpointDone);
        Ok(id)
    }

    fn finish_offer(&mut self, index: usize, gpid: Gpid, at_least: Decree) -> io::Result<(MutationId, u64)> {
        if self.script.fails(Failure::GetCheckpoint, index) {
            return Err(io::Error::other("a scenario has it so"));
        }
        let machine = &mut self.machines[index];
        let process = machine.process.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let hosted = process.apps.get_mut(&gpid).ok_or(io::ErrorKind::NotFound)?;
        let folder = machine.disk.apps.get_mut(&gpid).ok_or(io::ErrorKind::NotFound)?;
        let durable = hosted.app.last_durable_decree();
        if durable < at_least || durable == Decree::ZERO {
            note_failure(machine.ills.room(self.now), Sometimes::CheckpointNoRoom, &mut self.tally)?;
            machine.disk.log.operate()?;
            folder.put_beside(Beside::new(hosted.applied, hosted.sessions.encode()));
            let spared = machine.ills.spare(Ill::CheckpointFails, self.now);
            note_failure(spared, Sometimes::CheckpointFailed, &mut self.tally)?;
            machine.disk.log.operate()?;
            hosted.app.sync_checkpoint()?;
            machine.disk.log.operate()?;
            folder.tidy(hosted.app.last_durable_decree());
            machine.disk.rotten.remove(&gpid);
        }
        let spared = machine.ills.spare(Ill::CheckpointWithheld, self.now);
        note_failure(spared, Sometimes::CheckpointWithheld, &mut self.tally)?;
        let state = note_failure(hosted.app.get_checkpoint(), Sometimes::RotNoticed, &mut self.tally)?;
        if state.decree < at_least {
            return Err(io::Error::other("the app has not applied that much yet"));
        }
        let beside = folder.beside.get(&state.decree).cloned().ok_or(io::ErrorKind::NotFound)?;
        note_failure(beside.sessions(), Sometimes::RotNoticed, &mut self.tally)?;
        let id = beside.id;
        let (state, files) = copy_of(&state)?;
        let offer = Offer { gpid, checksum: checksum(&state.blob), state, beside, _files: files };
        process.last_offer += 1;
        process.offers.insert(process.last_offer, offer);
        Ok((id, process.last_offer))
    }

    fn finish_read(
        &mut self,
        index: usize,
        gpid: Gpid,
        from: Decree,
        to: Decree,
        bytes: usize,
    ) -> Result<Vec<std::sync::Arc<words::Mutation>>, Violation> {
        let machine = &self.machines[index];
        let Some(process) = &machine.process else { return Ok(Vec::new()) };
        match process.log.reader().read(gpid, from, to, bytes.min(LOG_READ_BYTES)) {
            // The learner gets a checkpoint then.
            Err(_) if machine.ills.room(self.now).is_err() || machine.disk.doubtful.contains(&gpid) => {
                self.tally.note(Sometimes::LogUnreadable);
                Ok(Vec::new())
            }
            result => result.map_err(crate::shell::log_failed),
        }
    }

    fn finish_late_read(
        &mut self,
        index: usize,
        gpid: Gpid,
        valid: bool,
        (request, token): (&Bytes, Token),
        job: ReadJob,
    ) -> Checked {
        let node = self.machines[index].disk.node;
        let reply = match job() {
            Ok((decree, answer)) => {
                self.history.on_read(node, gpid, decree, &[Act::late_read(request, &answer)])?;
                self.tally.note(Sometimes::ReadLate);
                Reply::Done { decree, answer }
            }
            Err(error) => {
                check(!valid, "app", || format!("{gpid} on {node} can't be read: {error}"))?;
                Reply::Unknown
            }
        };
        self.answer(index, token, reply);
        Ok(())
    }

    /// A checkpoint arrived, whole or not at all, and takes the place of what is here, unless that is newer.
    fn finish_fetch(
        &mut self,
        index: usize,
        gpid: Gpid,
        from: NodeId,
        transfer: u64,
        checkpoint: MutationId,
    ) -> Result<io::Result<MutationId>, Violation> {
        let Some(offer) = self.fetched(index, from, transfer) else {
            return Ok(Err(io::ErrorKind::TimedOut.into()));
        };
        // In another life of the other node the same number names another offer.
        if (offer.gpid, offer.beside.id) != (gpid, checkpoint) {
            return Ok(Err(io::ErrorKind::NotFound.into()));
        }
        if self.script.fails(Failure::ApplyCheckpoint, index) {
            return Ok(Err(io::Error::other("a scenario has it so")));
        }
        let node = self.machines[index].disk.node;
        let machine = &mut self.machines[index];
        let Some(hosted) = machine.process.as_mut().and_then(|process| process.apps.get_mut(&gpid)) else {
            return Ok(Err(io::ErrorKind::NotFound.into()));
        };
        if hosted.applied.decree >= checkpoint.decree {
            return Ok(Err(io::Error::other("what is here is newer")));
        }
        let spared = machine.ills.spare(Ill::TakeOverFails, self.now);
        let ready = note_failure(machine.ills.room(self.now), Sometimes::FetchNoRoom, &mut self.tally)
            .and_then(|()| note_failure(spared, Sometimes::TakeOverFailed, &mut self.tally));
        if let Err(error) = ready {
            return Ok(Err(error));
        }
        if machine.disk.log.operate().is_err() {
            return Ok(Err(io::Error::other("the power went")));
        }
        if let Some(folder) = machine.disk.apps.get_mut(&gpid) {
            folder.put_beside(offer.beside.clone());
        }
        if machine.disk.log.operate().is_err() {
            return Ok(Err(io::Error::other("the power went")));
        }
        let taken = copy_of(&offer.state)
            .and_then(|(state, _files)| hosted.app.apply_checkpoint(ApplyMode::Learn, &state));
        let (Ok(()), Ok(sessions)) = (&taken, offer.beside.sessions()) else {
            let what = format!("{node} can't read a checkpoint of {gpid}: {taken:?}");
            return Err(Violation { rule: "S12", what });
        };
        (hosted.sessions, hosted.applied) = (sessions, checkpoint);
        hosted.changes = Changes::after(checkpoint.decree, HISTORY);
        self.truth.on_installed(node, gpid, hosted, "took over a checkpoint")?;
        let durable = hosted.app.last_durable_decree();
        check(durable == checkpoint.decree, "S11", || {
            format!(
                "{node} took over {checkpoint} of {gpid}, and its app says that it is durable to {durable}"
            )
        })?;
        if let Some(folder) = machine.disk.apps.get_mut(&gpid) {
            folder.tidy(durable);
        }
        machine.disk.rotten.remove(&gpid);
        if self.strikes(index, Ill::InstallFails, 1_000) {
            self.tally.note(Sometimes::InstallFailed);
            self.lose_app(index, gpid);
            return Ok(Err(io::Error::other("whether it counts is not known (injected)")));
        }
        self.tally.note(Sometimes::LearnByCheckpoint);
        self.provoke(index);
        Ok(Ok(checkpoint))
    }

    /// What a transfer brings, if it does not break and the other node still offers it.
    fn fetched(&mut self, index: usize, from: NodeId, transfer: u64) -> Option<Offer> {
        let broken = self.is_troubled() && self.dice.permille(self.plan.speed.broken_permille)
            || self.script.fails(Failure::Transfer, index);
        let &source = self.places.get(&from)?;
        let machine = &self.machines[source];
        let open =
            self.network.is_open(source, index, self.now) && self.network.is_open(index, source, self.now);
        let alive = machine.disk.node == from && machine.frozen_until <= self.now;
        let offer = machine.process.as_ref()?.offers.get(&transfer)?;
        if broken || !open || !alive {
            return None;
        }
        let mut offer = offer.clone();
        if self.is_troubled() && self.dice.permille(self.plan.speed.rotten_permille) {
            offer.rot(self.dice.between(0, u64::MAX));
        }
        // Its checksums are in the manifest; what is not what was offered is thrown away (§6.2).
        if checksum(&offer.state.blob) != offer.checksum || offer.beside.sessions().is_err() {
            self.tally.note(Sometimes::RottenTransfer);
            return None;
        }
        Some(offer)
    }
}

/// Notes that something failed.
fn note_failure<T>(result: io::Result<T>, what: Sometimes, tally: &mut Tally) -> io::Result<T> {
    if result.is_err() {
        tally.note(what);
    }
    result
}
