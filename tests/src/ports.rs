//! Ports for servers that are to come back on the same port.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what Linux picks from for outgoing connections: one of those could take a server's port while it is
/// down, and the server could not come back.
const RANGE: Range<u16> = 20_000..32_000;

/// The first of `count` ports in a row that nobody listens on, and that nobody in this process was given.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = RANGE.end - RANGE.start - count;
    // Where processes that run at once begin differs, so that they rarely meet.
    let begin = (std::process::id().wrapping_mul(97) % u32::from(span)) as u16;
    for _ in 0..span / count {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = RANGE.start + (begin + offset % span) % span;
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no {count} free ports in a row in {RANGE:?}");
}
