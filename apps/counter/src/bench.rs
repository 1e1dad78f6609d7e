//! A closed loop of clients that count, and the check that every acknowledged add was counted once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Outcome;
use hdrhistogram::Histogram;
use rand::Rng;
use serde::Serialize;

use crate::Counter;
use crate::history::{End, Op, Row, Writer};

/// How long reading back may take, each counter; servers may be down when the load ends.
const READ_BACK_TIMEOUT: Duration = Duration::from_secs(60);
/// Latencies are counted up to this, in microseconds.
const HIGHEST_LATENCY_US: u64 = 600_000_000;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients, each with one operation at a time.
    pub clients: u32,
    /// For how long.
    pub span: Duration,
    /// Over how many counters.
    pub keys: u32,
    /// How many of a hundred operations are reads.
    pub reads_percent: u32,
}

/// A run. Its counters are its own, and new.
#[derive(Debug)]
pub struct Bench {
    plan: Plan,
    counter: Counter,
    history: Option<Writer>,
    began: Instant,
    keys: Vec<Key>,
    stop: AtomicBool,
    /// Operations that were done, for a progress bar.
    done: AtomicU64,
    /// When an operation was last done, and the longest time without, in nanoseconds since the beginning.
    last_done_ns: AtomicU64,
    longest_gap_ns: AtomicU64,
}

#[derive(Debug)]
struct Key {
    name: String,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
}

/// What came of a run. `--json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Clients.
    pub clients: u32,
    /// How long the load lasted, in seconds.
    pub seconds: f64,
    /// Operations that were done.
    pub operations: u64,
    /// Those, a second.
    pub ops_per_s: f64,
    /// Latency of operations that were done, in microseconds: half were faster.
    pub p50_us: u64,
    /// 99 of a hundred were faster.
    pub p99_us: u64,
    /// 999 of a thousand were faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Operations that were not done, or of which nobody knows.
    pub errors: u64,
    /// The longest time in which no operation of any client was done, in milliseconds.
    pub longest_gap_ms: u64,
    /// Adds that were acknowledged.
    pub acknowledged: u64,
    /// Adds of which nobody knows.
    pub unknown: u64,
    /// What the counters held at the end.
    pub sum: u64,
    /// Whether each counter held what was acknowledged, and no more besides it than what is unknown.
    pub sum_check: SumCheck,
    /// Why the first operation that failed did, or why reading back did.
    pub first_error: Option<String>,
}

/// What reading back showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SumCheck {
    /// Nothing acknowledged is lost or doubled.
    Exact,
    /// Something is.
    Violated,
    /// Not every counter could be read.
    Unread,
}

/// What one client saw.
struct Seen {
    latencies_us: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Bench {
    /// Prepares a run; its clock starts now.
    #[must_use]
    pub fn new(plan: Plan, counter: Counter, history: Option<Writer>) -> Arc<Self> {
        let run: u32 = rand::rng().random();
        let key = |index| Key {
            name: format!("bench-{run:08x}-{index}"),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        };
        Arc::new(Self {
            plan,
            counter,
            history,
            began: Instant::now(),
            keys: (0..plan.keys).map(key).collect(),
            stop: AtomicBool::new(false),
            done: AtomicU64::new(0),
            last_done_ns: AtomicU64::new(0),
            longest_gap_ns: AtomicU64::new(0),
        })
    }

    /// Operations that were done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the load; what is under way is waited for.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Runs the load, then reads back.
    ///
    /// # Errors
    /// If the history can't be written.
    pub async fn run(self: &Arc<Self>) -> io::Result<Report> {
        let clients: Vec<_> =
            (0..self.plan.clients).map(|client| tokio::spawn(Arc::clone(self).client(client))).collect();
        let mut all = Seen::nothing();
        for client in clients {
            all.add(client.await.expect("a client never panics")?);
        }
        let elapsed = self.began.elapsed();
        self.note_gap(self.now_ns());
        let read_back = self.read_back().await?;
        if let Some(history) = &self.history {
            history.finish()?;
        }
        Ok(self.report(all, elapsed, read_back))
    }

    async fn client(self: Arc<Self>, client: u32) -> io::Result<Seen> {
        let mut seen = Seen::nothing();
        while !self.stop.load(Ordering::Relaxed) && self.began.elapsed() < self.plan.span {
            let (key, is_read) = {
                let mut rng = rand::rng();
                let key = rng.random_range(0..self.keys.len());
                (&self.keys[key], rng.random_range(0..100) < self.plan.reads_percent)
            };
            let start_ns = self.now_ns();
            let op = if is_read { Op::Read } else { Op::Add };
            let outcome = match op {
                Op::Read => self.counter.read(&key.name).await,
                Op::Add => self.counter.add(&key.name, 1).await,
            };
            let row = self.record(client, key, op, start_ns, &outcome)?;
            seen.take(&row, &outcome);
            if row.outcome == End::Done {
                self.note_gap(row.end_ns);
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            match (op, row.outcome) {
                (Op::Add, End::Done) => key.acknowledged.fetch_add(1, Ordering::Relaxed),
                (Op::Add, End::Unknown) => key.unknown.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
            if matches!(&outcome, Outcome::Failed(failure) if failure.is_callers_mistake()) {
                // Nothing else can come of it, and that without a pause.
                break;
            }
        }
        Ok(seen)
    }

    fn record<'a>(
        &self,
        client: u32,
        key: &'a Key,
        op: Op,
        start_ns: u64,
        outcome: &Outcome<i64>,
    ) -> io::Result<Row<'a>> {
        let row = Row {
            client,
            key: key.name.as_str().into(),
            op,
            arg: i64::from(op == Op::Add),
            answer: None,
            outcome: End::Failed,
            start_ns,
            end_ns: self.now_ns(),
            decree: None,
        }
        .ended(outcome);
        self.history.as_ref().map_or(Ok(()), |history| history.record(&row))?;
        Ok(row)
    }

    fn note_gap(&self, now_ns: u64) {
        let last = self.last_done_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.longest_gap_ns.fetch_max(now_ns.saturating_sub(last), Ordering::Relaxed);
    }

    /// The sum of all counters and whether each is right; or why they could not be read.
    async fn read_back(self: &Arc<Self>) -> io::Result<Result<(u64, bool), String>> {
        let readers: Vec<_> =
            (0..self.plan.clients).map(|client| tokio::spawn(Arc::clone(self).reader(client))).collect();
        let mut total = Ok((0, true));
        for reader in readers {
            let read = reader.await.expect("a reader never panics")?;
            total = total
                .and_then(|(sum, right)| read.map(|(more, also_right)| (sum + more, right && also_right)));
        }
        Ok(total)
    }

    /// Reads its share of the counters.
    async fn reader(self: Arc<Self>, client: u32) -> io::Result<Result<(u64, bool), String>> {
        let counter = self.counter.with_timeout(READ_BACK_TIMEOUT);
        let (mut sum, mut right) = (0, true);
        for key in self.keys.iter().skip(client as usize).step_by(self.plan.clients as usize) {
            let start_ns = self.now_ns();
            let outcome = counter.read(&key.name).await;
            self.record(client, key, Op::Read, start_ns, &outcome)?;
            let value = match outcome {
                Outcome::Done { answer, .. } => answer,
                Outcome::Failed(why) => return Ok(Err(format!("`{}` can't be read back: {why}", key.name))),
                Outcome::Unknown => return Ok(Err(format!("`{}` can't be read back", key.name))),
            };
            let acknowledged = key.acknowledged.load(Ordering::Relaxed);
            let possible = acknowledged..=acknowledged + key.unknown.load(Ordering::Relaxed);
            right &= u64::try_from(value).is_ok_and(|value| possible.contains(&value));
            sum += u64::try_from(value).unwrap_or(0);
        }
        Ok(Ok((sum, right)))
    }

    fn report(&self, seen: Seen, elapsed: Duration, read_back: Result<(u64, bool), String>) -> Report {
        let total = |count: fn(&Key) -> &AtomicU64| {
            self.keys.iter().map(|key| count(key).load(Ordering::Relaxed)).sum()
        };
        let latency = |quantile| seen.latencies_us.value_at_quantile(quantile);
        let (sum, sum_check, unread) = match read_back {
            Ok((sum, true)) => (sum, SumCheck::Exact, None),
            Ok((sum, false)) => (sum, SumCheck::Violated, None),
            Err(why) => (0, SumCheck::Unread, Some(why)),
        };
        Report {
            clients: self.plan.clients,
            seconds: elapsed.as_secs_f64(),
            operations: self.done(),
            ops_per_s: self.done() as f64 / elapsed.as_secs_f64(),
            p50_us: latency(0.5),
            p99_us: latency(0.99),
            p999_us: latency(0.999),
            max_us: seen.latencies_us.max(),
            errors: seen.errors,
            longest_gap_ms: self.longest_gap_ns.load(Ordering::Relaxed) / 1_000_000,
            acknowledged: total(|key| &key.acknowledged),
            unknown: total(|key| &key.unknown),
            sum,
            sum_check,
            first_error: unread.or(seen.first_error),
        }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Seen {
    fn nothing() -> Self {
        let latencies_us = Histogram::new_with_max(HIGHEST_LATENCY_US, 3).expect("these bounds are valid");
        Self { latencies_us, errors: 0, first_error: None }
    }

    fn take(&mut self, row: &Row<'_>, outcome: &Outcome<i64>) {
        let error = match outcome {
            Outcome::Done { .. } => {
                self.latencies_us.saturating_record((row.end_ns - row.start_ns) / 1000);
                return;
            }
            Outcome::Failed(why) => why.to_string(),
            Outcome::Unknown => "an add has an unknown outcome".into(),
        };
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    fn add(&mut self, other: Self) {
        self.latencies_us.add(&other.latencies_us).expect("they have the same bounds");
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}
