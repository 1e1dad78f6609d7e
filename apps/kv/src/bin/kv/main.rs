//! `kv`: keys and values from the command line.

mod bench;
mod commands;
mod printed;
mod shell;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use client::command_line::app::{AppArgs, not_opened, run};
use client::command_line::parse;
use kv::Kv;

use commands::Command;
use printed::Form;

/// Keys and values. Exit code 0: done; 1: surely not done, a version conflict and a key that does not exist among it;
/// 2: usage or settings; 3: the outcome is unknown.
#[derive(Debug, Parser)]
#[command(name = "kv", version)]
struct Cli {
    #[command(flatten)]
    args: AppArgs,
    /// The app that holds the keys
    #[arg(long, default_value = "kv.instance0", global = true)]
    app: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    #[command(flatten)]
    Command(Command),
    /// A prompt at which these commands can be typed, without `kv` before them
    Shell,
    /// Measure: YCSB's core workloads, on records that are loaded first
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => run(carry_out(cli)),
        Err(code) => code,
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let kv = match open(&cli).await {
        Ok(kv) => kv,
        Err(code) => return code,
    };
    let form = if cli.args.common.json { Form::Json } else { Form::Lines };
    match cli.what {
        What::Command(command) => command.carry_out(&kv, form).await,
        What::Shell => shell::run(&kv, form).await,
        What::Bench(arguments) => bench::run(arguments, kv, form).await,
    }
}

async fn open(cli: &Cli) -> Result<Kv, ExitCode> {
    let (cluster, _) = cli.args.connect()?;
    Kv::open(&cluster, &cli.app).await.map_err(not_opened)
}
