//! The closed loop: clients with one operation at a time, the same for every system.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng;

use crate::cell::Cell;
use crate::system::Client;

/// Keys that are written and read.
pub(crate) const KEYS: usize = 1000;
/// What goes before each measurement, at most.
const WARM_UP: Duration = Duration::from_secs(1);

/// What came of one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) ops_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// What one operation took of the processors, in microseconds: the load and all servers together.
    pub(crate) cpu_us: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

/// What one client saw: latencies in microseconds, and failures.
#[derive(Default)]
struct Seen {
    latencies_us: Vec<u32>,
    errors: u64,
    first_error: Option<String>,
}

/// Runs a load for `span`, after a warm-up that does not count. `cpu_time` is what everybody has used so far.
pub(crate) async fn run(
    clients: Vec<Client>,
    cell: Cell,
    span: Duration,
    cpu_time: impl Fn() -> Duration,
) -> Measured {
    let value = Bytes::from(vec![0x5a; cell.bytes]);
    let clients = if cell.mix.reads_percent() > 0 { fill(clients, KEYS, &value).await } else { clients };
    let counts = Instant::now() + WARM_UP.min(span);
    let end = counts + span;
    let loops: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(closed_loop(client, cell, value.clone(), counts, end)))
        .collect();
    tokio::time::sleep_until(counts.into()).await;
    let cpu_before = cpu_time();
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time() - cpu_before;
    let mut all = Seen::default();
    for one in loops {
        let seen = one.await.expect("a client never panics");
        all.latencies_us.extend(seen.latencies_us);
        all.errors += seen.errors;
        all.first_error = all.first_error.take().or(seen.first_error);
    }
    all.judge(span, cpu)
}

/// Writes so many keys once, so that every read of them finds a value of that size.
pub(crate) async fn fill(clients: Vec<Client>, keys: usize, value: &Bytes) -> Vec<Client> {
    let next = Arc::new(AtomicU64::new(0));
    let loops: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let (next, value) = (Arc::clone(&next), value.clone());
            tokio::spawn(async move {
                loop {
                    let key = next.fetch_add(1, Ordering::Relaxed) as usize;
                    if key >= keys {
                        return client;
                    }
                    // One that fails is noticed by those that count.
                    let _ = client.write(key, &value).await;
                }
            })
        })
        .collect();
    let mut clients = Vec::new();
    for one in loops {
        clients.push(one.await.expect("a client never panics"));
    }
    clients
}

async fn closed_loop(mut client: Client, cell: Cell, value: Bytes, counts: Instant, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let reads_percent = cell.mix.reads_percent();
    let mut began = Instant::now();
    while began < end {
        let (key, is_read) = {
            let mut rng = rand::rng();
            (rng.random_range(0..KEYS), rng.random_range(0..100) < reads_percent)
        };
        let result = if is_read { client.read(key).await } else { client.write(key, &value).await };
        let ended = Instant::now();
        if (counts..end).contains(&ended) {
            seen.take(ended - began, result);
        }
        began = ended;
    }
    seen
}

impl Seen {
    fn take(&mut self, latency: Duration, result: Result<(), String>) {
        match result {
            Ok(()) => self.latencies_us.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)),
            Err(why) => {
                self.errors += 1;
                self.first_error.get_or_insert(why);
            }
        }
    }

    fn judge(mut self, span: Duration, cpu: Duration) -> Measured {
        self.latencies_us.sort_unstable();
        let at = |quantile: f64| {
            let index = (self.latencies_us.len() as f64 * quantile) as usize;
            self.latencies_us.get(index).map_or(f64::NAN, |&us| f64::from(us) / 1000.0)
        };
        Measured {
            ops_per_s: self.latencies_us.len() as f64 / span.as_secs_f64(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            cpu_us: cpu.as_secs_f64() * 1e6 / self.latencies_us.len() as f64,
            errors: self.errors,
            first_error: self.first_error,
        }
    }
}

/// A load that goes on until it is told to end, and notes when something succeeded.
pub(crate) struct Watched {
    began: Instant,
    keys: Range<usize>,
    stop: AtomicBool,
    /// When a write last succeeded, and the longest time without since it was last asked, in microseconds.
    last_us: AtomicU64,
    longest_gap_us: AtomicU64,
    /// How long the slowest write took since it was last asked, in microseconds.
    slowest_us: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Watched {
    /// Starts these clients, which write such a value to one of these keys.
    pub(crate) fn start(clients: Vec<Client>, keys: Range<usize>, value: &Bytes) -> Arc<Self> {
        let watched = Arc::new(Self {
            began: Instant::now(),
            keys,
            stop: AtomicBool::new(false),
            last_us: AtomicU64::new(0),
            longest_gap_us: AtomicU64::new(0),
            slowest_us: AtomicU64::new(0),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        for client in clients {
            tokio::spawn(Arc::clone(&watched).write_on(client, value.clone()));
        }
        watched
    }

    async fn write_on(self: Arc<Self>, mut client: Client, value: Bytes) {
        while !self.stop.load(Ordering::Relaxed) {
            let key = rand::rng().random_range(self.keys.clone());
            let began = self.now_us();
            let result = client.write_or_go_on(key, &value).await;
            let now = self.now_us();
            self.slowest_us.fetch_max(now - began, Ordering::Relaxed);
            if result.is_err() {
                self.failed.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let last = self.last_us.fetch_max(now, Ordering::Relaxed);
            self.longest_gap_us.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until so many more writes have succeeded.
    ///
    /// # Panics
    /// If they don't within a minute.
    pub(crate) fn wait_for(&self, writes: u64) {
        let before = self.done();
        tests::wait_for("writes", || {
            let done = self.done() - before;
            if done >= writes { Ok(()) } else { Err(format!("{done} were done")) }
        });
    }

    /// Writes that succeeded.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Writes that did not.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How long the slowest write took that ended since this was last called.
    pub(crate) fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.swap(0, Ordering::Relaxed))
    }

    /// The longest time without a success since this was last called.
    pub(crate) fn take_longest_gap(&self) -> Duration {
        Duration::from_micros(self.longest_gap_us.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
