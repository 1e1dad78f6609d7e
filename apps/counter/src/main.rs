//! `counter`: counts from the command line, measures, and judges histories.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use client::command_line::app::{AppArgs, not_done, not_opened, run, stop_at_ctrl_c, unknown};
use client::command_line::{EXIT_MISTAKE, EXIT_NOT_DONE, complain, parse, print_for_reader, print_line};
use client::{Decree, Outcome};
use counter::bench::{Bench, Plan, Report, SumCheck};
use counter::{Counter, check, history, request, sums};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Counts. Exit code 0: done; 1: surely not done; 2: usage or settings; 3: the outcome is unknown.
#[derive(Debug, Parser)]
#[command(name = "counter", version)]
struct Cli {
    #[command(flatten)]
    args: AppArgs,
    /// The app that holds the counters
    #[arg(long, default_value = "counter.instance0", global = true)]
    app: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add N to the counter NAME and print the sum
    Add {
        #[arg(value_parser = name)]
        name: String,
        #[arg(value_name = "N", allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(0..))]
        operand: i64,
    },
    /// Print the value of the counter NAME, 0 if there is none
    Read {
        #[arg(value_parser = name)]
        name: String,
    },
    /// Print every sum that the counter NAME has from now on
    Watch {
        #[arg(value_parser = name)]
        name: String,
        /// From this decree on, instead of from now on
        #[arg(long, value_name = "DECREE", value_parser = clap::value_parser!(u64).range(1..=1 << 62))]
        from: Option<u64>,
        /// End after so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Measure: clients that add 1 to new counters, and read, as fast as they are answered
    Bench {
        /// Clients, each with one operation at a time
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        clients: u32,
        /// How long
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seconds: u64,
        /// Over how many counters
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        keys: u32,
        /// How many of a hundred operations are reads
        #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
        reads: u32,
        /// Write every operation to this file, a JSON line each
        #[arg(long, value_name = "FILE")]
        history: Option<PathBuf>,
    },
    /// Judge a history that `bench --history` wrote: exit code 0 if it is linearizable, 1 if not
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

fn name(text: &str) -> Result<String, String> {
    request::check_name(text.as_bytes()).map(str::to_owned).map_err(|rejection| rejection.message)
}

fn main() -> ExitCode {
    let cli: Cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Command::Check { file } = &cli.command {
        return check_history(file, cli.args.common.json);
    }
    run(carry_out(cli))
}

async fn carry_out(cli: Cli) -> ExitCode {
    let counter = match open(&cli).await {
        Ok(counter) => counter,
        Err(code) => return code,
    };
    let json = cli.args.common.json;
    match cli.command {
        Command::Add { name, operand } => tell(&counter.add(&name, operand).await, json),
        Command::Read { name } => tell(&counter.read(&name).await, json),
        Command::Watch { name, from, count } => watch(&counter, &name, from, count, json).await,
        Command::Bench { clients, seconds, keys, reads, history } => {
            let plan = Plan { clients, span: Duration::from_secs(seconds), keys, reads_percent: reads };
            bench(plan, counter, history.as_deref(), json).await
        }
        Command::Check { .. } => unreachable!("it needs no cluster and was done before"),
    }
}

async fn open(cli: &Cli) -> Result<Counter, ExitCode> {
    let (cluster, settings) = cli.args.connect()?;
    Counter::open(&cluster, &settings, &cli.app).await.map_err(not_opened)
}

/// The value alone on standard output; anything else on standard error.
fn tell(outcome: &Outcome<i64>, json: bool) -> ExitCode {
    if json {
        print_line(format_args!(
            "{}",
            match outcome {
                Outcome::Done { decree, answer } => {
                    json!({ "outcome": outcome.word(), "value": answer, "decree": decree.0 })
                }
                Outcome::Failed(why) => json!({ "outcome": outcome.word(), "error": why.to_string() }),
                Outcome::Unknown => json!({ "outcome": outcome.word() }),
            }
        ));
    }
    match outcome {
        Outcome::Done { answer, .. } => {
            if !json {
                print_line(answer);
            }
            ExitCode::SUCCESS
        }
        Outcome::Failed(why) => not_done(why),
        Outcome::Unknown => unknown(),
    }
}

/// A sum alone on each line. Ends when the reader of its output has gone away, too.
async fn watch(counter: &Counter, name: &str, from: Option<u64>, count: Option<u64>, json: bool) -> ExitCode {
    let mut watch = counter.watch(name, from.map(Decree));
    let mut left = count.unwrap_or(u64::MAX);
    while let Some(watched) = watch.next().await {
        let watched = match watched {
            Ok(watched) => watched,
            Err(failure) => return complain(EXIT_NOT_DONE, failure),
        };
        for (decree, sum) in sums(&watched) {
            let line =
                if json { json!({ "decree": decree.0, "value": sum }).to_string() } else { sum.to_string() };
            if !print_for_reader(line) {
                return ExitCode::SUCCESS;
            }
            left -= 1;
            if left == 0 {
                return ExitCode::SUCCESS;
            }
        }
    }
    ExitCode::SUCCESS
}

async fn bench(plan: Plan, counter: Counter, history: Option<&Path>, json: bool) -> ExitCode {
    let history = match history.map(history::Writer::create).transpose() {
        Ok(history) => history,
        Err(error) => return complain(EXIT_MISTAKE, format!("the history can't be written: {error}")),
    };
    let bench = Bench::new(plan, counter, history);
    let stopped = Arc::clone(&bench);
    tokio::spawn(stop_at_ctrl_c(move || stopped.stop()));
    let bar = ProgressBar::new(plan.span.as_secs());
    let progress = tokio::spawn(show_progress(bar.clone(), Arc::clone(&bench)));
    let report = bench.run().await;
    progress.abort();
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            if json {
                print_line(format_args!(
                    "{}",
                    serde_json::to_string(&report).expect("a report is plain data")
                ));
            } else {
                print_report(&report);
            }
            if report.sum_check == SumCheck::Exact {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_NOT_DONE)
            }
        }
        Err(error) => complain(EXIT_NOT_DONE, format!("the history can't be written: {error}")),
    }
}

/// On standard error, and only if that is a terminal.
async fn show_progress(bar: ProgressBar, bench: Arc<Bench>) {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} s  {msg} operations");
    bar.set_style(style.expect("the template is valid"));
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        bar.set_position(bar.elapsed().as_secs().min(bar.length().unwrap_or(0)));
        bar.set_message(bench.done().to_string());
    }
}

fn print_report(report: &Report) {
    let ms = |us: u64| us as f64 / 1000.0;
    print_line(format_args!(
        "{} operations of {} clients in {:.1} s: {:.0} a second",
        report.operations, report.clients, report.seconds, report.ops_per_s
    ));
    print_line(format_args!(
        "latency: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, slowest {:.2} ms",
        ms(report.p50_us),
        ms(report.p99_us),
        ms(report.p999_us),
        ms(report.max_us)
    ));
    print_line(format_args!(
        "errors: {}; longest time without a success: {} ms",
        report.errors, report.longest_gap_ms
    ));
    if let Some(error) = &report.first_error {
        print_line(format_args!("the first: {error}"));
    }
    let verdict = match report.sum_check {
        SumCheck::Exact => "exact",
        SumCheck::Violated => "VIOLATED",
        SumCheck::Unread => "NOT MADE",
    };
    print_line(format_args!(
        "sum check {verdict}: {} adds acknowledged, {} unknown, {} read back",
        report.acknowledged, report.unknown, report.sum
    ));
}

fn check_history(file: &Path, json: bool) -> ExitCode {
    let rows = match File::open(file).and_then(|_| history::load(file)) {
        Ok(rows) => rows,
        Err(error) => return complain(EXIT_MISTAKE, format!("{}: {error}", file.display())),
    };
    match check::check(&rows) {
        Ok(checked) if json => print_line(format_args!(
            "{}",
            json!({ "linearizable": true, "operations": checked.operations, "keys": checked.keys,
                    "unknown": checked.unknown, "unknown_done": checked.unknown_done })
        )),
        Ok(checked) => print_line(format_args!(
            "linearizable: {} operations on {} counters; of {} adds with an unknown outcome {} took effect",
            checked.operations, checked.keys, checked.unknown, checked.unknown_done
        )),
        Err(violation) => {
            if json {
                print_line(format_args!(
                    "{}",
                    json!({ "linearizable": false, "violation": violation.to_string() })
                ));
            }
            return complain(EXIT_NOT_DONE, format!("not linearizable: {violation}"));
        }
    }
    ExitCode::SUCCESS
}
