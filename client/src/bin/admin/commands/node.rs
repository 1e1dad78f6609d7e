//! The replica servers.

use clap::{Args, Subcommand};
use client::meta::MetaError;
use proto::pb;
use serde_json::{Value, json};

use super::app::{describe, list_apps, replica_fields};
use super::level::loudly;
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::{gpid, hex};
use crate::watch::Watch;

/// The replica servers: who is alive, and what each keeps
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin nodes
  admin nodes --watch 5

Fields of --json, a list of:
  name          its name in config.ini
  address       where it can be reached
  alive         whether the meta server hears it
  primaries     partitions that it leads
  secondaries   partitions in which it is a secondary
  disk          how full the file system of its data directory is; null if it has not said so yet:
    capacity      its size in bytes
    available     bytes that can still be written
    is_low        below the watermark: the server takes no writes of clients and no new replicas
  black_listed  it gets no new replicas (`admin node black-list`)
  drained       everything on it goes elsewhere (`admin node drain`)
  silent_ms     milliseconds since its last beacon
  unknown       replicas that it holds of partitions that the meta server does not know (`admin ddd`)
  life          how often it has started; 0 if it was not heard since the meta server started
  node          its id, which its data directory holds")]
pub(crate) struct Nodes {
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl Nodes {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let reply = list_nodes(admin).await?;
        let rows: Vec<Value> = reply.nodes.iter().map(row).collect();
        let mut shown = rows.clone();
        for row in &mut shown {
            row["disk"] = disk_line(&row["disk"]);
            for (field, said) in [("black_listed", "black list"), ("drained", "drained")] {
                if row[field] == true {
                    row["name"] = format!("{} ({said})", row["name"].as_str().unwrap_or_default()).into();
                }
            }
        }
        let columns = [
            "name",
            "address",
            "alive",
            "primaries",
            "secondaries",
            "unknown",
            "disk",
            "silent_ms",
            "life",
            "node",
        ];
        Ok(loudly(Answer::new(rows.into(), table(&shown, &columns)), reply.level.as_ref()))
    }
}

/// What can be asked of, or done to, one of them.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    Show(Show),
    /// Nodes that get no new replicas; those that they have stay, and may become primary
    #[command(subcommand)]
    BlackList(BlackList),
    Drain(Drain),
    Undrain(Undrain),
    Remove(Remove),
}

impl Node {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        match self {
            Self::Show(command) => command.run(admin).await,
            Self::BlackList(BlackList::Add(command)) => command.run(admin, true).await,
            Self::BlackList(BlackList::Remove(command)) => command.run(admin, false).await,
            Self::BlackList(BlackList::Ls(command)) => command.run(admin).await,
            Self::Drain(command) => command.run(admin).await,
            Self::Undrain(command) => command.run(admin).await,
            Self::Remove(command) => command.run(admin).await,
        }
    }
}

/// Nodes that get no new replicas.
#[derive(Debug, Subcommand)]
pub(crate) enum BlackList {
    /// No new replicas on this node; those that it has stay
    #[command(after_help = "\
Examples:
  admin node black-list add replica2

Fields of --json:
  accepted  what holds from now on, for people")]
    Add(Listed),
    /// This node may get replicas again
    #[command(after_help = "\
Examples:
  admin node black-list remove replica2

Fields of --json:
  accepted  what holds from now on, for people")]
    Remove(Listed),
    Ls(ListedNodes),
}

/// One node for the black list.
#[derive(Debug, Args)]
pub(crate) struct Listed {
    /// Its name, address or id
    node: String,
}

impl Listed {
    async fn run(&self, admin: &Admin, listed: bool) -> Result<Answer, Failure> {
        let request = pb::BlackListRequest { node: self.node.clone(), listed };
        let reply = admin.ask(async |mut admin| admin.black_list(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

/// The nodes on the black list
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin node black-list ls

Fields of --json, a list of:
  name     its name in config.ini
  address  where it can be reached
  node     its id, which its data directory holds")]
pub(crate) struct ListedNodes {}

impl ListedNodes {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let nodes = list_nodes(admin).await?.nodes;
        let listed = nodes.iter().filter(|status| status.black_listed).map(|status| {
            let node = status.node.clone().unwrap_or_default();
            json!({ "name": node.name, "address": node.address, "node": hex(&node.node) })
        });
        Ok(Answer::list(listed.collect(), &["name", "address", "node"]))
    }
}

/// Everything on this node goes elsewhere, in small steps, and it gets nothing new
///
/// Primaries are handed over first, then each replica is copied before it leaves. Once nothing is left the node can be
/// stopped and removed. With --watch what is left is shown again and again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin node drain replica4
  admin node drain replica4 --watch 2

Fields of --json:
  accepted     what holds from now on, for people
  primaries    partitions that it still leads
  secondaries  partitions in which it is still a secondary")]
pub(crate) struct Drain {
    /// Its name, address or id
    node: String,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl Drain {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let status = find(admin, &self.node).await?;
        let accepted = match status.drained {
            true => "it is being drained".to_owned(),
            false => drain(admin, &self.node, true).await?,
        };
        let (leads, follows) = (status.primaries, status.secondaries);
        let left = match leads + follows {
            0 => "nothing is left on it: stop it, then `admin node remove` it".to_owned(),
            _ => format!("{leads} primaries and {follows} secondaries are left on it"),
        };
        let json = json!({ "accepted": accepted, "primaries": leads, "secondaries": follows });
        Ok(Answer::new(json, format!("accepted: {accepted}\n{left}")))
    }
}

/// This node is like any other again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin node undrain replica4

Fields of --json:
  accepted  what holds from now on, for people")]
pub(crate) struct Undrain {
    /// Its name, address or id
    node: String,
}

impl Undrain {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let accepted = drain(admin, &self.node, false).await?;
        Ok(Answer::said("accepted", &accepted))
    }
}

/// Forget a node that does not run and is a member of nothing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin node remove replica4

Fields of --json:
  accepted  what holds from now on, for people")]
pub(crate) struct Remove {
    /// Its name, address or id
    node: String,
}

impl Remove {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::RemoveNodeRequest { node: self.node.clone() };
        let reply = admin.ask(async |mut admin| admin.remove_node(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

async fn drain(admin: &Admin, node: &str, drained: bool) -> Result<String, MetaError> {
    let request = pb::DrainRequest { node: node.to_owned(), drained };
    let reply = admin.ask(async |mut admin| admin.drain(request.clone()).await).await?;
    Ok(reply.accepted)
}

/// The replicas that a replica server holds, as it last reported
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin node show replica1
  admin node show 127.0.0.1:34801 --json

Fields of --json, a list of:
  gpid            the partition
  app             its app's name
  role            primary, secondary, learner, inactive, or error
  ballot          of the configuration that it takes part in
  last_committed  its last committed decree
  last_prepared   its last prepared decree
  last_durable    the last decree that its app has made durable")]
pub(crate) struct Show {
    /// Its name, address or id
    node: String,
}

impl Show {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let node = find(admin, &self.node).await?.node.unwrap_or_default();
        let mut rows = vec![];
        for app in list_apps(admin, false).await?.apps.into_iter().filter_map(|status| status.app) {
            for partition in describe(admin, &app.name).await?.partitions {
                let held = partition.replicas.iter().filter(|replica| replica.node == node.node);
                rows.extend(held.map(|replica| {
                    let mut row = replica_fields(replica);
                    row["gpid"] = gpid(partition.gpid).into();
                    row["app"] = app.name.clone().into();
                    row
                }));
            }
        }
        let columns = ["gpid", "app", "role", "ballot", "last_committed", "last_prepared", "last_durable"];
        Ok(Answer::list(rows, &columns))
    }
}

/// All nodes that are known.
pub(crate) async fn list_nodes(admin: &Admin) -> Result<pb::ListNodesReply, MetaError> {
    admin.look(async |mut admin| admin.list_nodes(pb::ListNodesRequest {}).await).await
}

/// The node of that name, address or id; of several with one name, the one that is alive.
async fn find(admin: &Admin, given: &str) -> Result<pb::NodeStatus, MetaError> {
    let is_meant = |status: &pb::NodeStatus| {
        let node = status.node.as_ref();
        node.is_some_and(|node| {
            node.name == given || node.address == given || hex(&node.node) == given.replace('-', "")
        })
    };
    let nodes = list_nodes(admin).await?.nodes;
    let meant = nodes.into_iter().filter(is_meant).max_by_key(|status| status.alive);
    meant.ok_or_else(|| MetaError::NotFound(format!("no node `{given}`; `admin nodes` lists the nodes")))
}

fn row(status: &pb::NodeStatus) -> Value {
    let node = status.node.clone().unwrap_or_default();
    json!({
        "name": node.name, "address": node.address, "node": hex(&node.node), "alive": status.alive,
        "life": status.life, "primaries": status.primaries, "secondaries": status.secondaries,
        "disk": status.disk.filter(|disk| disk.capacity > 0).map(|disk| json!({
            "capacity": disk.capacity, "available": disk.available, "is_low": disk.is_low,
        })),
        "black_listed": status.black_listed, "drained": status.drained,
        "silent_ms": status.silent_ms, "unknown": status.unknown,
    })
}

/// `63 of 252 GiB free (25 %)`, and whether that is too little.
fn disk_line(disk: &Value) -> Value {
    let (Some(capacity), Some(available)) = (disk["capacity"].as_u64(), disk["available"].as_u64()) else {
        return Value::Null;
    };
    let (shift, unit) = if capacity >> 30 < 10 { (20, "MiB") } else { (30, "GiB") };
    let percent = u128::from(available) * 100 / u128::from(capacity);
    let low = if disk["is_low"] == true { ", LOW: takes no writes" } else { "" };
    format!("{} of {} {unit} free ({percent} %){low}", available >> shift, capacity >> shift).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_line_for_people() {
        let line = |capacity: u64, available: u64, is_low: bool| {
            disk_line(&json!({ "capacity": capacity, "available": available, "is_low": is_low }))
        };
        assert_eq!(line(250 << 30, 63 << 30, false), "63 of 250 GiB free (25 %)");
        assert_eq!(line(64 << 20, 3 << 20, true), "3 of 64 MiB free (4 %), LOW: takes no writes");
        assert_eq!(disk_line(&Value::Null), Value::Null);
    }
}
