//! `echo-app`: says each line that is typed to the cluster, and prints what comes back and as which decree.

use std::io::{self, BufRead, Read};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use client::Outcome;
use client::command_line::app::{AppArgs, not_done, not_opened, run, unknown};
use client::command_line::{EXIT_MISTAKE, EXIT_NOT_DONE, EXIT_UNKNOWN, complain, parse, print_line};
use echo::Echo;
use serde_json::json;

/// How long a line may take if `--timeout` does not say: whoever typed it can wait, or press Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// After this long without an answer it says that it waits.
const TO_WAIT: Duration = Duration::from_secs(1);
/// The longest line, in bytes: no setting lets a request be larger (replication.max_write_bytes).
const LONGEST_LINE: usize = 64 << 20;

/// Echoes lines until the end of input. Exit code 0: all came back; 1: one was surely not echoed; 2: usage or settings;
/// 3: of one the outcome is unknown. With several of these the highest.
#[derive(Debug, Parser)]
#[command(name = "echo-app", version)]
struct Cli {
    #[command(flatten)]
    args: AppArgs,
    /// The app that echoes
    #[arg(long, default_value = "echo.instance0")]
    app: String,
}

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => run(carry_out(cli)),
        Err(code) => code,
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let echo = match open(&cli).await {
        Ok(echo) => echo.with_timeout(cli.args.timeout.map_or(PATIENCE, Duration::from_millis)),
        Err(code) => return code,
    };
    let json = cli.args.common.json;
    let mut worst = 0;
    loop {
        if !json {
            print_line("please input: <echo req value>");
        }
        let code = match tokio::task::spawn_blocking(next_line).await.expect("reading does not panic") {
            Ok(Some(line)) => say(&echo, line, json).await,
            Ok(None) => return ExitCode::from(worst),
            Err(error) => return complain(EXIT_MISTAKE, format!("standard input can't be read: {error}")),
        };
        worst = worst.max(code);
    }
}

async fn open(cli: &Cli) -> Result<Echo, ExitCode> {
    let (cluster, _) = cli.args.connect()?;
    Echo::open(&cluster, &cli.app).await.map_err(not_opened)
}

/// A line without its end; `None` at the end of input.
fn next_line() -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    io::stdin().lock().take(LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == LONGEST_LINE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of more than 64 MiB"));
    }
    Ok(Some(line))
}

/// Says a line, and what came of it.
async fn say(echo: &Echo, line: Vec<u8>, json: bool) -> u8 {
    let saying = echo.say(line.into());
    tokio::pin!(saying);
    let outcome = match tokio::time::timeout(TO_WAIT, &mut saying).await {
        Ok(outcome) => outcome,
        Err(_) => {
            if !json {
                print_line(format_args!("waiting: {}", for_whom(echo).await));
            }
            saying.await
        }
    };
    tell(&outcome, json)
}

/// Why there is no answer yet, as far as the meta server knows.
async fn for_whom(echo: &Echo) -> String {
    match echo.copies().await {
        Ok(copies) => {
            let up: Vec<&str> = copies.up().collect();
            let verb = if up.len() == 1 { "is" } else { "are" };
            format!("{} of {} servers {verb} there ({})", up.len(), copies.wanted, up.join(", "))
        }
        Err(error) => error.to_string(),
    }
}

fn tell(outcome: &Outcome<bytes::Bytes>, json: bool) -> u8 {
    if json {
        print_line(match outcome {
            Outcome::Done { decree, answer } => {
                json!({ "outcome": "done", "value": String::from_utf8_lossy(answer), "decree": decree.0 })
            }
            Outcome::Failed(why) => json!({ "outcome": "failed", "error": why.to_string() }),
            Outcome::Unknown => json!({ "outcome": "unknown" }),
        });
    }
    match outcome {
        Outcome::Done { decree, answer } => {
            if !json {
                print_line(format_args!(
                    "echo resp value {}, decree {decree}",
                    String::from_utf8_lossy(answer)
                ));
            }
            0
        }
        Outcome::Failed(why) => {
            let _ = not_done(why);
            if why.is_callers_mistake() { EXIT_MISTAKE } else { EXIT_NOT_DONE }
        }
        Outcome::Unknown => {
            let _ = unknown();
            EXIT_UNKNOWN
        }
    }
}
