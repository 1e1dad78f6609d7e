//! The meta servers.

use std::time::Duration;

use clap::{Args, Subcommand};
use proto::pb;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;
use crate::watch::Watch;

/// A meta server learns what there is before it is one of them.
const TO_LEARN: Duration = Duration::from_secs(60);

/// What can be asked of, or done to, the meta servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Meta {
    Ls(Ls),
    Add(Add),
    Remove(Remove),
}

impl Meta {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        match self {
            Self::Ls(command) => command.run(admin).await,
            Self::Add(command) => command.run(admin).await,
            Self::Remove(command) => command.run(admin).await,
        }
    }

    pub(crate) fn watch(&self) -> Option<Duration> {
        match self {
            Self::Ls(command) => command.watch.every,
            Self::Add(_) | Self::Remove(_) => None,
        }
    }
}

/// The meta servers: who leads, and who can be reached
///
/// Any of them answers, also while none leads.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin meta ls
  admin meta ls --watch

Fields of --json, a list of:
  name          its name
  address       where it can be reached
  reachable     whether it answered just now; what follows is its answer, null without one
  role          leader, follower, candidate (none leads), or learner (it does not vote)
  term          how often one was elected, as far as it knows
  last_applied  the last entry of the log that its state has
  votes         whether it counts for a majority
  id            drawn with its data directory; one that lost its disk has another one")]
pub(crate) struct Ls {
    #[command(flatten)]
    watch: Watch,
}

impl Ls {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::ListMetaServersRequest {};
        let reply = admin.look(async |mut admin| admin.list_meta_servers(request).await).await?;
        let columns = ["name", "address", "reachable", "role", "term", "last_applied", "votes"];
        Ok(Answer::list(reply.servers.iter().map(row).collect(), &columns))
    }
}

fn row(server: &pb::MetaServerStatus) -> Value {
    let answered = |value: Value| if server.reachable { value } else { Value::Null };
    let role = server.role().as_str_name().trim_start_matches("META_ROLE_").to_lowercase();
    json!({
        "name": server.name,
        "address": server.address,
        "reachable": server.reachable,
        "role": answered(role.into()),
        "term": answered(server.term.into()),
        "last_applied": answered(server.last_applied.into()),
        "votes": server.votes,
        "id": format!("{:016x}", server.id),
    })
}

/// Make a server that was started one of the meta servers
///
/// Start it first, under a name that none of them has: `meta-server --name meta4`, with a config.ini that names it
/// (`[apps.meta] count = 4`). It learns what there is, and then counts for a majority. An odd number of meta servers
/// is best: a fourth one helps no more than three do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin meta add meta4 127.0.0.1:34604

Fields of --json:
  accepted  what was done, for people")]
pub(crate) struct Add {
    /// Its name, as it was started
    name: String,
    /// Where it listens
    #[arg(value_name = "HOST:PORT")]
    address: String,
}

impl Add {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::AddMetaServerRequest { name: self.name.clone(), address: self.address.clone() };
        let add = async |mut admin: crate::ask::Client| admin.add_meta_server(request.clone()).await;
        Ok(Answer::said("accepted", &admin.ask_for(TO_LEARN, add).await?.accepted))
    }
}

/// Make a server one of the meta servers no more
///
/// Refused if a majority of the others can't be reached: nothing could be decided then. Stop it afterwards, and take
/// it out of config.ini.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin meta remove meta4

Fields of --json:
  accepted  what was done, for people")]
pub(crate) struct Remove {
    /// Its name
    name: String,
}

impl Remove {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::RemoveMetaServerRequest { name: self.name.clone() };
        let remove = async |mut admin: crate::ask::Client| admin.remove_meta_server(request.clone()).await;
        Ok(Answer::said("accepted", &admin.ask_for(TO_LEARN, remove).await?.accepted))
    }
}
