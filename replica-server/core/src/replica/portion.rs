//! How much a peer that has to catch up is given at once.

use words::Decree;

use crate::Settings;

/// A portion grows by this power of two at most. What is sent again is all in the prepare list, which is bounded, and
/// of the log no more is read than a message takes.
const MAX_DOUBLINGS: u32 = 6;

/// What part of a mutation at its largest a portion begins with: while a node learns all its partitions at once, so
/// much of each is on its way to its log, where writers wait for the partitions that have caught up already.
const FIRST_PART: usize = 4;

/// The size of the next portion, for one peer. What is caught up in a round trip must outgrow what is written in one
/// (§6.3), and a portion that is larger than it has to be only keeps the peer's log busy: so it is twice to four times
/// what is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Portion {
    doublings: u32,
}

impl Portion {
    /// In mutations.
    pub(crate) fn mutations(self, settings: &Settings) -> usize {
        settings.resend_batch << self.doublings
    }

    /// In bytes; a single larger mutation still goes.
    pub(crate) fn bytes(self, settings: &Settings) -> usize {
        let largest = settings.batch_bytes.max(settings.max_write_bytes);
        (largest / FIRST_PART) << self.doublings
    }

    /// The peer came from one decree to the next with the last portion, while what there is did so.
    pub(crate) fn was_taken(&mut self, peer: (Decree, Decree), written: (Decree, Decree)) {
        let difference = |(from, to): (Decree, Decree)| to.0.saturating_sub(from.0);
        let (written, caught_up) = (difference(written), difference(peer));
        if written.saturating_mul(2) > caught_up {
            self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        } else if written > 0 && written.saturating_mul(4) < caught_up {
            // While nothing is written nobody waits for it.
            self.doublings = self.doublings.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_twice_to_four_times_what_is_written_meanwhile() {
        let settings = Settings::default();
        let mut portion = Portion::default();
        let mut next = |caught_up: u64, written: u64| {
            portion.was_taken((Decree(10), Decree(10 + caught_up)), (Decree(50), Decree(50 + written)));
            (portion.mutations(&settings), portion.bytes(&settings) >> 10)
        };
        assert_eq!(next(20, 0), (128, 272));
        assert_eq!(next(20, 10), (128, 272), "it came nearer by half of it");
        assert_eq!(next(20, 11), (256, 544));
        assert_eq!(next(0, 1), (512, 1088));
        assert_eq!(next(0, 0), (512, 1088));
        assert_eq!(next(20, 5), (512, 1088), "half as much would just be enough");
        assert_eq!(next(20, 4), (256, 544));
        assert_eq!(next(20, 1), (128, 272));
        assert_eq!(next(20, 1), (128, 272));
        for _ in 0..9 {
            next(1, 1);
        }
        assert_eq!(next(1, 1), (128 << 6, 272 << 6), "it has a bound");
    }
}
