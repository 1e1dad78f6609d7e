//! Elections on real processes: candidates and servers are killed, and each master has a larger token than the one
//! before.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tests::{Cluster, REPLICAS, report, short_or_full, wait_for};

const APP: &str = "election.one";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A program that goes on; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn campaign(cluster: &Cluster, name: &str) -> Running {
    let mut command = cluster.command("election");
    command.args(["--app", APP, "campaign", "--lease", "1000", "--name", name]);
    Running(command.stdout(Stdio::null()).spawn().expect("election starts"))
}

/// Every record of the election, from a process that observes it.
fn observe(cluster: &Cluster) -> (Running, Receiver<Value>) {
    let mut command = cluster.command("election");
    command.args(["--app", APP, "observe", "--renewals", "--json"]);
    let mut process = command.stdout(Stdio::piped()).spawn().expect("election starts");
    let output = BufReader::new(process.stdout.take().expect("it is piped"));
    let (sender, records) = mpsc::channel();
    std::thread::spawn(move || {
        let parsed = output.lines().map_while(Result::ok).map(|line| serde_json::from_str(&line));
        parsed.map_while(Result::ok).try_for_each(|record| sender.send(record))
    });
    (Running(process), records)
}

/// What was observed so far.
struct Seen {
    records: Receiver<Value>,
    version: u64,
    name: String,
    token: u64,
    elections: u64,
}

impl Seen {
    /// The next record: one version more, and a larger token if it is of another master.
    fn next(&mut self) {
        let record = self.records.recv_timeout(LONG).expect("another record");
        let version = record["version"].as_u64().expect("a version");
        assert!(version == self.version + 1 || self.version == 0, "{record} after version {}", self.version);
        self.version = version;
        let Some(name) = record["master"]["name"].as_str() else { return };
        let token = record["master"]["token"].as_u64().expect("a token");
        if token != self.token {
            assert!(token > self.token && token == version, "{record} after token {}", self.token);
            (self.token, self.name) = (token, name.to_owned());
            self.elections += 1;
        }
        assert_eq!(name, self.name, "{record}");
    }

    fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            self.next();
        }
    }
}

#[test]
fn masters_and_primaries_are_killed() {
    let mut cluster = Cluster::start();
    cluster.create(APP, "election", 1);
    let (_observer, records) = observe(&cluster);
    let mut seen = Seen { records, version: 0, name: String::new(), token: 0, elections: 0 };
    let mut candidates: BTreeMap<&str, Running> =
        ["ada", "bob", "eve"].into_iter().map(|name| (name, campaign(&cluster, name))).collect();
    seen.until(|seen| seen.token > 0);

    let rounds = short_or_full("masters_and_primaries_are_killed", 3, 20);
    for _ in 0..rounds {
        let (master, token) = (seen.name.clone(), seen.token);
        let (name, process) = candidates.remove_entry(master.as_str()).expect("one of the three");
        drop(process);
        seen.until(|seen| seen.token > token);
        assert_ne!(seen.name, master, "a new process of that name comes only now");
        candidates.insert(name, campaign(&cluster, name));

        let replica = wait_for("a primary", || {
            let partitions = cluster.partitions(APP)?;
            let name = partitions.first().and_then(|partition| partition.primary.clone());
            let known = REPLICAS.into_iter().find(|replica| name.as_deref() == Some(replica));
            known.ok_or_else(|| format!("{partitions:?}"))
        });
        cluster.kill(replica);
        let version = seen.version;
        seen.until(|seen| seen.version >= version + 10);
        cluster.restart(replica);
        cluster.wait_until_whole(APP);
    }

    let token = seen.token;
    let answer = cluster.command("election").args(["--app", APP, "resign"]).output().expect("election runs");
    assert!(answer.status.success(), "{answer:?}");
    seen.until(|seen| seen.token > token);
    report(&format!("elections: {} over {} versions, {rounds} rounds", seen.elections, seen.version));
}
