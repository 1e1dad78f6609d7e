//! The one source of chance: everything random in a run comes from here, in a fixed order.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A seeded generator with the few questions that a simulation asks.
#[derive(Clone, Debug)]
pub struct Dice {
    generator: Pcg64Mcg,
    loaded: bool,
}

impl Dice {
    /// The generator of this seed; `stream` keeps what is drawn for different purposes apart.
    #[must_use]
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let generator = Pcg64Mcg::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream);
        Self { generator, loaded: false }
    }

    /// Dice that always fall the same way: what can fail to happen does not happen, and of all choices the
    /// first or least is taken. With these a run is exactly what its script says.
    #[must_use]
    pub(crate) fn loaded() -> Self {
        Self { loaded: true, ..Self::new(0, 0) }
    }

    /// Whether something that happens this many times in a thousand happens now.
    pub fn permille(&mut self, likelihood: u32) -> bool {
        if self.loaded {
            return likelihood >= 1000;
        }
        likelihood > 0 && self.generator.random_range(0..1000) < likelihood
    }

    /// One of `low..=high`.
    ///
    /// # Panics
    /// If `high` is below `low`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if self.loaded { low } else { self.generator.random_range(low..=high) }
    }

    /// An index below `count`.
    ///
    /// # Panics
    /// If `count` is 0.
    pub fn index(&mut self, count: usize) -> usize {
        if self.loaded { 0 } else { self.generator.random_range(0..count) }
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// A span from `range`, all equally likely.
    pub(crate) fn span(&mut self, range: Spans) -> Duration {
        Duration::from_micros(self.between(range.low_us, range.high_us))
    }

    /// A span around `mean`: from nothing to many times as long, the short ones more often.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        if self.loaded {
            return mean;
        }
        let unit = self.generator.random_range(1..=1_000_000_u32);
        let times = -(f64::from(unit) / 1e6).ln();
        Duration::from_micros((mean.as_micros() as f64 * times) as u64)
    }
}

/// A range of spans, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans {
    /// The shortest.
    pub(crate) low_us: u64,
    /// The longest.
    pub(crate) high_us: u64,
}

impl Spans {
    /// From `low_us` to `high_us` microseconds.
    #[must_use]
    pub(crate) const fn us(low_us: u64, high_us: u64) -> Self {
        Self { low_us, high_us }
    }

    /// From `low_ms` to `high_ms` milliseconds.
    #[must_use]
    pub(crate) const fn ms(low_ms: u64, high_ms: u64) -> Self {
        Self { low_us: low_ms * 1000, high_us: high_ms * 1000 }
    }
}
