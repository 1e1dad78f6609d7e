//! Slowing writers down, and turning requests away, as an app's environment says.
//!
//! Each replica has a share of what the whole app may: one part in the number of its partitions.

use std::time::Duration;

use words::{Denied, EnvRules, Limit, Refusal, Throttle, Time, WriteKind};

/// How long a request that is denied by silence is kept before it is answered all the same: nobody is left without
/// an answer, and by then the client has most likely given up.
const SILENCE: Duration = Duration::from_secs(10);

/// The rules of an app's environment on one replica, and what they were used up by.
#[derive(Debug, Default)]
pub(super) struct Throttling {
    rules: EnvRules,
    by_count: Buckets,
    by_size: Buckets,
}

/// What is to become of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on after a while.
    Delay(Duration),
    /// It is refused, after a while.
    Refuse(Refusal, Duration),
}

impl Throttling {
    /// Takes new rules over. What has been used up under the old ones counts no more.
    pub(super) fn set(&mut self, rules: EnvRules, partition_count: u32) {
        if self.rules != rules {
            self.by_count = Buckets::new(rules.by_count, partition_count);
            self.by_size = Buckets::new(rules.by_size, partition_count);
            self.rules = rules;
        }
    }

    /// Whether reads, or writes, are turned away; `not_primary` is what a moved role would be answered with.
    pub(super) fn denies(&self, is_read: bool, not_primary: impl FnOnce() -> Refusal) -> Option<Verdict> {
        let denial = self.rules.denial.filter(|denial| if is_read { denial.reads } else { denial.writes })?;
        Some(match denial.how {
            Denied::Reject => Verdict::Refuse(Refusal::Denied, Duration::ZERO),
            Denied::Timeout => Verdict::Refuse(Refusal::Denied, SILENCE),
            Denied::Reconfig => Verdict::Refuse(not_primary(), Duration::ZERO),
        })
    }

    /// What is to become of a write of so many bytes, whose client waits for it so long.
    pub(super) fn judge(&mut self, now: Time, bytes: usize, patience: Duration) -> Verdict {
        let bytes = bytes as u64;
        // Half of its time is left for the write itself.
        let pause = |limit: Limit| limit.pause.min(patience / 2);
        let over = self.by_count.over_reject(now).or(self.by_size.over_reject(now));
        if let Some(limit) = over {
            return Verdict::Refuse(Refusal::Throttled, pause(limit));
        }
        let delays = [self.by_count.take(now, 1), self.by_size.take(now, bytes)];
        let delay = delays.into_iter().flatten().map(pause).max();
        delay.map_or(Verdict::Pass, Verdict::Delay)
    }
}

/// Whether a write is one only in the way that it goes: it changes nothing.
pub(super) fn is_read(kind: WriteKind) -> bool {
    kind == WriteKind::Read
}

/// One throttle's two limits.
#[derive(Debug, Default)]
struct Buckets {
    delay: Option<(Limit, Bucket)>,
    reject: Option<(Limit, Bucket)>,
}

impl Buckets {
    fn new(throttle: Throttle, partition_count: u32) -> Self {
        let bucket = |limit: Limit| (limit, Bucket::new(limit.units.div_ceil(partition_count.max(1).into())));
        Self { delay: throttle.delay.map(bucket), reject: throttle.reject.map(bucket) }
    }

    /// The limit, if it is used up.
    fn over_reject(&mut self, now: Time) -> Option<Limit> {
        let (limit, bucket) = self.reject.as_mut()?;
        bucket.is_empty(now).then_some(*limit)
    }

    /// Takes so much from both. Returns the limit beyond which it has to wait. What waits takes nothing from that
    /// one: it is the rate of those that need not.
    fn take(&mut self, now: Time, units: u64) -> Option<Limit> {
        if let Some((_, bucket)) = &mut self.reject {
            bucket.take(units);
        }
        let (limit, bucket) = self.delay.as_mut()?;
        if bucket.is_empty(now) {
            return Some(*limit);
        }
        bucket.take(units);
        None
    }
}

/// What may still be used: fills up with time, up to what one second brings. What is larger than what is left still
/// goes, and is paid for later, or else a write that is larger than a second's share would never go.
#[derive(Debug)]
struct Bucket {
    /// Units a second.
    rate: u64,
    /// Billionths of units.
    left: i128,
    /// When `left` was so much; full before it was first looked at.
    at: Option<Time>,
}

impl Bucket {
    fn new(rate: u64) -> Self {
        Self { rate, left: 0, at: None }
    }

    fn is_empty(&mut self, now: Time) -> bool {
        let full = i128::from(self.rate) * 1_000_000_000;
        self.left = match self.at {
            None => full,
            Some(at) => full.min(self.left + i128::from(self.rate) * nanoseconds(now.since(at))),
        };
        self.at = Some(now);
        self.left <= 0
    }

    fn take(&mut self, units: u64) {
        self.left -= i128::from(units) * 1_000_000_000;
    }
}

fn nanoseconds(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX >> 64)
}

#[cfg(test)]
mod tests {
    use words::AppEnvs;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn throttling(key: &str, value: &str, partition_count: u32) -> Throttling {
        let mut envs = AppEnvs::default();
        envs.set(key, value).expect("it makes sense");
        let mut throttling = Throttling::default();
        throttling.set(envs.rules(), partition_count);
        throttling
    }

    /// So many writes of `bytes` at once: how many pass, are delayed, are refused.
    fn burst(throttling: &mut Throttling, at_ms: u64, count: usize, bytes: usize) -> [usize; 3] {
        let mut became = [0; 3];
        for _ in 0..count {
            let verdict = throttling.judge(Time(at_ms * 1_000_000), bytes, PATIENCE);
            became[match verdict {
                Verdict::Pass => 0,
                Verdict::Delay(_) => 1,
                Verdict::Refuse(..) => 2,
            }] += 1;
        }
        became
    }

    #[test]
    fn what_goes_beyond_the_first_limit_waits_and_beyond_the_second_is_refused() {
        let mut writes = throttling("replica.write_throttling", "20*delay*100,50*reject*200", 2);
        assert_eq!(
            burst(&mut writes, 0, 40, 1),
            [10, 15, 15],
            "a half of the app's for one of two partitions"
        );
        assert_eq!(burst(&mut writes, 0, 40, 1), [0, 0, 40]);
        assert_eq!(burst(&mut writes, 500, 40, 1), [5, 8, 27], "half a second brings a half of it");
        assert_eq!(burst(&mut writes, 60_000, 40, 1), [10, 15, 15], "a minute brings no more than a second");
        assert_eq!(
            writes.judge(Time(60_000_000_000), 1, PATIENCE),
            Verdict::Refuse(Refusal::Throttled, ms(200))
        );
    }

    #[test]
    fn by_size_a_large_write_goes_and_is_paid_for_later() {
        let mut writes = throttling("replica.write_throttling_by_size", "1K*reject*0", 1);
        assert_eq!(burst(&mut writes, 0, 2, 3000), [1, 0, 1]);
        assert_eq!(burst(&mut writes, 1999, 1, 1), [0, 0, 1]);
        assert_eq!(burst(&mut writes, 2001, 1, 1), [1, 0, 0]);
    }

    #[test]
    fn a_write_has_half_of_its_time_left_after_its_delay() {
        let mut writes = throttling("replica.write_throttling", "1*delay*1000", 1);
        assert_eq!(burst(&mut writes, 0, 1, 1), [1, 0, 0]);
        assert_eq!(writes.judge(Time(0), 1, PATIENCE), Verdict::Delay(ms(1000)));
        assert_eq!(writes.judge(Time(0), 1, ms(600)), Verdict::Delay(ms(300)));
    }

    #[test]
    fn who_is_denied_is_told_at_once_later_or_to_look_elsewhere() {
        let moved = || Refusal::NotPrimary { ballot: words::Ballot(3), primary: None };
        for (value, of_reads, of_writes) in [
            ("reject*write", None, Some(Verdict::Refuse(Refusal::Denied, Duration::ZERO))),
            ("timeout*read", Some(Verdict::Refuse(Refusal::Denied, SILENCE)), None),
            ("reconfig*read", Some(Verdict::Refuse(moved(), Duration::ZERO)), None),
        ] {
            let rules = throttling("replica.deny_client_request", value, 1);
            assert_eq!(
                (rules.denies(true, moved), rules.denies(false, moved)),
                (of_reads, of_writes),
                "{value}"
            );
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
