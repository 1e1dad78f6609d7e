//! The apps.

use clap::Args;
use client::meta::MetaError;
use proto::pb;
use serde_json::{Value, json};

use super::level::loudly;
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::clock::utc;
use crate::failure::Failure;
use crate::names::{Names, gpid};
use crate::watch::Watch;

pub(crate) const INFO: [&str; 5] = ["app_id", "name", "app_type", "partition_count", "replica_count"];

/// The apps, and how many of their partitions are well
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin apps
  admin apps --all
  admin apps --watch

Fields of --json, a list of:
  app_id           its number, never used again
  name             its name
  app_type         what the replica servers run for it
  partition_count  how many partitions it has
  replica_count    how many replicas each shall have
  healthy          partitions with all the replicas that they shall have, alive
  readable         partitions with a live primary
  expires_ms       null, or for one that was dropped: until when it can be recalled, in milliseconds since 1970")]
pub(crate) struct Apps {
    /// With those that were dropped and can be recalled
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl Apps {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let reply = list_apps(admin, self.all).await?;
        let row = |status: pb::AppStatus| {
            let mut row = info(status.app.as_ref());
            row["healthy"] = status.healthy.into();
            row["readable"] = status.readable.into();
            row["expires_ms"] = status.expires_ms.into();
            row
        };
        let rows: Vec<Value> = reply.apps.into_iter().map(row).collect();
        let mut shown = rows.clone();
        for row in &mut shown {
            row["dropped, until"] = row["expires_ms"].as_u64().map(utc).into();
        }
        let more: &[&str] = if self.all { &["dropped, until"] } else { &[] };
        let columns = [&INFO[..], &["healthy", "readable"], more].concat();
        let answer = Answer::new(rows.into(), table(&shown, &columns));
        Ok(loudly(answer, reply.level.as_ref()))
    }
}

/// One app, and with -d each of its partitions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin app counter.instance0
  admin app counter.instance0 -d --watch

Fields of --json:
  app_id           its number, never used again
  name             its name
  app_type         what the replica servers run for it
  partition_count  how many partitions it has
  replica_count    how many replicas each shall have
  partitions       with -d, for each partition:
    gpid            app_id.index
    ballot          of its configuration
    primary         who leads it; null if nobody ever did
    secondaries     who follows
    learners        who is copying it, to become a secondary
    last_committed  as the primary last reported
    healthy         all replicas that there should be are there, alive
    decision        why the guardian does what it does, or nothing; `admin why` says more
    replicas        each that a node last reported, members or not:
      node            the node's name
      role            primary, secondary, learner, inactive, or error
      ballot          of the configuration that it takes part in
      last_committed  its last committed decree
      last_prepared   its last prepared decree
      last_durable    the last decree that its app has made durable
      copied_bytes    of a learner that copies a checkpoint: so much of it is there; otherwise null
      copying_bytes   all of it")]
pub(crate) struct App {
    /// Its name
    name: String,
    /// With its partitions: ballot, primary, secondaries, learners, last committed decree
    #[arg(short, long)]
    detailed: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl App {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let reply = describe(admin, &self.name).await?;
        let answer = if self.detailed {
            with_partitions(&reply)
        } else {
            Answer::one(info(reply.app.as_ref()), &INFO)
        };
        Ok(loudly(answer, reply.level.as_ref()))
    }
}

/// Give each partition of an app so many replicas
///
/// Secondaries are added, one at a time, or those that are worst placed are removed; a primary stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin replicas counter.instance0 5

Fields of --json:
  accepted  what will happen, for people")]
pub(crate) struct Replicas {
    /// The app's name
    name: String,
    /// How many, 1 to 9
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Replicas {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::SetReplicaCountRequest { name: self.name.clone(), replica_count: self.count };
        let reply = admin.ask(async |mut admin| admin.set_replica_count(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

/// Call an app otherwise; its number and its data stay
///
/// Clients that have it open go on. Whoever looks for the old name is told the new one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin rename scores.instance0 results.instance0

Fields of --json:
  accepted  what is so now, for people")]
pub(crate) struct Rename {
    /// The app's name
    name: String,
    /// Its new name, not that of another app: a-z, 0-9 and `._-`
    new_name: String,
}

impl Rename {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::RenameAppRequest { name: self.name.clone(), new_name: self.new_name.clone() };
        let reply = admin.ask(async |mut admin| admin.rename_app(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

/// All apps that are there, and with `all` those that can be recalled.
pub(crate) async fn list_apps(admin: &Admin, all: bool) -> Result<pb::ListAppsReply, MetaError> {
    admin.look(async |mut admin| admin.list_apps(pb::ListAppsRequest { all }).await).await
}

/// One app with its partitions.
pub(crate) async fn describe(admin: &Admin, name: &str) -> Result<pb::DescribeAppReply, MetaError> {
    let request = pb::DescribeAppRequest { name: name.to_owned() };
    admin.look(async |mut admin| admin.describe_app(request.clone()).await).await
}

pub(crate) fn info(app: Option<&pb::AppInfo>) -> Value {
    let app = app.cloned().unwrap_or_default();
    json!({
        "app_id": app.app_id, "name": app.name, "app_type": app.app_type,
        "partition_count": app.partition_count, "replica_count": app.replica_count,
    })
}

fn with_partitions(reply: &pb::DescribeAppReply) -> Answer {
    let names = Names::of(&reply.nodes);
    let rows: Vec<Value> = reply.partitions.iter().map(|partition| row(&names, partition)).collect();
    let mut app = info(reply.app.as_ref());
    let columns = ["gpid", "ballot", "primary", "secondaries", "learners", "last_committed"];
    let text =
        format!("{}\n{}", table(std::slice::from_ref(&app), &INFO), table(&for_people(&rows), &columns));
    let ill = rows.iter().filter(|row| row["healthy"] != true);
    let ill: Vec<String> = ill
        .map(|row| {
            format!(
                "{}: {}",
                row["gpid"].as_str().unwrap_or_default(),
                row["decision"].as_str().unwrap_or_default()
            )
        })
        .collect();
    app["partitions"] = rows.into();
    ill.iter().fold(Answer::new(app, text), |answer, line| answer.and_below(line))
}

/// The rows of the table: a learner's name with how far it is.
fn for_people(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        let learners = row["learners"].as_array().into_iter().flatten();
        let shown: Vec<String> = learners.map(|learner| learner_and_progress(row, learner)).collect();
        row["learners"] = shown.into();
    }
    rows
}

/// `replica3 (12 of 2083 MiB)` while it copies a checkpoint, `replica3 (870 of 1024)` while it takes what was committed
/// since.
fn learner_and_progress(row: &Value, learner: &Value) -> String {
    let name = learner.as_str().unwrap_or_default();
    let mut replicas = row["replicas"].as_array().into_iter().flatten();
    let Some(at) = replicas.find(|at| at["node"] == *learner && at["role"] == "learner") else {
        return name.to_owned();
    };
    match (at["copied_bytes"].as_u64(), at["copying_bytes"].as_u64()) {
        (Some(copied), Some(all)) => format!("{name} ({} of {} MiB)", copied >> 20, all >> 20),
        _ => format!("{name} ({} of {})", at["last_committed"], row["last_committed"]),
    }
}

fn row(names: &Names, partition: &pb::PartitionStatus) -> Value {
    let configuration = partition.configuration.clone().unwrap_or_default();
    let replica = |replica: &pb::ReplicaAt| {
        let mut row = replica_fields(replica);
        row["node"] = names.get(&replica.node);
        let copying = replica.report.as_ref().and_then(|report| report.copying);
        row["copied_bytes"] = copying.map(|copy| copy.bytes).into();
        row["copying_bytes"] = copying.map(|copy| copy.of_bytes).into();
        row
    };
    json!({
        "gpid": gpid(partition.gpid),
        "ballot": configuration.ballot,
        "primary": names.get(&configuration.primary),
        "secondaries": names.all(&configuration.secondaries),
        "learners": names.all(&partition.learners),
        "last_committed": partition.last_committed,
        "healthy": partition.healthy,
        "decision": partition.decision,
        "replicas": partition.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

/// What a node said about one of its replicas.
pub(crate) fn replica_fields(replica: &pb::ReplicaAt) -> Value {
    report_fields(&replica.report.clone().unwrap_or_default())
}

/// One replica, as its node describes it.
pub(crate) fn report_fields(report: &pb::ReplicaReport) -> Value {
    json!({
        "role": report.role().as_str_name().trim_start_matches("ROLE_").to_lowercase(),
        "ballot": report.ballot,
        "last_committed": report.last_committed,
        "last_prepared": report.last_prepared,
        "last_durable": report.last_durable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_show_names_instead_of_ids() {
        let id = |n: u8| bytes::Bytes::from(vec![n; 16]);
        let node = |n| pb::NodeAddress { node: id(n), name: format!("replica{n}"), address: String::new() };
        let configuration = pb::Configuration { ballot: 3, primary: id(1), secondaries: vec![id(2), id(9)] };
        let reply = pb::DescribeAppReply {
            app: None,
            partitions: vec![
                pb::PartitionStatus {
                    gpid: Some(pb::Gpid { app_id: 1, partition_index: 0 }),
                    configuration: Some(configuration),
                    last_committed: 17,
                    ..Default::default()
                },
                pb::PartitionStatus::default(),
            ],
            nodes: vec![node(1), node(2)],
            ..Default::default()
        };
        let rows: Value = serde_json::from_str(&with_partitions(&reply).show(true)).unwrap();
        let first = &rows["partitions"][0];
        assert_eq!((&first["gpid"], &first["primary"]), (&json!("1.0"), &json!("replica1")));
        assert_eq!(first["secondaries"], json!(["replica2", "09090909"]));
        assert_eq!(rows["partitions"][1]["primary"], Value::Null);
        let table = with_partitions(&reply).show(false);
        assert!(table.contains("│ 1.0  ┆ 3      ┆ replica1 ┆ replica2, 09090909 ┆          ┆ 17"), "{table}");
    }

    #[test]
    fn a_learner_shows_how_far_it_is() {
        let id = bytes::Bytes::from(vec![3; 16]);
        let shown = |copying| {
            let report = pb::ReplicaReport {
                role: pb::Role::Learner.into(),
                last_committed: 870,
                copying,
                ..Default::default()
            };
            let partition = pb::PartitionStatus {
                learners: vec![id.clone()],
                last_committed: 1024,
                replicas: vec![pb::ReplicaAt { node: id.clone(), report: Some(report) }],
                ..Default::default()
            };
            let reply = pb::DescribeAppReply { partitions: vec![partition], ..Default::default() };
            let answer = with_partitions(&reply);
            let json: Value = serde_json::from_str(&answer.show(true)).unwrap();
            assert_eq!(json["partitions"][0]["learners"], json!(["03030303"]));
            (answer.show(false), json["partitions"][0]["replicas"][0]["copied_bytes"].clone())
        };
        let (table, copied) = shown(Some(pb::CopyProgress { bytes: 12 << 20, of_bytes: 2083 << 20 }));
        assert!(table.contains("03030303 (12 of 2083 MiB)"), "{table}");
        assert_eq!(copied, json!(12 << 20));
        let (table, copied) = shown(None);
        assert!(table.contains("03030303 (870 of 1024)"), "{table}");
        assert_eq!(copied, Value::Null);
    }
}
