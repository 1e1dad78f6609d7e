//! A learner that copies a checkpoint, slowly: how far it is can be seen, and what it has stays when its source dies.

use std::time::Duration;

use serde_json::Value;
use tests::{Cluster, run, wait_for};

const APP: &str = "kv.instance0";
const SOURCE: &str = "replica1";
const LEARNER: &str = "replica2";
const MIB: u64 = 1 << 20;

/// What the learner's node reports of its copy: how much is there, of how much.
fn copied(cluster: &Cluster) -> Result<(u64, u64), String> {
    let answer = cluster.admin(&["app", APP, "-d", "--json"]);
    let shown: Value = serde_json::from_str(&answer.stdout).map_err(|_| format!("{answer:?}"))?;
    let mut replicas = shown["partitions"][0]["replicas"].as_array().into_iter().flatten();
    let learner = replicas.find(|at| at["node"] == LEARNER).ok_or_else(|| format!("{answer:?}"))?;
    let bytes = |key: &str| learner[key].as_u64().ok_or_else(|| format!("no {key}: {learner}"));
    Ok((bytes("copied_bytes")?, bytes("copying_bytes")?))
}

/// What its log says of each fetch: bytes that came, and of how many.
fn fetches(cluster: &Cluster) -> Vec<(u64, u64)> {
    let log = cluster.log(LEARNER);
    let number = |line: &str, key: &str| {
        let rest = line.split_once(key).unwrap_or_else(|| panic!("no {key} in {line}")).1;
        rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    let lines = log.lines().filter(|line| line.contains("fetched of a checkpoint"));
    lines.map(|line| (number(line, " received="), number(line, " of="))).collect()
}

#[test]
fn a_copy_goes_on_where_it_was_when_its_source_is_back() {
    let mut cluster = Cluster::prepare();
    for setting in [
        "replication.app.app_name=",
        "replication.log_segment_mb=1",
        "replication.checkpoint_interval_ms=1000",
        "replication.learn_bandwidth_mb=4",
        "apps.replica.count=2",
    ] {
        cluster.set(setting);
    }
    for server in ["meta1", SOURCE] {
        cluster.restart(server);
    }
    wait_for("the source", || cluster.node(SOURCE));
    let create = ["create", APP, "--type", "kv", "--partitions", "1", "--replicas", "1"];
    assert_eq!(cluster.admin(&create).code, 0);
    let mut load = cluster.command("kv");
    load.args(["bench", "--workload", "none", "--records", "3000", "--value-bytes", "10000"]);
    let load = run(load);
    assert_eq!(load.code, 0, "{load:?}");
    wait_for("a log that is not enough to learn from", || {
        let cut = cluster.log(SOURCE).contains("cut the prepare log");
        if cut { Ok(()) } else { Err("it was not cut yet".to_owned()) }
    });
    cluster.restart(LEARNER);
    wait_for("the learner", || cluster.node(LEARNER));
    assert_eq!(cluster.admin(&["replicas", APP, "2"]).code, 0);

    let half = wait_for("half of a copy", || match copied(&cluster)? {
        (bytes, of_bytes) if bytes > of_bytes / 2 => Ok(bytes),
        (bytes, of_bytes) => Err(format!("{bytes} of {of_bytes}")),
    });
    cluster.kill(SOURCE);
    // Longer than the learner tries to reach it.
    std::thread::sleep(Duration::from_secs(5));
    cluster.restart(SOURCE);
    wait_for("a secondary", || {
        let partitions = cluster.partitions(APP)?;
        let there = partitions.iter().all(|partition| partition.secondaries == [LEARNER]);
        if there { Ok(()) } else { Err(format!("{partitions:?}")) }
    });
    let fetches = fetches(&cluster);
    let (Some(&(first, _)), Some(&(last, of))) = (fetches.first(), fetches.last()) else {
        panic!("it learned without a checkpoint")
    };
    assert!(first >= half && last < of, "{fetches:?} with {half} at the kill");
    let received: u64 = fetches.iter().map(|(received, _)| received).sum();
    assert!(received < of + MIB, "{received} bytes came for a checkpoint of {of}: {fetches:?}");
}
