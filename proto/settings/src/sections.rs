//! Every section and key, with its default and the values that it takes. `config.ini` says the same to an
//! operator, and a test compares the two.

use std::path::PathBuf;

use serde::Deserialize;

use crate::List;
use crate::kind::Kind::{self, Hosts, Name, NameOrNone, Names, NamesOrNone, Number, Path, Ports, Switch};

/// A section's name and keys.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [(&'static str, Kind)],
}

macro_rules! section {
    ($(#[$doc:meta])* $type:ident = $name:literal {
        $($(#[$key_doc:meta])* $key:ident: $value:ty = $default:expr, $kind:expr;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(default)]
        pub struct $type {
            $($(#[$key_doc])* pub $key: $value,)+
        }

        impl $type {
            pub(crate) const SECTION: Section =
                Section { name: $name, keys: &[$((stringify!($key), $kind)),+] };
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }
    };
}

/// What all sections but those of tasks are called, and their keys.
pub(crate) const SECTIONS: [&Section; 8] = [
    &AppsMeta::SECTION,
    &AppsReplica::SECTION,
    &Core::SECTION,
    &MetaServer::SECTION,
    &Replication::SECTION,
    &NewApp::SECTION,
    &Client::SECTION,
    &Task::SECTION,
];

/// What the sections of tasks begin with.
pub(crate) const TASK_PREFIX: &str = "task.";

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1 << 20;

section! {
    /// `[apps.meta]`: where the meta servers are; they are called meta1, meta2, ...
    AppsMeta = "apps.meta" {
        /// One port for each server, or one from which servers on the same host count up.
        ports: List<u16> = List(vec![34601]), Ports;
        /// How many there are.
        count: usize = 1, Number(1, 7);
        /// One host for all, or one for each server.
        host: List<String> = List(vec!["127.0.0.1".to_owned()]), Hosts;
    }
}

section! {
    /// `[apps.replica]`: where the replica servers are; they are called replica1, replica2, ...
    AppsReplica = "apps.replica" {
        /// One port for each server, or one from which servers on the same host count up.
        ports: List<u16> = List(vec![34801]), Ports;
        /// How many there are.
        count: usize = 3, Number(1, 1000);
        /// One host for all, or one for each server.
        host: List<String> = List(vec!["127.0.0.1".to_owned()]), Hosts;
    }
}

section! {
    /// `[core]`: what every process needs.
    Core = "core" {
        /// The folder that has one folder for each process in it.
        data_dir: PathBuf = PathBuf::from("data"), Path;
    }
}

section! {
    /// `[meta_server]`: what the meta server decides, and when.
    MetaServer = "meta_server" {
        /// A replica server whose session closed has this long to open another one before it is dead.
        reconnect_grace_ms: u64 = 100, Number(0, HOUR_MS);
        /// How long a member that left is waited for before a node without its data replaces it.
        replica_assign_delay_ms_for_dropouts: u64 = 10_000, Number(0, DAY_MS);
        /// What was asked of a primary is asked again after this long, until it is done.
        ask_again_ms: u64 = 1000, Number(10, HOUR_MS);
        /// Between two looks at all partitions for what needs a cure.
        sweep_ms: u64 = 500, Number(10, HOUR_MS);
        /// How long a dropped app can be recalled, in seconds, unless an operator says otherwise.
        hold_seconds_for_dropped_app: u64 = 604_800, Number(0, 1 << 32);
        /// Moves that the balancer, or the draining of nodes, has under way at most; with 0 nothing moves by itself.
        balancer_moves_in_flight: usize = 4, Number(0, 10_000);
        /// How long everything must have been healthy before something is balanced.
        balancer_pause_ms: u64 = 5000, Number(10, HOUR_MS);
        /// A node that starts again and again gets no new replicas before it has run for this long.
        stable_rs_min_running_seconds: u64 = 60, Number(0, DAY_MS / 1000);
        /// So many starts in a row, each before the one before had run for that long, are again and again.
        max_successive_unstable_restart: u32 = 5, Number(1, 1000);
        /// The replica servers that may take part, by name or id; empty: all.
        replica_white_list: List<String> = List(vec![]), NamesOrNone;
        /// The app types that can be created: those that the replica servers have registered.
        app_types: List<String> = List(["counter", "kv", "card", "echo", "election"].map(str::to_owned).to_vec()), Names;
        /// Between two signs of life of the meta server that leads to the others.
        raft_heartbeat_ms: u64 = 150, Number(10, HOUR_MS);
        /// For how long the one that leads is followed after each; another one is elected within twice that.
        election_timeout_ms: u64 = 500, Number(50, HOUR_MS);
    }
}

section! {
    /// `[replication]`: the protocol's times and limits.
    Replication = "replication" {
        /// Between two heartbeats to a peer.
        heartbeat_ms: u64 = 100, Number(1, HOUR_MS);
        /// What an acknowledged heartbeat grants, from when it was sent.
        lease_ms: u64 = 500, Number(2, HOUR_MS);
        /// The largest ratio between any two nodes' clock rates, in thousandths above one.
        clock_ratio_permille: u32 = 10, Number(0, 1000);
        /// A secondary that has not acknowledged for this long is proposed out.
        prepare_timeout_ms: u64 = 1000, Number(10, HOUR_MS);
        /// A node that has been silent for this long is suspected.
        failure_timeout_ms: u64 = 1500, Number(10, HOUR_MS);
        /// A learner that makes no progress for this long is given up.
        learn_timeout_ms: u64 = 30_000, Number(100, DAY_MS);
        /// A lost message is sent again after this long.
        resend_ms: u64 = 200, Number(1, HOUR_MS);
        /// Between two beacons to the meta server.
        beacon_ms: u64 = 300, Number(1, HOUR_MS);
        /// Between two full reports to the meta server.
        report_ms: u64 = 5000, Number(10, DAY_MS);
        /// Mutations in flight at once, a partition.
        mutation_window: usize = 64, Number(1, 65_536);
        /// Writes that wait for a place in the window, a partition; more are refused as busy.
        mutation_queue: usize = 8192, Number(1, MIB);
        /// Writes in one mutation at most.
        mutation_batch: usize = 1024, Number(1, 65_536);
        /// Bytes of payload in one mutation at most.
        mutation_batch_bytes: usize = 1 << 20, Number(1, 64 * MIB);
        /// Committed mutations kept in memory, a partition, to re-send and to learn from.
        prepare_list_tail: usize = 128, Number(0, MIB);
        /// Bytes of payload of those at most.
        prepare_list_tail_bytes: usize = 16 << 20, Number(0, 1024 * MIB);
        /// Mutations in one batch of re-sends, which has a quarter of the largest mutation's bytes at most, too.
        resend_batch: usize = 128, Number(1, 65_536);
        /// Bytes of recent changes kept for clients that watch, a partition.
        watch_history_bytes: usize = 4 << 20, Number(0, 1024 * MIB);
        /// Watches that a node serves at the same time.
        max_watchers: usize = 1000, Number(0, 65_536);
        /// With fewer members than this writes are refused.
        mutation_2pc_min_replica_count: usize = 2, Number(1, 7);
        /// A checkpoint is written after this many decrees ...
        checkpoint_decrees: u64 = 100_000, Number(1, 1 << 40);
        /// ... and this long after something was applied that is not durable in the app.
        checkpoint_interval_ms: u64 = 60_000, Number(10, DAY_MS);
        /// The largest write, in bytes.
        max_write_bytes: usize = (1 << 20) + (64 << 10), Number(1, 16 * MIB);
        /// The prepare log's segments, in MiB.
        log_segment_mb: u64 = 32, Number(1, 1024);
        /// What one node sends of checkpoints, in MiB a second; 0 is without bound.
        learn_bandwidth_mb: u64 = 0, Number(0, 1 << 20);
        /// With less than this many percent of its disk available a node refuses writes and new replicas ...
        disk_min_available_space_ratio: u32 = 10, Number(0, 99);
        /// ... unless this many MiB are available.
        disk_enough_space_mb: u64 = 10_240, Number(0, 1 << 40);
    }
}

section! {
    /// `[replication.app]`: the app that the meta server creates when it starts for the first time.
    NewApp = "replication.app" {
        /// Its name; empty: none is created.
        app_name: String = "counter.instance0".to_owned(), NameOrNone;
        /// Its type.
        app_type: String = "counter".to_owned(), Name;
        /// Its number of partitions.
        partition_count: u32 = 8, Number(1, 4096);
        /// How many replicas each partition has.
        max_replica_count: u32 = 3, Number(1, 7);
    }
}

section! {
    /// `[client]`: what the client library and the command lines do.
    Client = "client" {
        /// How long an operation may take, all its tries together.
        timeout_ms: u64 = 5000, Number(1, DAY_MS);
    }
}

section! {
    /// `[task.CODE]`: how requests of one kind are treated.
    Task = "task.CODE" {
        /// Whether a read goes through two-phase commit, like a write.
        rpc_request_is_write_operation: bool = false, Switch;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Settings, scan};

    fn shipped() -> (String, Settings) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.ini");
        let text = std::fs::read_to_string(&path).expect("config.ini ships with the sources");
        (text, Settings::load(&path, &[]).expect("the file that ships can be used"))
    }

    /// Where the file says nothing of a key, or another value, an operator is misled.
    #[test]
    fn the_file_that_ships_says_what_the_defaults_are() {
        let (_, mut settings) = shipped();
        assert!(settings.tasks.values().all(|task| *task == Task::default()), "{:?}", settings.tasks);
        settings.tasks.clear();
        let mut defaults = Settings::from_defaults(&[]).expect("the defaults can be used");
        defaults.origin = settings.origin.clone();
        assert_eq!(settings, defaults);
    }

    #[test]
    fn the_file_that_ships_documents_every_key() {
        let (text, _) = shipped();
        let lines: Vec<&str> = text.lines().collect();
        let entries = scan::entries("config.ini", &text).expect("it was loaded");
        let mut written = Vec::new();
        for entry in entries {
            let scan::Place::Line(_, number) = entry.place else { panic!("not from the file") };
            assert!(lines[number - 2].starts_with("# "), "line {number}: no comment above `{}`", entry.key);
            let task = entry.section.starts_with(TASK_PREFIX);
            written.push((if task { "task.CODE".to_owned() } else { entry.section }, entry.key));
        }
        let known =
            SECTIONS.iter().flat_map(|section| section.keys.iter().map(|(key, _)| (section.name, *key)));
        let known: Vec<_> = known.map(|(section, key)| (section.to_owned(), key.to_owned())).collect();
        assert_eq!(written, known, "every key once, in the order of the code");
    }
}
