//! What a file or an override must not say, and the one line that each gets.

use std::path::Path;

use proptest::prelude::*;
use settings::Settings;

fn error_of(text: &str) -> String {
    Settings::parse("config.ini", text, &[]).expect_err(text).to_string()
}

fn error_of_override(text: &str) -> String {
    Settings::from_defaults(&[text.to_owned()]).expect_err(text).to_string()
}

#[test]
fn files_that_are_no_settings() {
    assert_eq!(error_of(""), "config.ini: has no setting in it; start from the config.ini that ships");
    assert_eq!(
        error_of("# nothing\n[core]\n"),
        "config.ini: has no setting in it; start from the config.ini that ships"
    );
    assert_eq!(
        error_of("[core\ndata_dir = data\n"),
        "config.ini:1: `[core` is no section; write [NAME] alone on its line"
    );
    assert_eq!(
        error_of("[]\ndata_dir = data\n"),
        "config.ini:1: `[]` is no section; write [NAME] alone on its line"
    );
    assert_eq!(
        error_of("data_dir = data\n"),
        "config.ini:1: key `data_dir` stands before any [section]; move it into one"
    );
    assert_eq!(
        error_of("[core]\n\ndata_dir\n"),
        "config.ini:3: `data_dir` is no setting; write KEY = VALUE, or # before a comment"
    );
    assert_eq!(error_of("[core]\n= data\n"), "config.ini:2: `` is no key; write KEY = VALUE");
    assert_eq!(
        error_of("[core]\ndata_dir = a\u{1}b\n"),
        "config.ini:2: has a control character in it; remove it"
    );
}

#[test]
fn what_is_written_twice() {
    assert_eq!(
        error_of("[core]\ndata_dir = a\ndata_dir = b\n"),
        "config.ini:3: [core] data_dir is set on line 2 already; remove one of the two"
    );
    assert_eq!(
        error_of("[core]\ndata_dir = a\n[client]\ntimeout_ms = 1\n[core]\n"),
        "config.ini:5: section [core] began on line 1 already; merge the two"
    );
}

#[test]
fn unknown_names_get_the_nearest_known_one() {
    assert_eq!(
        error_of("[replicaton]\nlease_ms = 300\n"),
        "config.ini:2: there is no section [replicaton]; the nearest known one is [replication]"
    );
    assert_eq!(
        error_of("[replication]\nlease_msx = 300\n"),
        "config.ini:2: [replication] has no key `lease_msx`; the nearest known key is `lease_ms`"
    );
    assert_eq!(
        error_of("[core]\nlease_ms = 300\n"),
        "config.ini:2: [core] has no key `lease_ms`; it belongs in [replication]"
    );
    assert_eq!(
        error_of("[task.rpc_read]\nrpc_request_is_write_operation = true\n"),
        "config.ini:2: there is no section [task.rpc_read]; the nearest known one is [task.CODE]"
    );
}

#[test]
fn values_out_of_range() {
    assert_eq!(
        error_of("[replication]\nheartbeat_ms = 0\n"),
        "config.ini:2: [replication] heartbeat_ms = 0 makes no sense: write a whole number from 1 to 3600000"
    );
    for (section, key, value) in [
        ("replication", "lease_ms", "-5"),
        ("replication", "lease_ms", "half a second"),
        ("replication", "lease_ms", "99999999999999999999999"),
        ("replication", "lease_ms", ""),
        ("replication", "lease_ms", "true"),
        ("apps.meta", "ports", "65536"),
        ("apps.meta", "ports", "0"),
        ("apps.meta", "ports", "34601,"),
        ("apps.meta", "count", "8"),
        ("apps.meta", "host", "a b"),
        ("apps.meta", "host", "::1"),
        ("core", "data_dir", ""),
        ("meta_server", "app_types", "counter,,kv"),
        ("replication.app", "app_name", "../etc"),
        ("replication.app", "app_type", ".."),
        ("task.RPC_COUNTER_COUNTER_READ", "rpc_request_is_write_operation", "maybe"),
    ] {
        let error = error_of(&format!("[{section}]\n{key} = {value}\n"));
        let expected = format!("config.ini:2: [{section}] {key} = {value} makes no sense: write ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

/// The parser behind would take each of them for another value than the reader does.
#[test]
fn values_that_read_in_two_ways() {
    assert_eq!(
        error_of("[client]\ntimeout_ms = 5000 ; five seconds\n"),
        "config.ini:2: [client] timeout_ms: a comment begins on a line of its own; move it above the key"
    );
    for value in ["\"data\"", "da\\ta", "'data'"] {
        let error = error_of(&format!("[core]\ndata_dir = {value}\n"));
        assert_eq!(
            error,
            "config.ini:2: [core] data_dir: quotes and backslashes have no use here; remove them"
        );
    }
}

#[test]
fn settings_that_contradict_each_other() {
    assert_eq!(
        error_of("[replication]\nlease_ms = 100\n"),
        "config.ini: [replication] lease_ms = 100 must be above heartbeat_ms = 100; raise it"
    );
    assert_eq!(
        error_of("[replication]\nlease_ms = 2000\n"),
        "config.ini: [replication] failure_timeout_ms = 1500 must be above lease_ms = 2000; raise it"
    );
    assert_eq!(
        error_of("[meta_server]\nelection_timeout_ms = 400\n"),
        "config.ini: [meta_server] election_timeout_ms = 400 must be at least three times raft_heartbeat_ms = \
         150; raise it"
    );
    assert_eq!(
        error_of("[apps.replica]\nports = 65534\n"),
        "config.ini: [apps.replica] ports = 65534 with count = 3 goes beyond 65535; lower it"
    );
    assert_eq!(
        error_of("[apps.replica]\nports = 1, 2\n"),
        "config.ini: [apps.replica] ports has 2 items; write one, or count = 3 of them"
    );
    assert_eq!(
        error_of("[apps.replica]\nports = 34600\n"),
        "config.ini: meta1 and replica2 would both be at 127.0.0.1:34601; change `ports` of one of them"
    );
}

#[test]
fn overrides() {
    for text in ["", "lease_ms", "lease_ms=300", "replication.lease_ms", ".=", "replication.=5"] {
        assert_eq!(
            error_of_override(text),
            format!("--set {text}: write SECTION.KEY=VALUE, for example replication.lease_ms=300")
        );
    }
    assert_eq!(
        error_of_override("replication.leese_ms=300"),
        "--set replication.leese_ms=300: [replication] has no key `leese_ms`; the nearest known key is `lease_ms`"
    );
    assert!(error_of_override("replication.lease_ms=fast").contains("makes no sense"));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = |path: &Path| Settings::load(path, &[]).expect_err("no settings").to_string();
    let missing = folder.path().join("config.ini");
    assert!(error(&missing).starts_with(&format!("{}: can't be read: ", missing.display())));
    assert!(error(folder.path()).contains("can't be read"));
    let binary = folder.path().join("binary.ini");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).expect("written");
    assert!(error(&binary).ends_with("is not text in UTF-8; save it as such"));
}

#[test]
fn a_server_that_is_not_named() {
    let settings = Settings::from_defaults(&[]).expect("the defaults");
    assert_eq!(
        settings.server("replica9").unwrap_err().to_string(),
        "the settings: names no server `replica9`; there are meta1, replica1, replica2, replica3"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.ini");
        std::fs::write(&path, bytes).expect("written");
        if let Err(error) = Settings::load(&path, &[]) {
            prop_assert!(!error.to_string().contains('\n'), "one line: {error}");
        }
    }

    /// Pieces of real files get further than noise does.
    #[test]
    fn shuffled_pieces_never_panic(pieces in prop::collection::vec(piece(), 0..12), value in "\\PC{0,8}") {
        let text = pieces.concat();
        for text in [text.clone(), format!("[core]\n{text}"), format!("[core]\ndata_dir = {value}\n{text}")] {
            if let Err(error) = Settings::parse("config.ini", &text, &[]) {
                prop_assert!(!error.to_string().contains('\n'), "one line: {error}");
            }
        }
        let _ = Settings::from_defaults(&[text]);
    }

    /// What the scan takes, the parser behind it reads as the same.
    #[test]
    fn values_arrive_as_they_are_written(value in "\\PC{1,12}") {
        if let Ok(settings) = Settings::parse("config.ini", &format!("[core]\n  data_dir = {value}\n"), &[]) {
            prop_assert_eq!(settings.core.data_dir, Path::new(value.trim()));
        }
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "[",
        "]",
        "=",
        "\n",
        "\n",
        " ",
        "\t",
        "\r\n",
        "\\",
        "\"",
        "#",
        ";",
        ":",
        ".",
        ",",
        "-1",
        "1",
        "34601",
        "core",
        "apps.meta",
        "replication",
        "replication.app",
        "task.RPC_X",
        "ports",
        "count",
        "lease_ms",
        "data_dir",
        "\u{feff}",
        "[core]\n",
        "[replication]\n",
        "lease_ms = 200\n",
        "data_dir = x\n",
        "é",
    ])
}
