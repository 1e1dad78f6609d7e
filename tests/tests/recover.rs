//! Every meta server is lost with its disk: an empty one is rebuilt from what the replica servers hold (§4.9). Clients
//! of before go on, and all that was acknowledged is there.

use std::fs;

use serde_json::Value;
use tests::{Cluster, Load, REPLICAS, wait_for};

const APP: &str = "counter.instance0";

/// The plan, once all three nodes have said what they hold.
fn plan(cluster: &Cluster) -> Value {
    wait_for("a plan with all replicas", || {
        // In this order: what is there when it is counted is there when the plan is made.
        let replicas = cluster.admin(&["ddd", "--json"]);
        let ddd: Value = serde_json::from_str(&replicas.stdout).map_err(|_| format!("{replicas:?}"))?;
        let answer = cluster.admin(&["recover", "--dry-run", "--json"]);
        let plan: Value = serde_json::from_str(&answer.stdout).map_err(|_| format!("{answer:?}"))?;
        let unknown = ddd["unknown"].as_array().map_or(0, Vec::len);
        let described = !answer.stdout.contains("has not described");
        let whole = unknown == 3 * (8 + 2) && plan["obstacles"].as_array().is_some_and(Vec::is_empty);
        if whole && described { Ok(plan) } else { Err(format!("{unknown} replicas, {plan}")) }
    })
}

/// How many of the planned partitions are certain, and how many are not.
fn certainty(plan: &Value) -> (usize, usize) {
    let apps = plan["apps"].as_array().expect("apps").iter();
    let partitions: Vec<&Value> =
        apps.flat_map(|app| app["partitions"].as_array().expect("partitions")).collect();
    let certain = partitions.iter().filter(|partition| partition["certain"] == true).count();
    (certain, partitions.len() - certain)
}

fn wipe(cluster: &Cluster) {
    fs::remove_dir_all(cluster.data("meta1")).expect("the meta server's data");
}

#[test]
fn a_meta_server_that_lost_everything_is_rebuilt_from_what_the_replica_servers_hold() {
    let mut cluster = Cluster::start();
    let create = ["create", "scores.instance0", "--type", "counter", "--partitions", "2", "--replicas", "3"];
    assert_eq!(cluster.admin(&create).code, 0);
    cluster.wait_until_whole("scores.instance0");
    assert_eq!(cluster.add("apples", 5), 5);

    let load = Load::start(&cluster, APP, 15, &["--clients", "16", "--keys", "32", "--reads", "20"]);
    wait_for("the load to be under way", || {
        let committed: u64 = cluster.partitions(APP)?.iter().flat_map(|p| p.committed.values()).sum();
        if committed > 1000 { Ok(()) } else { Err(format!("{committed} decrees")) }
    });
    cluster.kill("meta1");
    wipe(&cluster);
    cluster.restart("meta1");
    assert_eq!(certainty(&plan(&cluster)), (10, 0));
    assert_eq!(cluster.admin(&["apps", "--json"]).stdout.trim(), "[]", "nothing is done by itself");
    let create = ["create", "other", "--type", "counter", "--partitions", "1", "--replicas", "3"];
    assert_eq!(cluster.admin(&create).code, 1, "a new app would get the number of one that is to come back");
    let done = cluster.admin(&["recover"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    let summary = load.finish();
    println!("{} operations, the longest gap {} ms", summary.done, summary.longest_gap_ms);
    cluster.wait_until_whole(APP);
    cluster.wait_until_whole("scores.instance0");
    assert_eq!(cluster.read("apples"), 5);
    let again = cluster.admin(&["recover"]);
    assert_eq!((again.code, again.stderr.contains("not empty")), (1, true), "{again:?}");

    // Now with the memories of all servers: nobody knows who the members were.
    for name in REPLICAS.into_iter().chain(["meta1"]) {
        cluster.kill(name);
    }
    wipe(&cluster);
    for name in REPLICAS.into_iter().chain(["meta1"]) {
        cluster.restart(name);
    }
    assert_eq!(certainty(&plan(&cluster)), (0, 10));
    let refused = cluster.admin(&["recover"]);
    assert_eq!((refused.code, refused.stderr.contains("--the-others-are-stopped")), (1, true), "{refused:?}");
    let done = cluster.admin(&["recover", "--the-others-are-stopped"]);
    assert_eq!(done.code, 0, "{done:?}");
    cluster.wait_until_whole(APP);
    assert_eq!(cluster.read("apples"), 5);
    assert_eq!(cluster.add("apples", 2), 7);
}
