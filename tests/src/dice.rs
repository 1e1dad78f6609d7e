//! Choices from a seed that is printed. What real processes make of them is never the same twice; the choices are.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// A sequence of choices (SplitMix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// The choices of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `HOLDFAST_SEED` names, or a new one.
    ///
    /// # Panics
    /// If it names something else than a number.
    #[must_use]
    pub fn seed() -> u64 {
        let named = std::env::var("HOLDFAST_SEED").ok();
        named.map_or_else(
            || RandomState::new().hash_one(0) % 1_000_000,
            |seed| seed.parse().unwrap_or_else(|_| panic!("HOLDFAST_SEED={seed} is no number")),
        )
    }

    /// Other choices, of their own.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// One of a range; its start if it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % range.end.saturating_sub(range.start).max(1)
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        assert!(!all.is_empty(), "one of none");
        &all[(self.next() % all.len() as u64) as usize]
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
