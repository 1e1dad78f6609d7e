//! All that has to do with time, as a state machine without I/O.
//!
//! The rule that keeps two from being master at once needs no clock that anybody agrees on, only clocks that run
//! alike (`clock_ratio_permille`):
//!
//! * A master counts its lease from *before* it asked for it, on its own clock.
//! * Somebody else waits for that lease, times the ratio, from when it *saw* the version that it would replace, on its
//!   own clock; then it asks for a compare-and-set on that very version. Whoever saw a version saw it after its master
//!   asked for it. So when the wait is over, the lease is, too, or has been renewed; and if it has, the version is
//!   another one and the compare-and-set fails.
//!
//! Whose clock is ahead, how long a message took, whether an answer was lost: none of it can break that.

use std::time::Duration;

use crate::request::{Answer, Record};

/// A point on one machine's clock, which never goes back and counts time asleep. Means nothing on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// Later than everything.
    pub const NEVER: Self = Self(Duration::MAX);

    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long until then.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for the mastership, or for a longer one, if the version is still this one; say so with
    /// [`Candidate::asks`] before anything leaves.
    Take {
        /// That version.
        version: u64,
    },
    /// Nothing until then, or until something is seen.
    Wait(Moment),
    /// This campaign is over.
    Over(Lost),
}

/// A mastership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The fencing token.
    pub token: u64,
    /// It ends then, unless it is renewed.
    pub until: Moment,
    /// When it was asked for.
    asked_at: Moment,
}

/// Why a campaign is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The lease could not be renewed in time.
    #[error("the lease could not be renewed in time")]
    LeaseOver,
    /// It was taken away: no renewal is allowed any more.
    #[error("the mastership was revoked")]
    Revoked,
}

/// How a question ended, as far as its candidate knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was answered.
    Answer(Answer),
    /// It was not; it may be done, now or later, or never.
    Nothing,
}

/// One campaign: from the first look to the mastership, and on until that is lost.
#[derive(Clone, Debug)]
pub struct Candidate {
    nonce: u64,
    lease: Duration,
    ratio_permille: u32,
    /// The newest record that it has seen, and when it saw that first.
    seen: Option<(Record, Moment)>,
    /// When it asked what is not answered yet.
    asked_at: Option<Moment>,
    held: Option<Held>,
    /// Nothing is asked before, since what was asked last had no answer.
    pause_until: Moment,
    over: Option<Lost>,
}

impl Candidate {
    /// One that has seen nothing yet. `nonce` must be drawn anew for each; `ratio_permille` is the largest ratio
    /// between the rates of any two clocks, in thousandths above one.
    #[must_use]
    pub fn new(nonce: u64, lease: Duration, ratio_permille: u32) -> Self {
        Self {
            nonce,
            lease,
            ratio_permille,
            seen: None,
            asked_at: None,
            held: None,
            pause_until: Moment::default(),
            over: None,
        }
    }

    /// What it asks with.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// The version of the newest record that it has seen.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(record, _)| record.version)
    }

    /// The mastership at this moment.
    #[must_use]
    pub fn held(&self, now: Moment) -> Option<Held> {
        self.held.filter(|held| self.over.is_none() && now < held.until)
    }

    /// A record was seen, by whatever way.
    pub fn sees(&mut self, now: Moment, record: Record) {
        if self.seen.as_ref().is_some_and(|(newest, _)| newest.version >= record.version) {
            return;
        }
        if self.held.is_some() && !self.is_mine(&record) {
            // Whoever took it waited until the lease was over.
            self.over.get_or_insert(Lost::LeaseOver);
        }
        if record.master.as_ref().is_some_and(|master| master.nonce == self.nonce && master.revoked) {
            self.over = Some(Lost::Revoked);
        }
        self.seen = Some((record, now));
    }

    /// What to do at this moment.
    #[must_use]
    pub fn next(&mut self, now: Moment) -> Step {
        if self.held.is_some_and(|held| held.until <= now) {
            self.over.get_or_insert(Lost::LeaseOver);
        }
        if let Some(lost) = self.over {
            return Step::Over(lost);
        }
        let Some((record, seen_at)) = &self.seen else { return Step::Wait(Moment::NEVER) };
        if self.asked_at.is_some() {
            return Step::Wait(Moment::NEVER);
        }
        let due = match (&self.held, &record.master) {
            (Some(held), _) => held.asked_at.after(self.lease / 3),
            (None, Some(master)) if !self.is_mine(record) => seen_at.after(self.stretched(master.lease())),
            (None, _) => now,
        };
        let due = due.max(self.pause_until);
        if due <= now { Step::Take { version: record.version } } else { Step::Wait(due) }
    }

    /// It asks now. From this moment its lease counts, if it gets it.
    pub fn asks(&mut self, now: Moment) {
        self.asked_at = Some(now);
    }

    /// What it asked has ended. With no answer it asks again after `pause`.
    pub fn hears(&mut self, now: Moment, heard: Heard, pause: Duration) {
        let Some(asked_at) = self.asked_at.take() else { return };
        let answer = match heard {
            Heard::Answer(answer) => answer,
            Heard::Nothing => {
                self.pause_until = now.after(pause);
                return;
            }
        };
        if self.held.is_some_and(|held| held.until <= now) {
            // A mastership that was over does not come back, though nobody else can have had it.
            self.over.get_or_insert(Lost::LeaseOver);
        }
        let until = asked_at.after(self.lease);
        if answer.accepted
            && now < until
            && let Some(master) = answer.record.master.as_ref().filter(|master| master.nonce == self.nonce)
        {
            self.held = Some(Held { token: master.token, until, asked_at });
        }
        self.sees(now, answer.record);
    }

    fn is_mine(&self, record: &Record) -> bool {
        record.master.as_ref().is_some_and(|master| master.nonce == self.nonce && !master.revoked)
    }

    /// What a span on the fastest clock is at least on this one, if this one is the slowest.
    fn stretched(&self, span: Duration) -> Duration {
        stretched(span, self.ratio_permille)
    }
}

/// A span that lasts as long as `span` on any other clock, or longer.
pub(crate) fn stretched(span: Duration, ratio_permille: u32) -> Duration {
    span + span * ratio_permille / 1000 + Duration::from_nanos(1)
}
