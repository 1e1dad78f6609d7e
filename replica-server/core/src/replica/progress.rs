//! How far one peer has come, as its primary sees it, and what to send it next.

use std::time::Duration;

use words::{Decree, Time};

/// A batch of re-sends grows to this power of two at most; all of it is in the prepare list, which is bounded.
const MAX_ROUNDS: u32 = 6;

/// A secondary's, or a streaming learner's, progress in the present ballot.
///
/// Normally every prepare is sent as it is made. After a refusal or a silence the primary goes back and
/// re-sends in batches, one under way at a time (§3.2).
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// Confirmed and durable there, in this ballot: what counts for commits.
    pub(crate) acked: Decree,
    /// The last decree sent.
    pub(crate) sent: Decree,
    /// Where re-sends begin when nothing better is known: known to be there.
    base: Decree,
    /// The end of the batch of re-sends under way; `None`: streaming.
    limit: Option<Decree>,
    /// Since when all that is prepared has been sent, as it was made.
    pub(crate) level_since: Option<Time>,
    /// Batches that were acknowledged one after the other. Each is twice as large as the one before: what is
    /// caught up in a round trip must outgrow what is written in one (§6.3).
    rounds: u32,
    /// When to send again what was not acknowledged; means something while `acked < sent`.
    retry_at: Time,
    /// Since when something is sent that is not acknowledged, without any progress.
    pub(crate) stuck_since: Option<Time>,
    /// The peer's lease covers the partition until then (§5.2).
    pub(crate) lease_until: Time,
}

impl Progress {
    /// A peer that has all up to `base`.
    pub(crate) fn from(base: Decree) -> Self {
        Self {
            acked: Decree::ZERO,
            sent: base,
            base,
            limit: None,
            level_since: None,
            rounds: 0,
            retry_at: Time::NEVER,
            stuck_since: None,
            lease_until: Time::default(),
        }
    }

    /// The ballot rose: what was acknowledged in another does not count, what is in flight is sent again. The
    /// lease is the node's, not the ballot's, and stays.
    pub(crate) fn rebase(&mut self, base: Decree) {
        let lease_until = self.lease_until;
        *self = Self { lease_until, ..Self::from(base) };
    }

    /// Goes back to re-send from the decree after `from`; the last one in any case, if it is not acknowledged: what a
    /// refusal says is there counts for nothing, and the acknowledgement of it may have been lost.
    pub(crate) fn rewind(&mut self, from: Decree, last_prepared: Decree, batch: usize) {
        let all = self.known() == last_prepared;
        let before_last = if all { last_prepared } else { last_prepared.previous() };
        self.sent = from.max(self.acked).min(before_last);
        self.base = self.sent;
        self.level_since = None;
        self.rounds = 0;
        let end = Decree(self.sent.0.saturating_add(batch as u64)).min(last_prepared);
        self.limit = (end > self.sent).then_some(end);
    }

    /// Sends again all that is not acknowledged.
    pub(crate) fn restart(&mut self, last_prepared: Decree, batch: usize) {
        if self.is_outstanding() {
            self.rewind(self.base, last_prepared, batch);
        }
    }

    /// Whether a refusal should be listened to: not while a batch of re-sends is under way.
    pub(crate) fn listens_to_refusal(&self, now: Time) -> bool {
        self.limit.is_none() || self.retry_at <= now
    }

    /// The decrees to send now.
    pub(crate) fn next(
        &mut self,
        now: Time,
        last_prepared: Decree,
        resend: Duration,
    ) -> std::ops::RangeInclusive<u64> {
        let upto = self.limit.unwrap_or(last_prepared);
        let range = self.sent.0 + 1..=upto.0;
        if !range.is_empty() {
            self.sent = upto;
            self.retry_at = now + resend;
            self.stuck_since.get_or_insert(now);
        }
        range
    }

    /// The peer acknowledged up to `confirmed`.
    pub(crate) fn on_ack(
        &mut self,
        now: Time,
        confirmed: Decree,
        last_prepared: Decree,
        batch: usize,
        resend: Duration,
    ) {
        if confirmed > self.acked {
            self.acked = confirmed;
            self.retry_at = now + resend;
            self.stuck_since = Some(now);
        }
        if !self.is_outstanding() {
            self.stuck_since = None;
        }
        if self.limit.is_none() {
            self.level_since.get_or_insert(now);
        }
        if let Some(limit) = self.limit
            && self.acked >= limit
        {
            self.sent = self.sent.max(self.acked);
            self.rounds = (self.rounds + 1).min(MAX_ROUNDS);
            let next = Decree(limit.0.saturating_add((batch as u64) << self.rounds)).min(last_prepared);
            // A batch that reaches the end ends the re-sending: from here on prepares are streamed.
            self.limit = (next < last_prepared).then_some(next.max(limit));
        }
    }

    /// Whether what was sent is to be sent again; from where.
    pub(crate) fn retry_from(&self, now: Time) -> Option<Decree> {
        (self.is_outstanding() && self.retry_at <= now).then(|| self.known())
    }

    /// All up to here is known to be there.
    pub(crate) fn known(&self) -> Decree {
        self.acked.max(self.base)
    }

    /// Whether something was sent that is not acknowledged.
    fn is_outstanding(&self) -> bool {
        self.sent > self.known()
    }

    /// When to send again.
    pub(crate) fn retry_deadline(&self) -> Time {
        if self.is_outstanding() { self.retry_at } else { Time::NEVER }
    }

    /// When something is due for a member: to send again, or to suspect it.
    pub(crate) fn deadline(&self, prepare_timeout: Duration) -> Time {
        let stuck = self.stuck_since.map_or(Time::NEVER, |since| since + prepare_timeout);
        self.retry_deadline().min(stuck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESEND: Duration = Duration::from_millis(200);
    const T0: Time = Time(1000);

    fn collect(progress: &mut Progress, last_prepared: u64) -> Vec<u64> {
        progress.next(T0, Decree(last_prepared), RESEND).collect()
    }

    #[test]
    fn streams_what_is_new() {
        let mut progress = Progress::from(Decree(3));
        assert_eq!(collect(&mut progress, 5), [4, 5]);
        assert_eq!(collect(&mut progress, 6), [6]);
        assert_eq!(collect(&mut progress, 6), []);
    }

    #[test]
    fn goes_back_in_batches_and_streams_again_at_the_end() {
        let mut progress = Progress::from(Decree(10));
        progress.rewind(Decree(2), Decree(10), 4);
        assert_eq!(collect(&mut progress, 10), [3, 4, 5, 6]);
        assert!(!progress.listens_to_refusal(T0), "one batch at a time");
        assert!(progress.listens_to_refusal(T0 + RESEND));
        progress.on_ack(T0, Decree(5), Decree(10), 4, RESEND);
        assert_eq!(collect(&mut progress, 10), []);
        progress.on_ack(T0, Decree(6), Decree(10), 4, RESEND);
        assert_eq!(collect(&mut progress, 10), [7, 8, 9, 10], "the last batch");
        assert_eq!(collect(&mut progress, 11), [11], "streaming");
    }

    #[test]
    fn a_refusal_that_says_all_is_there_is_asked_for_its_acknowledgement() {
        let mut progress = Progress::from(Decree(3));
        collect(&mut progress, 5);
        progress.rewind(Decree(5), Decree(5), 4);
        assert_eq!(collect(&mut progress, 5), [5]);
        assert_eq!(progress.retry_deadline(), T0 + RESEND);
        progress.on_ack(T0, Decree(5), Decree(5), 4, RESEND);
        progress.rewind(Decree(5), Decree(5), 4);
        assert_eq!(collect(&mut progress, 5), [], "it is acknowledged");
    }

    #[test]
    fn retries_from_what_is_known_to_be_there() {
        let mut progress = Progress::from(Decree(3));
        collect(&mut progress, 5);
        assert_eq!(progress.retry_from(T0), None);
        assert_eq!(progress.retry_from(T0 + RESEND), Some(Decree(3)));
        progress.on_ack(T0, Decree(4), Decree(5), 4, RESEND);
        assert_eq!(progress.retry_from(T0 + RESEND), Some(Decree(4)));
        progress.on_ack(T0, Decree(5), Decree(5), 4, RESEND);
        assert_eq!(progress.retry_from(T0 + RESEND), None);
        assert_eq!(progress.stuck_since, None);
    }
}
