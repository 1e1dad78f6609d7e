//! Answers as tables for people or as JSON for programs. Nodes appear by their names.

use std::collections::HashMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use proto::pb;
use serde_json::{Value, json};

pub(crate) fn nodes(nodes: &[pb::NodeStatus], as_json: bool) -> String {
    let rows = nodes.iter().map(|status| {
        let node = status.node.clone().unwrap_or_default();
        json!({
            "name": node.name, "address": node.address, "node": hex(&node.node), "alive": status.alive,
            "life": status.life, "primaries": status.primaries, "secondaries": status.secondaries,
            "silent_ms": status.silent_ms,
        })
    });
    list(
        rows.collect(),
        &["name", "address", "alive", "primaries", "secondaries", "silent_ms", "life", "node"],
        as_json,
    )
}

pub(crate) fn apps(apps: &[pb::AppStatus], as_json: bool) -> String {
    let rows = apps.iter().map(|status| {
        let mut row = info(status.app.as_ref());
        row["healthy"] = status.healthy.into();
        row["readable"] = status.readable.into();
        row
    });
    let columns = ["app_id", "name", "app_type", "partition_count", "replica_count", "healthy", "readable"];
    list(rows.collect(), &columns, as_json)
}

/// One app without its partitions.
pub(crate) fn app(app: &pb::DescribeAppReply, as_json: bool) -> String {
    let row = info(app.app.as_ref());
    if as_json {
        return row.to_string();
    }
    list(vec![row], &["app_id", "name", "app_type", "partition_count", "replica_count"], false)
}

/// One app with its partitions.
pub(crate) fn partitions(app: &pb::DescribeAppReply, as_json: bool) -> String {
    let names = Names::of(&app.nodes);
    let rows: Vec<Value> = app.partitions.iter().map(|partition| names.partition(partition)).collect();
    let mut row = info(app.app.as_ref());
    if as_json {
        row["partitions"] = rows.into();
        return row.to_string();
    }
    let columns = ["gpid", "ballot", "primary", "secondaries", "learners", "last_committed"];
    format!("{}\n{}", self::app(app, false), list(rows, &columns, false))
}

pub(crate) fn created(app: &pb::AppInfo, as_json: bool) -> String {
    let row = info(Some(app));
    if as_json { row.to_string() } else { format!("created app {} `{}`", app.app_id, app.name) }
}

/// A word and what it is about: `dropped NAME`.
pub(crate) fn said(word: &str, what: &str, as_json: bool) -> String {
    if as_json { json!({ word: what }).to_string() } else { format!("{word}: {what}") }
}

/// What nodes are called.
struct Names(HashMap<Vec<u8>, String>);

impl Names {
    fn of(nodes: &[pb::NodeAddress]) -> Self {
        Self(nodes.iter().map(|node| (node.node.to_vec(), node.name.clone())).collect())
    }

    /// A node's name, or the beginning of its id if the meta server has not said it.
    fn get(&self, node: &[u8]) -> Value {
        if node.is_empty() {
            return Value::Null;
        }
        self.0.get(node).cloned().unwrap_or_else(|| hex(node)[..8.min(node.len() * 2)].to_owned()).into()
    }

    fn all<'a>(&self, nodes: impl IntoIterator<Item = &'a bytes::Bytes>) -> Value {
        nodes.into_iter().map(|node| self.get(node)).collect()
    }

    fn partition(&self, partition: &pb::PartitionStatus) -> Value {
        let gpid = partition.gpid.unwrap_or_default();
        let configuration = partition.configuration.clone().unwrap_or_default();
        json!({
            "gpid": format!("{}.{}", gpid.app_id, gpid.partition_index),
            "ballot": configuration.ballot,
            "primary": self.get(&configuration.primary),
            "secondaries": self.all(&configuration.secondaries),
            "learners": self.all(&partition.learners),
            "last_committed": partition.last_committed,
            "replicas": partition.replicas.iter().map(|replica| self.replica(replica)).collect::<Vec<_>>(),
        })
    }

    fn replica(&self, replica: &pb::ReplicaAt) -> Value {
        let report = replica.report.clone().unwrap_or_default();
        json!({
            "node": self.get(&replica.node),
            "role": report.role().as_str_name().trim_start_matches("ROLE_").to_lowercase(),
            "ballot": report.ballot,
            "last_committed": report.last_committed,
            "last_prepared": report.last_prepared,
            "last_durable": report.last_durable,
        })
    }
}

fn info(app: Option<&pb::AppInfo>) -> Value {
    let app = app.cloned().unwrap_or_default();
    json!({
        "app_id": app.app_id, "name": app.name, "app_type": app.app_type,
        "partition_count": app.partition_count, "replica_count": app.replica_count,
    })
}

/// All rows with all that is known as JSON, or the named columns as a table.
fn list(rows: Vec<Value>, columns: &[&str], as_json: bool) -> String {
    if as_json {
        return Value::from(rows).to_string();
    }
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns);
    for row in rows {
        table.add_row(columns.iter().map(|&column| cell(&row[column])));
    }
    table.to_string()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        };
        let rows: Value = serde_json::from_str(&partitions(&reply, true)).unwrap();
        let first = &rows["partitions"][0];
        assert_eq!((&first["gpid"], &first["primary"]), (&json!("1.0"), &json!("replica1")));
        assert_eq!(first["secondaries"], json!(["replica2", "09090909"]));
        assert_eq!(rows["partitions"][1]["primary"], Value::Null);
        let table = partitions(&reply, false);
        assert!(table.contains("│ 1.0  ┆ 3      ┆ replica1 ┆ replica2, 09090909 ┆          ┆ 17"), "{table}");
    }
}
