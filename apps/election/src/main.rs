//! `election`: campaigns in terminals, as PhxPaxos's phxelection does.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use client::Outcome;
use client::command_line::app::{AppArgs, not_done, not_opened, run, unknown};
use client::command_line::{EXIT_NOT_DONE, complain, parse, print_for_reader, print_line};
use election::request::{LEASE_MS, Master, Record, check_election, check_name};
use election::{Election, Lost, Moment, now};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// Elects a master. Exit code 0: done; 1: surely not done, or no master; 2: usage or settings; 3: the outcome is
/// unknown.
#[derive(Debug, Parser)]
#[command(name = "election", version)]
struct Cli {
    #[command(flatten)]
    args: AppArgs,
    /// The app that holds the elections
    #[arg(long, default_value = "election.instance0", global = true)]
    app: String,
    /// Which election
    #[arg(long, default_value = "master", global = true, value_parser = election_name)]
    election: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Campaign, again and again, and say every second who is master; Ctrl-C resigns
    Campaign {
        /// Under which name
        #[arg(long, value_parser = candidate_name)]
        name: String,
        /// How long a master is master without renewing
        #[arg(long, value_name = "MS", default_value_t = 3000,
              value_parser = clap::value_parser!(u32).range(i64::from(*LEASE_MS.start())..=i64::from(*LEASE_MS.end())))]
        lease: u32,
        /// End by itself after so long
        #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        seconds: Option<u64>,
    },
    /// Print each change of master, the present one first
    Observe {
        /// Renewals, too
        #[arg(long)]
        renewals: bool,
        /// End after so many lines
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print who was elected last; its lease may be over
    Master,
    /// Have the master drop its role
    Resign,
}

fn election_name(text: &str) -> Result<String, String> {
    check_election(text.as_bytes()).map(str::to_owned).map_err(|no| no.message)
}

fn candidate_name(text: &str) -> Result<String, String> {
    check_name(text.as_bytes()).map(str::to_owned).map_err(|no| no.message)
}

fn main() -> ExitCode {
    match parse() {
        Ok(cli) => run(carry_out(cli)),
        Err(code) => code,
    }
}

async fn carry_out(cli: Cli) -> ExitCode {
    let json = cli.args.common.json;
    let election = match open(&cli).await {
        Ok(election) => election,
        Err(code) => return code,
    };
    match cli.command {
        Command::Campaign { name, lease, seconds } => {
            let campaign = campaign(&election, &name, Duration::from_millis(lease.into()), seconds);
            tokio::select! {
                code = campaign => code,
                failure = show_every_second(&election, json) => complain(EXIT_NOT_DONE, failure),
            }
        }
        Command::Observe { renewals, count } => observe(&election, renewals, count, json).await,
        Command::Master => tell(&election.read().await, json),
        Command::Resign => revoke(&election, json).await,
    }
}

async fn open(cli: &Cli) -> Result<Election, ExitCode> {
    let (cluster, settings) = cli.args.connect()?;
    Election::open(&cluster, &settings, &cli.app, &cli.election).await.map_err(not_opened)
}

/// Campaigns until it is stopped. Whoever was made to drop its role sits out two leases.
async fn campaign(election: &Election, name: &str, lease: Duration, seconds: Option<u64>) -> ExitCode {
    let mut stop = std::pin::pin!(stopped(seconds));
    loop {
        let elected = tokio::select! {
            elected = election.campaign(name, lease) => elected,
            () = &mut stop => return ExitCode::SUCCESS,
        };
        let mut guard = match elected {
            Ok(guard) => guard,
            Err(failure) => return complain(EXIT_NOT_DONE, failure),
        };
        let pause = tokio::select! {
            lost = guard.lost() => if lost == Lost::Revoked { lease * 2 } else { Duration::ZERO },
            () = &mut stop => {
                guard.resign().await;
                return ExitCode::SUCCESS;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut stop => return ExitCode::SUCCESS,
        }
    }
}

/// Ctrl-C, SIGTERM, or so many seconds.
async fn stopped(seconds: Option<u64>) {
    let over = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// A line every second, and one at each change of master. Ends when nothing can be seen any more.
async fn show_every_second(election: &Election, json: bool) -> String {
    let mut observation = election.observe();
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View::new(election.clone());
    loop {
        let line = tokio::select! {
            record = observation.next() => match record {
                Ok(record) => view.sees(record),
                Err(failure) => return failure.to_string(),
            },
            _ = seconds.tick() => view.line(json),
        };
        if !line.is_none_or(print_for_reader) {
            return "nobody reads what is printed".to_owned();
        }
    }
}

/// What is known of an election, and when it was seen first.
struct View {
    election: Election,
    seen: Option<(Record, Moment)>,
}

impl View {
    fn new(election: Election) -> Self {
        Self { election, seen: None }
    }

    /// A newer record; the line to be printed if the master is another one.
    fn sees(&mut self, record: Record) -> Option<String> {
        let before = self.seen.replace((record, now())).and_then(|(before, _)| before.master);
        let (record, _) = self.seen.as_ref()?;
        let master = record.master.as_ref()?;
        let is_other = before.is_none_or(|before| before.token != master.token);
        is_other.then(|| {
            format!(
                "master change!!! nodeid {} version {} token {}",
                master.name, record.version, master.token
            )
        })
    }

    /// Who is master as far as anybody can know who is none: nobody, once its lease has run out for sure.
    fn line(&self, json: bool) -> Option<String> {
        let (record, seen_at) = self.seen.as_ref()?;
        let running = |master: &&Master| now() < seen_at.after(self.election.longest(master.lease()));
        Some(show(record, record.master.as_ref().filter(running), json))
    }
}

fn show(record: &Record, master: Option<&Master>, json: bool) -> String {
    match master {
        _ if json => shown(record, master).to_string(),
        Some(Master { name, token, .. }) => {
            format!("master: nodeid {name} version {} token {token}", record.version)
        }
        None => format!("master: none version {}", record.version),
    }
}

fn shown(record: &Record, master: Option<&Master>) -> Value {
    let master = master.map(|master| {
        json!({ "name": master.name, "token": master.token, "lease_ms": master.lease_ms,
                "since_us": master.since_us, "revoked": master.revoked })
    });
    json!({ "version": record.version, "master": master })
}

async fn observe(election: &Election, renewals: bool, count: Option<u64>, json: bool) -> ExitCode {
    let mut observation = election.observe();
    let mut before = None;
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let record = match observation.next().await {
            Ok(record) => record,
            Err(failure) => return complain(EXIT_NOT_DONE, failure),
        };
        let master = record.master.as_ref().map(|master| (master.token, master.revoked));
        if before.replace(master) == Some(master) && !renewals {
            continue;
        }
        if !print_for_reader(show(&record, record.master.as_ref(), json)) {
            break;
        }
        left -= 1;
    }
    ExitCode::SUCCESS
}

fn tell(outcome: &Outcome<Record>, json: bool) -> ExitCode {
    match outcome {
        Outcome::Done { answer, .. } => {
            print_line(show(answer, answer.master.as_ref(), json));
            if answer.master.is_some() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_DONE) }
        }
        Outcome::Failed(why) => not_done(why),
        Outcome::Unknown => unknown(),
    }
}

async fn revoke(election: &Election, json: bool) -> ExitCode {
    match election.revoke().await {
        Outcome::Done { answer, .. } if answer.accepted => {
            print_line(show(&answer.record, answer.record.master.as_ref(), json));
            ExitCode::SUCCESS
        }
        Outcome::Done { answer, .. } if answer.record.master.is_none() => {
            complain(EXIT_NOT_DONE, "there is no master")
        }
        Outcome::Done { .. } => {
            complain(EXIT_NOT_DONE, "it was renewed meanwhile, or is to resign already: try again")
        }
        Outcome::Failed(why) => not_done(&why),
        Outcome::Unknown => unknown(),
    }
}
