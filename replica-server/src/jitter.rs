//! Waiting times that differ from node to node, so that many don't try again at the same instant.

use std::time::Duration;

/// A time from `least` to `most` milliseconds.
pub(crate) fn between(least_ms: u64, most_ms: u64) -> Duration {
    Duration::from_millis(rand::random_range(least_ms..=most_ms))
}
