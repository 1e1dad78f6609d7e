//! What people and scripts rely on: exit codes, the value alone on standard output, one line for each mistake.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A meta server where nobody listens. No port that the system picks: it could be one of the replica servers' own.
const NOBODY: &str = "apps.meta.ports=1";

/// Runs `counter` with the `config.ini` that ships, but without a cluster.
fn counter(args: &[&str]) -> Output {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.ini");
    Command::new(env!("CARGO_BIN_EXE_counter"))
        .args(["--config", config.to_str().unwrap(), "--timeout", "300"])
        .args(["--set", NOBODY])
        .args(args)
        .output()
        .unwrap()
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    let long = "x".repeat(2000);
    for (args, says) in [
        (&["add", "visits", "-1"][..], "'-1'"),
        (&["add", "visits", "many"], "'many'"),
        (&["add", "visits", "1.5"], "'1.5'"),
        (&["add", "visits", "9223372036854775808"], "too large"),
        (&["add", "visits"], "<N>"),
        (&["add", "", "1"], "empty"),
        (&["read", &long], "1024 bytes"),
        (&["bench", "--reads", "101"], "'101'"),
        (&["--set", "client.timeout=1", "read", "visits"], "client.timeout"),
        (&["check", "missing.json"], "missing.json"),
    ] {
        let output = counter(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let line = one_line(&output);
        assert!(line.contains(says) && line.len() < 400, "{line}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_cluster_it_is_surely_not_done() {
    for args in [&["add", "visits", "1"][..], &["read", "visits"], &["bench", "--seconds", "1"]] {
        let output = counter(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(one_line(&output).contains("is it running?"));
    }
}

#[test]
fn a_history_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let judged = |lines: &str| {
        let file: PathBuf = folder.path().join("history.json");
        std::fs::write(&file, lines).unwrap();
        counter(&["check", file.to_str().unwrap()])
    };
    let row = |client, op, arg, answer, start, end, decree| {
        format!(
            r#"{{"client":{client},"key":"k","op":"{op}","arg":{arg},"answer":{answer},"outcome":"done","start_ns":{start},"end_ns":{end},"decree":{decree}}}"#
        )
    };
    let good = [row(0, "add", 1, 1, 0, 5, 1), row(1, "read", 0, 1, 6, 7, 1)].join("\n");
    let output = judged(&good);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("linearizable: 2 operations"));

    let stale = [row(0, "add", 1, 1, 0, 5, 1), row(1, "read", 0, 0, 6, 7, 1)].join("\n");
    let output = judged(&stale);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_line(&output).contains("counter `k`"));

    assert_eq!(judged("not a row").status.code(), Some(2));
}
