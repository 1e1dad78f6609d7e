//! The mixes of operations.

use rand::Rng;
use rand::rngs::SmallRng;

use super::choice::Distribution;
use super::report::Kind;

/// Scans are between one record and so many.
pub(super) const LONGEST_SCAN: u32 = 100;

/// One of YCSB's core workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Half reads, half updates.
    A,
    /// Reads, and 5 % updates.
    B,
    /// Reads.
    C,
    /// Reads of what is new, and 5 % inserts.
    D,
    /// Short scans, and 5 % inserts.
    E,
    /// Half reads, half reads with a write of the same record after.
    F,
}

impl Workload {
    /// All, in their order but for those that insert, which come last as YCSB recommends.
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::F, Self::D, Self::E];

    /// Its letter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::E => "E",
            Self::F => "F",
        }
    }

    pub(super) fn distribution(self) -> Distribution {
        if self == Self::D { Distribution::Latest } else { Distribution::Zipfian }
    }

    /// What to do next.
    pub(super) fn draw(self, dice: &mut SmallRng) -> Kind {
        let (often, rarely, percent) = match self {
            Self::A => (Kind::Read, Kind::Update, 50),
            Self::B => (Kind::Read, Kind::Update, 5),
            Self::C => (Kind::Read, Kind::Read, 0),
            Self::D => (Kind::Read, Kind::Insert, 5),
            Self::E => (Kind::Scan, Kind::Insert, 5),
            Self::F => (Kind::Read, Kind::ReadModifyWrite, 50),
        };
        if dice.random_range(0..100) < percent { rarely } else { often }
    }
}
