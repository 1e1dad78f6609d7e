//! Thousands of partitions on three replica servers: how long they take to come up, what they cost while nobody uses
//! them, and how long a node's death takes to heal. Figures are reported, in docs/verification.md.

use std::time::{Duration, Instant};

use tests::{Cluster, METAS, REPLICAS, report, short_or_full};

/// Apps that share the partitions: one may have 4096 at most.
const APPS: [&str; 2] = ["counter.first", "counter.second"];

const IDLE: Duration = Duration::from_secs(20);

#[test]
fn thousands_of_partitions_come_up_rest_and_heal() {
    let test = "thousands_of_partitions_come_up_rest_and_heal";
    let partitions: usize = short_or_full(test, 500, 5000);
    let each = (partitions / APPS.len()).to_string();
    let mut cluster = Cluster::prepare();
    cluster.start_all();

    let begin = Instant::now();
    for app in APPS {
        let create =
            ["create", app, "--type", "counter", "--partitions", &each, "--replicas", "3", "--no-wait"];
        let answer = cluster.admin(&create);
        assert_eq!(answer.code, 0, "{answer:?}");
    }
    cluster.wait_until_serving(&APPS);
    report(&format!("{test}: {partitions} partitions are served after {:?}", begin.elapsed()));

    let servers = || [METAS[0]].into_iter().chain(REPLICAS);
    std::thread::sleep(Duration::from_secs(5));
    let before: Vec<Duration> = servers().map(|name| cluster.cpu_time(name)).collect();
    std::thread::sleep(IDLE);
    for (name, before) in servers().zip(before) {
        let share = (cluster.cpu_time(name) - before).as_secs_f64() / IDLE.as_secs_f64();
        let memory = cluster.memory(name) >> 20;
        report(&format!("{test}: idle, {name} takes {:.1} % of a core and {memory} MiB", share * 100.0));
    }

    let begin = Instant::now();
    cluster.kill(REPLICAS[1]);
    cluster.restart(REPLICAS[1]);
    cluster.wait_until_serving(&APPS);
    report(&format!("{test}: after kill -9 of one server all are served again after {:?}", begin.elapsed()));
    assert_eq!(cluster.ended(), [""; 0], "servers that ended by themselves");
}
