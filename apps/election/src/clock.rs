//! The clock, the one place where it is read.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Moment;

/// Now, on a clock that counts time asleep, which `std::time::Instant` does not: a lease must not outlive a machine
/// that is suspended.
#[must_use]
pub fn now() -> Moment {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    Moment(Duration::new(seconds, u32::try_from(boot.tv_nsec).unwrap_or(0)))
}
