//! Our cluster: one meta server and three replica servers, each a process, with the settings that ship.

use std::time::Duration;

use bytes::Bytes;
use client::{App, Outcome};
use counter::request::Request;
use tests::{Cluster, METAS, REPLICAS};

/// Partitions of the app under load.
pub(crate) const PARTITIONS: u32 = 8;
const APP: &str = "bench.instance0";

/// The processes.
pub(crate) struct Holdfast(pub(crate) Cluster);

impl Holdfast {
    /// An app of so many partitions, three replicas each.
    pub(crate) fn start(partitions: u32) -> Self {
        let mut cluster = Cluster::prepare();
        cluster.set(&format!("replication.app.app_name={APP}"));
        cluster.set("replication.app.app_type=counter");
        cluster.set(&format!("replication.app.partition_count={partitions}"));
        for name in METAS[..1].iter().copied().chain(REPLICAS) {
            cluster.restart(name);
        }
        cluster.wait_until_serving(&[APP]);
        Self(cluster)
    }

    /// Callers share one client of the library, as the parts of one program would.
    pub(crate) async fn callers(&self, count: usize) -> Vec<Caller> {
        let cluster = client::Cluster::connect(&self.0.settings()).expect("an address");
        let app = App::open(&cluster, APP).await.expect("the app is there");
        (0..count).map(|_| Caller(app.clone())).collect()
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        METAS[..1].iter().copied().chain(REPLICAS).map(|name| self.0.cpu_time(name)).sum()
    }

    /// The server that is primary of the first partition.
    pub(crate) fn primary(&self) -> Option<&'static str> {
        let partitions = self.0.partitions(APP).ok()?;
        let primary = partitions.first()?.primary.clone()?;
        REPLICAS.into_iter().find(|name| *name == primary)
    }

    /// Waits until every partition has all its replicas.
    pub(crate) fn wait_until_whole(&self) {
        self.0.wait_until_serving(&[APP]);
    }
}

/// One caller.
pub(crate) struct Caller(App);

impl Caller {
    pub(crate) async fn write(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        let key = name(key, value.len());
        done(self.0.write(key.as_bytes(), Request::Add { name: &key, operand: 1 }.encode()).await)
    }

    pub(crate) async fn read(&mut self, key: usize) -> Result<(), String> {
        let key = name(key, 100);
        done(self.0.read(key.as_bytes(), Request::Read { name: &key }.encode()).await)
    }
}

/// A counter's name that makes a request of so many bytes, as far as names can be that long.
fn name(key: usize, bytes: usize) -> String {
    let length = bytes.saturating_sub(9).clamp(16, 1024);
    format!("key-{key:0width$}", width = length - 4)
}

fn done<T>(outcome: Outcome<T>) -> Result<(), String> {
    match outcome {
        Outcome::Done { .. } => Ok(()),
        Outcome::Failed(why) => Err(why.to_string()),
        Outcome::Unknown => Err("the outcome is unknown".to_owned()),
    }
}
