//! Makes a failing run smaller: what can be left out while the same rule still breaks is left out.

use std::time::Duration;

use crate::mask::{Mask, Numbers};
use crate::run::Outcome;
use crate::violation::Violation;

/// The smallest failing run that was found.
#[derive(Clone, Debug)]
pub struct Shrunken {
    /// What is left out.
    pub mask: Mask,
    /// What came of the run without it.
    pub outcome: Outcome,
    /// Runs that it took to find.
    pub runs: u32,
}

/// Shrinks a run that failed by deleting troubles (halves first, then ever smaller groups: delta debugging), then
/// chance from the network, then clients, then time; and the troubles again, which may be fewer now. `run` is
/// asked at most `bound` times.
///
/// Every step is a run of its own, and only one in which the same rule breaks is built upon: leaving something
/// out may change what comes after it, but never lets a run pass for failing that doesn't.
pub fn shrink(failed: Outcome, mask: Mask, bound: u32, run: &mut dyn FnMut(&Mask) -> Outcome) -> Shrunken {
    let Some(violation) = failed.violation.clone() else {
        return Shrunken { mask, outcome: failed, runs: 0 };
    };
    let best = Shrunken { mask, outcome: failed, runs: 0 };
    let mut search = Search { violation, best, bound, run };
    search.delete_troubles();
    search.make_fair();
    search.silence_clients();
    search.cut_time();
    search.delete_troubles();
    search.best
}

struct Search<'a> {
    /// What has to break in every smaller run too.
    violation: Violation,
    best: Shrunken,
    bound: u32,
    run: &'a mut dyn FnMut(&Mask) -> Outcome,
}

impl Search<'_> {
    /// Whether the same rule breaks with this mask; if so that run is the best so far.
    fn try_with(&mut self, mask: Mask) -> bool {
        if self.best.runs >= self.bound {
            return false;
        }
        self.best.runs += 1;
        let outcome = (self.run)(&mask);
        let fails = outcome.violation.as_ref().is_some_and(|found| found.is_like(&self.violation));
        if fails {
            self.best.mask = mask;
            self.best.outcome = outcome;
        }
        fails
    }

    fn struck(&self) -> Vec<u32> {
        self.best.outcome.struck.iter().map(|struck| struck.number).collect()
    }

    fn delete_troubles(&mut self) {
        let mut group = self.struck().len();
        while group > 0 {
            // From the end: what came last is most often of no matter, and without it nothing else changes.
            let mut end = self.struck().len();
            while end > 0 {
                let mut left = self.struck();
                end = end.min(left.len());
                if end == 0 {
                    break;
                }
                let begin = end.saturating_sub(group);
                left.drain(begin..end);
                let only = Some(Numbers(left.into_iter().collect()));
                self.try_with(Mask { only, ..self.best.mask.clone() });
                end = begin;
            }
            group /= 2;
        }
    }

    fn make_fair(&mut self) {
        if !self.best.mask.fair {
            self.try_with(Mask { fair: true, ..self.best.mask.clone() });
        }
    }

    fn silence_clients(&mut self) {
        for client in 0..self.best.outcome.clients as u32 {
            let mut mask = self.best.mask.clone();
            if mask.silent.0.insert(client) {
                self.try_with(mask);
            }
        }
    }

    /// An earlier calm, as early as halving finds one.
    fn cut_time(&mut self) {
        let mut works = self.best.outcome.calm;
        let mut fails_not = Duration::ZERO;
        while works > fails_not + Duration::from_millis(250) {
            let calm = Duration::from_millis(((works + fails_not) / 2).as_millis() as u64);
            if self.try_with(Mask { calm: Some(calm), ..self.best.mask.clone() }) {
                works = calm;
            } else {
                fails_not = calm;
            }
        }
    }
}
