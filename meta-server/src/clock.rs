//! The clocks that the core is told.

use std::time::SystemTime;

use meta_core::WallTime;
use rustix::time::{ClockId, clock_gettime};
use words::Time;

/// Monotonic, and counting time asleep (§5.2).
pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Time(seconds * 1_000_000_000 + nanoseconds)
}

/// The time of day, as this machine has it: nothing is decided by it that a wrong one could harm.
pub(crate) fn wall_time() -> WallTime {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
