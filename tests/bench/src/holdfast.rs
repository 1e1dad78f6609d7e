//! Our cluster: one meta server and three replica servers, each a process, with the settings that ship.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use ::tests::{Cluster, METAS, PATIENCE};
use bytes::Bytes;
use client::{App, Outcome};
use counter::request::Request;
use kv::Kv;
use kv::request::Condition;

use crate::shape::Shape;

const APP: &str = "bench.instance0";
/// The longest request to the counter is little more than a name of this length.
pub(crate) const LARGEST_ADD: usize = 1024;
/// What an add has beside its name.
const ADD_BYTES: usize = 9;

/// The app's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Kv,
    Counter,
}

/// All that a cluster can have.
pub(crate) const SERVERS: [&str; 7] =
    ["replica1", "replica2", "replica3", "replica4", "replica5", "replica6", "replica7"];

/// How long a server may take that has so much to read before it is back: some 20 MB/s, and what all may take.
pub(crate) fn patience(mib: u64) -> Duration {
    PATIENCE + Duration::from_secs(60 * mib / 1024)
}

/// The processes.
pub(crate) struct Holdfast {
    pub(crate) processes: Cluster,
    app: Type,
    shape: Shape,
}

impl Holdfast {
    /// A cluster of that shape, with an app.
    pub(crate) fn start(app: Type, shape: Shape, settings: &[&str]) -> Self {
        let mut processes = Cluster::prepare();
        let name = if app == Type::Kv { "kv" } else { "counter" };
        processes.set(&format!("replication.app.app_name={APP}"));
        processes.set(&format!("replication.app.app_type={name}"));
        processes.set(&format!("replication.app.partition_count={}", shape.partitions));
        processes.set(&format!("replication.app.max_replica_count={}", shape.replicas));
        processes.set(&format!("apps.replica.count={}", shape.servers));
        for setting in settings {
            processes.set(setting);
        }
        for &name in METAS[..1].iter().chain(&SERVERS[..shape.servers]) {
            processes.restart(name);
        }
        let cluster = Self { processes, app, shape };
        cluster.wait_until_whole(PATIENCE);
        cluster
    }

    /// Callers share one client of the library, as the parts of one program would.
    pub(crate) async fn callers(&self, count: usize) -> Vec<Caller> {
        let cluster = client::Cluster::connect(&self.processes.settings()).expect("an address");
        let caller = match self.app {
            Type::Kv => Caller::Kv(Kv::open(&cluster, APP).await.expect("the app is there")),
            Type::Counter => Caller::Counter(App::open(&cluster, APP).await.expect("the app is there")),
        };
        vec![caller; count]
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        self.processes.cpu_time(METAS[0]) + self.cpu_times().into_iter().sum::<Duration>()
    }

    /// What each replica server has used of the processors so far.
    pub(crate) fn cpu_times(&self) -> Vec<Duration> {
        self.servers().iter().map(|name| self.processes.cpu_time(name)).collect()
    }

    /// The memory of the replica server that has most.
    pub(crate) fn largest_memory_mib(&self) -> u64 {
        self.servers().iter().map(|name| self.processes.memory(name) >> 20).max().unwrap_or_default()
    }

    /// How much log a server keeps.
    pub(crate) fn log_mib(&self, server: &str) -> u64 {
        let files = fs::read_dir(self.processes.data(server).join("log")).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>() >> 20
    }

    fn servers(&self) -> &'static [&'static str] {
        &SERVERS[..self.shape.servers]
    }

    /// The server that is primary of the first partition.
    pub(crate) fn primary(&self) -> Option<&'static str> {
        let partitions = self.processes.partitions(APP).ok()?;
        let primary = partitions.first()?.primary.clone()?;
        SERVERS.into_iter().find(|name| *name == primary)
    }

    /// Waits until every partition has all its replicas, in their roles.
    ///
    /// # Panics
    /// If they don't within that time.
    pub(crate) fn wait_until_whole(&self, patience: Duration) {
        let (servers, replicas) = (self.servers(), self.shape.replicas as usize);
        self.processes.wait_until_servers_serve(servers, &[APP], replicas, patience);
    }
}

/// One caller.
#[derive(Clone)]
pub(crate) enum Caller {
    Kv(Kv),
    Counter(App),
}

impl Caller {
    pub(crate) async fn write(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        match self {
            Self::Kv(kv) => done(kv.put(name(key, 0).as_bytes(), value, Condition::None, None).await),
            Self::Counter(app) => {
                let name = name(key, value.len());
                let add = Request::Add { name: &name, operand: 1 };
                done(app.write(name.as_bytes(), add.encode()).await)
            }
        }
    }

    pub(crate) async fn read(&mut self, key: usize) -> Result<(), String> {
        match self {
            Self::Kv(kv) => match kv.get(name(key, 0).as_bytes()).await {
                Outcome::Done { answer, .. } if answer.value.is_none() => {
                    Err("the key has no value".to_owned())
                }
                outcome => done(outcome),
            },
            Self::Counter(app) => {
                let name = name(key, 100);
                done(app.read(name.as_bytes(), Request::Read { name: &name }.encode()).await)
            }
        }
    }
}

/// A key's name; so long that an add to a counter of that name has so many bytes.
fn name(key: usize, bytes: usize) -> String {
    const FILL: &str = match str::from_utf8(&[b'.'; LARGEST_ADD]) {
        Ok(fill) => fill,
        Err(_) => panic!("dots are text"),
    };
    let length = bytes.saturating_sub(ADD_BYTES);
    let mut name = String::with_capacity(length.max(16));
    let _ = write!(name, "key-{key:012}");
    name.push_str(&FILL[..length.saturating_sub(name.len()).min(LARGEST_ADD)]);
    name
}

fn done<T>(outcome: Outcome<T>) -> Result<(), String> {
    match outcome {
        Outcome::Done { .. } => Ok(()),
        Outcome::Failed(why) => Err(why.to_string()),
        Outcome::Unknown => Err("the outcome is unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_has_the_bytes_that_were_asked_for() {
        for bytes in [100, LARGEST_ADD] {
            assert_eq!(Request::Add { name: &name(7, bytes), operand: 1 }.encode().len(), bytes);
        }
        assert_eq!(name(7, 0), "key-000000000007");
    }
}
