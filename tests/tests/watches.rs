//! Watches on real processes: every change once and in order, whoever is primary.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tests::{Cluster, REPLICAS, report, short_or_full, wait_for};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// `counter watch`, running.
struct Watcher {
    process: Child,
    lines: Receiver<String>,
}

impl Watcher {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut command: Command = cluster.command("counter");
        command.arg("watch").args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().expect("counter starts");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { process, lines }
    }

    /// Decree and value of the next change.
    fn next(&self) -> (u64, i64) {
        let line = self.lines.recv_timeout(LONG).expect("another line");
        let shown: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        (shown["decree"].as_u64().expect("a decree"), shown["value"].as_i64().expect("a value"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server that leads the partition of the app that has only one.
fn primary(cluster: &Cluster, app: &str) -> &'static str {
    wait_for("a primary", || {
        let partitions = cluster.partitions(app)?;
        let name = partitions.first().and_then(|partition| partition.primary.clone());
        let known = REPLICAS.into_iter().find(|replica| name.as_deref() == Some(replica));
        known.ok_or_else(|| format!("{partitions:?}"))
    })
}

/// What an add on the command line was answered.
fn add(cluster: &Cluster, app: &str) -> (u64, i64) {
    let answer = cluster.counter(&["--app", app, "add", "n", "1", "--json"]);
    let shown: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"));
    (shown["decree"].as_u64().expect("a decree"), shown["value"].as_i64().expect("a value"))
}

#[test]
fn every_change_once_while_primaries_are_killed() {
    let mut cluster = Cluster::start();
    let app = cluster.create("counter.one", "counter", 1);
    let kills = short_or_full("every_change_once_while_primaries_are_killed", 4, 20);
    let (first_decree, first) = add(&cluster, app);
    let from = first_decree.to_string();
    let watcher = Watcher::start(&cluster, &["n", "--app", app, "--from", &from, "--json"]);
    assert_eq!(watcher.next(), (first_decree, first));

    // Others write as fast as they can, so that the counter's changes are few among many.
    let load =
        tests::Load::start(&cluster, app, 5 * kills, &["--clients", "16", "--keys", "16", "--reads", "0"]);
    let mut acknowledged = vec![(first_decree, first)];
    for _ in 0..kills {
        acknowledged.extend((0..20).map(|_| add(&cluster, app)));
        let replica = primary(&cluster, app);
        cluster.kill(replica);
        acknowledged.extend((0..20).map(|_| add(&cluster, app)));
        cluster.restart(replica);
        cluster.wait_until_whole(app);
    }
    let summary = load.finish();
    let last = add(&cluster, app);
    acknowledged.push(last);

    let mut seen = vec![(first_decree, first)];
    while seen.last() != Some(&last) {
        seen.push(watcher.next());
    }
    // Each add was of 1 and took effect once: no sum is missing, none comes twice.
    let sums: Vec<i64> = seen.iter().map(|(_, sum)| *sum).collect();
    assert_eq!(sums, (first..=last.1).collect::<Vec<_>>());
    assert!(seen.is_sorted_by(|before, after| before.0 < after.0), "{seen:?}");
    assert!(acknowledged.iter().all(|answer| seen.contains(answer)), "{acknowledged:?} in {seen:?}");
    report(&format!("watches: {} changes over {kills} kills, beside {summary:?}", seen.len()));
}

#[test]
fn who_comes_too_late_is_told_what_is_left() {
    let mut cluster = Cluster::prepare();
    cluster.set("replication.watch_history_bytes=2000");
    cluster.start_all();
    let app = cluster.create("counter.one", "counter", 1);
    let begin = add(&cluster, app).0;
    let decrees: Vec<u64> = (0..40).map(|_| add(&cluster, app).0).collect();
    let from = begin.to_string();
    let answer = cluster.counter(&["--app", app, "watch", "n", "--from", &from, "--count", "1"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (1, ""), "{answer:?}");
    let oldest = answer.stderr.split("from decree ").nth(1).and_then(|rest| rest.split(' ').next());
    let oldest: u64 = oldest.and_then(|oldest| oldest.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
    assert!(oldest > begin, "{oldest} of {decrees:?}");
    let left = decrees.iter().filter(|&&decree| decree >= oldest).count();
    let (from, count) = (oldest.to_string(), left.to_string());
    let answer = cluster.counter(&["--app", app, "watch", "n", "--from", &from, "--count", &count]);
    assert_eq!((answer.code, answer.stdout.lines().count()), (0, left), "{answer:?}");
}

#[test]
fn a_role_that_moves_takes_its_watchers_along() {
    let mut cluster = Cluster::start();
    let app = cluster.create("counter.one", "counter", 1);
    let first = add(&cluster, app);
    let from = first.0.to_string();
    let watcher = Watcher::start(&cluster, &["n", "--app", app, "--from", &from, "--json"]);
    assert_eq!(watcher.next(), first);
    let replica = primary(&cluster, app);
    assert!(cluster.terminate(replica).success(), "it hands over and ends");
    let second = add(&cluster, app);
    assert_eq!(watcher.next(), second);
}
