//! Whole apps on real processes: created, dropped and recalled, renamed, slowed down; and a disk that is almost full.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, Load, REPLICAS, SmallDisk, report, wait_for};

const APP: &str = "counter.instance0";
const OTHER: &str = "scores.instance0";

/// Asks the counter of an app.
fn counter(cluster: &Cluster, app: &str, arguments: &[&str]) -> Answer {
    cluster.counter(&[&["--app", app, "--timeout", "3000"], arguments].concat())
}

#[track_caller]
fn done(answer: Answer) -> String {
    assert_eq!(answer.code, 0, "{answer:?}");
    answer.stdout.trim().to_owned()
}

fn json(answer: Answer) -> Value {
    serde_json::from_str(&done(answer)).expect("JSON")
}

/// The folders of an app's replicas that the servers keep.
fn folders(cluster: &Cluster, app_id: u64) -> Vec<PathBuf> {
    let prefix = format!("{app_id}.");
    let of_server = |name: &&str| std::fs::read_dir(cluster.data(name).join("replicas")).expect("replicas");
    let entries = REPLICAS.iter().flat_map(of_server).map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .collect()
}

#[test]
fn an_app_is_created_dropped_recalled_and_goes() {
    let mut cluster = Cluster::start();
    let created = cluster.admin(&["create", OTHER, "-t", "counter", "-p", "4", "-r", "3"]);
    let whole = "4 of 4 partitions serve, 12 of 12 replicas are there\n";
    assert!(created.stderr.ends_with(whole), "its progress: {created:?}");
    assert_eq!(done(created), format!("created app 2 `{OTHER}`"));
    assert_eq!(done(counter(&cluster, OTHER, &["add", "apples", "5"])), "5");

    let dropped = json(cluster.admin(&["drop", OTHER, "--json"]));
    assert_eq!((&dropped["dropped"], dropped["app_id"].as_u64()), (&OTHER.into(), Some(2)));
    let gone = counter(&cluster, OTHER, &["read", "apples"]);
    assert_ne!(gone.code, 0);
    assert!(gone.stderr.contains("was dropped; `admin recall 2` brings it back"), "{gone:?}");
    let shown = json(cluster.admin(&["apps", "--all", "--json"]));
    assert_eq!(shown[1]["expires_ms"], dropped["expires_ms"]);
    assert_eq!(json(cluster.admin(&["apps", "--json"])).as_array().map(Vec::len), Some(1));
    assert_eq!(folders(&cluster, 2).len(), 12, "its data stays");
    // So it does when servers start again; one of them has missed the drop altogether.
    cluster.kill("meta1");
    cluster.kill("replica2");
    cluster.restart("meta1");
    cluster.restart("replica2");

    let recalled = wait_for("the recall", || {
        let answer = cluster.admin(&["recall", "2"]);
        if answer.code == 0 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    assert_eq!(done(recalled), format!("recalled app 2 `{OTHER}`"));
    cluster.wait_until_whole(OTHER);
    assert_eq!(done(counter(&cluster, OTHER, &["add", "apples", "1"])), "6");

    // Whoever has it open goes on when it is renamed; its old name says what it is called now.
    let load = Load::start(&cluster, OTHER, 6, &["--clients", "4", "--keys", "4", "--reads", "30"]);
    std::thread::sleep(Duration::from_secs(2));
    done(cluster.admin(&["rename", OTHER, "results.instance0"]));
    cluster.kill("replica1"); // so that it has to ask again who is primary
    cluster.restart("replica1");
    report(&format!("renamed under load: {:?}", load.finish()));
    let renamed = counter(&cluster, OTHER, &["read", "apples"]);
    assert!(renamed.stderr.contains("is called `results.instance0` now"), "{renamed:?}");

    done(cluster.admin(&["drop", "results.instance0", "--hold", "1"]));
    wait_for("its data to be collected", || match folders(&cluster, 2) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    });
    let late = cluster.admin(&["recall", "2"]);
    assert!(late.stderr.contains("can't be recalled any more"), "{late:?}");
    assert_eq!(late.code, 2);
    assert_eq!(done(counter(&cluster, APP, &["add", "apples", "1"])), "1", "the others go on");
}

#[test]
fn an_environment_slows_writers_down_and_turns_requests_away() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.add("apples", 1), 1);
    for (key, value, why) in [
        ("default_ttl", "60", "no environment key `default_ttl`; there are replica.write_throttling, "),
        ("replica.write_throttling", "fast", "makes no sense: write `UNITS*delay*MS`"),
    ] {
        let refused = cluster.admin(&["env", "set", APP, key, value]);
        assert!(refused.code != 0 && refused.stderr.contains(why), "{refused:?}");
        assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
    }
    assert_eq!(json(cluster.admin(&["env", "get", APP, "--json"])), serde_json::json!({}));

    done(cluster.admin(&["env", "set", APP, "replica.deny_client_request", "reject*write"]));
    let denied = wait_for("a write to be denied", || {
        let answer = counter(&cluster, APP, &["add", "apples", "1"]);
        if answer.code != 0 { Ok(answer) } else { Err(format!("{answer:?}")) }
    });
    assert!(denied.stderr.contains("denies such requests"), "{denied:?}");
    let before = cluster.read("apples");
    // It is durable, and reaches whoever leads later.
    for name in ["meta1", "replica1"] {
        cluster.kill(name);
        cluster.restart(name);
    }
    cluster.wait_until_whole(APP);
    assert_ne!(counter(&cluster, APP, &["add", "apples", "1"]).code, 0);
    assert_eq!(cluster.read("apples"), before);
    assert_eq!(json(cluster.admin(&["env", "clear", APP, "--json"])), serde_json::json!({}));
    wait_for("a write", || {
        let answer = counter(&cluster, APP, &["add", "apples", "1"]);
        if answer.code == 0 { Ok(()) } else { Err(format!("{answer:?}")) }
    });

    // 8 partitions, 50 writes a second each, and no more; those that are refused are tried again by the client.
    done(cluster.admin(&["env", "set", APP, "replica.write_throttling", "400*delay*200,800*reject*50"]));
    let writes = ["--clients", "64", "--keys", "64", "--reads", "0"];
    let summary = Load::start(&cluster, APP, 10, &writes).finish();
    report(&format!("400*delay*200,800*reject*50: {summary:?}"));
    assert!(summary.ops_per_s < 1_000.0, "{summary:?}");
}

/// `admin create` waits for as many replicas as there are servers for, and not for ever.
#[test]
fn creating_an_app_waits_for_what_there_can_be() {
    let mut cluster = Cluster::start();
    cluster.kill("replica3");
    wait_for("one server to be dead", || {
        if cluster.node("replica3").is_ok() { Err("it is alive".to_owned()) } else { Ok(()) }
    });
    let create = ["create", OTHER, "-t", "counter", "-p", "4", "-r", "3"];
    let created = cluster.admin(&create);
    let part = "4 of 4 partitions serve, 8 of 12 replicas are there (only 2 servers can have some now)\n";
    assert!(created.stderr.ends_with(part), "{created:?}");
    assert_eq!(done(created), format!("created app 2 `{OTHER}`"));

    cluster.kill("replica1");
    cluster.kill("replica2");
    let answer = cluster.admin(&["create", "later", "-t", "counter", "-p", "1", "-r", "3", "--within", "1"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (4, ""), "{answer:?}");
    let why = "`later` is there, but after 1 s 0 of 1 partitions serve, 0 of 3 replicas are there";
    assert!(answer.stderr.lines().last().is_some_and(|line| line.contains(why)), "{answer:?}");
    let answer = cluster.admin(&["create", "at-once", "-t", "counter", "-p", "1", "-r", "3", "--no-wait"]);
    assert_eq!(answer.stderr, "", "nothing was waited for");
    assert_eq!(done(answer), "created app 4 `at-once`");
}

/// A primary whose disk is low refuses writes with a clear word and serves reads; the others go on; it heals.
#[test]
fn a_disk_that_is_almost_full_refuses_writes_early() {
    let test = "a_disk_that_is_almost_full_refuses_writes_early";
    if !SmallDisk::can_be(test) {
        return;
    }
    let mut cluster = Cluster::prepare();
    cluster.set("replication.app.partition_count=1");
    cluster.set("replication.log_segment_mb=1");
    let disks = REPLICAS.map(|name| SmallDisk::new(&cluster.data(name), 64));
    cluster.start_all();
    assert_eq!(cluster.add("apples", 5), 5);
    disks.iter().for_each(|disk| disk.fill_but(3));
    let refused = wait_for("a refusal that names the reason", || {
        let answer = counter(&cluster, APP, &["add", "apples", "1"]);
        if answer.stderr.contains("the node's disk is almost full") {
            Ok(answer)
        } else {
            Err(format!("{answer:?}"))
        }
    });
    assert_ne!(refused.code, 0, "{refused:?}");
    let kept = cluster.read("apples");
    wait_for("the nodes to be shown as low", || {
        let shown = json(cluster.admin(&["nodes", "--json"]));
        let nodes = shown.as_array().expect("a list");
        if nodes.iter().all(|node| node["disk"]["is_low"] == true) { Ok(()) } else { Err(shown.to_string()) }
    });
    assert!(done(cluster.admin(&["nodes"])).contains("LOW: takes no writes"));
    for name in REPLICAS {
        assert!(!cluster.log(name).contains("waits until it can be written"), "{name}: that was not early");
    }
    disks.iter().for_each(SmallDisk::free);
    wait_for("a write", || {
        let answer = counter(&cluster, APP, &["add", "apples", "1"]);
        if answer.code == 0 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    assert!(cluster.read("apples") > kept);
    cluster.wait_until_whole(APP);
}

/// The others have room: clients notice nothing.
#[test]
fn a_node_whose_disk_is_low_hands_over_what_it_leads() {
    let test = "a_node_whose_disk_is_low_hands_over_what_it_leads";
    if !SmallDisk::can_be(test) {
        return;
    }
    let mut cluster = Cluster::prepare();
    cluster.set("replication.log_segment_mb=1");
    let disk = SmallDisk::new(&cluster.data(REPLICAS[0]), 64);
    cluster.start_all();
    let led = |cluster: &Cluster| -> Result<Vec<usize>, String> {
        let partitions = cluster.partitions(APP)?;
        let is_first = |index: &usize| partitions[*index].primary.as_deref() == Some(REPLICAS[0]);
        Ok((0..partitions.len()).filter(is_first).collect())
    };
    let before = led(&cluster).expect("the app's partitions");
    let first = before.first().expect("it leads something, or nothing would be tried");
    let load = Load::start(&cluster, APP, 60, &["--clients", "16"]);
    disk.fill_but(3);
    wait_for("others to lead", || match led(&cluster)? {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{} leads {left:?}", REPLICAS[0])),
    });
    let summary = load.stop();
    assert_eq!(summary.errors, 0, "{summary:?}");
    let history = done(cluster.admin(&["history", &format!("1.{first}")]));
    assert!(history.contains("the disk of replica1 is almost full"), "{history}");
    report(&format!("{test}: {before:?}, {summary:?}"));
}
