//! The node's clocks, the one place where they are read.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use words::{Now, Time};

/// Both clocks, now. The monotonic one counts time asleep, which `std::time::Instant` does not (§5.2): a lease
/// must not outlive a suspended machine.
pub(crate) fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        time: Time(seconds * 1_000_000_000 + nanos),
        wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
    }
}
