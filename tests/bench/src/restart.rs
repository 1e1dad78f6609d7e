//! How long a server takes to be back, by how much its log is ahead of its checkpoints.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tests::REPLICAS;
use tokio::runtime::Runtime;

use crate::holdfast::{Holdfast, Type, patience};
use crate::load::{KEYS, Watched};
use crate::shape::{PARTITIONS, Shape};
use crate::system::System;

const CLIENTS: usize = 64;
const BYTES: usize = 16 << 10;
/// No checkpoint is due while this lasts.
const NO_CHECKPOINTS: [&str; 2] =
    ["replication.checkpoint_decrees=100000000", "replication.checkpoint_interval_ms=86400000"];

/// For how long another server's log is only read.
const LOOK: Duration = Duration::from_secs(10);

/// What was seen.
pub(crate) struct Restart {
    pub(crate) log_mib: u64,
    /// What the disk gave a second to one who read another server's log from its beginning, just before.
    pub(crate) read_mib: f64,
    pub(crate) took: Duration,
    pub(crate) memory_before_mib: u64,
    pub(crate) memory_after_mib: u64,
    /// The most in between.
    pub(crate) peak_mib: u64,
}

/// Writes until the logs are that long, kills a server and starts it again.
///
/// # Panics
/// If it is not back within [`patience`].
pub(crate) fn measure(mib: u64, runtime: &Runtime) -> Restart {
    let server = REPLICAS[0];
    let mut system = System::Holdfast(Holdfast::start(Type::Kv, Shape::of(PARTITIONS), &NO_CHECKPOINTS));
    let clients = runtime.block_on(system.clients(CLIENTS));
    let System::Holdfast(cluster) = &mut system else { unreachable!("it was just made") };
    let value = Bytes::from(vec![0x5a; BYTES]);
    let watched = runtime.block_on(async { Watched::start(clients, 0..KEYS, &value) });
    while cluster.log_mib(server) < mib {
        std::thread::sleep(Duration::from_millis(100));
    }
    watched.stop();
    let other = cluster.processes.data(REPLICAS[1]).join("log");
    let read_mib = read(&other).expect("a folder that can be read");
    let (log_mib, memory_before_mib) = (cluster.log_mib(server), cluster.processes.memory(server) >> 20);
    cluster.processes.kill(server);
    let began = Instant::now();
    cluster.processes.restart(server);
    cluster.wait_until_whole(patience(log_mib));
    let took = began.elapsed();
    eprintln!("restart with {log_mib} MiB of log: {:.1} s", took.as_secs_f64());
    Restart {
        log_mib,
        read_mib,
        took,
        memory_before_mib,
        memory_after_mib: cluster.processes.memory(server) >> 20,
        peak_mib: cluster.processes.peak_memory(server) >> 20,
    }
}

/// MiB a second, of all files one after the other, or of so many as there is time for.
fn read(folder: &Path) -> io::Result<f64> {
    let (began, mut bytes, mut buffer) = (Instant::now(), 0, vec![0; 1 << 20]);
    'files: for path in tests::files_below(folder)?.values() {
        let mut file = File::open(path)?;
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            bytes += length;
            if began.elapsed() >= LOOK {
                break 'files;
            }
        }
    }
    Ok(bytes as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64())
}
