//! One figure: how it is taken, and what came of it in each round.

use std::collections::BTreeMap;
use std::fmt;

use crate::load::Measured;
use crate::system::Kind;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Mix {
    /// Writes.
    Writes,
    /// Linearizable reads.
    Reads,
    /// Each by half.
    Mixed,
}

impl Mix {
    pub(crate) const ALL: [Self; 3] = [Self::Writes, Self::Reads, Self::Mixed];

    /// How many of a hundred operations are reads.
    pub(crate) fn reads_percent(self) -> u32 {
        match self {
            Self::Writes => 0,
            Self::Reads => 100,
            Self::Mixed => 50,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "linearizable reads",
            Self::Mixed => "half writes, half reads",
        }
    }

    /// For the name of a file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Reads => "reads",
            Self::Mixed => "mixed",
        }
    }
}

/// A closed loop of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) bytes: usize,
    pub(crate) mix: Mix,
    pub(crate) clients: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} clients, {} bytes", self.mix.name(), self.clients, self.bytes)
    }
}

/// What came of every cell, round by round.
#[derive(Default)]
pub(crate) struct Results {
    measured: BTreeMap<(Kind, Cell), Vec<Measured>>,
    /// The disk's own: values a second that can be appended and synced three times over, by clients and bytes.
    disk: BTreeMap<(usize, usize), Vec<f64>>,
}

/// The median of several rounds, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Median {
    pub(crate) lowest: f64,
    pub(crate) median: f64,
    pub(crate) highest: f64,
}

impl Median {
    /// `None` of nothing.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (lowest, highest) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self { lowest, median, highest })
    }
}

impl Results {
    pub(crate) fn add(&mut self, kind: Kind, cell: Cell, measured: Measured) {
        self.measured.entry((kind, cell)).or_default().push(measured);
    }

    pub(crate) fn add_disk(&mut self, clients: usize, bytes: usize, values_per_s: f64) {
        self.disk.entry((clients, bytes)).or_default().push(values_per_s);
    }

    /// One of a cell's figures.
    pub(crate) fn median(&self, kind: Kind, cell: Cell, figure: impl Fn(&Measured) -> f64) -> Option<Median> {
        Median::of(self.measured.get(&(kind, cell))?.iter().map(figure).collect())
    }

    pub(crate) fn disk(&self, clients: usize, bytes: usize) -> Option<Median> {
        Median::of(self.disk.get(&(clients, bytes))?.clone())
    }

    /// Operations that failed, of all rounds.
    pub(crate) fn errors(&self, kind: Kind) -> u64 {
        let of_kind = self.measured.iter().filter(|((of, _), _)| *of == kind);
        of_kind.flat_map(|(_, rounds)| rounds).map(|measured| measured.errors).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_whatever_the_order() {
        let median =
            |figures: &[f64]| Median::of(figures.to_vec()).map(|it| (it.lowest, it.median, it.highest));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some((1.0, 3.0, 9.0)));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some((1.0, 3.0, 9.0)));
    }
}
