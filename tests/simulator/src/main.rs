//! Runs seeds: `simulator --seeds 1000`, or scenarios: `simulator --scenarios tests/scenarios`. A failing one is
//! told with its trace and the command that repeats it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use simulator::{
    Mask, Numbers, Outcome, Scenario, Searched, Tally, Trace, keep_panics, run_scenario, run_without,
    scenario_files, shrink,
};

/// Simulates whole clusters with faults, a seed at a time, and checks that nothing breaks.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the trace of every seed, all of it.
    #[arg(long)]
    trace: bool,
    /// Threads, each with a seed of its own at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Let only these troubles happen, by their numbers: `3,5-9`, or `none`.
    #[arg(long)]
    only: Option<Numbers>,
    /// Let these clients, counted from 0, do nothing before the calm.
    #[arg(long, default_value = "none")]
    silent: Numbers,
    /// Let the calm begin after so many milliseconds, if not earlier.
    #[arg(long)]
    calm_ms: Option<u64>,
    /// Let no message be lost, late, doubled or out of order by chance.
    #[arg(long)]
    fair: bool,
    /// Let clients ask no more at once than a search can judge, and search the history of each key for an order,
    /// without a look at decrees.
    #[arg(long)]
    search: bool,
    /// Print all that clients asked and were told, an operation a line.
    #[arg(long)]
    history: bool,
    /// How many runs the shrinking of a failing seed may take; 0 shows it as it is.
    #[arg(long, default_value_t = 400)]
    shrink: u32,
    /// Go on after a failing seed, and print one line for each.
    #[arg(long)]
    keep_going: bool,
    /// Run this scenario instead of seeds (docs/scenarios.md).
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Run every scenario of this folder instead of seeds; print one line for each that fails.
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
}

impl Arguments {
    fn mask(&self) -> Mask {
        Mask {
            only: self.only.clone(),
            silent: self.silent.clone(),
            calm: self.calm_ms.map(Duration::from_millis),
            fair: self.fair,
            searchable: self.search,
        }
    }
}

/// A run of so many seeds fails if anything that should happen sometimes never does.
const SHOULD_SEE_ALL: u64 = 10_000;

/// Lines of the trace of a failing seed.
const TAIL: usize = 120;

/// What came of all seeds.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    events: u64,
    simulated: Duration,
    /// What each seed took to recover, and which it was.
    recoveries: Vec<(Duration, u64)>,
    operations: u64,
    tally: Tally,
    searched: Searched,
    failed: Vec<Outcome>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        self.simulated += outcome.simulated;
        self.recoveries.push((outcome.recovery, outcome.seed));
        self.operations += outcome.operations as u64;
        self.tally.add(&outcome.tally);
        self.searched.add(&outcome.searched);
        if outcome.violation.is_some() {
            self.failed.push(outcome);
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    keep_panics();
    if let Some(file) = &arguments.scenario {
        return tell_scenario(file, arguments.trace);
    }
    if let Some(folder) = &arguments.scenarios {
        return tell_scenarios(folder);
    }
    let (first, count) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let begin = Instant::now();
    let sum = run_all(&arguments, first, count);
    report(&sum, begin.elapsed());
    for outcome in &sum.failed {
        tell(outcome, &arguments);
    }
    let never = never_happened(&sum, &arguments);
    never.iter().for_each(|what| println!("in {} seeds it never happened that {what}", sum.seeds));
    if sum.failed.is_empty() && never.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What so long a run should have seen. One that a mask makes poorer, or that ended early, proves nothing.
fn never_happened(sum: &Sum, arguments: &Arguments) -> Vec<&'static str> {
    if sum.seeds < SHOULD_SEE_ALL || arguments.mask() != Mask::default() {
        return Vec::new();
    }
    sum.tally.rows().filter(|&(_, count)| count == 0).map(|(what, _)| what).collect()
}

fn run_all(arguments: &Arguments, first: u64, count: u64) -> Sum {
    let next = AtomicU64::new(first);
    let end = first.saturating_add(count);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.clamp(1, 64) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let mut trace = if arguments.trace { Trace::kept() } else { Trace::silent() };
                    let outcome = run_without(seed, &arguments.mask(), &mut trace);
                    print!("{}", trace.text());
                    if arguments.history {
                        outcome.history.iter().for_each(|operation| println!("{operation}"));
                    }
                    let failed = outcome.violation.is_some();
                    sum.lock().expect("no holder panics").add(outcome);
                    if failed && !arguments.keep_going {
                        next.store(end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().expect("no holder panics");
    sum.failed.sort_by_key(|outcome| outcome.seed);
    sum
}

fn report(sum: &Sum, took: Duration) {
    let seconds = took.as_secs_f64().max(1e-9);
    println!("sometimes:");
    for (what, count) in sum.tally.rows() {
        println!("{count:>12}  {what}");
    }
    report_recoveries(sum.recoveries.clone());
    if sum.searched.histories > 0 {
        let Searched { histories, operations, longest } = sum.searched;
        println!("{operations} operations in {histories} histories searched, {longest} in the longest");
    }
    println!(
        "{} seeds in {seconds:.1} s: {:.0} seeds/s, {:.0} events/s, {:.2} simulated hours/s; {} operations, {:.1} simulated hours",
        sum.seeds,
        sum.seeds as f64 / seconds,
        sum.events as f64 / seconds,
        sum.simulated.as_secs_f64() / 3600.0 / seconds,
        sum.operations,
        sum.simulated.as_secs_f64() / 3600.0,
    );
}

/// How long it took after the last fault until all was served and whole (L1).
fn report_recoveries(mut recoveries: Vec<(Duration, u64)>) {
    recoveries.sort_unstable();
    let within = |permille: usize| recoveries[recoveries.len() * permille / 1000].0.as_secs_f64();
    if let Some(&(longest, seed)) = recoveries.last() {
        println!(
            "recovered within {:.1} s in the middle, 99 % within {:.1} s, 99.9 % within {:.1} s, seed {seed} within {:.1} s",
            within(500),
            within(990),
            within(999),
            longest.as_secs_f64()
        );
    }
}

/// A failing seed is shrunk, and what is left of it is told.
fn tell(outcome: &Outcome, arguments: &Arguments) {
    let (seed, mut mask) = (outcome.seed, arguments.mask());
    if !arguments.trace && !arguments.keep_going {
        let mut silently = |mask: &Mask| run_without(seed, mask, &mut Trace::silent());
        let shrunken = shrink(outcome.clone(), mask, arguments.shrink, &mut silently);
        mask = shrunken.mask;
        let mut trace = Trace::kept();
        let last = run_without(seed, &mask, &mut trace);
        println!("... the last {TAIL} lines of the trace:");
        print!("{}", trace.tail(TAIL));
        let (all, left) = (outcome.struck.len(), last.struck.len());
        println!("{left} of {all} troubles are left after {} runs:", shrunken.runs);
        trace.troubles().iter().for_each(|line| println!("{line}"));
        print!("{}", last.picture);
        if let Some(violation) = &last.violation {
            println!("{:10.6} s  {violation}", last.simulated.as_secs_f64());
        }
    }
    if let Some(violation) = &outcome.violation {
        println!("seed {seed} FAILED: {violation}");
    }
    if !arguments.keep_going {
        println!("again: cargo run --release -p simulator -- --seed {seed}{mask} --trace");
    }
}

/// Runs one scenario; of one that fails, the end of its trace is shown.
fn tell_scenario(file: &Path, traced: bool) -> ExitCode {
    let scenario = match Scenario::open(file) {
        Ok(scenario) => scenario,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let mut trace = Trace::kept();
    let outcome = run_scenario(&scenario, &mut trace);
    match &outcome {
        _ if traced => print!("{}", trace.text()),
        Ok(_) => {}
        Err(_) => print!("... the last {TAIL} lines of the trace:\n{}", trace.tail(TAIL)),
    }
    match outcome {
        Ok(simulated) => {
            println!("{} ok: {:.1} s simulated; {}", scenario.name, simulated.as_secs_f64(), scenario.title);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{} FAILED at {failure}", scenario.name);
            ExitCode::FAILURE
        }
    }
}

/// Runs every scenario of a folder: exit code 1 if any fails, 2 if there is none or one can't be read.
fn tell_scenarios(folder: &Path) -> ExitCode {
    let scenarios: Result<Vec<Scenario>, String> =
        scenario_files(folder).and_then(|files| files.iter().map(|file| Scenario::open(file)).collect());
    let scenarios = match scenarios {
        Ok(scenarios) => scenarios,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let mut failed = 0;
    for scenario in &scenarios {
        if let Err(failure) = run_scenario(scenario, &mut Trace::silent()) {
            failed += 1;
            println!("scenario {} FAILED: {} (line {})", scenario.name, failure.violation, failure.number);
        }
    }
    println!("{} scenarios, {failed} failed", scenarios.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
