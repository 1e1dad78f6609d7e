//! What operators do to a cluster of real processes: another number of replicas, a declared loss.

use tests::{Cluster, wait_for};

const APP: &str = "counter.instance0";

/// Waits until each partition has so many members.
fn wait_for_members(cluster: &Cluster, count: usize) {
    wait_for("the number of replicas", || {
        let partitions = cluster.partitions(APP)?;
        let members: Vec<usize> = partitions.iter().map(|p| 1 + p.secondaries.len()).collect();
        if members.iter().all(|&members| members == count) { Ok(()) } else { Err(format!("{partitions:?}")) }
    });
}

#[test]
fn the_number_of_replicas_changes_while_it_counts() {
    let cluster = Cluster::start();
    assert_eq!(cluster.add("apples", 1), 1);
    for (expected, count) in (2..).zip([1, 3, 2]) {
        let answer = cluster.admin(&["replicas", APP, &count.to_string()]);
        assert_eq!(answer.code, 0, "{answer:?}");
        wait_for_members(&cluster, count);
        assert_eq!(cluster.add("apples", 1), expected, "with {count} replicas");
    }
}

/// Two of three servers are given up while the third, which was away, has less: what only they had is gone, also
/// after they return, and all agree again.
#[test]
fn a_declared_loss() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.add("apples", 1), 1);
    assert!(cluster.terminate("replica3").success());
    wait_for_members(&cluster, 2);
    assert_eq!(cluster.add("apples", 5), 6, "which replica3 does not know");
    cluster.kill("replica1");
    cluster.kill("replica2");
    cluster.restart("replica3");
    let count = cluster.partitions(APP).expect("the app").len();
    let gpids: Vec<String> = (0..count).map(|partition| format!("1.{partition}")).collect();
    let refused = cluster.admin(&["accept-loss", &gpids[0], "replica3"]);
    assert_ne!(refused.code, 0, "without a statement: {refused:?}");
    for gpid in &gpids {
        wait_for("the loss to be accepted", || {
            let answer = cluster.admin(&["accept-loss", gpid, "replica3", "--the-others-are-stopped"]);
            if answer.code == 0 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
    for name in ["replica1", "replica2"] {
        cluster.restart(name);
    }
    cluster.wait_until_whole(APP);
    assert_eq!(cluster.read("apples"), 1, "what only the lost members had");
    assert_eq!(cluster.add("apples", 2), 3);
    assert!(cluster.terminate("replica3").success());
    wait_for_members(&cluster, 2);
    assert_eq!(cluster.read("apples"), 3, "those that were ahead learned afresh");
}
