//! What people and scripts rely on: exit codes, one line for each mistake.

use std::path::Path;
use std::process::{Command, Output};

/// A meta server where nobody listens. No port that the system picks: it could be one of the replica servers' own.
const NOBODY: &str = "apps.meta.ports=1";

/// Runs `card` with the `config.ini` that ships, but without a cluster.
fn card(args: &[&str]) -> Output {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.ini");
    Command::new(env!("CARGO_BIN_EXE_card"))
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
        (&["insert", "-i", "1", "-n", "rock", "-u", "2"][..], "--balance"),
        (&["insert", "-i", "1", "-n", "", "-u", "2", "-b", "3"], "empty"),
        (&["insert", "-i", "1", "-n", "a\tb", "-u", "2", "-b", "3"], "control characters"),
        (&["insert", "-i", "1", "-n", &long, "-u", "2", "-b", "3"], "1024 bytes"),
        (&["insert", "-i", "1", "-n", "rock", "-u", "2", "-b", "-3"], "'-3'"),
        (&["insert", "-i", "-1", "-n", "rock", "-u", "2", "-b", "3"], "'-1'"),
        (&["update", "-i", "1", "-d", "9223372036854775808"], "too large"),
        (&["update", "-i", "1", "-d", "x"], "'x'"),
        (&["select", "-i", "18446744073709551616"], "too large"),
        (&["delete"], "--id"),
        (&["steal", "-i", "1"], "'steal'"),
        (&["--set", "client.timeout=1", "select", "-i", "1"], "client.timeout"),
    ] {
        let output = card(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let line = one_line(&output);
        assert!(line.contains(says) && line.len() < 400, "{line}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_cluster_it_is_surely_not_done() {
    for args in [&["update", "-i", "1", "-d", "-1"][..], &["select", "-i", "1"], &["recover", "-i", "1"]] {
        let output = card(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(one_line(&output).contains("is it running?"));
    }
}
