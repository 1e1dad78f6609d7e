//! A node's shell, simulated: what waits is stepped through the core, and what the core owes is carried out in
//! the contract's order, one duty at a time, so that a crash or a freeze can strike between any two.

use std::sync::Arc;
use std::time::Duration;

use replica_core::{ApplyTask, Event, ReadTask, Token, apply_mutation};
use replicated_app::{Reading, ReplicatedApp};
use words::{Envelope, Gpid, Mutation, NodeId, PeerMessage, Refusal, Reply, RoleName};

use crate::clock::Moment;
use crate::ills::Ill;
use crate::invariants::Scene;
use crate::machine::{Duty, Strike};
use crate::network::Fate;
use crate::sometimes::Sometimes;
use crate::subject::AnySubject;
use crate::violation::{Checked, Violation, check};
use crate::witness::Act;
use crate::world::{Answer, Happening, World, trace};

impl World<'_> {
    /// Something waits for a node: it will look soon.
    pub(crate) fn hand_in(&mut self, machine: usize, event: Event) {
        if let Some(process) = &mut self.machines[machine].process {
            process.inbox.push_back(event);
            let at = self.now + self.dice.span(self.plan.speed.wake);
            self.wake_by(machine, at);
        }
    }

    /// The node looks at its inbox at `at` or before.
    pub(crate) fn wake_by(&mut self, machine: usize, at: Moment) {
        let at = at.max(self.machines[machine].stands_until());
        let epoch = self.machines[machine].epoch;
        if let Some(process) = &mut self.machines[machine].process
            && at < process.wake_at
        {
            process.wake_at = at;
            self.put(at, Happening::Wake { machine, epoch });
        }
    }

    pub(crate) fn on_wake(&mut self, index: usize, epoch: u64) -> Checked {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return Ok(()) };
        if machine.epoch != epoch || process.wake_at != self.now {
            return Ok(()); // another life's, or overtaken by an earlier one
        }
        process.wake_at = Moment::NEVER;
        if machine.stands_until() > self.now {
            self.wake_by(index, Moment::default());
            return Ok(());
        }
        // What a freeze interrupted comes first.
        self.work_off(index)?;
        if self.may_go_on(index) {
            self.drain(index)?;
            self.work_off(index)?;
        }
        self.plan_next_wake(index)
    }

    /// Whether the node's thread runs now: neither dead nor frozen, nor waiting for an app.
    pub(crate) fn may_go_on(&self, index: usize) -> bool {
        self.machines[index].process.is_some() && self.machines[index].stands_until() <= self.now
    }

    fn drain(&mut self, index: usize) -> Checked {
        while let Some(event) = self.machines[index].process.as_mut().and_then(|p| p.inbox.pop_front()) {
            self.step(index, event)?;
        }
        let machine = &mut self.machines[index];
        let now = machine.clock.now(self.now);
        let Some(process) = &mut machine.process else { return Ok(()) };
        if process.core.deadline() <= now.time {
            self.step(index, Event::Tick)?;
        }
        let Some(process) = &mut self.machines[index].process else { return Ok(()) };
        process.core.flush(now, &mut self.output);
        self.check_step(index)?;
        if let Some(process) = &mut self.machines[index].process {
            process.owe(&mut self.output);
        }
        Ok(())
    }

    fn step(&mut self, index: usize, event: Event) -> Checked {
        let machine = &mut self.machines[index];
        let now = machine.clock.now(self.now);
        trace!(self, machine.disk.node, "<- {}", Short(&event));
        let Some(process) = &mut machine.process else { return Ok(()) };
        process.core.step(now, event, &mut self.output);
        self.check_step(index)
    }

    /// Everything that a step can break is looked at after each.
    pub(crate) fn check_step(&mut self, index: usize) -> Checked {
        let scene = Scene {
            machines: &mut self.machines,
            places: &self.places,
            settings: &self.plan.settings,
            now: self.now,
            output: &self.output,
            tally: &mut self.tally,
        };
        self.truth.after_step(index, scene)?;
        for (gpid, from) in self.truth.take_lost() {
            trace!(self, "operator", "{gpid} has lost {from} and all after it");
            self.tally.note(Sometimes::LossCost);
            self.history.lose(gpid, from);
            self.watching.lose(gpid, from);
        }
        Ok(())
    }

    /// When the node is to look again: for what waits, or for what is due.
    pub(crate) fn plan_next_wake(&mut self, index: usize) -> Checked {
        let machine = &self.machines[index];
        let Some(process) = &machine.process else { return Ok(()) };
        let due = machine.clock.moment(process.core.deadline());
        // Never twice at the same instant: a deadline that a tick does not move must not stop the clock.
        let mut at = due.max(self.now + Duration::from_micros(1));
        if !process.inbox.is_empty() || !process.todo.is_empty() {
            at = at.min(self.now + self.dice.span(self.plan.speed.wake) + Duration::from_nanos(1));
        }
        self.wake_by(index, at);
        Ok(())
    }

    /// Carries out what is owed, until nothing is left or something strikes.
    pub(crate) fn work_off(&mut self, index: usize) -> Checked {
        while self.may_go_on(index) {
            let midway = self.machines[index].process.as_ref().is_some_and(|p| !p.todo.is_empty());
            if !midway {
                return Ok(());
            }
            if let Some((strike, left)) = &mut self.machines[index].strike {
                if *left == 0 {
                    let strike = *strike;
                    self.machines[index].strike = None;
                    self.strike(index, strike, true);
                    continue;
                }
                *left -= 1;
            }
            let duty = self.machines[index].process.as_mut().and_then(|process| process.todo.pop_front());
            if let Some(duty) = duty {
                self.carry_out(index, duty)?;
            }
        }
        Ok(())
    }

    /// A crash or a freeze strikes a process.
    pub(crate) fn strike(&mut self, index: usize, strike: Strike, midway: bool) {
        match strike {
            Strike::Crash(loss) => {
                if midway {
                    self.tally.note(Sometimes::CrashMidway);
                }
                self.crash(index, loss);
            }
            Strike::Freeze(span) => {
                let until = self.now + span;
                let process = self.machines[index].process.as_ref();
                let leads =
                    process.is_some_and(|p| p.seen.values().any(|seen| seen.role == RoleName::Primary));
                if leads && span > self.plan.settings.lease {
                    self.tally.note(Sometimes::FrozenPastLease);
                }
                if midway {
                    self.tally.note(Sometimes::FreezeMidway);
                }
                trace!(self, self.machines[index].disk.node, "FROZEN until {until}");
                self.machines[index].frozen_until = until;
                self.wake_by(index, until);
            }
        }
    }

    fn carry_out(&mut self, index: usize, duty: Duty) -> Checked {
        match duty {
            Duty::Append(records) => self.append(index, records),
            Duty::Send(envelope) => self.send(index, envelope),
            Duty::Apply(task) => self.apply(index, &task),
            Duty::Read(task) => self.read(index, &task),
            Duty::Reply(token, reply) => self.reply(index, token, reply),
            Duty::Meta(message) => self.tell_meta(index, message),
            Duty::Start(work) => self.start_work(index, work),
        }
    }

    fn send(&mut self, index: usize, envelope: Envelope) -> Checked {
        self.truth.on_send(&self.machines[index], &envelope)?;
        trace!(self, self.machines[index].disk.node, "-> {envelope}");
        match &envelope.body {
            PeerMessage::LearnFromList(_) => self.tally.note(Sometimes::LearnByList),
            PeerMessage::LearnStartOver(_) => self.tally.note(Sometimes::StartedOver),
            PeerMessage::LearnMutations(_) => self.tally.note(Sometimes::LearnByLog),
            _ => {}
        }
        let Some(&to) = self.places.get(&envelope.to) else {
            let what = format!("{} is sent to a node that never was", envelope.body);
            return Err(Violation { rule: "§1", what });
        };
        let left = self.now;
        match self.network.send(&mut self.dice, index, to, left) {
            Fate::Lost => {}
            Fate::Refused => {
                self.tally.note(Sometimes::RefusedAlive);
                self.notice_gone(index, to, envelope.to);
            }
            Fate::Arrives(first, second) => {
                if let Some(second) = second {
                    let envelope = envelope.clone();
                    self.dispatch(second, Happening::Arrive { machine: to, left, envelope });
                }
                self.dispatch(first, Happening::Arrive { machine: to, left, envelope });
            }
        }
        Ok(())
    }

    pub(crate) fn on_arrive(&mut self, index: usize, left: Moment, envelope: Envelope) -> Checked {
        let from = self.places.get(&envelope.from).copied();
        if !from.is_none_or(|from| self.network.still_comes(from, index, left)) {
            self.tally.note(Sometimes::LostByReset);
            return Ok(());
        }
        let machine = &self.machines[index];
        if machine.process.is_some() {
            if envelope.to != machine.disk.node || envelope.to_life.0 != machine.disk.life {
                let hello = matches!(envelope.body, PeerMessage::Hello | PeerMessage::Welcome);
                if !hello {
                    self.tally.note(Sometimes::StaleLife);
                }
            }
            self.hand_in(index, Event::Message(envelope));
        } else if let Some(&sender) = self.places.get(&envelope.from)
            && self.dice.permille(self.plan.refused_permille)
        {
            self.notice_gone(sender, index, envelope.to);
        }
        Ok(())
    }

    /// `sender` notices that the process of `peer`, on `machine`, is gone, if that news gets through.
    pub(crate) fn notice_gone(&mut self, sender: usize, machine: usize, peer: NodeId) {
        if let Fate::Arrives(at, _) = self.network.send(&mut self.dice, machine, sender, self.now) {
            let epoch = self.machines[sender].epoch;
            self.put(at, Happening::Refused { machine: sender, epoch, peer });
        }
    }

    pub(crate) fn apply(&mut self, index: usize, task: &ApplyTask) -> Checked {
        let ApplyTask { gpid, mutation } = task;
        let node = self.machines[index].disk.node;
        trace!(self, node, "   apply {gpid} {}", mutation.id);
        self.check_not_lost(node, *gpid)?;
        let Some(process) = &mut self.machines[index].process else { return Ok(()) };
        let Some(hosted) = process.apps.get_mut(gpid) else {
            if process.failed.contains(gpid) {
                self.report_lost_app(index, *gpid);
                return Ok(());
            }
            let what = format!("{node} is to apply {} to {gpid}, which has no app", mutation.id);
            return Err(Violation { rule: "S11", what });
        };
        check(mutation.id.decree == hosted.applied.decree.next(), "S11", || {
            format!("{node} is to apply {} to {gpid} after {}", mutation.id, hosted.applied)
        })?;
        let answers = apply_mutation(&mut hosted.app, &mut hosted.sessions, mutation);
        hosted.applied = mutation.id;
        let changes = hosted.app.take_changes();
        if retried(mutation, &answers) {
            self.tally.note(Sometimes::RetryAnswered);
        }
        let decree = mutation.id.decree;
        let acts = hosted.app.take_acts();
        // Who had what was given up applies it once more when it starts; that is history.
        if !self.truth.is_given_up(*gpid, mutation.id) {
            self.history.on_applied(node, (*gpid, decree), hosted.app.timestamp_us(), &acts)?;
            self.watching.on_applied(node, *gpid, decree, &changes)?;
        }
        hosted.changes.push(decree, changes);
        let applied = self.truth.on_applied(node, *gpid, hosted);
        applied.map_err(|violation| naming(violation, self.subject, &acts))?;
        if self.strikes(index, Ill::ApplyPanics, 50) {
            self.tally.note(Sometimes::ApplyPanicked);
            self.lose_app(index, *gpid);
            return Ok(());
        }
        if self.machines[index].ills.has(Ill::ApplySlow, self.now) && self.dice.permille(100) {
            let until = self.now + self.freeze_span();
            trace!(self, node, "   waits for its app until {until}");
            self.tally.note(Sometimes::ApplySlow);
            self.machines[index].busy_until = until;
        }
        self.hand_in(index, Event::Applied { gpid: *gpid, decree, answers });
        Ok(())
    }

    /// §4.8: nothing is created in place of what was lost.
    fn check_not_lost(&self, node: NodeId, gpid: Gpid) -> Checked {
        check(!self.truth.is_lost(gpid), "§4.8", || format!("{node} serves {gpid}, all of which was lost"))
    }

    /// Whether a machine suffers from this, now is the time for it, and the others can do without its data.
    pub(crate) fn strikes(&mut self, index: usize, ill: Ill, permille: u32) -> bool {
        self.machines[index].ills.has(ill, self.now)
            && self.dice.permille(permille)
            && self.can_be_spared(index)
    }

    /// What an app has in memory is worth nothing any more, and it can't be asked again in this life.
    pub(crate) fn lose_app(&mut self, index: usize, gpid: Gpid) {
        let machine = &mut self.machines[index];
        if let Some(process) = &mut machine.process {
            process.apps.remove(&gpid);
            process.failed.insert(gpid);
        }
        machine.disk.doubtful.insert(gpid);
        self.report_lost_app(index, gpid);
    }

    fn report_lost_app(&mut self, index: usize, gpid: Gpid) {
        self.hand_in(index, Event::ReplicaFailed { gpid, reason: "its app failed (injected)".to_owned() });
    }

    fn read(&mut self, index: usize, task: &ReadTask) -> Checked {
        let node = self.machines[index].disk.node;
        self.check_not_lost(node, task.gpid)?;
        let machine = &mut self.machines[index];
        let now = machine.clock.now(self.now).time;
        let Some(process) = &mut machine.process else { return Ok(()) };
        let Some(hosted) = process.apps.get_mut(&task.gpid) else {
            if process.failed.contains(&task.gpid) {
                self.answer(index, task.token, Reply::Refused(Refusal::UnknownPartition));
                return Ok(());
            }
            let what = format!("{} is read and has no app", task.gpid);
            return Err(Violation { rule: "S11", what });
        };
        let decree = hosted.applied.decree;
        let answer = match hosted.app.start_read(&task.request) {
            Reading::Answered(answer) => answer,
            Reading::Later(job) => {
                let incarnation = hosted.incarnation;
                self.read_later(index, task, incarnation, job);
                return Ok(());
            }
        };
        let reply = Reply::Done { decree, answer };
        self.history.on_read(node, task.gpid, decree, &hosted.app.take_acts())?;
        // A node that stood still between the two may be no primary any more; a watcher asks elsewhere by then.
        if process.core.replica(task.gpid).is_some_and(|replica| replica.can_read(now)) {
            self.watching.on_read(node, task.gpid, &hosted.changes, &mut self.tally)?;
        }
        self.answer(index, task.token, reply);
        Ok(())
    }

    fn reply(&mut self, index: usize, token: Token, reply: Reply) -> Checked {
        self.answer(index, token, reply);
        Ok(())
    }

    /// A reply sets out to the client that waits for it.
    pub(crate) fn answer(&mut self, index: usize, token: Token, reply: Reply) {
        let machine = &mut self.machines[index];
        trace!(self, machine.disk.node, "   reply {token} {reply:?}");
        let waiting = machine.process.as_mut().and_then(|process| process.waiting.remove(&token));
        if let Some(waiting) = waiting
            && let Some(delay) = self.network.client_delay(&mut self.dice)
        {
            let answer = Answer::Reply(reply);
            let (op, attempt) = (waiting.op, waiting.attempt);
            self.put(self.now + delay, Happening::Answer { op, attempt, machine: index, answer });
        }
    }
}

/// What an app's author has to know of a decree at which replicas differ: what it was asked.
fn naming(violation: Violation, subject: &dyn AnySubject, acts: &[Act]) -> Violation {
    let writes = acts.iter().filter(|act| !act.is_read);
    let asked: Vec<String> = writes.map(|act| format!("`{}`", subject.show_request(&act.request))).collect();
    let asked = if asked.is_empty() { "no write".to_owned() } else { asked.join(", ") };
    Violation { what: format!("{}; it applied {asked}", violation.what), ..violation }
}

/// The disk of this simulation never fails; an error is the log's own.
pub(crate) fn log_failed(error: std::io::Error) -> Violation {
    Violation { rule: "log", what: format!("the prepare log failed on a disk that works: {error}") }
}

/// Whether a write was answered with what an earlier one did.
fn retried(mutation: &Arc<Mutation>, answers: &[replica_core::WriteAnswer]) -> bool {
    answers.iter().any(|answer| {
        matches!(answer, replica_core::WriteAnswer::Applied { decree, .. } if *decree != mutation.id.decree)
    })
}

/// An event on one line.
struct Short<'a>(&'a Event);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Event::Message(envelope) => write!(f, "{envelope}"),
            Event::Write { gpid, write, token, .. } => {
                write!(f, "write {gpid} {:?} {:?} as {token}", write.kind, write.session)
            }
            Event::Applied { gpid, decree, .. } => write!(f, "applied {gpid} {decree}"),
            Event::LogRead { gpid, signature, mutations } => {
                write!(f, "log_read {gpid} learning {signature}, {} of them", mutations.len())
            }
            other => write!(f, "{other:?}"),
        }
    }
}
