//! Clients: each keeps a few operations in flight, retries them where it may, and records how they end.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use replica_core::Event;
use words::{AppAnswer, Decree, Gpid, Refusal, Reply, SessionStamp, Write, WriteKind};

use crate::clock::Moment;
use crate::machine::Waiting;
use crate::operation::{Kind, Operation};
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::witness::{OpId, tagged};
use crate::world::{Answer, Happening, World, trace};

/// Clients come this long after their app.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// One client of one partition.
pub(crate) struct Client {
    gpid: Gpid,
    /// Where it takes the primary to be.
    guess: usize,
    session: Option<u64>,
    opening: bool,
    next_sequence: u64,
    /// Writes of the session that have not ended.
    incomplete: BTreeSet<u64>,
}

/// An operation under way.
pub(crate) struct Running {
    client: usize,
    kind: Kind,
    /// As it travels.
    payload: Bytes,
    stamp: Option<(u64, u64)>,
    attempt: u32,
    /// Whether the newest attempt may still be answered.
    waiting: bool,
    /// Attempts that may have taken effect or still will.
    open: BTreeSet<u32>,
    give_up_at: Moment,
}

/// What travels to a node.
pub(crate) enum Sent {
    Read { gpid: Gpid, request: Bytes },
    Write { gpid: Gpid, write: Write },
}

impl World<'_> {
    /// So many clients come to these partitions.
    pub(crate) fn begin_clients(&mut self, gpids: &[Gpid], count: usize) {
        for index in 0..count {
            let client = self.clients.len();
            let guess = self.dice.index(self.machines.len());
            self.clients.push(Client {
                gpid: gpids[index % gpids.len()],
                guess,
                session: None,
                opening: false,
                next_sequence: 1,
                incomplete: BTreeSet::new(),
            });
            for _ in 0..self.plan.habits.depth {
                let at = self.now + FIRST_LOOK + self.dice.around(self.plan.habits.think);
                self.put(at, Happening::Think { client });
            }
        }
    }

    /// A client begins its next operation.
    pub(crate) fn on_think(&mut self, client: usize) -> Checked {
        if self.ending.is_quiet() || !self.gpids.contains(&self.clients[client].gpid) {
            return Ok(()); // all is over, or the app is gone
        }
        if self.is_troubled() && self.mask.silences(client) {
            self.put(Moment::default() + self.plan.trouble, Happening::Think { client });
            return Ok(());
        }
        let (kind, key, request) = self.choose(client);
        let state = &mut self.clients[client];
        let stray = self.dice.permille(self.plan.habits.stray_permille);
        let stamp = match (kind, state.session) {
            (Kind::Write, Some(session)) if !stray => {
                let sequence = state.next_sequence;
                state.next_sequence += 1;
                state.incomplete.insert(sequence);
                Some((session, sequence))
            }
            _ => None,
        };
        state.opening |= kind == Kind::Open;
        let gpid = state.gpid;
        trace!(
            self,
            format_args!("c{client}"),
            "begins op{} {kind:?} `{}` {stamp:?} of {gpid}",
            self.history.len(),
            self.subject.show_request(&request)
        );
        let operation = Operation::new(client, gpid, kind, (key, request.clone()), self.now);
        let op = self.history.begin(operation);
        let give_up_at = self.now + self.plan.habits.limit;
        let (payload, open) = (tagged(op, &request), BTreeSet::new());
        let running = Running { client, kind, payload, stamp, attempt: 0, waiting: false, open, give_up_at };
        self.running.insert(op, running);
        self.on_try(op)
    }

    fn choose(&mut self, client: usize) -> (Kind, u8, Bytes) {
        let state = &self.clients[client];
        let key = self.dice.index(usize::from(self.plan.habits.keys)) as u8;
        if state.session.is_none() && !state.opening && self.dice.permille(700) {
            return (Kind::Open, key, Bytes::new());
        }
        if self.dice.permille(self.plan.habits.bulky_permille) {
            return (Kind::Write, key, Bytes::from(vec![0; self.plan.settings.max_write_bytes + 1]));
        }
        let read = match self.ending.wanted(state.gpid) {
            Some(read) => read,
            None => self.dice.permille(self.plan.habits.read_permille),
        };
        if !read {
            return (Kind::Write, key, self.subject.write(key, &mut self.dice));
        }
        let kind = if self.dice.permille(100) { Kind::ReadAsWrite } else { Kind::Read };
        (kind, key, self.subject.read(key, &mut self.dice))
    }

    /// A client sends its operation, to whom it takes for the primary.
    pub(crate) fn on_try(&mut self, op: OpId) -> Checked {
        let astray = self.dice.permille(self.plan.habits.astray_permille);
        let anyone = self.dice.index(self.machines.len());
        let Some(running) = self.running.get_mut(&op) else { return Ok(()) };
        if self.now >= running.give_up_at {
            return self.give_up(op);
        }
        running.attempt += 1;
        running.waiting = true;
        running.open.insert(running.attempt);
        let attempt = running.attempt;
        let client = &self.clients[running.client];
        let machine = if astray { anyone } else { client.guess };
        let request = request(client, running);
        let patience = self.now + self.plan.habits.patience;
        self.put(patience, Happening::Patience { op, attempt });
        if let Some(delay) = self.network.client_delay(&mut self.dice) {
            self.put(self.now + delay, Happening::Request { machine, op, attempt, request });
        }
        Ok(())
    }

    /// A request reaches a machine. The operation may have ended meanwhile: the request knows nothing of that.
    pub(crate) fn on_request(&mut self, machine: usize, op: OpId, attempt: u32, request: Sent) -> Checked {
        let Some(process) = &mut self.machines[machine].process else {
            let at = self.now + self.network.stream_delay(&mut self.dice);
            self.put(at, Happening::Answer { op, attempt, machine, answer: Answer::NoProcess });
            return Ok(());
        };
        let token = process.expect_answer(Waiting { op, attempt });
        trace!(self, self.machines[machine].disk.node, "<- {op} attempt {attempt} as {token}");
        let event = match request {
            Sent::Read { gpid, request } => Event::Read { gpid, request, token },
            Sent::Write { gpid, write } => {
                // Whoever is scripted never gives up by itself.
                let patience = (!self.is_scripted(op)).then_some(self.plan.habits.patience);
                Event::Write { gpid, write, token, patience }
            }
        };
        self.hand_in(machine, event);
        Ok(())
    }

    /// An answer reaches its client.
    pub(crate) fn on_answer(&mut self, op: OpId, attempt: u32, machine: usize, answer: Answer) -> Checked {
        if self.is_scripted(op) {
            return self.on_scripted_answer(op, attempt, answer);
        }
        match answer {
            Answer::Reply(Reply::Done { decree, answer }) => self.on_done(op, machine, decree, &answer),
            Answer::Reply(Reply::Refused(refusal)) => self.on_refused(op, attempt, machine, &refusal),
            Answer::Reply(Reply::Unknown) | Answer::Broken => self.on_silence(op, attempt),
            Answer::NoProcess => {
                self.close_attempt(op, attempt);
                self.look_elsewhere(op, machine);
                self.on_not_now(op, attempt)
            }
        }
    }

    fn on_done(&mut self, op: OpId, machine: usize, decree: Decree, answer: &AppAnswer) -> Checked {
        let first = self.history.done(op, decree, answer, self.now)?;
        let Some(running) = self.running.get(&op).filter(|_| first) else { return Ok(()) };
        let is_read = running.kind == Kind::Read;
        let client = &mut self.clients[running.client];
        client.guess = machine;
        if running.kind == Kind::Open {
            client.session = session_in(answer);
            client.next_sequence = 1;
            client.incomplete.clear();
        }
        self.tally.note(if is_read { Sometimes::ReadDone } else { Sometimes::WriteDone });
        trace!(
            self,
            format_args!("c{}", running.client),
            "done {op} at {decree}: {}",
            self.subject.show_answer(answer)
        );
        self.ending.served(client.gpid, is_read, self.now);
        self.finish(op);
        Ok(())
    }

    fn on_refused(&mut self, op: OpId, attempt: u32, machine: usize, refusal: &Refusal) -> Checked {
        self.note_refusal(refusal);
        self.close_attempt(op, attempt);
        let Some(running) = self.running.get(&op) else { return Ok(()) };
        let client = running.client;
        match refusal {
            Refusal::SessionExpired
                if running.stamp.map(|(session, _)| session) == self.clients[client].session =>
            {
                self.clients[client].session = None;
            }
            Refusal::NotPrimary { primary: Some(primary), .. } => {
                if let Some(&place) = self.places.get(primary) {
                    self.clients[client].guess = place;
                }
            }
            Refusal::NotPrimary { primary: None, .. } | Refusal::UnknownPartition => {
                self.look_elsewhere(op, machine);
            }
            _ => {}
        }
        if refusal.retry_can_help() { self.on_not_now(op, attempt) } else { self.give_up(op) }
    }

    /// A surely fruitless attempt: another one after a while, if it is the newest.
    fn on_not_now(&mut self, op: OpId, attempt: u32) -> Checked {
        if let Some(running) = self.running.get_mut(&op)
            && running.attempt == attempt
            && running.waiting
        {
            running.waiting = false;
            let at = self.now + Duration::from_millis(self.dice.between(5, 80));
            self.put(at, Happening::Try { op });
        }
        Ok(())
    }

    pub(crate) fn on_patience(&mut self, op: OpId, attempt: u32) -> Checked {
        self.on_silence(op, attempt)
    }

    /// No answer, or one that says nothing. What must not happen twice is not tried twice.
    fn on_silence(&mut self, op: OpId, attempt: u32) -> Checked {
        let Some(running) = self.running.get_mut(&op) else { return Ok(()) };
        if running.attempt != attempt || !running.waiting {
            return Ok(());
        }
        running.waiting = false;
        if running.kind == Kind::Write && running.stamp.is_none() {
            return self.give_up(op);
        }
        let machine = self.clients[running.client].guess;
        self.look_elsewhere(op, machine);
        self.on_try(op)
    }

    /// An attempt has surely no effect, now or later.
    fn close_attempt(&mut self, op: OpId, attempt: u32) {
        if let Some(running) = self.running.get_mut(&op) {
            running.open.remove(&attempt);
        }
    }

    fn look_elsewhere(&mut self, op: OpId, not_at: usize) {
        if let Some(running) = self.running.get(&op)
            && self.clients[running.client].guess == not_at
        {
            self.clients[running.client].guess = self.dice.index(self.machines.len());
        }
    }

    /// An operation ends without an answer: it was surely not done, or nobody knows.
    fn give_up(&mut self, op: OpId) -> Checked {
        let Some(running) = self.running.get(&op) else { return Ok(()) };
        let sure = running.open.is_empty();
        if self.truth.is_lost(self.clients[running.client].gpid) {
            self.tally.note(Sometimes::NothingServed);
        }
        trace!(
            self,
            format_args!("c{}", running.client),
            "gives up {op}, {}",
            if sure { "failed" } else { "unknown" }
        );
        if sure {
            self.history.failed(op, self.now)?;
        } else {
            self.history.unknown(op, self.now);
            self.tally.note(Sometimes::UnknownOutcome);
        }
        self.finish(op);
        Ok(())
    }

    fn finish(&mut self, op: OpId) {
        let Some(running) = self.running.remove(&op) else { return };
        let client = &mut self.clients[running.client];
        client.opening &= running.kind != Kind::Open;
        if let Some((session, sequence)) = running.stamp
            && client.session == Some(session)
        {
            client.incomplete.remove(&sequence);
        }
        let at = self.now + self.dice.around(self.plan.habits.think);
        self.put(at, Happening::Think { client: running.client });
    }

    fn note_refusal(&mut self, refusal: &Refusal) {
        let what = match refusal {
            Refusal::Busy => Sometimes::Busy,
            Refusal::NotReady => Sometimes::NotReady,
            Refusal::NoLease => Sometimes::ReadNoLease,
            Refusal::NotEnoughReplicas => Sometimes::NotEnoughReplicas,
            Refusal::StorageUnavailable => Sometimes::StorageUnavailable,
            Refusal::TooLarge { .. } => Sometimes::TooLarge,
            Refusal::SessionExpired => Sometimes::SessionExpired,
            Refusal::SequenceOutOfWindow => Sometimes::OutOfWindow,
            Refusal::Throttled => Sometimes::Throttled,
            Refusal::Denied => Sometimes::Denied,
            Refusal::DiskFull => Sometimes::WriteDiskFull,
            _ => return,
        };
        self.tally.note(what);
    }
}

/// The number of a session that was opened.
fn session_in(answer: &AppAnswer) -> Option<u64> {
    Some(u64::from_le_bytes(answer.as_ref().ok()?.as_ref().try_into().ok()?))
}

/// What an operation's next attempt says.
fn request(client: &Client, running: &Running) -> Sent {
    let (gpid, payload) = (client.gpid, running.payload.clone());
    let (kind, payload) = match running.kind {
        Kind::Read => return Sent::Read { gpid, request: payload },
        Kind::Open => (WriteKind::OpenSession, Bytes::new()),
        Kind::Write => (WriteKind::Update, payload),
        Kind::ReadAsWrite => (WriteKind::Read, payload),
    };
    let session = running.stamp.map(|(session, sequence)| SessionStamp {
        session,
        sequence,
        first_incomplete: client.incomplete.first().map_or(sequence, |&first| first.min(sequence)),
    });
    Sent::Write { gpid, write: Write { session, kind, payload } }
}
