//! How far one peer has come, as its primary sees it, and what to send it next.

use std::time::Duration;

use words::{Decree, Time};

use super::portion::Portion;
use crate::Settings;
use crate::prepare_list::PrepareList;

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
    /// The batch of re-sends under way; `None`: streaming.
    batch: Option<Batch>,
    /// Since when all that is prepared has been sent, as it was made.
    pub(crate) level_since: Option<Time>,
    /// How large the next batch of re-sends is.
    portion: Portion,
    /// When to send again what was not acknowledged; means something while `acked < sent`.
    retry_at: Time,
    /// Since when something is sent that is not acknowledged, without any progress.
    pub(crate) stuck_since: Option<Time>,
    /// The peer's lease covers the partition until then (§5.2).
    pub(crate) lease_until: Time,
}

/// A batch of re-sends: what follows `after`, up to `end`.
#[derive(Clone, Copy, Debug)]
struct Batch {
    after: Decree,
    end: Decree,
    /// The last decree prepared when it was sent.
    prepared: Decree,
}

impl Progress {
    /// A peer that has all up to `base`.
    pub(crate) fn from(base: Decree) -> Self {
        Self {
            acked: Decree::ZERO,
            sent: base,
            base,
            batch: None,
            level_since: None,
            portion: Portion::default(),
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
    pub(crate) fn rewind(&mut self, from: Decree, list: &PrepareList, settings: &Settings) {
        let last_prepared = list.last_prepared();
        let all = self.known() == last_prepared;
        let before_last = if all { last_prepared } else { last_prepared.previous() };
        self.sent = from.max(self.acked).min(before_last);
        self.base = self.sent;
        self.level_since = None;
        self.portion = Portion::default();
        self.batch = self.next_batch(self.sent, list, settings);
    }

    /// The batch of re-sends that begins after a decree, if there is anything.
    fn next_batch(&self, after: Decree, list: &PrepareList, settings: &Settings) -> Option<Batch> {
        let end = list.batch_after(after, self.portion.mutations(settings), self.portion.bytes(settings));
        (end > after).then_some(Batch { after, end, prepared: list.last_prepared() })
    }

    /// Sends again all that is not acknowledged.
    pub(crate) fn restart(&mut self, list: &PrepareList, settings: &Settings) {
        if self.is_outstanding() {
            self.rewind(self.base, list, settings);
        }
    }

    /// Whether a refusal should be listened to: not while a batch of re-sends is under way.
    pub(crate) fn listens_to_refusal(&self, now: Time) -> bool {
        self.batch.is_none() || self.retry_at <= now
    }

    /// The decrees to send now.
    pub(crate) fn next(
        &mut self,
        now: Time,
        last_prepared: Decree,
        resend: Duration,
    ) -> std::ops::RangeInclusive<u64> {
        let upto = self.batch.map_or(last_prepared, |batch| batch.end);
        let range = self.sent.0 + 1..=upto.0;
        if !range.is_empty() {
            self.sent = upto;
            self.retry_at = now + resend;
            self.stuck_since.get_or_insert(now);
        }
        range
    }

    /// The peer acknowledged up to `confirmed`.
    pub(crate) fn on_ack(&mut self, now: Time, confirmed: Decree, list: &PrepareList, settings: &Settings) {
        if confirmed > self.acked {
            self.acked = confirmed;
            self.retry_at = now + settings.resend;
            self.stuck_since = Some(now);
        }
        if !self.is_outstanding() {
            self.stuck_since = None;
        }
        let Some(batch) = self.batch else {
            self.level_since.get_or_insert(now);
            return;
        };
        if self.acked >= batch.end {
            self.sent = self.sent.max(self.acked);
            self.portion.was_taken((batch.after, batch.end), (batch.prepared, list.last_prepared()));
            // A batch that reaches the end ends the re-sending: from here on prepares are streamed.
            let next = self.next_batch(self.sent, list, settings);
            self.batch = next.filter(|next| next.end < list.last_prepared());
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
    use std::sync::Arc;

    use words::{Ballot, Mutation, MutationId, Writes};

    use super::*;

    const T0: Time = Time(1000);

    fn settings() -> Settings {
        Settings { resend_batch: 4, ..Settings::default() }
    }

    /// A list of mutations that are 64 bytes each.
    fn list(last_prepared: u64) -> PrepareList {
        let mut list = PrepareList::default();
        for decree in 1..=last_prepared {
            let id = MutationId { ballot: Ballot(1), decree: Decree(decree) };
            let mutation = Mutation { id, timestamp_us: 0, writes: Writes::default() };
            list.offer(&Arc::new(mutation), Ballot(1), None);
        }
        list
    }

    fn collect(progress: &mut Progress, last_prepared: u64) -> Vec<u64> {
        progress.next(T0, Decree(last_prepared), settings().resend).collect()
    }

    fn acknowledge(progress: &mut Progress, confirmed: u64, last_prepared: u64) {
        progress.on_ack(T0, Decree(confirmed), &list(last_prepared), &settings());
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
        progress.rewind(Decree(2), &list(10), &settings());
        assert_eq!(collect(&mut progress, 10), [3, 4, 5, 6]);
        assert!(!progress.listens_to_refusal(T0), "one batch at a time");
        assert!(progress.listens_to_refusal(T0 + settings().resend));
        acknowledge(&mut progress, 5, 10);
        assert_eq!(collect(&mut progress, 10), []);
        acknowledge(&mut progress, 6, 10);
        assert_eq!(collect(&mut progress, 10), [7, 8, 9, 10], "the last batch");
        assert_eq!(collect(&mut progress, 11), [11], "streaming");
    }

    #[test]
    fn a_batch_is_bounded_in_bytes() {
        let mut progress = Progress::from(Decree(10));
        let settings = Settings { batch_bytes: 4 * (3 * 64 - 1), max_write_bytes: 4, ..settings() };
        progress.rewind(Decree(2), &list(10), &settings);
        assert_eq!(collect(&mut progress, 10), [3, 4]);
        progress.on_ack(T0, Decree(4), &list(10), &settings);
        assert_eq!(collect(&mut progress, 10), [5, 6]);
        let settings = Settings { batch_bytes: 1, ..settings };
        progress.on_ack(T0, Decree(6), &list(10), &settings);
        assert_eq!(collect(&mut progress, 10), [7], "a single larger one goes alone");
    }

    #[test]
    fn batches_grow_only_while_as_much_is_written_as_they_catch_up() {
        let mut progress = Progress::from(Decree(40));
        progress.rewind(Decree(0), &list(40), &settings());
        assert_eq!(collect(&mut progress, 40), [1, 2, 3, 4]);
        acknowledge(&mut progress, 4, 42);
        assert_eq!(collect(&mut progress, 42), [5, 6, 7, 8], "two were written: it came nearer");
        acknowledge(&mut progress, 8, 45);
        assert_eq!(collect(&mut progress, 45), (9..=16).collect::<Vec<u64>>());
        acknowledge(&mut progress, 16, 50);
        assert_eq!(collect(&mut progress, 50), (17..=32).collect::<Vec<u64>>());
        acknowledge(&mut progress, 32, 50);
        assert_eq!(collect(&mut progress, 50), (33..=48).collect::<Vec<u64>>());
    }

    #[test]
    fn a_refusal_that_says_all_is_there_is_asked_for_its_acknowledgement() {
        let mut progress = Progress::from(Decree(3));
        collect(&mut progress, 5);
        progress.rewind(Decree(5), &list(5), &settings());
        assert_eq!(collect(&mut progress, 5), [5]);
        assert_eq!(progress.retry_deadline(), T0 + settings().resend);
        acknowledge(&mut progress, 5, 5);
        progress.rewind(Decree(5), &list(5), &settings());
        assert_eq!(collect(&mut progress, 5), [], "it is acknowledged");
    }

    #[test]
    fn retries_from_what_is_known_to_be_there() {
        let (mut progress, later) = (Progress::from(Decree(3)), T0 + settings().resend);
        collect(&mut progress, 5);
        assert_eq!(progress.retry_from(T0), None);
        assert_eq!(progress.retry_from(later), Some(Decree(3)));
        acknowledge(&mut progress, 4, 5);
        assert_eq!(progress.retry_from(later), Some(Decree(4)));
        acknowledge(&mut progress, 5, 5);
        assert_eq!(progress.retry_from(later), None);
        assert_eq!(progress.stuck_since, None);
    }
}
