//! How fast a server that has lost its data gets it back, beside what the disk does with plain copying.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngCore;
use tests::REPLICAS;
use tokio::runtime::Runtime;

use crate::bystander::{self, Seen};
use crate::holdfast::{Holdfast, Type, patience};
use crate::load::{self, Watched};
use crate::shape::{PARTITIONS, Shape};
use crate::system::System;

const CLIENTS: usize = 64;
/// What the values have that are learned.
const BYTES: usize = 16 << 10;
/// Nobody waits for the data that was lost to come back.
const AT_ONCE: &str = "meta_server.replica_assign_delay_ms_for_dropouts=100";
/// What plain copying syncs at once: as a learner does.
const SYNCED: u64 = 4 << 20;

/// A log of which only the last segment or two are kept.
const SHORT_LOG_MIB: u64 = 64;

/// Writes by which the load shows that it is under way.
const STEADY: u64 = 2_000;

/// What was seen.
pub(crate) struct Learned {
    /// All that the server had to fetch.
    pub(crate) mib: u64,
    /// From the start of the empty server until every replica was in its role.
    pub(crate) took: Duration,
    /// Copying the same files on the same disk, synced as often.
    pub(crate) copied_in: Duration,
    /// What clients saw that wrote meanwhile, if there were any.
    pub(crate) meanwhile: Option<Meanwhile>,
}

/// What clients saw.
pub(crate) struct Meanwhile {
    /// What the values have that they wrote.
    pub(crate) bytes: usize,
    pub(crate) writes_per_s: f64,
    pub(crate) failed: u64,
    pub(crate) slowest: Duration,
    /// What who had nothing to do with it saw of the disk.
    pub(crate) disk: Seen,
}

/// Fills a cluster with about that much, takes one server's data away and waits until it is back; with clients that
/// write values of so many bytes meanwhile, or with nothing else to do.
///
/// # Panics
/// If it is not within [`patience`].
pub(crate) fn measure(mib: u64, written: Option<usize>, runtime: &Runtime) -> Learned {
    let server = REPLICAS[0];
    let mut system = System::Holdfast(Holdfast::start(Type::Kv, Shape::of(PARTITIONS), &[AT_ONCE]));
    let values = usize::try_from(mib << 20).expect("it fits") / BYTES;
    let value = random(BYTES);
    let clients = runtime.block_on(async { load::fill(system.clients(CLIENTS).await, values, &value).await });
    let System::Holdfast(cluster) = &mut system else { unreachable!("it was just made") };
    wait_until_in_checkpoints(cluster);
    cluster.processes.kill(server);
    let data = cluster.processes.data(server);
    // Not removed: that would be 2 GiB for this disk to free while it is measured, and the server's own is another one.
    fs::rename(&data, data.with_extension("lost")).expect("a folder");
    let mut learn = || {
        let began = Instant::now();
        cluster.processes.restart(server);
        cluster.wait_until_whole(patience(mib));
        began.elapsed()
    };
    let (took, meanwhile) = if let Some(bytes) = written {
        // To keys of their own: what is to be learned stays as large as it is.
        let watched = runtime.block_on(async { Watched::start(clients, values..2 * values, &random(bytes)) });
        let (took, meanwhile) = watch(&watched, bytes, learn);
        (took, Some(meanwhile))
    } else {
        (learn(), None)
    };
    let files = tests::files_below(&data.join("replicas")).expect("a folder that can be read");
    let (bytes, copied_in) = copy(files.values()).expect("a disk that can be written");
    eprintln!(
        "learned {} MiB in {:.1} s, copied in {:.1} s",
        bytes >> 20,
        took.as_secs_f64(),
        copied_in.as_secs_f64()
    );
    Learned { mib: bytes >> 20, took, copied_in, meanwhile }
}

/// What is in the log would be learned from there. With the settings that ship a checkpoint is due a minute after the
/// last write, and the log is cut then.
fn wait_until_in_checkpoints(cluster: &Holdfast) {
    tests::wait_for_long(patience(0) * 2, "logs without what checkpoints have", || {
        let logs = REPLICAS.map(|server| cluster.log_mib(server));
        if logs.iter().all(|&mib| mib <= SHORT_LOG_MIB) { Ok(()) } else { Err(format!("{logs:?} MiB")) }
    });
}

fn random(bytes: usize) -> Bytes {
    let mut value = vec![0; bytes];
    rand::rng().fill_bytes(&mut value);
    value.into()
}

fn watch(watched: &Watched, bytes: usize, learn: impl FnOnce() -> Duration) -> (Duration, Meanwhile) {
    watched.wait_for(STEADY);
    let (before, _) = (watched.done(), watched.take_slowest());
    let (took, disk) = bystander::beside(learn);
    let (slowest, done) = (watched.take_slowest(), watched.done() - before);
    watched.stop();
    let writes_per_s = done as f64 / took.as_secs_f64();
    (took, Meanwhile { bytes, writes_per_s, failed: watched.failed(), slowest, disk })
}

/// How many bytes, and how long it took.
fn copy<'a>(files: impl Iterator<Item = &'a PathBuf>) -> io::Result<(u64, Duration)> {
    let folder = tempfile::tempdir()?;
    let (began, mut bytes) = (Instant::now(), 0);
    for (index, file) in files.enumerate() {
        // What goes away meanwhile is not there to be copied.
        let Ok(mut from) = File::open(file) else { continue };
        let mut to = File::create(folder.path().join(index.to_string()))?;
        loop {
            let copied = io::copy(&mut io::Read::take(&mut from, SYNCED), &mut to)?;
            if copied == 0 {
                break;
            }
            to.sync_data()?;
            bytes += copied;
        }
    }
    Ok((bytes, began.elapsed()))
}
