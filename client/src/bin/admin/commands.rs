//! The commands, one file a subject. A command is its arguments, with its help and an example, and `run`, which asks
//! and returns an [`Answer`]. To add one: write it in the file of its subject, and name it here three times: in
//! [`Command`], in [`Command::run`], and in [`GROUPS`]; then `HOLDFAST_UPDATE=1 cargo test --release --workspace
//! --bin admin` writes it into docs/admin.md.

mod app;
mod balancer;
mod completions;
mod create;
mod dropped;
mod env;
mod level;
mod loss;
mod meta;
mod node;
mod partition;
mod recover;
mod wait;
mod why;

use std::time::Duration;

use clap::Subcommand;

use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

/// The commands, grouped as an operator thinks of them: how `admin --help` shows them.
pub(crate) const GROUPS: [(&str, &[&str]); 7] = [
    ("Apps", &["apps", "app", "create", "drop", "recall", "rename", "replicas", "env"]),
    ("Nodes", &["nodes", "node"]),
    ("What the meta server does by itself", &["level", "why", "history", "balancer"]),
    ("Meta servers", &["meta"]),
    ("Moving replicas by hand", &["propose", "balance"]),
    ("When things are lost", &["ddd", "accept-loss", "recover"]),
    ("This command line", &["completions"]),
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "ls")]
    Apps(app::Apps),
    App(app::App),
    Create(create::Create),
    Drop(dropped::Drop),
    Recall(dropped::Recall),
    Rename(app::Rename),
    Replicas(app::Replicas),
    /// What operators set for an app while it runs
    #[command(subcommand)]
    Env(env::Env),
    Nodes(node::Nodes),
    /// One replica server
    #[command(subcommand)]
    Node(node::Node),
    Level(level::Level),
    Why(why::Why),
    History(why::History),
    /// The meta servers
    #[command(subcommand)]
    Meta(meta::Meta),
    Balancer(balancer::Balancer),
    Propose(partition::Propose),
    Balance(partition::Balance),
    Ddd(loss::Ddd),
    AcceptLoss(loss::AcceptLoss),
    Recover(recover::Recover),
    Completions(completions::Completions),
}

impl Command {
    /// Carries it out; returns what to print.
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        match self {
            Self::Apps(command) => command.run(admin).await,
            Self::App(command) => command.run(admin).await,
            Self::Create(command) => command.run(admin).await,
            Self::Drop(command) => command.run(admin).await,
            Self::Recall(command) => command.run(admin).await,
            Self::Rename(command) => command.run(admin).await,
            Self::Replicas(command) => command.run(admin).await,
            Self::Env(command) => command.run(admin).await,
            Self::Nodes(command) => command.run(admin).await,
            Self::Node(command) => command.run(admin).await,
            Self::Level(command) => command.run(admin).await,
            Self::Why(command) => command.run(admin).await,
            Self::History(command) => command.run(admin).await,
            Self::Meta(command) => command.run(admin).await,
            Self::Balancer(command) => command.run(admin).await,
            Self::Propose(command) => command.run(admin).await,
            Self::Balance(command) => command.run(admin).await,
            Self::Ddd(command) => command.run(admin).await,
            Self::AcceptLoss(command) => command.run(admin).await,
            Self::Recover(command) => command.run(admin).await,
            Self::Completions(command) => Ok(command.script()),
        }
    }

    /// What needs no cluster, and so no settings.
    pub(crate) fn alone(&self) -> Option<Answer> {
        match self {
            Self::Completions(command) => Some(command.script()),
            _ => None,
        }
    }

    /// How often to look again, if that is asked for.
    pub(crate) fn watch(&self) -> Option<Duration> {
        match self {
            Self::Apps(command) => command.watch.every,
            Self::App(command) => command.watch.every,
            Self::Nodes(command) => command.watch.every,
            Self::Ddd(command) => command.watch.every,
            Self::Meta(command) => command.watch(),
            Self::Node(node::Node::Drain(command)) => command.watch.every,
            Self::Balancer(command) => command.watch.every,
            _ => None,
        }
    }
}
