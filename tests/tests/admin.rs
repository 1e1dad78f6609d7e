//! The admin command against a cluster, as docs/admin.md describes it: bad input to each command gets one clear line and
//! changes nothing, and what `--json` prints is what the help names.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tests::{Answer, Cluster};

const APP: &str = "counter.instance0";

/// Bad input to every command that takes any, and a word that the line about it must have. All but those marked with
/// exit code 1, which only the present state forbids, are mistakes in themselves.
const BAD: &[(&[&str], u8, &str)] = &[
    (&["apps", "extra"], 2, "extra"),
    (&["apps", "--watch", "0"], 2, "0.1"),
    (&["app", "counter.nowhere"], 2, "counter.nowhere"),
    (&["app"], 2, "NAME"),
    (&["create", APP, "--type", "counter", "--partitions", "1", "--replicas", "1"], 1, "exists"),
    (&["create", "Upper", "--type", "counter", "--partitions", "1", "--replicas", "1"], 2, "Upper"),
    (&["create", "", "--type", "counter", "--partitions", "1", "--replicas", "1"], 2, "name"),
    (&["create", "b", "--type", "nothing", "--partitions", "1", "--replicas", "1"], 2, "nothing"),
    (&["create", "b", "--type", "counter", "--partitions", "4097", "--replicas", "1"], 2, "4097"),
    (&["create", "b", "--type", "counter", "--partitions", "1", "--replicas", "10"], 2, "10"),
    (&["create", "b", "--type", "counter", "--partitions", "-1", "--replicas", "1"], 2, "-1"),
    (&["drop", "counter.nowhere"], 2, "counter.nowhere"),
    (&["replicas", "counter.nowhere", "3"], 2, "counter.nowhere"),
    (&["replicas", APP, "10"], 2, "10"),
    (&["nodes", "extra"], 2, "extra"),
    (&["node", "show", "replica9"], 2, "replica9"),
    (&["node", "show"], 2, "NODE"),
    (&["node", "shut"], 2, "shut"),
    (&["propose", "--gpid", "1", "--type", "remove", "--node", "replica1"], 2, "APP.INDEX"),
    (&["propose", "--gpid", "9.9", "--type", "remove", "--node", "replica1"], 2, "9.9"),
    (&["propose", "--gpid", "1.0", "--type", "delete", "--node", "replica1"], 2, "downgrade_to_inactive"),
    (&["propose", "--gpid", "1.0", "--type", "remove", "--node", "replica9"], 2, "replica9"),
    (&["propose", "--gpid", "1.0", "--type", "add_secondary", "--node", "replica1"], 1, "member"),
    (&["balance", "--gpid", "9.9", "--type", "move_pri", "--from", "replica1", "--to", "replica2"], 2, "9.9"),
    (
        &["balance", "--gpid", "1.0", "--type", "move", "--from", "replica1", "--to", "replica2"],
        2,
        "copy_sec",
    ),
    (
        &["balance", "--gpid", "1.0", "--type", "copy_sec", "--from", "replica9", "--to", "replica2"],
        2,
        "replica9",
    ),
    (
        &["balance", "--gpid", "1.0", "--type", "copy_sec", "--from", "replica1", "--to", "replica2"],
        1,
        "replica",
    ),
    (&["ddd", "extra"], 2, "extra"),
    (&["accept-loss", "9.9", "replica1", "--the-others-are-stopped"], 2, "9.9"),
    (&["accept-loss", "1.0", "replica9", "--the-others-are-stopped"], 2, "replica9"),
    (&["accept-loss", "1.0", "replica1", "--the-others-are-stopped"], 1, "replica"),
    (&["recover"], 1, "not empty"),
    (&["recover", "--dry-run"], 1, "not empty"),
    (&["recover", "extra"], 2, "extra"),
    (&["level", "lazy"], 2, "steady"),
    (&["drop", APP, "--hold", "long"], 2, "long"),
    (&["recall", "99"], 2, "99"),
    (&["recall", "first"], 2, "first"),
    (&["rename", "counter.nowhere", "b"], 2, "counter.nowhere"),
    (&["rename", APP, "Upper"], 2, "Upper"),
    (&["env", "get", "counter.nowhere"], 2, "counter.nowhere"),
    (&["env", "set", "counter.nowhere", "replica.deny_client_request", "reject*all"], 2, "counter.nowhere"),
    (&["env", "set", APP, "replica.nothing", "1"], 2, "replica.nothing"),
    (&["env", "set", APP, "replica.deny_client_request", "never"], 2, "never"),
    (&["env", "del", "counter.nowhere", "replica.deny_client_request"], 2, "counter.nowhere"),
    (&["env", "clear", "counter.nowhere"], 2, "counter.nowhere"),
    (&["meta", "ls", "extra"], 2, "extra"),
    (&["meta", "add", "meta4"], 2, "HOST:PORT"),
    (&["meta", "add", "meta4", "nowhere"], 2, "HOST:PORT"),
    (&["meta", "remove", "meta9"], 2, "meta9"),
    (&["meta", "remove", "meta1"], 1, "only"),
    (&["why", "9.9"], 2, "9.9"),
    (&["why", "one"], 2, "APP.INDEX"),
    (&["history", "9.9"], 2, "9.9"),
    (&["node", "black-list", "add", "replica9"], 2, "replica9"),
    (&["node", "black-list", "remove", "replica9"], 2, "replica9"),
    (&["node", "black-list", "ls", "extra"], 2, "extra"),
    (&["balancer", "extra"], 2, "extra"),
    (&["node", "drain", "replica9"], 2, "replica9"),
    (&["node", "undrain", "replica9"], 2, "replica9"),
    (&["node", "remove", "replica9"], 2, "replica9"),
    (&["node", "remove", "replica1"], 1, "runs"),
    (&["completions", "csh"], 2, "bash"),
];

/// Harmless commands whose JSON is held against the help.
const HARMLESS: &[&[&str]] = &[
    &["apps"],
    &["app", APP],
    &["app", APP, "-d"],
    &["nodes"],
    &["node", "show", "replica1"],
    &["node", "black-list", "ls"],
    &["level"],
    &["balancer"],
    &["balancer", "--dry-run"],
    &["apps", "--all"],
    &["env", "get", APP],
    &["meta", "ls"],
    &["why", "1.0"],
    &["history", "1.0"],
    &["ddd"],
    &["completions", "bash"],
];

/// The commands of docs/admin.md, which is what `--help` says, each with its section.
fn documented() -> Vec<(String, String)> {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/admin.md")).expect("the page");
    let sections = page.split("\n#### admin ").skip(1);
    let named = sections.map(|section| section.split_once('\n').expect("a heading and text"));
    named
        .map(|(name, text)| (name.to_owned(), text.split("\n###").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether a command line is one of that command.
fn is_of(arguments: &[&str], command: &str) -> bool {
    let words: Vec<&str> = command.split(' ').collect();
    arguments.starts_with(&words)
}

/// Whatever could have been changed: apps, members, ballots. Not what goes on by itself.
fn state(cluster: &Cluster) -> String {
    let apps = cluster.admin(&["apps", "--json"]).stdout;
    let partitions = cluster.partitions(APP).expect("the app");
    let members: Vec<_> =
        partitions.iter().map(|p| (&p.gpid, p.ballot, &p.primary, &p.secondaries)).collect();
    format!("{apps} {members:?}")
}

#[track_caller]
fn assert_refused(answer: &Answer, code: u8, word: &str, arguments: &[&str]) {
    assert_eq!(answer.code, i32::from(code), "{arguments:?}: {answer:?}");
    assert_eq!(
        (answer.stdout.as_str(), answer.stderr.trim_end().lines().count()),
        ("", 1),
        "{arguments:?}: {answer:?}"
    );
    assert!(answer.stderr.contains(word), "{arguments:?}: `{word}` is not in: {}", answer.stderr);
}

#[test]
fn bad_input_to_each_command_gets_one_line_and_changes_nothing() {
    let cluster = Cluster::start();
    assert_eq!(cluster.add("apples", 1), 1);
    let before = state(&cluster);
    for (command, _) in documented() {
        let words: Vec<&str> = command.split(' ').collect();
        let bogus = [&words[..], &["--bogus"]].concat();
        assert_refused(&cluster.admin(&bogus), 2, "--bogus", &bogus);
        assert!(
            BAD.iter().any(|(arguments, ..)| is_of(arguments, &command)),
            "no bad input to `admin {command}`"
        );
    }
    for (arguments, code, word) in BAD {
        assert_refused(&cluster.admin(arguments), *code, word, arguments);
    }
    assert_eq!(state(&cluster), before);
    assert_eq!(cluster.read("apples"), 1);
}

/// The names of all fields, at any depth.
fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        Value::Object(object) => {
            for (name, value) in object {
                found.insert(name.clone());
                fields(value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn json_has_the_fields_that_the_help_names() {
    let cluster = Cluster::start();
    let documented = documented();
    for arguments in HARMLESS {
        let (command, text) =
            documented.iter().find(|(command, _)| is_of(arguments, command)).expect("it is in the docs");
        let answer = cluster.admin(&[arguments, &["--json"][..]].concat());
        assert_eq!((answer.code, answer.stdout.lines().count()), (0, 1), "{answer:?}");
        let mut found = BTreeSet::new();
        fields(&serde_json::from_str(&answer.stdout).expect("JSON"), &mut found);
        let told = text.split("\nFields of --json").nth(1).unwrap_or_default();
        let told: BTreeSet<&str> = told.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for field in found {
            assert!(
                told.contains(field.as_str()),
                "`admin {command} --help` does not name the field `{field}`"
            );
        }
    }
}

#[test]
fn watching_goes_on_until_nobody_reads() {
    let cluster = Cluster::start();
    for arguments in [&["nodes", "--watch", "0.1", "--json"][..], &["app", APP, "-d", "--watch", "0.1"]] {
        let mut command = cluster.command("admin");
        let mut watching = command.args(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
        let mut next = || lines.next().expect("it goes on").expect("a line");
        let first = next();
        // The same line again is the next look.
        while next().split(':').next() != first.split(':').next() {}
        drop(lines);
        assert!(watching.wait().expect("it ends").success(), "{arguments:?}");
    }
}
