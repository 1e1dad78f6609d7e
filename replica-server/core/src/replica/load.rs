//! How much a replica holds in memory: what has to stay bounded (L2).

use super::{Replica, Role};
use crate::Settings;
use crate::prepare_list::TailBounds;

/// What a replica holds, besides its app and its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Mutations prepared and not committed.
    pub in_flight: usize,
    /// Mutations in the prepare list that the app has applied.
    pub tail: usize,
    /// Bytes in the prepare list, as its bound counts them.
    pub list_bytes: usize,
    /// Whether a learner may need more of the tail than is kept otherwise.
    pub is_wanted: bool,
    /// Writes that wait for a place in the window.
    pub waiting: usize,
    /// Writes and refusals that the app's environment keeps back.
    pub kept: usize,
    /// Bytes of payload in all these.
    pub waiting_bytes: usize,
    /// Mutations whose clients wait for an answer.
    pub unanswered: usize,
}

impl Replica {
    /// What it holds now.
    #[must_use]
    pub fn load(&self) -> Load {
        let (waiting, kept, waiting_bytes, unanswered) = match &self.role {
            Role::Primary(primary) => (
                primary.waiting.len(),
                primary.held.len(),
                primary.waiting_bytes + primary.held.bytes(),
                primary.tokens.len(),
            ),
            _ => (0, 0, 0, 0),
        };
        let count = |upto: u64, from: u64| usize::try_from(upto.saturating_sub(from)).unwrap_or(usize::MAX);
        Load {
            in_flight: count(self.last_prepared().0, self.last_committed().0),
            tail: count(self.applied.0, self.list.floor().0),
            list_bytes: self.list.bytes(),
            is_wanted: self.wanted_by_learners().is_some(),
            waiting,
            kept,
            waiting_bytes,
            unanswered,
        }
    }

    /// Bytes in the prepare list of what the app has applied.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.list.bytes() - self.list.bytes_above(self.applied)
    }

    /// More is applied than before: what is kept of it is bounded.
    pub(super) fn trim_list(&mut self, settings: &Settings) {
        let bounds = TailBounds { wanted_after: self.wanted_by_learners(), ..TailBounds::of(settings) };
        self.list.trim(self.applied, &bounds);
    }
}
