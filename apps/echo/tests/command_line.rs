//! What people and scripts rely on: exit codes, one line for each mistake.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A meta server where nobody listens. No port that the system picks: it could be one of the replica servers' own.
const NOBODY: &str = "apps.meta.ports=1";

/// Runs `echo-app` with the `config.ini` that ships, but without a cluster.
fn echo(args: &[&str]) -> Output {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.ini");
    Command::new(env!("CARGO_BIN_EXE_echo-app"))
        .args(["--config", config.to_str().unwrap(), "--timeout", "300"])
        .args(["--set", NOBODY])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn one_line(output: &Output) -> String {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    text
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    for (args, says) in [
        (&["hello"][..], "'hello'"),
        (&["--app"], "--app"),
        (&["--set", "client.timeout=1"], "client.timeout"),
    ] {
        let output = echo(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let line = one_line(&output);
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn without_a_cluster_nothing_is_asked() {
    let output = echo(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(one_line(&output).contains("is it running?"));
}
