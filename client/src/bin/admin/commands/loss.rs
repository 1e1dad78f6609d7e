//! When things are lost.

use clap::Args;
use proto::pb;
use serde_json::{Value, json};
use words::Gpid;

use super::app::report_fields;
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::{Names, gpid};
use crate::watch::Watch;

/// Diagnose what is lost: partitions whose members are all gone, and what every copy of them holds
///
/// For each lost partition it says what to do, and the exact command. Beside that it lists replicas that nodes hold of
/// partitions that the meta server does not know: they are left alone, see `admin recover`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin ddd
  admin ddd --watch

Fields of --json:
  lost               partitions that no member can lead any more, each:
    gpid               the partition
    app                its app's name
    ballot             of its last configuration
    members            of its last configuration, the primary first
    advice             what to do, with the exact command
    copies             what every node has or had, the safest to go on with first:
      node               the node's name
      alive              whether it is heard
      is_member          of the last configuration: then it has all that was acknowledged
      can_lead           whether `admin accept-loss` could go on with it
      role               as it last reported, like all below; null if it was not heard since
      ballot             that it has seen
      last_committed     its last committed decree
      last_prepared      its last prepared decree
      last_durable       the last decree that its app has made durable
      age_ms             how old the report is, in milliseconds
  unknown            replicas of partitions that the meta server does not know, each:
    gpid               the partition
    node               the node's name
    alive, role, ballot, last_committed, last_prepared, last_durable, age_ms: as above")]
pub(crate) struct Ddd {
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl Ddd {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let reply = admin.look(async |mut admin| admin.diagnose(pb::DiagnoseRequest {}).await).await?;
        let names = Names::of(&reply.nodes);
        let lost: Vec<Value> = reply.lost.iter().map(|lost| lost_fields(&names, lost)).collect();
        let unknown: Vec<Value> =
            reply.unknown.iter().map(|replica| unknown_fields(&names, replica)).collect();
        let text = in_words(&lost, &unknown);
        Ok(Answer::new(json!({ "lost": lost, "unknown": unknown }), text))
    }
}

const REPORTED: [&str; 5] = ["role", "ballot", "last_committed", "last_prepared", "age_ms"];

fn in_words(lost: &[Value], unknown: &[Value]) -> String {
    let mut parts = vec![];
    for partition in lost {
        let text = |field: &str| partition[field].as_str().unwrap_or_default().to_owned();
        let copies = partition["copies"].as_array().map_or(&[][..], Vec::as_slice);
        let columns = [&["node", "alive", "is_member", "can_lead"][..], &REPORTED].concat();
        parts.push(format!("{} of {} is lost: {}", text("gpid"), text("app"), text("advice")));
        parts.push(table(copies, &columns));
    }
    if lost.is_empty() {
        parts.push("no partition is lost".to_owned());
    }
    if !unknown.is_empty() {
        let many = unknown.len();
        parts.push(format!(
            "{many} replicas are of partitions that this meta server does not know; they are left alone. If it lost \
             its state: admin recover --dry-run"
        ));
        parts.push(table(unknown, &[&["gpid", "node", "alive"][..], &REPORTED].concat()));
    }
    parts.join("\n")
}

fn lost_fields(names: &Names, lost: &pb::LostPartition) -> Value {
    let configuration = lost.configuration.clone().unwrap_or_default();
    let members = std::iter::once(&configuration.primary).chain(&configuration.secondaries);
    let copies = lost.copies.iter().map(|copy| {
        let mut row = reported(copy.report.as_ref());
        row["node"] = names.get(&copy.node);
        row["alive"] = copy.alive.into();
        row["is_member"] = copy.is_member.into();
        row["can_lead"] = copy.can_lead.into();
        row["age_ms"] = copy.age_ms.into();
        row
    });
    json!({
        "gpid": gpid(lost.gpid),
        "app": lost.app_name,
        "ballot": configuration.ballot,
        "members": names.all(members),
        "copies": copies.collect::<Vec<_>>(),
        "advice": lost.advice,
    })
}

fn unknown_fields(names: &Names, replica: &pb::UnknownReplica) -> Value {
    let mut row = reported(replica.report.as_ref());
    row["gpid"] = gpid(replica.report.as_ref().and_then(|report| report.gpid)).into();
    row["node"] = names.get(&replica.node);
    row["alive"] = replica.alive.into();
    row["age_ms"] = replica.age_ms.into();
    row
}

/// What a node said of its replica; nulls if it said nothing.
fn reported(report: Option<&pb::ReplicaReport>) -> Value {
    report.map_or_else(
        || {
            json!({
                "role": null, "ballot": null, "last_committed": null, "last_prepared": null, "last_durable": null,
            })
        },
        report_fields,
    )
}

/// Give up the members of a partition that are lost for good
///
/// The named node leads with what it has. What only the lost members had is gone, also if they were to return.
/// Refused as long as a member that may have everything is there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin accept-loss 1.0 replica2 --the-others-are-stopped

Fields of --json:
  accepted  what is lost, for people")]
pub(crate) struct AcceptLoss {
    /// The partition, for example 1.0
    gpid: Gpid,
    /// Who shall lead: a node's name, address or id
    node: String,
    /// States that nobody else who had the partition runs: one that is merely cut off could go on serving it
    #[arg(long)]
    the_others_are_stopped: bool,
}

impl AcceptLoss {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::AcceptLossRequest {
            gpid: Some(self.gpid.into()),
            node: self.node.clone(),
            others_are_stopped: self.the_others_are_stopped,
        };
        let reply = admin.ask(async |mut admin| admin.accept_loss(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}
