//! `card`: the card server's command line, with Certain's verbs, lines and codes.

use std::process::ExitCode;
use std::time::Duration;

use card::{Card, Cards, request};
use clap::{Parser, Subcommand};
use client::command_line::app::{AppArgs, not_done, not_opened, run};
use client::command_line::{EXIT_NOT_DONE, EXIT_UNKNOWN, parse, print_line};
use client::{Copies, Failure, Outcome};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Certain's codes beside those of [`request`], with its own words for them.
const TIMEOUT: u32 = 7003;
const MUST_CATCH_UP: u32 = 7019;
const NO_MAJORITY: u32 = 7021;

/// How long `recover` waits for all copies, unless it is told.
const TO_RECOVER: Duration = Duration::from_secs(60);
/// Between two looks at the copies.
const LOOK: Duration = Duration::from_millis(100);

/// Keeps cards. Exit code 0: done; 1: surely not done; 2: usage or settings; 3: the outcome is unknown.
#[derive(Debug, Parser)]
#[command(name = "card", version)]
struct Cli {
    #[command(flatten)]
    args: AppArgs,
    /// The app that holds the cards
    #[arg(long, default_value = "card.instance0", global = true)]
    app: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A new card
    Insert {
        #[command(flatten)]
        card: CardId,
        /// The name of whom it belongs to
        #[arg(short, long, value_parser = name)]
        name: String,
        /// Their id
        #[arg(short, long)]
        user: u64,
        /// What is on it
        #[arg(short, long)]
        balance: u64,
    },
    /// So much more, or less, on a card; prints the new balance, which never falls below zero
    Update {
        #[command(flatten)]
        card: CardId,
        /// How much
        #[arg(short, long, allow_hyphen_values = true)]
        delta: i64,
    },
    /// The card is gone
    Delete {
        #[command(flatten)]
        card: CardId,
    },
    /// Print what is on a card
    Select {
        #[command(flatten)]
        card: CardId,
    },
    /// Wait until each copy of a card's partition that is missing is made again, and say which it is
    Recover {
        #[command(flatten)]
        card: CardId,
    },
}

#[derive(Debug, clap::Args)]
struct CardId {
    /// The card
    #[arg(short, long)]
    id: u64,
}

fn name(text: &str) -> Result<String, String> {
    request::check_name(text.as_bytes()).map(str::to_owned).map_err(|rejection| rejection.message)
}

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => run(carry_out(cli)),
        Err(code) => code,
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let cards = match open(&cli).await {
        Ok(cards) => cards,
        Err(code) => return code,
    };
    let print = Print { json: cli.args.common.json };
    match cli.command {
        Command::Insert { card: CardId { id }, name, user, balance } => {
            let card = Card { user_name: name, user_id: user, balance };
            print.outcome(cards.insert(id, card).await, |()| (None, json!({})))
        }
        Command::Update { card: CardId { id }, delta } => {
            let show = |balance| (Some(format!("balance={balance}")), json!({ "balance": balance }));
            print.outcome(cards.update(id, delta).await, show)
        }
        Command::Delete { card: CardId { id } } => {
            print.outcome(cards.delete(id).await, |()| (None, json!({})))
        }
        Command::Select { card: CardId { id } } => print.outcome(cards.select(id).await, show_card),
        Command::Recover { card: CardId { id } } => {
            let patience = cli.args.timeout.map_or(TO_RECOVER, Duration::from_millis);
            recover(&cards, id, Instant::now() + patience, &print).await
        }
    }
}

async fn open(cli: &Cli) -> Result<Cards, ExitCode> {
    let (cluster, _) = cli.args.connect()?;
    Cards::open(&cluster, &cli.app).await.map_err(not_opened)
}

fn show_card(card: Card) -> (Option<String>, Value) {
    let Card { user_name, user_id, balance } = &card;
    let line = format!("user_name={user_name} user_id={user_id} balance={balance}");
    (Some(line), serde_json::to_value(card).expect("a card is plain data"))
}

/// Says who has a copy whenever that changes, until all are there.
async fn recover(cards: &Cards, id: u64, deadline: Instant, print: &Print) -> ExitCode {
    let mut last = None;
    loop {
        let why = match cards.copies(id).await {
            Ok(copies) => {
                if last.as_ref() != Some(&copies) {
                    print.copies(&copies);
                }
                if copies.whole {
                    return print.done(None);
                }
                let why = format!("{} of {} copies", copies.up().count(), copies.wanted);
                last = Some(copies);
                why
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() + LOOK > deadline {
            return print.failure(MUST_CATCH_UP, &format!("must catch up: {why}"), EXIT_NOT_DONE);
        }
        sleep(LOOK).await;
    }
}

/// How things are told: in Certain's words, or as JSON.
struct Print {
    json: bool,
}

impl Print {
    /// What came of it; `show` is the line before `Done`, if there is one, and the fields of the JSON.
    fn outcome<T>(&self, outcome: Outcome<T>, show: impl FnOnce(T) -> (Option<String>, Value)) -> ExitCode {
        match outcome {
            Outcome::Done { decree, answer } => {
                let (line, mut fields) = show(answer);
                if self.json {
                    fields["outcome"] = "done".into();
                    fields["decree"] = decree.0.into();
                    print_line(fields);
                    return ExitCode::SUCCESS;
                }
                self.done(line)
            }
            Outcome::Failed(Failure::Rejected(no)) => self.failure(no.code, &no.message, EXIT_NOT_DONE),
            Outcome::Failed(why) if why.is_callers_mistake() => not_done(&why),
            Outcome::Failed(why) => {
                self.failure(NO_MAJORITY, &format!("no majority: surely not done: {why}"), EXIT_NOT_DONE)
            }
            Outcome::Unknown => {
                let what = "timeout: it takes effect once or not at all, now or later";
                self.failure(TIMEOUT, what, EXIT_UNKNOWN)
            }
        }
    }

    fn done(&self, line: Option<String>) -> ExitCode {
        if !self.json {
            line.into_iter().for_each(print_line);
            print_line("Done");
        }
        ExitCode::SUCCESS
    }

    fn failure(&self, code: u32, message: &str, exit: u8) -> ExitCode {
        if self.json {
            let outcome = if exit == EXIT_UNKNOWN { "unknown" } else { "failed" };
            print_line(json!({ "outcome": outcome, "code": code, "error": message }));
        }
        eprintln!("Failure with error: code({code}) msg({})", message.replace('\n', " "));
        ExitCode::from(exit)
    }

    fn copies(&self, copies: &Copies) {
        if self.json {
            let Copies { partition, wanted, primary, secondaries, down, learners, whole } = copies;
            print_line(json!({ "entity": partition.to_string(), "wanted": wanted, "primary": primary,
                "secondaries": secondaries, "down": down, "learners": learners, "whole": whole }));
            return;
        }
        let up: Vec<&str> = copies.up().collect();
        let mut line = format!("entity {}: {} of {} copies", copies.partition, up.len(), copies.wanted);
        if !up.is_empty() {
            line.push_str(&format!(" ({})", up.join(", ")));
        }
        if !copies.learners.is_empty() {
            line.push_str(&format!(", {} is making one", copies.learners.join(", ")));
        }
        print_line(line);
    }
}
