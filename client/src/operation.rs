//! From the end of one sending to the end of the operation, or to the next sending. Decides, and does nothing.

use std::time::Duration;

use bytes::Bytes;
use proto::OperationKind;
use tokio::time::Instant;
use words::{Ballot, NodeId, Refusal, Reply, Write, WriteKind};

use crate::backoff::Pause;
use crate::link::Delivery;
use crate::{Failure, Outcome};

/// Pauses after which an unchanged refusal is worth a question to the meta server.
const PAUSES_BETWEEN_QUESTIONS: u32 = 8;

/// What the sendings of one operation have come to so far.
#[derive(Debug)]
pub(crate) struct Trail {
    /// When its caller gives up.
    pub(crate) deadline: Instant,
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
    /// That of an operation that begins now.
    pub(crate) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            this_may_be_done: false,
            earlier_may_be_done: false,
            last: String::new(),
            refusals: 0,
        }
    }

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
            Refusal::Busy | Refusal::Throttled => Next::Again { pause: Pause::Growing { refusals } },
            Refusal::NotEnoughReplicas | Refusal::StorageUnavailable | Refusal::DiskFull => {
                Next::Ask { pause: Pause::Growing { refusals } }
            }
            Refusal::SessionExpired | Refusal::SequenceOutOfWindow if is_numbered(kind) => {
                // An earlier sending of it may have been executed, and then forgotten with its session.
                if self.earlier_may_be_done { Next::End(Outcome::Unknown) } else { Next::NewSession }
            }
            Refusal::SessionExpired
            | Refusal::SequenceOutOfWindow
            | Refusal::TooLarge { .. }
            | Refusal::Denied
            | Refusal::Compacted { .. } => Next::End(self.fail(Failure::Refused(refusal))),
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

#[cfg(test)]
mod tests {
    use words::{Decree, Rejection, SessionStamp};

    use super::*;

    fn write(kind: WriteKind) -> OperationKind {
        let session = Some(SessionStamp { session: 1, sequence: 1, first_incomplete: 1 });
        OperationKind::Write(Write { session, kind, payload: Bytes::new() })
    }

    fn refused(refusal: Refusal) -> Delivery {
        Delivery::Reply(Reply::Refused(refusal))
    }

    /// Judges these ends of sendings, one after another; then the deadline passes.
    fn after(deliveries: &[Delivery], kind: &OperationKind) -> (Option<Next>, Outcome<Bytes>) {
        let mut trail = Trail::until(Instant::now());
        let mut last = None;
        for delivery in deliveries {
            if !matches!(delivery, Delivery::NotSent(_)) {
                trail.sent(kind);
            }
            last = Some(trail.judge(delivery.clone(), kind, "r1"));
        }
        (last, trail.end(Duration::ZERO))
    }

    fn is_unknown_after(deliveries: &[Delivery]) -> bool {
        after(deliveries, &write(WriteKind::Update)).1 == Outcome::Unknown
    }

    #[test]
    fn a_write_is_unknown_once_any_sending_may_have_been_executed() {
        let lost = || Delivery::Lost("reset".into());
        let unknown = || Delivery::Reply(Reply::Unknown);
        let busy = || refused(Refusal::Busy);
        let not_sent = || Delivery::NotSent("refused".into());
        for sure in [&[][..], &[busy()], &[not_sent()], &[busy(), not_sent(), busy()]] {
            assert!(!is_unknown_after(sure), "{sure:?}");
        }
        for unsure in [&[lost()][..], &[unknown()], &[busy(), lost()], &[lost(), busy(), not_sent()]] {
            assert!(is_unknown_after(unsure), "{unsure:?}");
            let read = OperationKind::Read(Bytes::new());
            for kind in [read, write(WriteKind::Read), write(WriteKind::OpenSession)] {
                assert_ne!(
                    after(unsure, &kind).1,
                    Outcome::Unknown,
                    "nobody can see whether it was executed"
                );
            }
        }
        let mut under_way = Trail::until(Instant::now());
        under_way.sent(&write(WriteKind::Update));
        assert_eq!(under_way.end(Duration::ZERO), Outcome::Unknown);
    }

    #[test]
    fn what_can_not_get_better_ends_at_once() {
        let kind = write(WriteKind::Update);
        let end = |deliveries: &[Delivery]| after(deliveries, &kind).0.expect("something was judged");
        let lost = || Delivery::Lost("reset".into());
        let newer = || Delivery::RefusedOtherwise { message: "no".into(), retry_can_help: false };
        for (refusal, failure) in [
            (refused(Refusal::TooLarge { limit: 1 }), Failure::Refused(Refusal::TooLarge { limit: 1 })),
            (newer(), Failure::NotUnderstood("no".into())),
        ] {
            assert_eq!(end(std::slice::from_ref(&refusal)), Next::End(Outcome::Failed(failure)));
            assert_eq!(end(&[lost(), refusal]), Next::End(Outcome::Unknown));
        }
        assert_eq!(end(&[refused(Refusal::SessionExpired)]), Next::NewSession);
        assert_eq!(end(&[lost(), refused(Refusal::SessionExpired)]), Next::End(Outcome::Unknown));
        // The app's answer is the session's memory of the one time that it was applied.
        let rejection = Rejection { code: 1, message: "no".into() };
        let answer = Delivery::Reply(Reply::Done { decree: Decree(1), answer: Err(rejection.clone()) });
        assert_eq!(end(&[lost(), answer]), Next::End(Outcome::Failed(Failure::Rejected(rejection))));
    }

    #[test]
    fn a_refusal_that_goes_on_is_worth_a_question_now_and_then() {
        let questions = (1..=16).filter(|&count| {
            let refusals = vec![refused(Refusal::NotReady); count];
            matches!(after(&refusals, &write(WriteKind::Update)).0, Some(Next::Ask { .. }))
        });
        assert_eq!(questions.collect::<Vec<_>>(), [8, 16]);
    }
}
