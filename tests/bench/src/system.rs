//! What is measured: each started as its own processes, each called by its own client.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::cell::Cell;
use crate::echo::{self, Echo};
use crate::etcd::{self, Etcd};
use crate::holdfast::{self, Holdfast, Type};
use crate::shape::Shape;

/// Which system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours, with the app that keeps values.
    Kv,
    /// Ours, with the app that counts: next to nothing is done but to replicate.
    Counter,
    /// The same two with one partition: the shape that etcd has, which is one group.
    #[value(name = "kv1")]
    KvInOne,
    #[value(name = "counter1")]
    CounterInOne,
    /// Three members of etcd.
    Etcd,
    /// A gRPC service that answers with what it was asked.
    Echo,
}

/// Running processes; dropping them ends them.
pub(crate) enum System {
    Holdfast(Holdfast),
    Etcd(Etcd),
    Echo(Echo),
}

/// One caller, with one operation at a time.
pub(crate) enum Client {
    Holdfast(holdfast::Caller),
    Etcd(etcd::Caller),
    Echo(echo::Caller),
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Kv, Self::Counter, Self::KvInOne, Self::CounterInOne, Self::Etcd, Self::Echo];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kv => "Holdfast kv",
            Self::Counter => "Holdfast counter",
            Self::KvInOne => "kv, 1 partition",
            Self::CounterInOne => "counter, 1 partition",
            Self::Etcd => "etcd",
            Self::Echo => "gRPC echo",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        self != Self::Etcd || etcd::version().is_some()
    }

    /// Whether its failover is measured: it is the same for all apps of ours, and the echo has nothing to go over to.
    pub(crate) fn fails_over(self) -> bool {
        matches!(self, Self::Kv | Self::Etcd)
    }

    /// Whether it can be asked to do that.
    pub(crate) fn takes(self, cell: Cell) -> bool {
        !matches!(self, Self::Counter | Self::CounterInOne) || cell.bytes <= holdfast::LARGEST_ADD
    }

    /// Starts it, and waits until it serves; an app of ours has so many partitions, or one.
    ///
    /// # Panics
    /// If it doesn't: there is nothing to measure.
    pub(crate) fn start(self, partitions: u32, runtime: &Runtime) -> System {
        let ours = |app, partitions| System::Holdfast(Holdfast::start(app, Shape::of(partitions), &[]));
        match self {
            Self::Kv => ours(Type::Kv, partitions),
            Self::Counter => ours(Type::Counter, partitions),
            Self::KvInOne => ours(Type::Kv, 1),
            Self::CounterInOne => ours(Type::Counter, 1),
            Self::Etcd => System::Etcd(Etcd::start(runtime)),
            Self::Echo => System::Echo(Echo::start(runtime)),
        }
    }
}

impl System {
    /// What its processes and this one have used of the processors so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let servers = match self {
            Self::Holdfast(cluster) => cluster.cpu_time(),
            Self::Etcd(members) => members.cpu_time(),
            Self::Echo(echo) => echo.cpu_time(),
        };
        servers + tests::cpu_time(std::process::id())
    }

    /// So many callers.
    pub(crate) async fn clients(&self, count: usize) -> Vec<Client> {
        match self {
            Self::Holdfast(cluster) => {
                cluster.callers(count).await.into_iter().map(Client::Holdfast).collect()
            }
            Self::Etcd(members) => members.callers(count).await.into_iter().map(Client::Etcd).collect(),
            Self::Echo(echo) => echo.callers(count).await.into_iter().map(Client::Echo).collect(),
        }
    }
}

impl Client {
    /// Writes a value, durably as far as the system knows of that.
    pub(crate) async fn write(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        match self {
            Self::Holdfast(caller) => caller.write(key, value).await,
            Self::Etcd(caller) => caller.write(key, value).await,
            Self::Echo(caller) => caller.say(value).await,
        }
    }

    /// Writes while servers are lost: one that is silent for long is left for another one.
    pub(crate) async fn write_or_go_on(&mut self, key: usize, value: &Bytes) -> Result<(), String> {
        match self {
            Self::Etcd(caller) => caller.write_or_go_on(key, value).await,
            // Its library does that by itself.
            Self::Holdfast(_) | Self::Echo(_) => self.write(key, value).await,
        }
    }

    /// Reads the value of a key that was written.
    pub(crate) async fn read(&mut self, key: usize) -> Result<(), String> {
        match self {
            Self::Holdfast(caller) => caller.read(key).await,
            Self::Etcd(caller) => caller.read(key).await,
            Self::Echo(caller) => caller.say(&Bytes::from_static(b"a key of about 16")).await,
        }
    }
}
