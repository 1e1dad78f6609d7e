//! What a scenario's clients ask for. Each attempt goes to one node and is heard of once; nothing is tried
//! again unless the scenario says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use words::{Decree, Gpid, Reply, SessionStamp, Write, WriteKind};

use crate::clients::Sent;
use crate::operation::{self, Kind};
use crate::tally_app::{Request, answered};
use crate::violation::Checked;
use crate::witness::{OpId, tagged};
use crate::world::{Answer, Happening, World, trace};

/// All operations of a scenario.
#[derive(Default)]
pub(super) struct Operations {
    by_op: BTreeMap<OpId, Operation>,
    by_label: BTreeMap<String, OpId>,
    /// Sessions by their names; the number is known once the opening is answered.
    sessions: BTreeMap<String, OpId>,
}

struct Operation {
    gpid: Gpid,
    kind: Kind,
    request: Bytes,
    stamp: Option<SessionStamp>,
    attempts: u32,
    /// Attempts that may have taken effect or still will.
    open: BTreeSet<u32>,
    /// Whether any attempt was answered; one that comes later may still be refused.
    done: bool,
    outcome: Outcome,
}

/// What a client knows of an operation: what its newest attempt was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    Done { value: Option<i64>, decree: Decree },
    Refused(&'static str),
    Unknown,
}

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) gpid: Gpid,
    /// `None` opens a session.
    pub(super) request: Option<Request>,
    /// The name of its session, and its number in it.
    pub(super) session: Option<(String, u64)>,
    /// The machine that is asked; the primary's as a rule.
    pub(super) at: Option<usize>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => write!(f, "pending"),
            Self::Done { value: Some(value), decree } => write!(f, "{value}@{decree}"),
            Self::Done { value: None, decree } => write!(f, "an error of the app@{decree}"),
            Self::Refused(code) => write!(f, "refused {code}"),
            Self::Unknown => write!(f, "unknown"),
        }
    }
}

impl Operations {
    /// The operation of that label; the label of another one can be given again.
    pub(super) fn find(&self, label: &str) -> Option<OpId> {
        self.by_label.get(label).copied()
    }

    pub(super) fn outcome(&self, op: OpId) -> Outcome {
        self.by_op.get(&op).map_or(Outcome::Unknown, |operation| operation.outcome.clone())
    }

    /// Whether an operation is none of a seed's clients.
    pub(super) fn knows(&self, op: OpId) -> bool {
        self.by_op.contains_key(&op)
    }

    /// The lowest number of a session's writes that are not done.
    fn first_incomplete(&self, session: u64, sequence: u64) -> u64 {
        let done = |operation: &&Operation| matches!(operation.outcome, Outcome::Done { .. });
        let open = self.by_op.values().filter(|operation| !done(operation)).filter_map(|it| it.stamp);
        open.filter(|stamp| stamp.session == session).map(|it| it.sequence).fold(sequence, u64::min)
    }

    /// The number that a session was given.
    fn session(&self, name: &str) -> Option<u64> {
        match self.outcome(*self.sessions.get(name)?) {
            Outcome::Done { value: Some(value), .. } => Some(value.cast_unsigned()),
            _ => None,
        }
    }
}

impl World<'_> {
    /// A client begins an operation, and makes its first attempt.
    pub(super) fn begin_operation(&mut self, label: Option<&str>, asked: &Asked) -> Result<OpId, String> {
        let stamp = match &asked.session {
            None => None,
            Some((name, sequence)) => {
                let session = self.script.operations.session(name);
                let session = session.ok_or_else(|| format!("session `{name}` is not open"))?;
                let first_incomplete = self.script.operations.first_incomplete(session, *sequence);
                Some(SessionStamp { session, sequence: *sequence, first_incomplete })
            }
        };
        let (kind, key, request) = match asked.request {
            None => (Kind::Open, 0, Bytes::new()),
            Some(request @ Request::Add { key, .. }) => (Kind::Write, key, request.encode()),
            Some(request @ Request::Read { key }) => (Kind::Read, key, request.encode()),
        };
        let begun = operation::Operation::new(0, asked.gpid, kind, (key, request.clone()), self.now);
        let op = self.history.begin(begun);
        let operation = Operation {
            gpid: asked.gpid,
            kind,
            request,
            stamp,
            attempts: 0,
            open: BTreeSet::new(),
            done: false,
            outcome: Outcome::Pending,
        };
        let operations = &mut self.script.operations;
        operations.by_op.insert(op, operation);
        if let Some(label) = label {
            operations.by_label.insert(label.to_owned(), op);
        }
        self.attempt(op, asked.at)?;
        Ok(op)
    }

    /// A client opens a session, which goes by this name from then on.
    pub(super) fn open_session(&mut self, name: &str, asked: &Asked) -> Result<OpId, String> {
        let op = self.begin_operation(None, asked)?;
        self.script.operations.sessions.insert(name.to_owned(), op);
        Ok(op)
    }

    /// Asks a machine, or the one of the primary.
    pub(super) fn attempt(&mut self, op: OpId, at: Option<usize>) -> Result<(), String> {
        let operation = self.script.operations.by_op.get_mut(&op).expect("it was begun");
        let gpid = operation.gpid;
        operation.attempts += 1;
        operation.open.insert(operation.attempts);
        operation.outcome = Outcome::Pending;
        let (attempt, request) = (operation.attempts, operation.request(op));
        let machine = at.or_else(|| self.primary_of(gpid)).ok_or_else(|| format!("{gpid} has no primary"))?;
        trace!(self, "client", "asks machine {} for {op}, attempt {attempt}", machine + 1);
        let delay = self.network.client_delay(&mut self.dice).unwrap_or_default();
        self.put(self.now + delay, Happening::Request { machine, op, attempt, request });
        Ok(())
    }

    /// Whether an operation is a scenario's.
    pub(crate) fn is_scripted(&self, op: OpId) -> bool {
        self.script.is_on() && self.script.operations.knows(op)
    }

    /// An answer reaches a scenario's client.
    pub(crate) fn on_scripted_answer(&mut self, op: OpId, attempt: u32, answer: Answer) -> Checked {
        let (outcome, closed) = match answer {
            Answer::Reply(Reply::Done { decree, answer }) => {
                self.history.done(op, decree, &answer, self.now)?;
                (Outcome::Done { value: answered(&answer), decree }, true)
            }
            Answer::Reply(Reply::Refused(refusal)) => (Outcome::Refused(refusal.code()), true),
            Answer::NoProcess => (Outcome::Refused("no_process"), true),
            Answer::Reply(Reply::Unknown) | Answer::Broken => (Outcome::Unknown, false),
        };
        trace!(self, "client", "hears of {op}, attempt {attempt}: {outcome}");
        let Some(operation) = self.script.operations.by_op.get_mut(&op) else { return Ok(()) };
        operation.done |= matches!(outcome, Outcome::Done { .. });
        if closed {
            operation.open.remove(&attempt);
        }
        if attempt == operation.attempts {
            operation.outcome = outcome;
        }
        Ok(())
    }

    /// No client asks again: what was surely not done must not be done, now or later (V3).
    pub(super) fn end_operations(&mut self) -> Checked {
        for (&op, operation) in &self.script.operations.by_op {
            match operation.done {
                true => {}
                false if operation.open.is_empty() => self.history.failed(op, self.now)?,
                false => self.history.unknown(op, self.now),
            }
        }
        Ok(())
    }
}

impl Operation {
    fn request(&self, op: OpId) -> Sent {
        let gpid = self.gpid;
        let payload = tagged(op, &self.request);
        let (kind, payload) = match self.kind {
            Kind::Read => return Sent::Read { gpid, request: payload },
            Kind::Open => (WriteKind::OpenSession, Bytes::new()),
            Kind::Write => (WriteKind::Update, payload),
            Kind::ReadAsWrite => (WriteKind::Read, payload),
        };
        Sent::Write { gpid, write: Write { session: self.stamp, kind, payload } }
    }
}
