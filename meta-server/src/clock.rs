//! The clock that the core is told.

use rustix::time::{ClockId, clock_gettime};
use words::Time;

/// Monotonic, and counting time asleep (§5.2).
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Time(seconds * 1_000_000_000 + nanoseconds)
}
