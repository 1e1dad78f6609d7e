//! `admin` without a cluster: exit codes, and one line for each mistake.

use std::path::Path;
use std::process::{Command, Output};

/// A meta server where nobody listens. No port that the system picks: it could be one of the replica servers' own.
const NOBODY: &str = "apps.meta.ports=1";

fn admin(args: &[&str]) -> (Option<i32>, String) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.ini");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_admin"))
        .args(["--config", config.to_str().unwrap(), "--set", NOBODY])
        .args(args)
        .output()
        .unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_mistake_is_one_line_and_exit_code_2() {
    for (args, says) in [
        (&["propose", "--gpid", "1", "--type", "remove", "--node", "replica1"][..], "APP.INDEX"),
        (&["propose", "--gpid", "1.0", "--type", "delete", "--node", "replica1"], "downgrade_to_inactive"),
        (&["balance", "--gpid", "1.0", "--type", "move_pri", "--from", "replica1"], "--to"),
        (&["create", "a", "--type", "counter", "--partitions", "0", "--replicas", "3"], "'0'"),
        (&["create", "a", "-t", "counter", "-p", "1", "-r", "3", "--within", "0"], "'0'"),
        (&["create", "a", "-t", "counter", "-p", "1", "-r", "3", "--within", "1", "--no-wait"], "--no-wait"),
        (&["--set", "client.timeout=1", "ls"], "client.timeout"),
        (&["ls", "--bogus"], "--bogus"),
    ] {
        let (code, line) = admin(args);
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn a_meta_server_that_is_not_there_is_named() {
    let (code, line) = admin(&["nodes"]);
    assert_eq!((code, line.lines().count()), (Some(3), 1), "{line}");
    assert!(
        line.contains("can't be reached (Connection refused") && line.contains("is it running?"),
        "{line}"
    );
}
