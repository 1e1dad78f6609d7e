//! The cluster that a scenario begins with: calm weather, exact clocks, every delay fixed, and the settings that
//! ship, unless the scenario's head says otherwise.

use std::time::Duration;

use replica_core::Settings;

use super::words::{Line, Parsed};
use crate::dice::Spans;
use crate::plan::Plan;

/// What a scenario's head sets.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    /// Machines whose clock runs as fast as the bound on clock rates allows (§5.2); those of the others are exact.
    pub(super) fast_clocks: Vec<usize>,
}

type SetSpan = fn(&mut Plan, Duration);
type SetNumber = fn(&mut Plan, u64);

/// Settings that are spans of time.
const SPANS: [(&str, SetSpan); 18] = [
    ("heartbeat", |plan, span| plan.settings.heartbeat = span),
    ("lease", |plan, span| plan.settings.lease = span),
    ("prepare_timeout", |plan, span| plan.settings.prepare_timeout = span),
    ("failure_timeout", |plan, span| {
        plan.settings.failure_timeout = span;
        plan.meta.failure_timeout = span;
    }),
    ("learn_timeout", |plan, span| {
        plan.settings.learn_timeout = span;
        plan.meta.learn_timeout = span;
    }),
    ("resend", |plan, span| plan.settings.resend = span),
    ("beacon", |plan, span| plan.settings.beacon = span),
    ("report", |plan, span| plan.settings.report = span),
    ("checkpoint_interval", |plan, span| plan.settings.checkpoint_interval = span),
    ("replica_assign_delay", |plan, span| plan.meta.replica_assign_delay = span),
    ("reconnect_grace", |plan, span| plan.meta.reconnect_grace = span),
    ("ask_again", |plan, span| plan.meta.ask_again = span),
    ("message", |plan, span| plan.weather.delay = exactly(span)),
    ("sync", |plan, span| plan.speed.sync = exactly(span)),
    ("slow_sync", |plan, span| plan.speed.slow_sync = exactly(span)),
    ("work", |plan, span| plan.speed.work = exactly(span)),
    ("transfer", |plan, span| plan.speed.transfer = exactly(span)),
    ("meta_commit", |plan, span| plan.speed.meta_commit = exactly(span)),
];

/// Settings that are numbers.
const NUMBERS: [(&str, SetNumber); 12] = [
    ("nodes", |plan, number| plan.machines = size(number.clamp(1, 9))),
    ("replicas", |plan, number| plan.replicas = number.clamp(1, 9) as u32),
    ("partitions", |plan, number| plan.partitions = number.clamp(1, 9) as u32),
    ("window", |plan, number| plan.settings.window = size(number)),
    ("queue", |plan, number| plan.settings.queue = size(number)),
    ("batch", |plan, number| plan.settings.batch = size(number)),
    ("list_tail", |plan, number| plan.settings.list_tail = size(number)),
    ("resend_batch", |plan, number| plan.settings.resend_batch = size(number)),
    ("checkpoint_decrees", |plan, number| plan.settings.checkpoint_decrees = number),
    ("min_replicas", |plan, number| {
        plan.settings.mutation_2pc_min_replica_count = size(number);
        plan.meta.mutation_2pc_min_replica_count = size(number);
    }),
    ("segment_bytes", |plan, number| plan.segment_bytes = number),
    // Whether a connection to a dead process is refused at once, or says nothing (§5.6).
    ("refused_permille", |plan, number| plan.refused_permille = number.min(1000) as u32),
];

impl Setup {
    /// Three nodes, three replicas, one partition, and nothing goes wrong.
    pub(super) fn new() -> Self {
        let mut plan = Plan::calm();
        plan.machines = 3;
        plan.replicas = 3;
        plan.partitions = 1;
        plan.settings = Settings::default();
        plan.meta = crate::meta_server::settings(&plan.settings, Duration::from_secs(10));
        plan.segment_bytes = 1 << 20;
        plan.weather.delay = exactly(Duration::from_millis(1));
        plan.speed.wake = exactly(Duration::from_micros(10));
        plan.speed.sync = exactly(Duration::from_millis(1));
        plan.speed.slow_sync = exactly(Duration::from_millis(500));
        plan.speed.work = exactly(Duration::from_millis(1));
        plan.speed.transfer = exactly(Duration::from_millis(5));
        plan.speed.meta_commit = exactly(Duration::from_millis(1));
        plan.refused_permille = 1000;
        Self { plan, fast_clocks: Vec::new() }
    }

    /// `set lease 500ms`, `set window 5`, `set fast_clock r2`.
    pub(super) fn set(&mut self, line: &mut Line<'_>) -> Parsed<()> {
        let name = line.next("a setting")?;
        if name == "fast_clock" {
            self.fast_clocks.extend(line.machines()?);
        } else if let Some((_, set)) = SPANS.iter().find(|(known, _)| *known == name) {
            set(&mut self.plan, line.span(name)?);
        } else if let Some((_, set)) = NUMBERS.iter().find(|(known, _)| *known == name) {
            set(&mut self.plan, line.number(name)?);
        } else {
            return Err(format!("`{name}` is no setting; known are {}", names().join(", ")));
        }
        Ok(())
    }
}

/// Every setting.
pub(super) fn names() -> Vec<&'static str> {
    let spans = SPANS.iter().map(|&(name, _)| name);
    spans.chain(NUMBERS.iter().map(|&(name, _)| name)).chain(["fast_clock"]).collect()
}

fn exactly(span: Duration) -> Spans {
    let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Spans::us(us, us)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
