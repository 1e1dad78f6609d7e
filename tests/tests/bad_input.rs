//! What an operator or a user gets wrong: one clear line on standard error, exit code 2, and nothing changes.

use std::fs;
use std::process::Command;

use client::{App, Outcome};
use settings::Settings;
use tests::{Answer, Cluster, run};

/// One line that says all of `words`, and exit code 2.
#[track_caller]
fn assert_refused(answer: &Answer, words: &[&str]) {
    assert_eq!(answer.code, 2, "{answer:?}");
    assert_eq!(answer.stdout, "", "{answer:?}");
    assert_eq!(answer.stderr.trim_end().lines().count(), 1, "{answer:?}");
    for word in words {
        assert!(answer.stderr.contains(word), "`{word}` is not in: {}", answer.stderr);
    }
}

/// All four command lines with a config.ini of that content (none at all for `None`).
#[track_caller]
fn assert_config_refused(content: Option<&str>, words: &[&str]) {
    let cluster = Cluster::prepare();
    let config = cluster.folder().join("config.ini");
    if let Some(content) = content {
        fs::write(&config, content).unwrap();
    }
    let lines: [(&str, &[&str]); 4] = [
        ("meta-server", &["--name", "meta1"]),
        ("replica-server", &["--name", "replica1"]),
        ("counter", &["read", "apples"]),
        ("admin", &["nodes"]),
    ];
    for (program, arguments) in lines {
        let path = cluster.command(program).get_program().to_owned();
        let mut command = Command::new(path);
        command.current_dir(cluster.folder()).args(["--config", "config.ini"]).args(arguments);
        assert_refused(&run(command), words);
    }
    assert!(!cluster.folder().join("data").exists(), "something was stored");
}

fn shipped_config() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../config.ini")).unwrap()
}

#[test]
fn no_config() {
    assert_config_refused(None, &["config.ini"]);
}

#[test]
fn a_malformed_config() {
    assert_config_refused(Some("[replication\nlease_ms = 500\n"), &["config.ini"]);
}

#[test]
fn an_unknown_key() {
    let content = shipped_config().replace("lease_ms =", "lease_seconds =");
    assert_config_refused(Some(&content), &["config.ini", "lease_seconds"]);
}

#[test]
fn a_port_in_use() {
    let cluster = Cluster::start();
    let mut other = cluster.command("replica-server");
    other.args(["--name", "replica1", "--set", "core.data_dir=elsewhere"]);
    assert_refused(&run(other), &["in use"]);
    let mut other = cluster.command("meta-server");
    other.args(["--name", "meta1", "--set", "core.data_dir=elsewhere"]);
    assert_refused(&run(other), &["in use"]);
    assert_eq!(cluster.add("apples", 1), 1, "the servers that run don't notice");
}

#[test]
fn a_data_directory_in_use_or_of_another_node() {
    let mut cluster = Cluster::start();
    let port = tests::free_ports(3);
    for (program, name, key) in
        [("replica-server", "replica1", "apps.replica.ports"), ("meta-server", "meta1", "apps.meta.ports")]
    {
        let mut second = cluster.command(program);
        second.args(["--name", name, "--set", &format!("{key}={port}")]);
        assert_refused(&run(second), &[name, "in use"]);
    }

    assert!(cluster.terminate("replica1").success());
    assert!(cluster.terminate("replica2").success());
    let (one, two) = (cluster.data("replica1"), cluster.data("replica2"));
    let aside = cluster.folder().join("aside");
    fs::rename(&two, &aside).unwrap();
    fs::rename(&one, &two).unwrap();
    let mut swapped = cluster.command("replica-server");
    swapped.args(["--name", "replica2"]);
    assert_refused(&run(swapped), &["replica1"]);
    fs::rename(&two, &one).unwrap();
    fs::rename(&aside, &two).unwrap();
    cluster.restart("replica1");
    cluster.restart("replica2");
    assert_eq!(cluster.read("apples"), 0, "they serve as before");
}

#[test]
fn what_users_get_wrong() {
    let cluster = Cluster::start();
    assert_eq!(cluster.add("apples", 1), 1);
    assert_refused(&cluster.counter(&["--app", "counter.nowhere", "read", "apples"]), &["counter.nowhere"]);
    assert_refused(
        &cluster.counter(&["--app", "counter.nowhere", "add", "apples", "1"]),
        &["counter.nowhere"],
    );
    let create = ["create", "x.instance0", "--type", "nothing", "--partitions", "1", "--replicas", "3"];
    assert_refused(&cluster.admin(&create), &["nothing"]);
    assert_refused(&cluster.admin(&["drop", "counter.nowhere"]), &["counter.nowhere"]);
    assert_refused(&cluster.admin(&["replicas", "counter.nowhere", "3"]), &["counter.nowhere"]);
    for count in ["0", "10", "-1", "many", ""] {
        assert_refused(&cluster.admin(&["replicas", "counter.instance0", count]), &[count]);
    }
    assert_refused(&cluster.admin(&["accept-loss", "9.9", "replica1"]), &["9.9"]);
    assert_refused(&cluster.admin(&["accept-loss", "one", "replica1"]), &["one"]);
    assert_refused(&cluster.admin(&["accept-loss", "1.0", "replica9"]), &["replica9"]);
    for amount in ["-1", "many", "1.5", "", "99999999999999999999"] {
        let answer = cluster.counter(&["add", "apples", amount]);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{amount}: {answer:?}");
    }
    assert_eq!(cluster.read("apples"), 1, "nothing changed");
    // `admin ls | head -1`: whoever reads has left.
    for (program, arguments) in [("admin", &["ls"][..]), ("counter", &["read", "apples"])] {
        let mut command = cluster.command(program);
        command.args(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_write_that_is_too_large() {
    let mut cluster = Cluster::prepare();
    cluster.set("replication.max_write_bytes=1000");
    for name in ["meta1", "replica1", "replica2", "replica3"] {
        cluster.restart(name);
    }
    cluster.wait_until_whole("counter.instance0");
    let name = "x".repeat(1020);
    assert_refused(&cluster.counter(&["add", &name, "1"]), &["1000"]);
    assert_eq!(cluster.add("apples", 1), 1, "the servers go on");
}

/// No command line takes 100 MB, so the library sends it: once as it is, which refuses it unsent, and once with
/// the library's own limit out of the way, so that a server has to; it hangs up, and a client that
/// sends so much learns nothing.
#[test]
fn a_write_of_100_mb() {
    let cluster = Cluster::start();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../config.ini");
    let settings = Settings::load(config.as_ref(), cluster.overrides()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let write = |max_write_bytes| {
        runtime.block_on(async {
            let options = client::Options { max_write_bytes, ..client::Options::from(&settings) };
            let app = App::open(&client::Cluster::new(options).unwrap(), "counter.instance0").await.unwrap();
            app.write(b"apples", vec![0; 100_000_000].into()).await
        })
    };
    let outcome = write(settings.replication.max_write_bytes);
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let outcome = write(usize::MAX);
    assert!(!matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(cluster.add("apples", 1), 1, "the servers go on");
}
