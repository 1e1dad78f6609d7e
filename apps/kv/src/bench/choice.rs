//! Which record an operation is about: YCSB's distributions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rand::Rng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use serde::Serialize;

/// YCSB's, for all but uniform choices.
const SKEW: f64 = 0.99;
/// Among so many the popular ones are drawn, whatever there is; hashed, so that they lie anywhere.
const DRAWN_FROM: f64 = 1e10;

/// Which records are asked for how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// A few much more often than the others, and these lie anywhere.
    Zipfian,
    /// The more often the later they were inserted.
    Latest,
    /// All the same.
    Uniform,
}

/// Chooses records.
pub(super) struct Chooser {
    distribution: Distribution,
    zipf: Zipf<f64>,
    /// How many there were when `zipf` was made.
    count: u64,
}

impl Chooser {
    pub(super) fn new(distribution: Distribution) -> Self {
        Self { distribution, zipf: zipf(DRAWN_FROM), count: 0 }
    }

    /// One of the first `count` records; 0 if there is none.
    pub(super) fn choose(&mut self, count: u64, dice: &mut SmallRng) -> u64 {
        let count = count.max(1);
        match self.distribution {
            Distribution::Uniform => dice.random_range(0..count),
            Distribution::Zipfian => fnv(self.zipf.sample(dice) as u64 - 1) % count,
            Distribution::Latest => {
                if self.count != count {
                    (self.zipf, self.count) = (zipf(count as f64), count);
                }
                count - (self.zipf.sample(dice) as u64).clamp(1, count)
            }
        }
    }
}

fn zipf(count: f64) -> Zipf<f64> {
    Zipf::new(count, SKEW).expect("there is at least one, and the skew is positive")
}

/// The key of a record. Hashed: in which order records were inserted says nothing about where they are.
pub(super) fn key(number: u64) -> Vec<u8> {
    format!("user{:020}", fnv(number)).into_bytes()
}

/// FNV-1a of a number's bytes, as YCSB has it.
fn fnv(number: u64) -> u64 {
    number
        .to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Which records are there: those that were acknowledged, without a gap, can be read.
#[derive(Debug)]
pub(super) struct Inserted {
    begun: AtomicU64,
    readable: AtomicU64,
    /// Acknowledged above `readable`.
    ahead: Mutex<BTreeSet<u64>>,
}

impl Inserted {
    pub(super) fn new(loaded: u64) -> Self {
        Self { begun: loaded.into(), readable: loaded.into(), ahead: Mutex::default() }
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn readable(&self) -> u64 {
        self.readable.load(Ordering::Acquire)
    }

    /// The number of another record, if there are fewer than `most`.
    pub(super) fn begin(&self, most: u64) -> Option<u64> {
        self.begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |begun| (begun < most).then(|| begun + 1))
            .ok()
    }

    /// It is there.
    pub(super) fn end(&self, number: u64) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.insert(number);
        let mut readable = self.readable();
        while ahead.remove(&readable) {
            readable += 1;
        }
        self.readable.store(readable, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// How often each of 1,000 records was chosen in 100,000 choices.
    fn counts(distribution: Distribution) -> Vec<u32> {
        let (mut dice, mut chooser) = (SmallRng::seed_from_u64(7), Chooser::new(distribution));
        let mut counts = vec![0; 1000];
        for _ in 0..100_000 {
            counts[chooser.choose(1000, &mut dice) as usize] += 1;
        }
        counts
    }

    #[test]
    fn records_are_chosen_as_ycsb_does() {
        let uniform = counts(Distribution::Uniform);
        assert!(uniform.iter().all(|&count| (50..200).contains(&count)));
        let mut zipfian = counts(Distribution::Zipfian);
        let first = zipfian[0];
        zipfian.sort_unstable();
        // 1 / zeta(10^10, 0.99) of all, and some that fell on the same.
        assert!((3_500..5_000).contains(&zipfian[999]), "{}", zipfian[999]);
        assert!(first < zipfian[999], "the popular ones lie anywhere");
        let latest = counts(Distribution::Latest);
        assert!(latest[999] > 10_000 && latest[999] > latest[998] && latest[998] > latest[900]);
    }

    #[test]
    fn what_was_not_acknowledged_is_not_read() {
        let inserted = Inserted::new(5);
        assert_eq!(
            [inserted.begin(8), inserted.begin(8), inserted.begin(8), inserted.begin(8)],
            [Some(5), Some(6), Some(7), None]
        );
        inserted.end(6);
        assert_eq!(inserted.readable(), 5);
        inserted.end(5);
        assert_eq!(inserted.readable(), 7);
    }
}
