//! What operations cost the processes, counted and not timed: system calls that write, what they write, and how often
//! a thread had to wait. One client at a time makes the same calls on a busy machine as on an idle one; the limits
//! leave half as much again for what goes on beside it.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Cluster, REPLICAS, report};

/// What all replica servers did since they were started.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// System calls that write, to sockets and files.
    writes: f64,
    /// The bytes that those wrote.
    bytes: f64,
    /// How often a thread waited for something.
    waits: f64,
}

impl Counts {
    fn of(cluster: &Cluster) -> Self {
        let mut all = Self::default();
        for server in REPLICAS {
            let process = cluster.process(server);
            all.writes += number(&format!("/proc/{process}/io"), "syscw:");
            all.bytes += number(&format!("/proc/{process}/io"), "wchar:");
            let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a running process");
            for thread in threads {
                let status = thread.expect("a thread").path().join("status");
                all.waits += number(&status.display().to_string(), "voluntary_ctxt_switches:");
            }
        }
        all
    }

    fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes - before.writes,
            bytes: self.bytes - before.bytes,
            waits: self.waits - before.waits,
        }
    }
}

/// The number behind `key`; 0 of a thread that has just ended.
fn number(file: &str, key: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0.0)
}

/// What one operation of a load cost, without what the servers do anyway.
fn cost(cluster: &Cluster, options: &[&str]) -> Counts {
    let idle = {
        let (began, before) = (Instant::now(), Counts::of(cluster));
        sleep(Duration::from_secs(2));
        let (counts, seconds) = (Counts::of(cluster).since(before), began.elapsed().as_secs_f64());
        Counts {
            writes: counts.writes / seconds,
            bytes: counts.bytes / seconds,
            waits: counts.waits / seconds,
        }
    };
    let (began, before) = (Instant::now(), Counts::of(cluster));
    let answer = cluster.counter(&[&["bench", "--seconds", "3", "--keys", "8", "--json"], options].concat());
    let (counts, seconds) = (Counts::of(cluster).since(before), began.elapsed().as_secs_f64());
    assert_eq!(answer.code, 0, "{answer:?}");
    let shown: Value = serde_json::from_str(answer.stdout.trim()).expect("a line of JSON");
    let operations = shown["operations"].as_f64().expect("a number");
    let each = |count: f64, idle: f64| (count - idle * seconds) / operations;
    let each = Counts {
        writes: each(counts.writes, idle.writes),
        bytes: each(counts.bytes, idle.bytes),
        waits: each(counts.waits, idle.waits),
    };
    report(&format!("{options:?}: {operations} operations, each {each:.1?}"));
    each
}

#[test]
fn operations_cost_no_more_than_they_did() {
    let cluster = Cluster::start();
    let write = cost(&cluster, &["--clients", "1"]);
    assert!(write.writes < 15.0, "{write:?}");
    assert!(write.bytes < 1500.0, "{write:?}");
    assert!(write.waits < 24.0, "{write:?}");
    // Many share frames, syncs and wake-ups.
    let shared = cost(&cluster, &["--clients", "64"]);
    assert!(shared.writes < write.writes / 2.0, "{shared:?} beside {write:?}");
    assert!(shared.bytes < write.bytes / 1.5, "{shared:?} beside {write:?}");
    assert!(shared.waits < write.waits / 2.0, "{shared:?} beside {write:?}");
    // A read is between the client and the primary, and touches no disk.
    let read = cost(&cluster, &["--clients", "1", "--reads", "100"]);
    assert!(read.writes < 3.0 && read.bytes < 300.0 && read.waits < 4.0, "{read:?}");
}
