//! How long to wait before the next attempt.

use std::ops::Range;
use std::time::Duration;

use rand::Rng;

use crate::Options;

/// A wait before the next attempt, in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// None beyond what asking the meta server takes.
    Asking,
    /// For what passes by itself in a moment: a new primary that reconciles, a lease that is renewed.
    Soon,
    /// For what a process has to come back for.
    Later,
    /// For want of room, replicas or disk: longer each time.
    Growing {
        /// Refusals before.
        refusals: u32,
    },
}

impl Pause {
    /// Its length: around [`Options::backoff`], growing ones up to [`Options::backoff_max`].
    pub(crate) fn length(self, options: &Options) -> Duration {
        let backoff = options.backoff;
        jittered(match self {
            Self::Asking => return Duration::ZERO,
            Self::Soon => backoff / 2..backoff * 2,
            Self::Later => backoff..backoff * 4,
            Self::Growing { refusals } => {
                let longest = backoff.saturating_mul(2 << refusals.min(16)).min(options.backoff_max);
                longest / 2..longest
            }
        })
    }
}

/// Somewhere in the range: clients that failed together must not come back together.
pub(crate) fn jittered(range: Range<Duration>) -> Duration {
    if range.is_empty() { range.start } else { rand::rng().random_range(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_limit_whatever_the_settings_say() {
        let options = Options { backoff: Duration::from_millis(10), ..Options::default() };
        for refusals in [0, 1, 5, 100, u32::MAX] {
            let length = Pause::Growing { refusals }.length(&options);
            assert!(length >= options.backoff && length < options.backoff_max, "{length:?}");
        }
        assert!(Pause::Soon.length(&options) < Duration::from_millis(20));
        let odd = Options { backoff: Duration::MAX / 8, backoff_max: Duration::ZERO, ..options };
        assert_eq!(Pause::Growing { refusals: 3 }.length(&odd), Duration::ZERO);
    }
}
