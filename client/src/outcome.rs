//! How an operation ended (§8.3).

use std::time::Duration;

use words::{Decree, Refusal, Rejection};

/// How an operation ended, as far as anybody can know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome<T> {
    /// It took effect once, and is there for ever (V2).
    Done {
        /// The decree at which it was applied, or up to which a read saw everything.
        decree: Decree,
        /// The app's answer.
        answer: T,
    },
    /// It did not take effect and never will. Doing it again is safe.
    Failed(Failure),
    /// The deadline passed while it may have been on its way: it takes effect at most once, now or later
    /// (V3). Only a write can end like this.
    Unknown,
}

impl<T> Outcome<T> {
    /// The same end with another form of answer. `None` means that the answer makes no sense; what was done
    /// stays done, so nothing better than [`Outcome::Unknown`] can be said then.
    pub fn and_then<U>(self, convert: impl FnOnce(T) -> Option<U>) -> Outcome<U> {
        match self {
            Self::Done { decree, answer } => {
                convert(answer).map_or(Outcome::Unknown, |answer| Outcome::Done { decree, answer })
            }
            Self::Failed(failure) => Outcome::Failed(failure),
            Self::Unknown => Outcome::Unknown,
        }
    }

    /// The word for it in histories and `--json`: `done`, `failed` or `unknown`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Failed(_) => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an operation was surely not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The app refused the request; it changed nothing.
    #[error("{}", .0.message)]
    Rejected(Rejection),
    /// A replica server refused it for good.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// A replica server did not understand it.
    #[error("refused: {0}")]
    NotUnderstood(String),
    /// The deadline passed, and it was never sent or always refused.
    #[error("not done within {} ms; at last: {last}", timeout.as_millis())]
    Deadline {
        /// How long was tried.
        timeout: Duration,
        /// What stood in the way at last.
        last: String,
    },
    /// It is larger than `max_write_bytes` and was not sent.
    #[error(
        "{size} bytes are too large for a request: the limit (replication.max_write_bytes) is {limit} bytes"
    )]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// There is no such app (any more); what the meta server says of it.
    #[error("{0}")]
    UnknownApp(String),
}

impl Failure {
    /// Whether what was asked is wrong in itself, so that only the caller can mend it.
    #[must_use]
    pub fn is_callers_mistake(&self) -> bool {
        matches!(
            self,
            Self::Rejected(_) | Self::TooLarge { .. } | Self::UnknownApp(_) | Self::NotUnderstood(_)
        )
    }
}
