//! `admin`: the cluster's command line. Asks the meta server and prints what it says, as tables for people or as JSON
//! for programs.

mod answer;
mod ask;
mod clock;
mod commands;
mod failure;
mod help;
mod names;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use client::command_line::{Common, EXIT_MISTAKE, complain, parse_as, print_line};
use client::meta::{MetaError, MetaServers};

use ask::Admin;
use commands::Command;
use failure::Failure;

/// Looks after a cluster
#[derive(Debug, Parser)]
#[command(
    name = "admin",
    version,
    after_help = "\
Exit codes:
  0  done
  1  refused, or it failed; one line says why, and nothing changed
  2  a mistake in what was asked: usage, settings, no such app, node or partition; nothing changed
  3  no meta server was reached or answered in time; whether a change was made is not known, look
  4  decided and durable, but not complete when the wait for it ended

Examples:
  admin apps
  admin --config config.ini nodes --json
  admin app counter.instance0 --help"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    /// How long the meta server may take for an answer, in milliseconds
    #[arg(long, value_name = "MS", global = true, default_value_t = 5000,
          value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let cli: Cli = match parse_as(help::command()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let json = cli.common.json;
    if let Some(answer) = cli.command.alone() {
        print_line(answer.show(json));
        return ExitCode::SUCCESS;
    }
    let settings = match cli.common.settings() {
        Ok(settings) => settings,
        Err(error) => return complain(EXIT_MISTAKE, error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(1, format!("can't start: {error}")),
    };
    let addresses: Vec<String> = settings.meta_servers().into_iter().map(|server| server.address).collect();
    let done = runtime.block_on(async {
        let meta = MetaServers::new(&addresses).map_err(|bad| MetaError::Invalid(bad.to_string()))?;
        let admin = Admin::new(meta, Duration::from_millis(cli.timeout));
        match cli.command.watch() {
            Some(every) => look_again(&admin, &cli.command, every, json).await,
            None => cli.command.run(&admin).await.map(|answer| print_line(answer.show(json))),
        }
    });
    done.map_or_else(|failure| complain(failure.code(), failure), |()| ExitCode::SUCCESS)
}

/// Looks again and again, until nobody reads any more. After the first look a meta server that can't be reached is
/// said, and waited for.
async fn look_again(admin: &Admin, command: &Command, every: Duration, json: bool) -> Result<(), Failure> {
    let mut has_looked = false;
    loop {
        match command.run(admin).await {
            Ok(answer) if !watch::show(&answer.show(json), json) => return Ok(()),
            Ok(_) => has_looked = true,
            Err(failure) if has_looked && failure.may_pass() => {
                complain(failure.code(), failure);
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(every).await;
    }
}
