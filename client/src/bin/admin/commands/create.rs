//! An app comes to be, and one is waited for until it serves.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use proto::pb;
use tokio::time::Instant;

use super::app::{describe, info};
use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

/// For how long no partition and no replica more may come before nobody waits any longer.
const STANDSTILL: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Create an app, and wait until each of its partitions has a primary that serves
///
/// Says on standard error how far it is. Interrupt it if you don't want to wait: the app comes to be all the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin create scores.instance0 -t counter -p 8 -r 3
  admin create scores.instance0 --type counter --partitions 8 --replicas 3 --no-wait

Fields of --json:
  app_id           its number, never used again
  name             its name
  app_type         what the replica servers run for it
  partition_count  how many partitions it has
  replica_count    how many replicas each shall have")]
pub(crate) struct Create {
    /// Its name, not that of another app: a-z, 0-9 and `._-`
    name: String,
    /// The app type, which the replica servers must have registered
    #[arg(short, long = "type", value_name = "TYPE")]
    type_name: String,
    /// How many partitions, for good
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// How many replicas of each, 1 to 9
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// Don't wait
    #[arg(long)]
    no_wait: bool,
}

impl Create {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::CreateAppRequest {
            name: self.name.clone(),
            app_type: self.type_name.clone(),
            partition_count: self.partitions,
            replica_count: self.replicas,
        };
        let reply = admin.ask(async |mut admin| admin.create_app(request.clone()).await).await?;
        let app = reply.app.unwrap_or_default();
        if !self.no_wait {
            wait_until_it_serves(admin, &app.name).await?;
        }
        Ok(Answer::new(info(Some(&app)), format!("created app {} `{}`", app.app_id, app.name)))
    }
}

/// How far an app is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    partitions: usize,
    /// Partitions whose primary leads.
    serving: usize,
    /// Replicas that there should be.
    replicas: usize,
    /// Members that there are.
    members: usize,
}

impl Progress {
    fn of(app: &pb::DescribeAppReply) -> Self {
        let replica_count = app.app.as_ref().map_or(0, |app| app.replica_count as usize);
        Self {
            partitions: app.partitions.len(),
            serving: app.partitions.iter().filter(|partition| serves(partition)).count(),
            replicas: app.partitions.len() * replica_count,
            members: app.partitions.iter().map(members).sum(),
        }
    }

    fn line(&self) -> String {
        let Self { partitions, serving, replicas, members } = self;
        format!("{serving} of {partitions} partitions serve, {members} of {replicas} replicas are there")
    }
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

/// Returns once each partition of the app has a primary that leads, and tells on standard error how far it is.
///
/// # Errors
/// If nothing more came for a minute.
pub(super) async fn wait_until_it_serves(admin: &Admin, name: &str) -> Result<(), Failure> {
    let mut last: Option<Progress> = None;
    let mut deadline = Instant::now() + STANDSTILL;
    let outcome = loop {
        let now = Progress::of(&describe(admin, name).await?);
        if last != Some(now) {
            deadline = Instant::now() + STANDSTILL;
            tell(&now.line());
            last = Some(now);
        }
        if now.serving == now.partitions {
            break Ok(());
        }
        if Instant::now() > deadline {
            let (line, waited) = (now.line(), STANDSTILL.as_secs());
            break Err(Failure::NotYet(format!(
                "`{name}` is there, but {line}, and nothing more came in {waited} s: `admin nodes` shows which \
                 servers are alive"
            )));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    };
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    outcome
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

    #[test]
    fn a_partition_serves_once_its_primary_says_that_it_leads() {
        let id = |n: u8| bytes::Bytes::from(vec![n; 16]);
        let replica = |n, role: pb::Role| pb::ReplicaAt {
            node: id(n),
            report: Some(pb::ReplicaReport { role: role.into(), ..Default::default() }),
        };
        let partition = |configuration, replicas| pb::PartitionStatus {
            configuration: Some(configuration),
            replicas,
            ..Default::default()
        };
        let led = pb::Configuration { ballot: 2, primary: id(1), secondaries: vec![id(2)] };
        let app = pb::DescribeAppReply {
            app: Some(pb::AppInfo { replica_count: 3, ..Default::default() }),
            partitions: vec![
                partition(led.clone(), vec![replica(1, pb::Role::Primary), replica(2, pb::Role::Secondary)]),
                partition(led.clone(), vec![replica(1, pb::Role::Inactive), replica(2, pb::Role::Primary)]),
                partition(led, vec![]),
                partition(pb::Configuration::default(), vec![]),
            ],
            ..Default::default()
        };
        assert_eq!(Progress::of(&app).line(), "1 of 4 partitions serve, 6 of 12 replicas are there");
    }
}
