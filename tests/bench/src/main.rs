//! `bench`: our cluster beside what somebody would take instead, on the same machine and in the same run.

mod bystander;
mod cell;
mod echo;
mod etcd;
mod failover;
mod holdfast;
mod learning;
mod load;
mod machine;
mod page;
mod plots;
mod restart;
mod shape;
mod system;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use cell::{Cell, Mix, Results};
use machine::Machine;
use page::Page;
use shape::{Shape, Shaped};
use system::Kind;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures our cluster, etcd's and a bare gRPC echo, each started anew in every round.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    plan: Plan,
    /// Writes benchmarks.md and its plots into this folder, with each part that is done; without it the tables
    /// are printed at the end
    #[arg(long, value_name = "FOLDER")]
    docs: Option<PathBuf>,
}

/// What is run; each option can leave something out.
#[derive(Clone, Debug, clap::Args)]
struct Plan {
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    systems: Vec<Kind>,
    /// What clients do
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Mix::ALL)]
    mixes: Vec<Mix>,
    /// Clients, each with one operation at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024])]
    clients: Vec<usize>,
    /// Bytes of a value
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024, 16384])]
    bytes: Vec<usize>,
    /// Partitions of an app of ours
    #[arg(long, default_value_t = shape::PARTITIONS)]
    partitions: u32,
    /// How often everything is run
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long one figure is measured in a round; as much again, a second at most, goes before it
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often a primary, and etcd's leader, is killed
    #[arg(long, default_value_t = 20)]
    failovers: usize,
    /// MiB of log, ahead of all checkpoints, that a server is started again with; without a value none
    #[arg(long, value_name = "MIB", value_delimiter = ',', num_args = 0.., default_values_t = [1024, 2048, 10240])]
    restarts: Vec<u64>,
    /// MiB of values that a server which lost its data learns, alone and with clients that write; without a value none
    #[arg(long, value_name = "MIB", value_delimiter = ',', num_args = 0.., default_values_t = [2048])]
    learning: Vec<u64>,
    /// Bytes of the values that clients write while a server learns
    #[arg(long, value_name = "BYTES", value_delimiter = ',', num_args = 0.., default_values_t = [1024, 16384])]
    learning_bytes: Vec<usize>,
    /// Clusters of these shapes are compared, each SERVERS:PARTITIONS:REPLICAS; without a value none
    #[arg(long, value_name = "SHAPE", value_delimiter = ',', num_args = 0.., default_values_t = shapes())]
    shapes: Vec<Shape>,
}

/// One thing changes at a time.
fn shapes() -> Vec<Shape> {
    let shape = |(servers, partitions, replicas)| Shape { servers, partitions, replicas };
    let partitions = [1, 8, 64, 256, 1000].map(|partitions| (3, partitions, 3));
    let servers = [(5, 8, 3), (7, 8, 3)];
    let replicas = [1, 2, 3, 5].map(|replicas| (5, 64, replicas));
    partitions.into_iter().chain(servers).chain(replicas).map(shape).collect()
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The echo's server; started by the benchmark itself
    #[command(hide = true)]
    EchoServer {
        #[arg(long)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let Arguments { command, plan, docs } = Arguments::parse();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("no threads can be started: {error}")),
    };
    if let Some(Command::EchoServer { port }) = command {
        return match runtime.block_on(echo::serve(port)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string()),
        };
    }
    // What comes last takes longest to come to: if it fails, what was measured before it is not lost.
    let write = |page: &Page| docs.as_ref().map_or(Ok(()), |folder| page.write(folder));
    match measure(&plan, &runtime, write) {
        Ok(page) if docs.is_none() => println!("{}", page.text()),
        Ok(_) => {}
        Err(error) => return complain(&format!("the page can't be written: {error}")),
    }
    ExitCode::SUCCESS
}

fn complain(problem: &str) -> ExitCode {
    eprintln!("bench: {problem}");
    ExitCode::FAILURE
}

/// Runs the plan, and hands the page over as soon as a part of it is whole.
fn measure(plan: &Plan, runtime: &Runtime, write: impl Fn(&Page) -> io::Result<()>) -> io::Result<Page> {
    let (kinds, missing): (Vec<Kind>, Vec<Kind>) = plan.systems.iter().partition(|kind| kind.is_installed());
    for kind in &missing {
        eprintln!("skipped: {} is not installed", kind.name());
    }
    let mut page = Page::new(Machine::look(), kinds, missing, plan.clone());
    measure_load(plan, &page.kinds, runtime, &mut page.results);
    write(&page)?;
    if plan.failovers > 0 {
        for &kind in page.kinds.iter().filter(|kind| kind.fails_over()) {
            page.failovers.push((kind, failover::measure(kind, plan.failovers, runtime)));
        }
        write(&page)?;
    }
    if page.kinds.contains(&Kind::Counter) {
        page.shapes = measure_shapes(plan, runtime);
        write(&page)?;
    }
    if page.kinds.contains(&Kind::Kv) {
        for &mib in &plan.learning {
            for written in [None].into_iter().chain(plan.learning_bytes.iter().copied().map(Some)) {
                page.learning.push(learning::measure(mib, written, runtime));
                write(&page)?;
            }
        }
        for &mib in &plan.restarts {
            page.restarts.push(restart::measure(mib, runtime));
            write(&page)?;
        }
    }
    Ok(page)
}

/// All systems under all loads, in rounds.
fn measure_load(plan: &Plan, kinds: &[Kind], runtime: &Runtime, results: &mut Results) {
    let cells = cells(plan);
    for round in 0..plan.rounds {
        // Whoever comes first has the coolest machine: not always the same.
        for turn in 0..kinds.len() {
            let kind = kinds[(round + turn) % kinds.len()];
            run_all(kind, &cells, plan, runtime, results);
        }
        machine::append_and_sync(&cells, Duration::from_secs_f64(plan.seconds), results);
        eprintln!("round {} of {} is done", round + 1, plan.rounds);
    }
}

/// Each shape with what every round saw of it.
fn measure_shapes(plan: &Plan, runtime: &Runtime) -> Vec<(Shape, Vec<Shaped>)> {
    let seconds = Duration::from_secs_f64(plan.seconds);
    let mut shapes: Vec<_> = plan.shapes.iter().map(|&shape| (shape, Vec::new())).collect();
    for _ in 0..plan.rounds {
        for (shape, rounds) in &mut shapes {
            rounds.push(shape::measure(*shape, seconds, runtime));
        }
    }
    shapes
}

fn cells(plan: &Plan) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &bytes in &plan.bytes {
        for &mix in &plan.mixes {
            cells.extend(plan.clients.iter().map(|&clients| Cell { mix, clients, bytes }));
        }
    }
    cells
}

fn run_all(kind: Kind, cells: &[Cell], plan: &Plan, runtime: &Runtime, results: &mut Results) {
    let system = kind.start(plan.partitions, runtime);
    let seconds = Duration::from_secs_f64(plan.seconds);
    for &cell in cells.iter().filter(|cell| kind.takes(**cell)) {
        let measured = runtime.block_on(async {
            let clients = system.clients(cell.clients).await;
            load::run(clients, cell, seconds, || system.cpu_time()).await
        });
        if let Some(error) = &measured.first_error {
            eprintln!("{} {cell}: {} errors, the first: {error}", kind.name(), measured.errors);
        }
        results.add(kind, cell, measured);
    }
}
