//! Keys and values on real processes: servers that are killed, that lose their disk, whose files are damaged, whose
//! disk is full. Each writer owns its keys and knows what must be there: nothing is lost, doubled or old.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use client::{Cluster as Client, Outcome};
use kv::request::Condition;
use kv::{Change, Kv, State};
use tests::{Cluster, Dice, REPLICAS, SmallDisk, files_below, report, wait_for};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const APP: &str = "kv.instance0";
const WRITERS: usize = 16;
const KEYS_EACH: usize = 20;
/// Longer than any trouble here.
const PATIENCE: Duration = Duration::from_secs(45);

/// Settings with which little data has many checkpoints.
fn prepare() -> Cluster {
    let mut cluster = Cluster::prepare();
    cluster.set("replication.log_segment_mb=1");
    cluster.set("replication.checkpoint_decrees=500");
    cluster
}

fn start(cluster: &mut Cluster, partitions: u32) {
    for server in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.restart(server);
    }
    cluster.wait_until_whole("counter.instance0");
    cluster.create(APP, "kv", partitions);
}

/// Writers, until they are told to stop.
struct Writers {
    runtime: Runtime,
    kv: Kv,
    stop: Arc<AtomicBool>,
    /// Bytes of values, of all writers.
    written: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<Writer>>,
}

/// One writer, and what its keys must hold.
struct Writer {
    number: usize,
    kv: Kv,
    versions: Vec<u64>,
    written: Arc<AtomicUsize>,
    done: u64,
    unknown: u64,
}

impl Writers {
    fn start(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().expect("threads");
        let kv = runtime.block_on(async {
            let client = Client::connect(&cluster.settings()).expect("addresses");
            Kv::open(&client, APP).await.expect("the app is there").with_timeout(PATIENCE)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let written = Arc::new(AtomicUsize::new(0));
        let writer = |number| {
            let (kv, versions, written) = (kv.clone(), vec![0; KEYS_EACH], Arc::clone(&written));
            let writer = Writer { number, kv, versions, written, done: 0, unknown: 0 };
            runtime.spawn(writer.run(Arc::clone(&stop)))
        };
        let writers = (0..WRITERS).map(writer).collect();
        Self { runtime, kv, stop, written, writers }
    }

    /// Ends them and reads all that they wrote: also through each server's own copy.
    fn finish(self, test: &str, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut done, mut unknown, mut all) = (0, 0, Vec::new());
        for writer in self.writers {
            let writer = self.runtime.block_on(writer).expect("a writer saw what can't be");
            self.runtime.block_on(async {
                for key in 0..KEYS_EACH {
                    writer.check(key).await;
                }
            });
            (done, unknown) = (done + writer.done, unknown + writer.unknown);
            let keys = (0..KEYS_EACH).map(|key| (name(writer.number, key), writer.versions[key]));
            all.extend(keys);
        }
        cluster.wait_until_whole(APP);
        for (key, version) in all {
            for node in REPLICAS {
                wait_for("each copy to be up to date", || {
                    match self.runtime.block_on(self.kv.get_local(node, key.as_bytes())) {
                        Outcome::Done { answer, .. } if answer == state(&key, version) => Ok(()),
                        other => Err(format!("{node} has {other:?} for {key} at {version}")),
                    }
                });
            }
        }
        assert!(done > 100, "only {done} writes");
        report(&format!("{test}: {done} writes, {unknown} with an unknown outcome"));
    }
}

fn name(writer: usize, key: usize) -> String {
    format!("writer {writer} key {key}")
}

/// What a key holds at a version: every third one is a deletion.
fn state(key: &str, version: u64) -> State {
    let value = (!version.is_multiple_of(3)).then(|| value(key, version));
    State { version, value: value.map(|bytes| kv::Value { bytes: bytes.into(), expires_us: None }) }
}

fn value(key: &str, version: u64) -> String {
    format!("{key} {version} {}", "x".repeat(1000))
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        for round in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let key = round % KEYS_EACH;
            self.step(key).await;
            self.check((round * 7) % KEYS_EACH).await;
        }
        self
    }

    /// The next version of a key, which must be the next one.
    async fn step(&mut self, key: usize) {
        let (name, old) = (name(self.number, key), self.versions[key]);
        let (next, condition) = (old + 1, Condition::Version(old));
        let outcome = if next.is_multiple_of(3) {
            self.kv.delete(name.as_bytes(), condition).await
        } else {
            self.kv.put(name.as_bytes(), value(&name, next).as_bytes(), condition, None).await
        };
        match outcome {
            Outcome::Done { answer: Change::Made(version), .. } => {
                assert_eq!(version, next, "{name}");
                (self.versions[key], self.done) = (version, self.done + 1);
                let bytes = state(&name, version).value.map_or(0, |value| value.bytes.len());
                self.written.fetch_add(bytes, Ordering::Relaxed);
            }
            Outcome::Done { answer: Change::Refused(state), .. } => {
                panic!("{name} is {state:?} where its only writer left {old}");
            }
            Outcome::Failed(failure) => panic!("{name}: {failure}"),
            Outcome::Unknown => {
                self.unknown += 1;
                let found = self.get(&name).await;
                assert!(found == state(&name, old) || found == state(&name, next), "{name}: {found:?}");
                self.versions[key] = found.version;
            }
        }
    }

    async fn check(&self, key: usize) {
        let name = name(self.number, key);
        assert_eq!(self.get(&name).await, state(&name, self.versions[key]));
    }

    async fn get(&self, name: &str) -> State {
        match self.kv.get(name.as_bytes()).await {
            Outcome::Done { answer, .. } => answer,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn primary(cluster: &Cluster) -> &'static str {
    wait_for("a primary", || {
        let partitions = cluster.partitions(APP)?;
        let name = partitions.first().and_then(|partition| partition.primary.clone());
        REPLICAS.into_iter().find(|replica| name.as_deref() == Some(replica)).ok_or("none".to_owned())
    })
}

#[test]
fn whatever_dies_nothing_is_lost() {
    let mut cluster = prepare();
    start(&mut cluster, 4);
    let writers = Writers::start(&cluster);
    sleep(Duration::from_secs(3));
    let victim = primary(&cluster);
    cluster.kill(victim);
    sleep(Duration::from_secs(3));
    cluster.restart(victim);
    cluster.wait_until_whole(APP);
    for name in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.kill(name);
    }
    for name in ["meta1"].into_iter().chain(REPLICAS) {
        cluster.restart(name);
    }
    cluster.wait_until_whole(APP);
    sleep(Duration::from_secs(2));
    cluster.kill("replica2");
    fs::remove_dir_all(cluster.data("replica2")).expect("the data of replica2");
    cluster.restart("replica2");
    wait_for("replica2 to have all again", || match cluster.node("replica2")? {
        (_, replicas) if replicas >= 4 => Ok(()),
        (_, replicas) => Err(format!("it has {replicas}")),
    });
    writers.finish("whatever_dies_nothing_is_lost", &cluster);
}

/// Damages all files of a server whose names end so, once it has some; it is killed for that, and started again.
fn damage_all(cluster: &mut Cluster, victim: &'static str, ending: &str, damage: impl Fn(&mut [u8])) {
    wait_for("files to damage", || {
        sleep(Duration::from_secs(1));
        cluster.kill(victim);
        let mut files = files_below(&cluster.data(victim)).expect("the server's data");
        files.retain(|_, file| file.extension().is_some_and(|extension| extension == ending));
        for file in files.values() {
            let mut bytes = fs::read(file).map_err(|error| error.to_string())?;
            damage(&mut bytes);
            fs::write(file, bytes).map_err(|error| error.to_string())?;
        }
        cluster.restart(victim);
        if files.is_empty() { Err("there are none yet".to_owned()) } else { Ok(()) }
    });
}

/// Whether a server noticed that a replica is damaged, and said what becomes of it.
fn has_complained(cluster: &Cluster, name: &str) -> Result<(), String> {
    let log = cluster.log(name);
    let said = log.lines().any(|line| line.contains("to be learned afresh") && line.contains("Corruption"));
    if said { Ok(()) } else { Err("damaged, and nothing said".to_owned()) }
}

#[test]
fn a_damaged_table_costs_the_replica_and_no_answer() {
    let mut cluster = prepare();
    start(&mut cluster, 1);
    let writers = Writers::start(&cluster);
    // In the rows, which are read again with the next change of each key.
    damage_all(&mut cluster, REPLICAS[0], "sst", |bytes| bytes[bytes.len() / 3] ^= 0x10);
    wait_for("a complaint", || has_complained(&cluster, REPLICAS[0]));
    writers.finish("a_damaged_table_costs_the_replica_and_no_answer", &cluster);
}

#[test]
fn damaged_large_values_cost_the_replica_and_no_answer() {
    const KEYS: usize = 50;
    const BYTES: usize = 20_000;
    let key = |number: usize| format!("large {number}");
    // Nothing that compression makes smaller: the damage is to be in all of them.
    let mut dice = Dice::new(1);
    let mut value = || (0..BYTES).map(|_| dice.within(0..256) as u8).collect();
    let values: Vec<Vec<u8>> = (0..KEYS).map(|_| value()).collect();
    let mut cluster = prepare();
    start(&mut cluster, 1);
    let writers = Writers::start(&cluster);
    for (number, value) in values.iter().enumerate() {
        let key = key(number);
        let put = writers.kv.put(key.as_bytes(), value, Condition::None, None);
        assert!(matches!(writers.runtime.block_on(put), Outcome::Done { .. }), "{key}");
    }
    // In each of them, which nobody writes or reads meanwhile.
    damage_all(&mut cluster, REPLICAS[0], "blob", |bytes| {
        bytes.chunks_mut(BYTES / 2).for_each(|chunk| chunk[chunk.len() / 2] ^= 0x10);
    });
    let read = |node: &str, number: usize| match writers
        .runtime
        .block_on(writers.kv.get_local(node, key(number).as_bytes()))
    {
        Outcome::Done { answer: State { value: Some(found), .. }, .. } => {
            assert!(found.bytes == values[number], "{node} answers another value for {}", key(number));
            Ok(())
        }
        other => Err(format!("{node} has {other:?} for {}", key(number))),
    };
    wait_for("a complaint", || {
        let _ = (0..KEYS).try_for_each(|number| read(REPLICAS[0], number));
        has_complained(&cluster, REPLICAS[0])
    });
    for node in REPLICAS {
        wait_for("all large values", || (0..KEYS).try_for_each(|number| read(node, number)));
    }
    writers.finish("damaged_large_values_cost_the_replica_and_no_answer", &cluster);
}

#[test]
fn a_full_disk_costs_no_answer() {
    const TEST: &str = "a_full_disk_costs_no_answer";
    const DISK_MIB: usize = 64;
    if !SmallDisk::can_be(TEST) {
        return;
    }
    let mut cluster = prepare();
    // Much, for what is written between two looks at the disk.
    cluster.set("replication.disk_min_available_space_ratio=60");
    let disks = REPLICAS.map(|name| SmallDisk::new(&cluster.data(name), DISK_MIB as u64));
    start(&mut cluster, 1);
    let writers = Writers::start(&cluster);
    // More than there is room for; and the counter's partitions, which are idle, could hold all of the log for a minute.
    wait_for("writes to go on", || match writers.written.load(Ordering::Relaxed) {
        bytes if bytes > DISK_MIB << 19 => Ok(()),
        bytes => Err(format!("after {bytes} bytes")),
    });
    disks[0].fill();
    sleep(Duration::from_secs(4));
    disks[0].free();
    // No server was started again.
    cluster.wait_until_whole(APP);
    writers.finish(TEST, &cluster);
}
