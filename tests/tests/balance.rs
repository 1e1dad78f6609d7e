//! A fourth server joins under load and gets its share; one of the first three is drained and leaves. No client sees
//! an error.

use std::time::Duration;

use tests::{Cluster, Load, REPLICAS, report, wait_for};

const APP: &str = "counter.instance0";
const LOAD: [&str; 6] = ["--clients", "16", "--keys", "64", "--reads", "30"];

/// Waits until a server leads and holds as many partitions as it should.
fn wait_for_share(cluster: &Cluster, name: &str, leads: usize, holds: usize) {
    wait_for(&format!("the share of {name}"), || {
        let partitions = cluster.partitions(APP)?;
        let led = partitions.iter().filter(|p| p.primary.as_deref() == Some(name)).count();
        let followed = partitions.iter().filter(|p| p.secondaries.iter().any(|node| node == name)).count();
        if (led, led + followed) == (leads, holds) { Ok(()) } else { Err(format!("{partitions:?}")) }
    });
}

#[test]
fn a_server_joins_and_another_leaves_under_load() {
    let mut cluster = Cluster::prepare();
    cluster.set("apps.replica.count=4");
    cluster.set("meta_server.balancer_moves_in_flight=4");
    cluster.set("meta_server.balancer_pause_ms=500");
    cluster.restart("meta1");
    REPLICAS.into_iter().for_each(|name| cluster.restart(name));
    cluster.wait_until_whole(APP);
    let before = Load::start(&cluster, APP, 8, &LOAD).finish();
    assert_eq!(before.errors, 0);

    let load = Load::start(&cluster, APP, 40, &LOAD);
    cluster.restart("replica4");
    // 8 partitions with 3 replicas each on 4 servers.
    ["replica1", "replica2", "replica3", "replica4"]
        .into_iter()
        .for_each(|name| wait_for_share(&cluster, name, 2, 6));

    let drained = cluster.admin(&["node", "drain", "replica1"]);
    assert_eq!(drained.code, 0, "{drained:?}");
    wait_for_share(&cluster, "replica1", 0, 0);
    let running = cluster.admin(&["node", "remove", "replica1"]);
    assert_ne!(running.code, 0, "it runs: {running:?}");
    assert!(cluster.terminate("replica1").success());
    wait_for("replica1 to be forgotten", || {
        let removed = cluster.admin(&["node", "remove", "replica1"]);
        if removed.code == 0 { Ok(()) } else { Err(format!("{removed:?}")) }
    });
    cluster.wait_until_whole(APP);
    let nodes = cluster.admin(&["nodes", "--json"]).stdout;
    assert!(!nodes.contains("replica1"), "{nodes}");
    let balancer = cluster.admin(&["balancer"]);
    assert_eq!(balancer.code, 0, "{balancer:?}");

    let meanwhile = load.finish();
    let line = |what: &str, load: &tests::Summary| {
        let [p99, slowest] = [load.p99, load.slowest].map(|span| span.as_secs_f64() * 1e3);
        report(&format!(
            "{what}: p99 {p99:.1} ms, slowest {slowest:.0} ms, {:.0} operations/s",
            load.ops_per_s
        ));
    };
    line("before", &before);
    line("while one joins and one leaves", &meanwhile);
    assert_eq!(meanwhile.errors, 0, "every operation is done");
    assert!(meanwhile.p99 > Duration::ZERO);
}
