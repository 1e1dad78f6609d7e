//! etcd: three members with their defaults, on loopback, their data on the disk that ours is on.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tests::{Process, free_ports};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use crate::echo::{connected, connections};
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
mod pb {
    tonic::include_proto!("etcdserverpb");
}

const MEMBERS: u16 = 3;
/// A member that is silent for so long is left for another one.
const PATIENCE: Duration = Duration::from_millis(300);

/// What `etcd --version` says; `None` if it is not installed.
pub(crate) fn version() -> Option<String> {
    let output = Command::new("etcd").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next()?.trim_start_matches("etcd Version: ").to_owned())
}

/// The members.
pub(crate) struct Etcd {
    /// The port for clients of the first one; the others' follow, then the ports between members.
    port: u16,
    folder: TempDir,
    members: BTreeMap<u16, Process>,
}

impl Etcd {
    pub(crate) fn start(runtime: &Runtime) -> Self {
        let folder = tempfile::Builder::new().prefix("bench-etcd-").tempdir().expect("a folder");
        let mut etcd = Self { port: free_ports(2 * MEMBERS), folder, members: BTreeMap::new() };
        for member in 0..MEMBERS {
            etcd.start_member(member);
        }
        runtime.block_on(async {
            let _ = etcd.leader().await;
        });
        etcd
    }

    /// Starts a member that is not running.
    pub(crate) fn start_member(&mut self, member: u16) {
        let (client, peer) = (self.port + member, self.port + MEMBERS + member);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> =
            (0..MEMBERS).map(|it| format!("m{it}={}", url(self.port + MEMBERS + it))).collect();
        let mut command = Command::new("etcd");
        command.arg("--name").arg(format!("m{member}"));
        command.arg("--data-dir").arg(self.folder.path().join(format!("m{member}")));
        command.args(["--listen-client-urls", &url(client), "--advertise-client-urls", &url(client)]);
        command.args(["--listen-peer-urls", &url(peer), "--initial-advertise-peer-urls", &url(peer)]);
        command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
        let log = self.folder.path().join(format!("m{member}.log"));
        self.members.insert(member, Process::start("etcd", command, &log));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, member: u16) {
        self.members.remove(&member);
    }

    pub(crate) fn cpu_time(&self) -> Duration {
        self.members.values().map(Process::cpu_time).sum()
    }

    fn address(&self, member: u16) -> String {
        format!("http://127.0.0.1:{}", self.port + member)
    }

    /// Which member leads, as soon as one does.
    ///
    /// # Panics
    /// If none does within a minute.
    pub(crate) async fn leader(&self) -> u16 {
        for _ in 0..600 {
            for &member in self.members.keys() {
                let mut client = MaintenanceClient::new(connected(&self.address(member)).await);
                let status = client.status(pb::StatusRequest {}).await.map(tonic::Response::into_inner);
                if let Ok(pb::StatusResponse { header: Some(header), leader }) = status
                    && leader != 0
                    && header.member_id == leader
                {
                    return member;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("etcd elects no leader; its logs are in {}", self.folder.path().display());
    }

    /// All of them call the leader, which is the fastest way for reads and for writes.
    pub(crate) async fn callers(&self, count: usize) -> Vec<Caller> {
        let leader = self.leader().await;
        let mut ways = Vec::new();
        for _ in 0..connections(count) {
            ways.push(self.ways(leader));
        }
        ways.iter().cycle().take(count).map(|ways| Caller { ways: ways.clone(), now: 0 }).collect()
    }

    /// Connections to all members, that to `first` first; each is made when it is needed.
    fn ways(&self, first: u16) -> Vec<KvClient<Channel>> {
        let members = (0..MEMBERS).map(|it| self.address((first + it) % MEMBERS));
        let endpoint = |address| {
            let endpoint = Endpoint::from_shared(address).expect("an address");
            endpoint.tcp_nodelay(true).connect_timeout(PATIENCE)
        };
        members.map(|address| KvClient::new(endpoint(address).connect_lazy())).collect()
    }
}

/// One caller.
pub(crate) struct Caller {
    ways: Vec<KvClient<Channel>>,
    /// Which of them is used.
    now: usize,
}

impl Caller {
    pub(crate) async fn write(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        let put = pb::PutRequest { key: name(key), value: value.clone() };
        let result = self.ways[self.now].put(put).await;
        self.judge(result.map(drop))
    }

    pub(crate) async fn read(&mut self, key: usize) -> Result<(), String> {
        let result = self.ways[self.now].range(pb::RangeRequest { key: name(key) }).await;
        let found = result.as_ref().is_ok_and(|found| found.get_ref().kvs.len() == 1);
        self.judge(result.map(drop))?;
        if found { Ok(()) } else { Err("the key has no value".to_owned()) }
    }

    /// The next try goes to another member.
    fn judge(&mut self, result: Result<(), tonic::Status>) -> Result<(), String> {
        result.map_err(|status| {
            self.now = (self.now + 1) % self.ways.len();
            status.to_string()
        })
    }

    /// As [`write`](Self::write), and goes on to another member when this one is silent.
    pub(crate) async fn write_or_go_on(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.write(key, value)).await {
            Ok(result) => result,
            Err(_) => self.judge(Err(tonic::Status::deadline_exceeded("silent"))),
        }
    }
}

fn name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key:012}"))
}
