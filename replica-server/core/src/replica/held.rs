//! Requests that a primary keeps for a while: writes that are slowed down, and refusals that are not to be had at
//! once.

use std::collections::BTreeMap;

use words::{Refusal, Time, Write};

use crate::Token;

/// A client's write that has no decree yet.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) write: Write,
    pub(super) token: Token,
    /// After this its client will have given up before it is done.
    pub(super) until: Time,
}

/// What goes on, or is said, when its time has come.
#[derive(Debug)]
pub(super) enum Kept {
    Write(Queued),
    Refusal(Refusal, Token),
}

/// Them all, by when their time comes; those of one time in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    requests: BTreeMap<(Time, u64), Kept>,
    last: u64,
    /// Bytes of payload in them.
    bytes: usize,
}

impl Held {
    pub(super) fn keep(&mut self, until: Time, kept: Kept) {
        self.last += 1;
        self.bytes += kept.bytes();
        self.requests.insert((until, self.last), kept);
    }

    /// The next one whose time has come.
    pub(super) fn take(&mut self, now: Time) -> Option<Kept> {
        let next = self.requests.first_entry().filter(|next| next.key().0 <= now)?;
        let kept = next.remove();
        self.bytes -= kept.bytes();
        Some(kept)
    }

    /// When the next one's time comes.
    pub(super) fn deadline(&self) -> Time {
        self.requests.keys().next().map_or(Time::NEVER, |&(until, _)| until)
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whom nothing was said.
    pub(super) fn into_tokens(self) -> impl Iterator<Item = Token> {
        self.requests.into_values().map(|kept| match kept {
            Kept::Write(Queued { token, .. }) | Kept::Refusal(_, token) => token,
        })
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(queued) => queued.write.payload.len(),
            Self::Refusal(..) => 0,
        }
    }
}
