//! `kv bench`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use client::command_line::app::stop_at_ctrl_c;
use client::command_line::{EXIT_NOT_DONE, complain, print_line};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{ProgressBar, ProgressStyle};
use kv::Kv;
use kv::bench::{Bench, Distribution, Kind, Phase, Plan, Workload};
use serde_json::json;

use crate::printed::Form;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which mixes
    #[arg(long, value_enum, default_value = "all")]
    workload: Which,
    /// Clients, each with one operation at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Records that are loaded first
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// The records of an earlier run, of as many, are there
    #[arg(long)]
    loaded: bool,
    /// How long each mix runs
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    seconds: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    value_bytes: u32,
    /// Which records are asked for [default: as the workload says]
    #[arg(long, value_enum)]
    distribution: Option<Choice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Half reads, half updates
    A,
    /// Reads, and 5 % updates
    B,
    /// Reads
    C,
    /// Reads of what is new, and 5 % inserts
    D,
    /// Scans of 1 to 100 records, and 5 % inserts
    E,
    /// Half reads, half reads with a write of the same record after
    F,
    /// All of them: A, B, C, F, D, E
    All,
    /// None: the records are loaded, and that is all
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Zipfian,
    Latest,
    Uniform,
}

/// Measures, and prints each phase as it ends.
pub(crate) async fn run(arguments: Arguments, kv: Kv, form: Form) -> ExitCode {
    let distribution = arguments.distribution.map(|choice| match choice {
        Choice::Zipfian => Distribution::Zipfian,
        Choice::Latest => Distribution::Latest,
        Choice::Uniform => Distribution::Uniform,
    });
    let plan = Plan {
        clients: arguments.clients,
        records: arguments.records,
        value_bytes: arguments.value_bytes as usize,
        span: Duration::from_secs(arguments.seconds),
        distribution,
    };
    let bench = Bench::new(plan, kv, arguments.loaded);
    let stopped = Arc::clone(&bench);
    tokio::spawn(stop_at_ctrl_c(move || stopped.stop()));
    let mut phases = Vec::new();
    if !arguments.loaded {
        phases.push(watched(&bench, "loading", bench.load()).await);
        tell(&phases, form);
    }
    for workload in workloads(arguments.workload) {
        phases.push(watched(&bench, workload.name(), bench.run(workload)).await);
        tell(&phases, form);
    }
    if form == Form::Json {
        print_line(json!(phases));
    }
    let errors: u64 = phases.iter().map(|phase| phase.errors).sum();
    let first = phases.iter().find_map(|phase| phase.first_error.as_ref());
    match first {
        Some(first) => {
            complain(EXIT_NOT_DONE, format!("{errors} operations were not done; the first: {first}"))
        }
        None => ExitCode::SUCCESS,
    }
}

fn workloads(which: Which) -> Vec<Workload> {
    match which {
        Which::A => vec![Workload::A],
        Which::B => vec![Workload::B],
        Which::C => vec![Workload::C],
        Which::D => vec![Workload::D],
        Which::E => vec![Workload::E],
        Which::F => vec![Workload::F],
        Which::All => Workload::ALL.to_vec(),
        Which::None => Vec::new(),
    }
}

/// Shows on standard error, if that is a terminal, how far a phase is.
async fn watched(bench: &Arc<Bench>, name: &str, phase: impl Future<Output = Phase>) -> Phase {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{prefix}: {elapsed}, {msg} operations");
    bar.set_style(style.expect("the template is valid"));
    bar.set_prefix(name.to_owned());
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    tokio::pin!(phase);
    let phase = loop {
        tokio::select! {
            phase = &mut phase => break phase,
            _ = ticks.tick() => bar.set_message(bench.done().to_string()),
        }
    };
    bar.finish_and_clear();
    phase
}

/// The last phase, for people.
fn tell(phases: &[Phase], form: Form) {
    let Some(phase) = phases.last().filter(|_| form == Form::Lines) else { return };
    let Phase { name, operations, clients, seconds, ops_per_s, .. } = phase;
    print_line(format_args!(
        "{name}: {operations} operations of {clients} clients in {seconds:.1} s: {ops_per_s:.0} a second"
    ));
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(["", "done", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "slowest ms"]);
    for (kind, spread) in &phase.kinds {
        let kind = match kind {
            Kind::Read => "read",
            Kind::Update => "update",
            Kind::Insert => "insert",
            Kind::Scan => "scan",
            Kind::ReadModifyWrite => "read-modify-write",
        };
        let times = [spread.p50_us, spread.p95_us, spread.p99_us, spread.p999_us, spread.max_us].map(ms);
        table.add_row([kind.to_owned(), spread.operations.to_string()].into_iter().chain(times));
    }
    print_line(table.trim_fmt());
}
