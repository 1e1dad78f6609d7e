//! From the end of one sending to the end of the operation, or to the next sending. Decides, and does nothing.

use std::time::Duration;

use bytes::Bytes;
use proto::OperationKind;
use words::{Ballot, NodeId, Refusal, Reply, Write, WriteKind};

use crate::backoff::Pause;
use crate::link::Delivery;
use crate::{Failure, Outcome};

/// Pauses after which an unchanged refusal is worth a question to the meta server.
const PAUSES_BETWEEN_QUESTIONS: u32 = 8;

/// What the sendings of one operation have come to so far.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// The sending that is under way may be executed.
    this_may_be_done: bool,
    /// An earlier one may have been executed, or may still be.
    earlier_may_be_done: bool,
    /// What stood in the way at last, for people.
    pub(crate) last: String,
    /// Refusals so far, which make pauses grow.
    refusals: u32,
}

/// What to do after a sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The operation is over.
    End(Outcome<Bytes>),
    /// Its session is gone, and it was surely not done: number it anew in a new session.
    NewSession,
    /// Another node is said to be the primary: go there, and if that is no news, ask the meta server.
    Follow { ballot: Ballot, primary: NodeId },
    /// Send it again, after this pause.
    Again { pause: Pause },
    /// Ask the meta server, then send it again: at once if the primary is another one, else after this pause.
    Ask { pause: Pause },
}

impl Trail {
    /// The operation was handed to a connection.
    pub(crate) fn sent(&mut self, kind: &OperationKind) {
        self.this_may_be_done = takes_effect(kind);
    }

    /// The operation's deadline has passed.
    pub(crate) fn end(self, timeout: Duration) -> Outcome<Bytes> {
        let last = if self.last.is_empty() { "no answer".into() } else { self.last.clone() };
        self.fail(Failure::Deadline { timeout, last })
    }

    /// No more is sent. What was sent before may have been executed all the same.
    pub(crate) fn fail(&self, failure: Failure) -> Outcome<Bytes> {
        if self.this_may_be_done || self.earlier_may_be_done {
            Outcome::Unknown
        } else {
            Outcome::Failed(failure)
        }
    }

    /// What follows from how a sending ended. `node` is for people.
    pub(crate) fn judge(&mut self, delivery: Delivery, kind: &OperationKind, node: &str) -> Next {
        let may_be_done = std::mem::take(&mut self.this_may_be_done);
        match delivery {
            Delivery::Reply(Reply::Done { decree, answer: Ok(answer) }) => {
                Next::End(Outcome::Done { decree, answer })
            }
            Delivery::Reply(Reply::Done { answer: Err(rejection), .. }) => {
                Next::End(Outcome::Failed(Failure::Rejected(rejection)))
            }
            Delivery::Reply(Reply::Refused(refusal)) => {
                self.last = format!("{node}: {refusal}");
                self.after_refusal(refusal, kind)
            }
            Delivery::RefusedOtherwise { message, retry_can_help: false } => {
                Next::End(self.fail(Failure::NotUnderstood(message)))
            }
            Delivery::RefusedOtherwise { message, retry_can_help: true } => {
                self.last = format!("{node}: {message}");
                self.refusals += 1;
                Next::Ask { pause: Pause::Growing { refusals: self.refusals } }
            }
            Delivery::NotSent(why) => {
                self.last = format!("{node}: {why}");
                Next::Ask { pause: Pause::Later }
            }
            Delivery::Reply(Reply::Unknown) => {
                self.earlier_may_be_done |= may_be_done;
                self.last = format!("{node}: stopped being the primary meanwhile");
                Next::Ask { pause: Pause::Soon }
            }
            Delivery::Lost(why) => {
                self.earlier_may_be_done |= may_be_done;
                self.last = format!("{node}: {why}");
                Next::Ask { pause: Pause::Later }
            }
        }
    }

    fn after_refusal(&mut self, refusal: Refusal, kind: &OperationKind) -> Next {
        let refusals = self.refusals;
        self.refusals += 1;
        match refusal {
            Refusal::NotPrimary { ballot, primary: Some(primary) } => Next::Follow { ballot, primary },
            Refusal::NotPrimary { primary: None, .. } => Next::Ask { pause: Pause::Soon },
            Refusal::UnknownPartition => Next::Ask { pause: Pause::Later },
            Refusal::NotReady | Refusal::NoLease
                if self.refusals.is_multiple_of(PAUSES_BETWEEN_QUESTIONS) =>
            {
                Next::Ask { pause: Pause::Soon }
            }
            Refusal::NotReady | Refusal::NoLease => Next::Again { pause: Pause::Soon },
            Refusal::Busy => Next::Again { pause: Pause::Growing { refusals } },
            Refusal::NotEnoughReplicas | Refusal::StorageUnavailable => {
                Next::Ask { pause: Pause::Growing { refusals } }
            }
            Refusal::SessionExpired | Refusal::SequenceOutOfWindow if is_numbered(kind) => {
                // An earlier sending of it may have been executed, and then forgotten with its session.
                if self.earlier_may_be_done { Next::End(Outcome::Unknown) } else { Next::NewSession }
            }
            Refusal::SessionExpired | Refusal::SequenceOutOfWindow | Refusal::TooLarge { .. } => {
                Next::End(self.fail(Failure::Refused(refusal)))
            }
        }
    }
}

/// Whether executing it changes anything that a caller can see.
fn takes_effect(kind: &OperationKind) -> bool {
    matches!(kind, OperationKind::Write(Write { kind: WriteKind::Update, .. }))
}

fn is_numbered(kind: &OperationKind) -> bool {
    matches!(kind, OperationKind::Write(Write { session: Some(_), .. }))
}
