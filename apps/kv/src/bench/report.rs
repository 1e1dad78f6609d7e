//! What came of a phase.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies are counted up to this, in microseconds.
const HIGHEST_LATENCY_US: u64 = 600_000_000;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A get.
    Read,
    /// A put of a record that is there.
    Update,
    /// A put of a new one.
    Insert,
    /// Some records in the order of their keys.
    Scan,
    /// A get and a put, as one.
    ReadModifyWrite,
}

/// A phase, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// `load`, or the workload's letter.
    pub name: String,
    /// Clients.
    pub clients: u32,
    /// How long it took.
    pub seconds: f64,
    /// Operations that were done.
    pub operations: u64,
    /// Those, a second.
    pub ops_per_s: f64,
    /// Operations that were not done, of which nobody knows, or that found what was not there.
    pub errors: u64,
    /// The first of these.
    pub first_error: Option<String>,
    /// How long they took, each kind by itself.
    pub kinds: BTreeMap<Kind, Spread>,
}

/// How long operations of one kind took, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Spread {
    /// How many were done.
    pub operations: u64,
    /// Half took less.
    pub p50_us: u64,
    /// 95 of a hundred took less.
    pub p95_us: u64,
    /// 99 of a hundred took less.
    pub p99_us: u64,
    /// 999 of a thousand took less.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// What one client saw.
#[derive(Default)]
pub(super) struct Seen {
    latencies_us: BTreeMap<Kind, Histogram<u64>>,
    errors: u64,
    first_error: Option<String>,
}

impl Seen {
    pub(super) fn note(&mut self, kind: Kind, took: Duration, result: Result<(), String>) {
        match result {
            Ok(()) => {
                let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.of(kind).saturating_record(us);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Histogram<u64> {
        let new = || Histogram::new_with_max(HIGHEST_LATENCY_US, 3).expect("the bounds make sense");
        self.latencies_us.entry(kind).or_insert_with(new)
    }

    pub(super) fn add(&mut self, other: Self) {
        for (kind, latencies_us) in other.latencies_us {
            self.of(kind).add(latencies_us).expect("all have the same bounds");
        }
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(super) fn report(self, name: &str, clients: u32, took: Duration) -> Phase {
        let operations = self.latencies_us.values().map(Histogram::len).sum();
        let seconds = took.as_secs_f64();
        Phase {
            name: name.to_owned(),
            clients,
            seconds,
            operations,
            ops_per_s: operations as f64 / seconds,
            errors: self.errors,
            first_error: self.first_error,
            kinds: self
                .latencies_us
                .iter()
                .map(|(&kind, latencies_us)| (kind, spread(latencies_us)))
                .collect(),
        }
    }
}

fn spread(latencies_us: &Histogram<u64>) -> Spread {
    let at = |quantile| latencies_us.value_at_quantile(quantile);
    Spread {
        operations: latencies_us.len(),
        p50_us: at(0.5),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: latencies_us.max(),
    }
}
