//! Time as a parameter: nothing in the cores asks a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant on one node's monotonic clock, in nanoseconds; it counts time asleep (CLOCK_BOOTTIME, §5.2)
/// and means nothing on another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

/// What the shell hands in with each event.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The node's monotonic clock.
    pub time: Time,
    /// Microseconds since 1970 by the wall clock. Goes into mutations and decides nothing else (§3.7).
    pub wall_us: u64,
}
