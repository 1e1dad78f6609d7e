//! What somebody who has never seen it does first.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tests::{Cluster, Process, REPLICAS, wait_for};

#[test]
fn a_cluster_forms_and_counts() {
    let mut cluster = Cluster::start();
    assert_eq!(cluster.read("apples"), 0);
    assert_eq!(cluster.add("apples", 5), 5);
    assert_eq!(cluster.add("apples", 2), 7);
    assert_eq!(cluster.read("apples"), 7);
    for name in REPLICAS.into_iter().chain(["meta1"]) {
        let status = cluster.terminate(name);
        assert!(status.success(), "{name} ended with {status}");
    }
    for name in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.restart(name);
    }
    assert_eq!(cluster.read("apples"), 7, "after all four were stopped and started again");
}

#[test]
fn make_run_counts_and_ends_with_ctrl_c() {
    let cluster = Cluster::prepare();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let target = std::env::current_exe().expect("the path of the test");
    // Who starts the tests in the background ignores Ctrl-C, and a shell can't take back what it inherits.
    let mut script = Command::new("env");
    script.arg("--default-signal=INT").arg(format!("{root}/tests/run-cluster"));
    script
        .current_dir(cluster.folder())
        .env("CARGO_TARGET_DIR", target.ancestors().nth(3).expect("a folder"));
    script.env("HOLDFAST_CONFIG", format!("{root}/config.ini"));
    for setting in cluster.overrides() {
        script.arg("--set").arg(setting);
    }
    let output = cluster.folder().join("run-cluster.out");
    let mut script = Process::start("run-cluster", script, &output);
    let printed = || std::fs::read_to_string(&output).expect("its output");
    wait_for("run-cluster to be up", || {
        assert!(script.ended().is_none(), "it ended: {}", printed());
        if printed().contains("Ctrl-C stops it") { Ok(()) } else { Err(printed()) }
    });
    assert!(printed().lines().any(|line| line == "1"), "no count in: {}", printed());
    assert_eq!(cluster.add("visits", 1), 2);

    script.signal(Signal::INT);
    let status = script.wait(Duration::from_secs(60));
    assert!(status.success(), "{status}: {}", printed());
    assert_eq!(cluster.counter(&["--timeout", "500", "read", "visits"]).code, 1, "it still runs");
}

#[test]
fn one_process_is_a_cluster_too() {
    let cluster = Cluster::prepare();
    let mut command = cluster.command("replica-server");
    command.arg("dev");
    let mut process = Process::start("replica-server dev", command, &cluster.folder().join("dev.log"));
    assert_eq!(cluster.read("apples"), 0);
    assert_eq!(cluster.add("apples", 5), 5);
    assert_eq!(cluster.read("apples"), 5);
    process.signal(Signal::TERM);
    assert!(process.wait(Duration::from_secs(30)).success());
}
