//! True time, which only the simulator knows, and the clocks of the nodes, which run beside it.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use words::{Now, Time};

/// A true instant, in nanoseconds since the simulation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long the simulation had run by then.
    #[must_use]
    pub(crate) fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

/// One machine's clocks. The monotonic one starts anywhere and runs at a rate of its own (§5.2); the wall
/// clock is anything.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// Since when it has run at this rate.
    pub(crate) since: Moment,
    /// What the monotonic clock showed then.
    pub(crate) offset_ns: u64,
    /// Its nanoseconds in a true millisecond: 1,000,000 is exact.
    pub(crate) rate_ppm: u64,
    /// What the wall clock showed when the simulation began; a fault makes it jump.
    pub(crate) wall_offset_us: u64,
}

impl Clock {
    /// What the machine's clocks show at a true instant.
    #[must_use]
    pub(crate) fn now(&self, moment: Moment) -> Now {
        Now { time: self.time(moment), wall_us: self.wall_offset_us + moment.0 / 1000 }
    }

    /// What its monotonic clock shows at a true instant.
    #[must_use]
    pub(crate) fn time(&self, moment: Moment) -> Time {
        let passed =
            u128::from(moment.0.saturating_sub(self.since.0)) * u128::from(self.rate_ppm) / 1_000_000;
        Time(self.offset_ns + u64::try_from(passed).expect("a simulation is short"))
    }

    /// The first true instant at which its monotonic clock shows `time` or more.
    #[must_use]
    pub(crate) fn moment(&self, time: Time) -> Moment {
        if time == Time::NEVER {
            return Moment::NEVER;
        }
        let passed = u128::from(time.0.saturating_sub(self.offset_ns));
        let span = (passed * 1_000_000).div_ceil(u128::from(self.rate_ppm));
        Moment(self.since.0.saturating_add(u64::try_from(span).unwrap_or(u64::MAX)))
    }

    /// From now on it runs at another rate.
    pub(crate) fn drift(&mut self, now: Moment, rate_ppm: u64) {
        self.offset_ns = self.time(now).0;
        self.since = now;
        self.rate_ppm = rate_ppm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_due_when_it_rings_and_not_before() {
        for rate_ppm in [1_000_000, 1_004_999, 995_012] {
            let clock = Clock { since: Moment(0), offset_ns: 77_777, rate_ppm, wall_offset_us: 0 };
            for time in [77_777, 77_778, 123_456_789, 99_999_999_999] {
                let moment = clock.moment(Time(time));
                assert!(clock.time(moment) >= Time(time));
                assert!(moment.0 == 0 || clock.time(Moment(moment.0 - 1)) < Time(time));
            }
        }
    }

    #[test]
    fn a_clock_that_drifts_goes_on_from_where_it_was() {
        let mut clock = Clock { since: Moment(0), offset_ns: 5, rate_ppm: 1_000_000, wall_offset_us: 0 };
        clock.drift(Moment(1_000), 2_000_000);
        assert_eq!((clock.time(Moment(1_000)), clock.time(Moment(1_100))), (Time(1_005), Time(1_205)));
        assert_eq!(clock.moment(Time(1_205)), Moment(1_100));
    }
}
