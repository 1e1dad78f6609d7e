//! Why the cluster is as it is: what the guardian decided, and what has changed.

use clap::Args;
use proto::pb;
use serde_json::{Value, json};
use words::Gpid;

use super::level::loudly;
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::{Names, gpid, time};

/// What the guardian last decided for a partition, why, and what it sees of each node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin why 1.0

Fields of --json:
  gpid           the partition
  healthy        all replicas that there should be are there, alive
  replica_count  how many there should be
  rule           the guardian's rule that decided; empty if nothing was decided yet
  action         what it does
  reason         why
  since_ms       how long it has been the same decision
  until_ms       in how long the wait ends, or the primary is asked again; null: when something changes
  nodes          each that the guardian knows:
    name           its name in config.ini
    standing       alive, suspected, or dead
    replica        as it reported it: role, ballot.last_prepared
    opinion        what it is to the partition, or could become, and if not, why not")]
pub(crate) struct Why {
    /// The partition, for example 1.0
    gpid: Gpid,
}

impl Why {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::WhyRequest { gpid: Some(self.gpid.into()) };
        let reply = admin.look(async |mut admin| admin.why(request).await).await?;
        let level = reply.level.clone();
        Ok(loudly(explained(reply), level.as_ref()))
    }
}

fn explained(reply: pb::WhyReply) -> Answer {
    let partition = reply.partition.unwrap_or_default();
    let nodes: Vec<Value> = reply.nodes.into_iter().map(opinion).collect();
    let until = reply
        .until_ms
        .map_or("until something changes".to_owned(), |until| format!("for {} more", seconds(until)));
    let text = format!(
        "{}: {}\nso it does: {} (since {}, {until}; rule {})\n{}",
        gpid(partition.gpid),
        reply.reason,
        reply.action,
        seconds(reply.since_ms),
        reply.rule,
        table(&nodes, &["name", "standing", "replica", "opinion"])
    );
    let fields = json!({
        "gpid": gpid(partition.gpid), "healthy": partition.healthy, "replica_count": reply.replica_count,
        "rule": reply.rule, "action": reply.action, "reason": reply.reason,
        "since_ms": reply.since_ms, "until_ms": reply.until_ms, "nodes": nodes,
    });
    Answer::new(fields, text)
}

fn opinion(node: pb::NodeOpinion) -> Value {
    json!({
        "name": node.node.unwrap_or_default().name,
        "standing": node.standing, "replica": node.replica, "opinion": node.opinion,
    })
}

fn seconds(millis: u64) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}

/// What has changed, when and why: the configurations of a partition, or all else in the cluster
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin history 1.0
  admin history --limit 50

Fields of --json, a list of:
  at      when, by the clock of the meta server that led, UTC
  at_ms   the same, in milliseconds since 1970
  before  the configuration that held before, {ballot,primary,[secondaries]}; null if it is no longer kept
  after   the one that held from then on; null for what is no configuration
  cause   which rule of the guardian, which node's proposal, or which operator's request, and why; or what changed")]
pub(crate) struct History {
    /// The partition, for example 1.0; without it all that is no configuration: apps, nodes, levels, lists
    gpid: Option<Gpid>,
    /// The newest so many; of a partition ten are kept, of all else a thousand
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl History {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::HistoryRequest { gpid: self.gpid.map(Into::into), limit: self.limit };
        let reply = admin.look(async |mut admin| admin.history(request).await).await?;
        let names = Names::of(&reply.nodes);
        let rows: Vec<Value> = reply.changes.iter().map(|change| past_change(&names, change)).collect();
        let columns: &[&str] = match self.gpid {
            Some(_) => &["at", "before", "after", "cause"],
            None => &["at", "cause"],
        };
        Ok(Answer::list(rows, columns))
    }
}

fn past_change(names: &Names, change: &pb::PastChange) -> Value {
    let configuration = |it: &Option<pb::Configuration>| it.as_ref().map(|it| printed(names, it));
    json!({
        "at": time(change.at_ms), "at_ms": change.at_ms,
        "before": configuration(&change.before), "after": configuration(&change.after),
        "cause": change.cause,
    })
}

/// `{3,replica1,[replica2,replica3]}`
fn printed(names: &Names, configuration: &pb::Configuration) -> String {
    let name = |node: &[u8]| names.get(node).as_str().unwrap_or("-").to_owned();
    let secondaries: Vec<String> = configuration.secondaries.iter().map(|node| name(node)).collect();
    format!("{{{},{},[{}]}}", configuration.ballot, name(&configuration.primary), secondaries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_with_names() {
        let id = |n: u8| bytes::Bytes::from(vec![n; 16]);
        let nodes = [1, 2].map(|n| pb::NodeAddress {
            node: id(n),
            name: format!("replica{n}"),
            address: String::new(),
        });
        let change = pb::PastChange {
            at_ms: 1_000,
            before: Some(pb::Configuration::default()),
            after: Some(pb::Configuration { ballot: 2, primary: id(1), secondaries: vec![id(2)] }),
            cause: "a test".to_owned(),
        };
        let expected = json!({
            "at": "1970-01-01 00:00:01.000", "at_ms": 1000,
            "before": "{0,-,[]}", "after": "{2,replica1,[replica2]}", "cause": "a test",
        });
        assert_eq!(past_change(&Names::of(&nodes), &change), expected);
    }
}
