//! Holdfast from another language, with nothing of ours but the .proto files: the whole administration, and the client
//! that client/python is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{Answer, Cluster, Process, python, python_programs, run, wait_for};

#[test]
fn a_python_program_drives_the_whole_administration() {
    let Some(interpreter) = python("python::a_python_program_drives_the_whole_administration") else {
        return;
    };
    let cluster = Cluster::start();
    let nodes: Value = serde_json::from_str(&cluster.admin(&["nodes", "--json"]).stdout).expect("the nodes");
    let replicas =
        nodes.as_array().expect("a list").iter().map(|node| node["address"].as_str().expect("an address"));

    let mut command = Command::new(interpreter);
    command.current_dir(cluster.folder()).arg(python_programs().join("administer.py"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/proto")).arg("generated");
    command.arg(meta_address(&cluster)).arg("--").args(replicas);
    let answer = run(command);
    assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
    println!("{}", answer.stdout.trim());
    assert_eq!(cluster.add("apples", 1), 1, "nothing else changed");
}

/// The folder of the example.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/python");

fn meta_address(cluster: &Cluster) -> String {
    let ports = cluster.overrides().iter().find_map(|setting| setting.strip_prefix("apps.meta.ports="));
    format!("127.0.0.1:{}", ports.expect("a port that the cluster was given"))
}

/// Runs a program of the example with what the shell would give it.
fn example(interpreter: &Path, cluster: &Cluster, program: &str, arguments: &[&str]) -> Answer {
    let mut command = Command::new(interpreter);
    command.arg(Path::new(CLIENT).join(program)).arg(meta_address(cluster)).args(arguments);
    // Nothing of ours is written beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(cluster.folder());
    run(command)
}

#[test]
fn the_python_client_counts() {
    let Some(interpreter) = python("python::the_python_client_counts") else {
        return;
    };
    let cluster = Cluster::start();
    let python = |arguments: &[&str]| example(&interpreter, &cluster, "counter.py", arguments);
    assert_eq!(cluster.add("apples", 5), 5);
    for (arguments, sum) in
        [(&["read", "apples"][..], "5\n"), (&["add", "apples", "2"], "7\n"), (&["read", "pears"], "0\n")]
    {
        let answer = python(arguments);
        assert_eq!((answer.code, &answer.stdout[..]), (0, sum), "{answer:?}");
    }
    assert_eq!(cluster.read("apples"), 7);
}

#[test]
fn the_python_client_keeps_values() {
    let Some(interpreter) = python("python::the_python_client_keeps_values") else {
        return;
    };
    let cluster = Cluster::start();
    let created = cluster.admin(&["create", "kv.instance0", "-t", "kv", "-p", "4", "-r", "3"]);
    assert_eq!(created.code, 0, "{created:?}");
    let python = |arguments: &[&str]| example(&interpreter, &cluster, "kv.py", arguments);
    for (arguments, code, printed) in [
        (&["get", "hello"][..], 0, "0 no value\n"),
        (&["put", "hello", "world", "0"], 0, "1\n"),
        (&["put", "hello", "again", "0"], 1, ""),
        (&["get", "hello"], 0, "1 world\n"),
        (&["put", "hello", "again"], 0, "2\n"),
        (&["delete", "hello", "2"], 0, "3\n"),
        (&["get", "hello"], 0, "3 no value\n"),
    ] {
        let answer = python(arguments);
        assert_eq!((answer.code, &answer.stdout[..]), (code, printed), "{arguments:?}: {answer:?}");
    }
    let mut kv = cluster.command("kv");
    kv.args(["put", "hello", "from the other side"]);
    assert_eq!(run(kv).code, 0);
    assert_eq!(python(&["get", "hello"]).stdout, "4 from the other side\n");
}

/// Each add counts once, though servers die under it and what was sent to them is sent again.
#[test]
fn the_python_client_counts_each_once_while_servers_die() {
    const ADDS: i64 = 1500;
    const COUNTERS: i64 = 5;
    let Some(interpreter) = python("python::the_python_client_counts_each_once_while_servers_die") else {
        return;
    };
    let mut cluster = Cluster::start();
    let mut command = Command::new(interpreter);
    command.arg(python_programs().join("count.py")).arg(CLIENT).arg(meta_address(&cluster));
    command.args([ADDS.to_string(), COUNTERS.to_string()]).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = cluster.folder().join("count.out");
    let mut counting = Process::start("count.py", command, &output);
    let printed = || fs::read_to_string(&output).expect("its output");
    for name in ["replica1", "replica2"] {
        wait_for("it to count", || if printed().contains("begun") { Ok(()) } else { Err(printed()) });
        cluster.kill(name);
        assert!(counting.ended().is_none(), "too early: {}", printed());
        cluster.restart(name);
        cluster.wait_until_serving(&["counter.instance0"]);
    }
    let status = counting.wait(Duration::from_secs(120));
    assert!(status.success(), "{}", printed());
    let last = printed().lines().last().map(str::to_owned).expect("a line");
    assert_eq!(last, format!("{ADDS} 0"), "each was done, and known to be");
    let sum: i64 = (0..COUNTERS).map(|number| cluster.read(&format!("python{number}"))).sum();
    assert_eq!(sum, ADDS);
}
