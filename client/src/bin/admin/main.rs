//! `admin`: the cluster's command line. Asks the meta server and prints what it says.

mod ask;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use client::command_line::{Common, EXIT_MISTAKE, complain, parse, print_line};
use client::meta::{MetaError, MetaServers};
use words::Gpid;

use ask::Admin;

/// Exit code for what the meta server refuses or does not answer.
const EXIT_NOT_DONE: u8 = 1;

/// rDSN's types of proposals and of balancing actions.
const PROPOSALS: [&str; 7] = [
    "assign_primary",
    "upgrade_to_primary",
    "add_secondary",
    "upgrade_to_secondary",
    "downgrade_to_secondary",
    "downgrade_to_inactive",
    "remove",
];
const BALANCES: [&str; 3] = ["move_pri", "copy_pri", "copy_sec"];

/// Looks after a cluster. Exit code 0: done; 1: refused or not reached; 2: usage, settings, or no such thing.
#[derive(Debug, Parser)]
#[command(name = "admin", version)]
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

#[derive(Debug, Subcommand)]
enum Command {
    /// The replica servers
    Nodes,
    /// The apps
    Ls,
    /// One app
    App {
        name: String,
        /// With its partitions: ballot, primary, secondaries, learners, last committed decree
        #[arg(short, long)]
        detailed: bool,
    },
    /// Create an app, and wait until each of its partitions has a primary
    Create {
        name: String,
        /// The app type, which the replica servers must have registered
        #[arg(long = "type", value_name = "TYPE")]
        app_type: String,
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        partitions: u32,
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        replicas: u32,
        /// Don't wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Delete an app and its data
    Drop { name: String },
    /// Give each partition of an app so many replicas: `admin replicas counter.instance0 5`
    ///
    /// Secondaries are added, one at a time, or those that are worst placed are removed; a primary stays.
    Replicas {
        /// The app's name
        name: String,
        /// How many, 1 to 9
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
    },
    /// Give up the members of a partition that are lost for good: `admin accept-loss 1.0 replica2`
    ///
    /// The named node leads with what it has. What only the lost members had is gone, also if they were to return.
    /// Refused as long as a member that may have everything is there.
    AcceptLoss {
        /// The partition, for example 1.0
        gpid: Gpid,
        /// Who shall lead: a node's name, address or id
        node: String,
        /// States that the members that are given up are stopped: one that is merely cut off could still be read
        #[arg(long)]
        the_others_are_stopped: bool,
    },
    /// One step of reconfiguration
    Propose {
        /// The partition, for example 1.0
        #[arg(long)]
        gpid: Gpid,
        #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(PROPOSALS))]
        action: String,
        /// The node's name, address or id
        #[arg(long)]
        node: String,
    },
    /// Move or copy a replica
    Balance {
        /// The partition, for example 1.0
        #[arg(long)]
        gpid: Gpid,
        #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(BALANCES))]
        action: String,
        /// The node's name, address or id
        #[arg(long)]
        from: String,
        /// The node's name, address or id
        #[arg(long)]
        to: String,
    },
}

fn main() -> ExitCode {
    let cli: Cli = match parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let settings = match cli.common.settings() {
        Ok(settings) => settings,
        Err(error) => return complain(EXIT_MISTAKE, error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(EXIT_NOT_DONE, format!("can't start: {error}")),
    };
    let addresses: Vec<String> = settings.meta_servers().into_iter().map(|server| server.address).collect();
    let done = runtime.block_on(async {
        let meta = MetaServers::new(&addresses).map_err(|bad| MetaError::Invalid(bad.to_string()))?;
        let admin = Admin::new(meta, Duration::from_millis(cli.timeout));
        run(&admin, cli.command, cli.common.json).await
    });
    match done {
        Ok(text) => {
            print_line(text);
            ExitCode::SUCCESS
        }
        Err(error @ (MetaError::NotFound(_) | MetaError::Invalid(_))) => complain(EXIT_MISTAKE, error),
        Err(error @ (MetaError::Refused(_) | MetaError::Unreachable(_))) => complain(EXIT_NOT_DONE, error),
    }
}

/// Carries out one command; returns what to print.
async fn run(admin: &Admin, command: Command, json: bool) -> Result<String, MetaError> {
    Ok(match command {
        Command::Nodes => show::nodes(&admin.nodes().await?, json),
        Command::Ls => show::apps(&admin.apps().await?, json),
        Command::App { name, detailed } => {
            let app = admin.app(&name).await?;
            if detailed { show::partitions(&app, json) } else { show::app(&app, json) }
        }
        Command::Create { name, app_type, partitions, replicas, no_wait } => {
            let app = admin.create(&name, &app_type, partitions, replicas).await?;
            if !no_wait {
                admin.wait_for_primaries(&name).await?;
            }
            show::created(&app, json)
        }
        Command::Drop { name } => {
            admin.drop(&name).await?;
            show::said("dropped", &name, json)
        }
        Command::Replicas { name, count } => {
            show::said("accepted", &admin.set_replica_count(&name, count).await?, json)
        }
        Command::AcceptLoss { gpid, node, the_others_are_stopped } => {
            show::said("accepted", &admin.accept_loss(gpid, &node, the_others_are_stopped).await?, json)
        }
        Command::Propose { gpid, action, node } => {
            show::said("accepted", &admin.propose(gpid, &action, &node).await?, json)
        }
        Command::Balance { gpid, action, from, to } => {
            show::said("accepted", &admin.balance(gpid, &action, &from, &to).await?, json)
        }
    })
}
