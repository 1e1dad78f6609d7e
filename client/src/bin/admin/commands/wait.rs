//! Waiting until an app serves with all the replicas that it can have.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use proto::pb;
use tokio::time::Instant;

use super::app::describe;
use super::node::list_nodes;
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::gpid;

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// For commands after which an app has to come up.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// How long to wait at most, in seconds; exit code 4 when that is over
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    within: u64,
    /// Don't wait
    #[arg(long, conflicts_with = "within")]
    no_wait: bool,
}

impl Wait {
    /// Returns once each partition of the app has a primary that leads and all replicas that it can have, and tells on
    /// standard error how far it is.
    ///
    /// # Errors
    /// If that takes too long.
    pub(crate) async fn until_it_is_up(&self, admin: &Admin, name: &str) -> Result<(), Failure> {
        if self.no_wait {
            return Ok(());
        }
        let deadline = Instant::now() + Duration::from_secs(self.within);
        let mut last = None;
        let outcome = loop {
            let began = Instant::now();
            let app = describe(admin, name).await?;
            let now = Progress::of(&app, &list_nodes(admin).await?.nodes);
            if last != Some(now) {
                tell(&now.line());
                last = Some(now);
            }
            if now.is_complete() {
                break Ok(());
            }
            if Instant::now() > deadline {
                let (line, within, why) = (now.line(), self.within, why_not(&app));
                break Err(Failure::NotYet(format!(
                    "`{name}` is there, but after {within} s {line}{why}; `admin nodes` shows which servers are alive"
                )));
            }
            // Of an app with very many partitions a look is not cheap.
            tokio::time::sleep(BETWEEN_LOOKS.max(began.elapsed() * 4)).await;
        };
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
        outcome
    }
}

/// How far an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    partitions: usize,
    /// Partitions whose primary leads.
    serving: usize,
    /// Replicas that each partition shall have.
    wanted: usize,
    /// Servers that can have one.
    able: usize,
    /// Members that there are.
    members: usize,
    /// Partitions that lead and have as many members as there are servers for.
    complete: usize,
}

impl Progress {
    fn of(app: &pb::DescribeAppReply, nodes: &[pb::NodeStatus]) -> Self {
        let wanted = app.app.as_ref().map_or(0, |app| app.replica_count as usize);
        let able = nodes.iter().filter(|node| takes_replicas(node)).count();
        let possible = wanted.min(able);
        let serving = || app.partitions.iter().filter(|partition| serves(partition));
        Self {
            partitions: app.partitions.len(),
            serving: serving().count(),
            wanted,
            able,
            members: app.partitions.iter().map(members).sum(),
            complete: serving().filter(|partition| members(partition) >= possible).count(),
        }
    }

    fn is_complete(&self) -> bool {
        self.complete == self.partitions
    }

    fn line(&self) -> String {
        let Self { partitions, serving, wanted, able, members, .. } = self;
        let replicas = partitions * wanted;
        let mut line =
            format!("{serving} of {partitions} partitions serve, {members} of {replicas} replicas are there");
        if able < wanted {
            line += &format!(" (only {able} servers can have some now)");
        }
        line
    }
}

fn takes_replicas(node: &pb::NodeStatus) -> bool {
    let disk_is_low = node.disk.is_some_and(|disk| disk.is_low);
    node.alive && !node.black_listed && !node.drained && !disk_is_low
}

fn members(partition: &pb::PartitionStatus) -> usize {
    let configuration = partition.configuration.as_ref();
    configuration.map_or(0, |it| usize::from(!it.primary.is_empty()) + it.secondaries.len())
}

/// Whether whoever is to lead has said that it does.
fn serves(partition: &pb::PartitionStatus) -> bool {
    let Some(configuration) = &partition.configuration else { return false };
    let reports = partition.replicas.iter().filter(|replica| replica.node == configuration.primary);
    reports.filter_map(|replica| replica.report.as_ref()).any(|report| report.role() == pb::Role::Primary)
}

/// What the meta server says of the first partition that is not healthy.
fn why_not(app: &pb::DescribeAppReply) -> String {
    let ill = app.partitions.iter().find(|partition| !partition.healthy && !partition.decision.is_empty());
    ill.map(|partition| format!(" ({}: {})", gpid(partition.gpid), partition.decision)).unwrap_or_default()
}

/// One line that is written over, where that can be. Whoever does not read it does not matter.
fn tell(line: &str) {
    let mut out = std::io::stderr().lock();
    let _ = if out.is_terminal() { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> bytes::Bytes {
        bytes::Bytes::from(vec![n; 16])
    }

    fn partition(members: &[u8], replicas: &[(u8, pb::Role)]) -> pb::PartitionStatus {
        let replica = |&(n, role): &(u8, pb::Role)| pb::ReplicaAt {
            node: id(n),
            report: Some(pb::ReplicaReport { role: role.into(), ..Default::default() }),
        };
        let (primary, secondaries) =
            members.split_first().map_or_else(Default::default, |(&first, rest)| (id(first), rest));
        let secondaries = secondaries.iter().map(|&n| id(n)).collect();
        pb::PartitionStatus {
            configuration: Some(pb::Configuration { ballot: 2, primary, secondaries }),
            replicas: replicas.iter().map(replica).collect(),
            ..Default::default()
        }
    }

    fn progress(partitions: Vec<pb::PartitionStatus>, nodes: &[pb::NodeStatus]) -> Progress {
        let app = Some(pb::AppInfo { replica_count: 3, ..Default::default() });
        Progress::of(&pb::DescribeAppReply { app, partitions, ..Default::default() }, nodes)
    }

    fn alive() -> pb::NodeStatus {
        pb::NodeStatus { alive: true, ..Default::default() }
    }

    #[test]
    fn a_partition_serves_once_its_primary_says_that_it_leads() {
        let (leads, follows, waits) = (pb::Role::Primary, pb::Role::Secondary, pb::Role::Inactive);
        let partitions = vec![
            partition(&[1, 2], &[(1, leads), (2, follows)]),
            partition(&[1, 2], &[(1, waits), (2, leads)]),
            partition(&[1, 2], &[]),
            partition(&[], &[]),
        ];
        let now = progress(partitions, &[alive(), alive(), alive()]);
        assert_eq!(now.line(), "1 of 4 partitions serve, 6 of 12 replicas are there");
        assert!(!now.is_complete());
    }

    #[test]
    fn it_is_complete_with_as_many_replicas_as_there_are_servers_for() {
        let led = |members: &[u8]| partition(members, &[(1, pb::Role::Primary)]);
        let full =
            pb::NodeStatus { disk: Some(pb::DiskSpace { is_low: true, ..Default::default() }), ..alive() };
        let dead = pb::NodeStatus::default();
        let listed = pb::NodeStatus { black_listed: true, ..alive() };
        let drained = pb::NodeStatus { drained: true, ..alive() };
        let two = [alive(), alive(), dead, full, listed, drained];
        let now = progress(vec![led(&[1, 2]), led(&[1])], &two);
        assert!(!now.is_complete(), "{now:?}");
        let now = progress(vec![led(&[1, 2]), led(&[1, 2])], &two);
        assert!(now.is_complete(), "{now:?}");
        assert_eq!(
            now.line(),
            "2 of 2 partitions serve, 4 of 6 replicas are there (only 2 servers can have some now)"
        );
        assert!(!progress(vec![led(&[1, 2])], &[alive(), alive(), alive()]).is_complete());
        assert!(!progress(vec![partition(&[], &[])], &[]).is_complete(), "nobody serves it");
    }
}
