//! What a file and overrides say is what the processes get.

use std::path::{Path, PathBuf};

use settings::{Server, Settings};

fn with(overrides: &[&str]) -> Settings {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Settings::from_defaults(&overrides).expect("settings that make sense")
}

fn addresses(servers: Vec<Server>) -> Vec<String> {
    servers.into_iter().map(|server| server.address).collect()
}

#[test]
fn a_key_that_is_left_out_keeps_its_default() {
    let text = "[replication]\nlease_ms = 300\n[replication.app]\npartition_count = 4\n";
    let settings = Settings::parse("config.ini", text, &[]).expect("settings");
    assert_eq!((settings.replication.lease_ms, settings.replication.heartbeat_ms), (300, 100));
    assert_eq!((settings.new_app.partition_count, settings.new_app.max_replica_count), (4, 3));
    assert_eq!(settings.client.timeout_ms, 5000);
}

#[test]
fn layout_does_not_matter() {
    let text = "\u{feff}; a comment\r\n\t# another one\r\n  [ core ]  \r\n".replace("[ core ]", "[core]");
    let settings = Settings::parse("config.ini", &format!("{text}   data_dir=/var/lib/a b  \r\n"), &[]);
    assert_eq!(settings.expect("settings").data_dir("replica1"), Path::new("/var/lib/a b/replica1"));
}

#[test]
fn an_override_counts_instead_of_the_file() {
    let overrides = [
        "core.data_dir=there".to_owned(),
        "apps.replica.count=5".to_owned(),
        "core.data_dir=here".to_owned(),
    ];
    let settings =
        Settings::parse("config.ini", "[core]\ndata_dir = nowhere\n", &overrides).expect("settings");
    assert_eq!(settings.data_dir("meta1"), PathBuf::from("here/meta1"), "the last one counts");
    assert_eq!(settings.replica_servers().len(), 5);
}

#[test]
fn servers_on_one_host_take_consecutive_ports() {
    let settings = with(&["apps.meta.count=2"]);
    assert_eq!(addresses(settings.meta_servers()), ["127.0.0.1:34601", "127.0.0.1:34602"]);
    assert_eq!(
        addresses(settings.replica_servers()),
        ["127.0.0.1:34801", "127.0.0.1:34802", "127.0.0.1:34803"]
    );
    assert_eq!(settings.server("meta2").expect("known").address, "127.0.0.1:34602");
}

#[test]
fn servers_on_hosts_of_their_own_share_a_port() {
    let settings = with(&["apps.replica.host=a, b, a"]);
    assert_eq!(addresses(settings.replica_servers()), ["a:34801", "b:34801", "a:34802"]);
    let settings = with(&["apps.replica.host=[::1]", "apps.replica.ports=7, 9, 8"]);
    assert_eq!(addresses(settings.replica_servers()), ["[::1]:7", "[::1]:9", "[::1]:8"]);
}

#[test]
fn tasks_are_set_by_code() {
    let settings = with(&["task.RPC_COUNTER_COUNTER_READ.rpc_request_is_write_operation=true"]);
    assert!(settings.task("RPC_COUNTER_COUNTER_READ").rpc_request_is_write_operation);
    assert!(!settings.task("RPC_COUNTER_COUNTER_ADD").rpc_request_is_write_operation);
}

#[test]
fn an_app_without_a_name_is_none() {
    assert_eq!(with(&[]).app().map(|app| app.app_name.as_str()), Some("counter.instance0"));
    assert_eq!(with(&["replication.app.app_name="]).app(), None);
}

#[test]
fn names_are_lists() {
    assert_eq!(with(&["meta_server.app_types=counter, kv"]).meta_server.app_types.0, ["counter", "kv"]);
}
