//! YCSB's core workloads, A to F, by a closed loop of clients: first the records are loaded, then a mix of operations
//! runs on them. Each value begins with its key, so whatever is read is also checked.

mod choice;
mod report;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Outcome;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::request::Condition;
use crate::{Change, Kv, State};

pub use choice::Distribution;
use choice::{Chooser, Inserted};
use report::Seen;
pub use report::{Kind, Phase, Spread};
pub use workload::Workload;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients, each with one operation at a time.
    pub clients: u32,
    /// Records that are loaded before.
    pub records: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// How long each mix runs.
    pub span: Duration,
    /// Which keys are asked for, if not as the workload says.
    pub distribution: Option<Distribution>,
}

/// A store that is being measured. Its records stay from one phase to the next.
#[derive(Debug)]
pub struct Bench {
    plan: Plan,
    kv: Kv,
    inserted: Inserted,
    /// What values are filled up with.
    filler: Vec<u8>,
    stop: AtomicBool,
    /// Operations that were done in this phase, for a progress bar.
    done: AtomicU64,
}

impl Bench {
    /// Prepares a run; `loaded` says that the records are there already.
    #[must_use]
    pub fn new(plan: Plan, kv: Kv, loaded: bool) -> Arc<Self> {
        let mut filler = vec![0; plan.value_bytes];
        // Bytes that can't be compressed, as YCSB's.
        rand::rng().fill(&mut filler[..]);
        let inserted = Inserted::new(if loaded { plan.records } else { 0 });
        Arc::new(Self { plan, kv, inserted, filler, stop: AtomicBool::new(false), done: AtomicU64::new(0) })
    }

    /// Ends the phase early.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Operations done so far in this phase.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Stores all records.
    pub async fn load(self: &Arc<Self>) -> Phase {
        self.phase("load", |bench, mut seen| async move {
            while bench.goes_on() && bench.inserted.begun() < bench.plan.records {
                bench.insert(&mut seen, bench.plan.records).await;
            }
            seen
        })
        .await
    }

    /// Runs a mix of operations.
    pub async fn run(self: &Arc<Self>, workload: Workload) -> Phase {
        let until = Instant::now() + self.plan.span;
        self.phase(workload.name(), move |bench, mut seen| async move {
            let mut dice = SmallRng::from_os_rng();
            let distribution = bench.plan.distribution.unwrap_or(workload.distribution());
            let mut chooser = Chooser::new(distribution);
            while bench.goes_on() && Instant::now() < until {
                let kind = workload.draw(&mut dice);
                let number = chooser.choose(bench.inserted.readable(), &mut dice);
                bench.operate(kind, number, &mut dice, &mut seen).await;
            }
            seen
        })
        .await
    }

    /// Starts all clients of a phase, and adds up what they saw.
    async fn phase<F, T>(self: &Arc<Self>, name: &str, client: F) -> Phase
    where
        F: Fn(Arc<Self>, Seen) -> T,
        T: Future<Output = Seen> + Send + 'static,
    {
        self.done.store(0, Ordering::Relaxed);
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..self.plan.clients {
            clients.spawn(client(Arc::clone(self), Seen::default()));
        }
        let mut all = Seen::default();
        while let Some(seen) = clients.join_next().await {
            all.add(seen.expect("a client of the bench panicked"));
        }
        all.report(name, self.plan.clients, began.elapsed())
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn operate(&self, kind: Kind, number: u64, dice: &mut SmallRng, seen: &mut Seen) {
        let key = choice::key(number);
        let began = Instant::now();
        let result = match kind {
            Kind::Insert => return self.insert(seen, u64::MAX).await,
            Kind::Read => self.read(&key).await,
            Kind::Update => self.put(&key).await,
            Kind::ReadModifyWrite => match self.read(&key).await {
                Ok(()) => self.put(&key).await,
                error => error,
            },
            Kind::Scan => self.scan(&key, dice.random_range(1..=workload::LONGEST_SCAN)).await,
        };
        self.note(seen, kind, began, result);
    }

    /// The next record, unless there are `most` already.
    async fn insert(&self, seen: &mut Seen, most: u64) {
        let Some(number) = self.inserted.begin(most) else { return };
        let began = Instant::now();
        let result = self.put(&choice::key(number)).await;
        if result.is_ok() {
            self.inserted.end(number);
        }
        self.note(seen, Kind::Insert, began, result);
    }

    fn note(&self, seen: &mut Seen, kind: Kind, began: Instant, result: Result<(), String>) {
        if result.is_ok() {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        seen.note(kind, began.elapsed(), result);
    }

    async fn put(&self, key: &[u8]) -> Result<(), String> {
        let mut value = key.to_vec();
        value.extend_from_slice(&self.filler[value.len().min(self.filler.len())..]);
        match self.kv.put(key, &value, Condition::None, None).await {
            Outcome::Done { answer: Change::Made(_), .. } => Ok(()),
            other => Err(problem(other)),
        }
    }

    async fn read(&self, key: &[u8]) -> Result<(), String> {
        match self.kv.get(key).await {
            Outcome::Done { answer: State { value: Some(value), .. }, .. }
                if value.bytes.starts_with(key) =>
            {
                Ok(())
            }
            Outcome::Done { answer, .. } => Err(format!("{} holds {answer:?}", key.escape_ascii())),
            other => Err(problem(other)),
        }
    }

    async fn scan(&self, from: &[u8], length: u32) -> Result<(), String> {
        let mut scan = self.kv.scan(from, None).expecting(length);
        for _ in 0..length {
            match scan.next().await.map_err(|failure| failure.to_string())? {
                Some(entry) if entry.value.bytes.starts_with(&entry.key) => {}
                Some(entry) => return Err(format!("{} holds another's value", entry.key.escape_ascii())),
                None => break,
            }
        }
        Ok(())
    }
}

fn problem<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    match outcome {
        Outcome::Done { answer, .. } => format!("it was answered with {answer:?}"),
        Outcome::Failed(failure) => failure.to_string(),
        Outcome::Unknown => "the outcome is unknown".to_owned(),
    }
}
