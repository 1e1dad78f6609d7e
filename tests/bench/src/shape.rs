//! How the figures move with the shape of a cluster: servers, partitions, and replicas of each.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::cell::{Cell, Mix};
use crate::holdfast::{Holdfast, SERVERS, Type};
use crate::load::{self, Measured};
use crate::system::System;

/// The load on each: the counter, since what is asked is what replication costs.
pub(crate) const CELL: Cell = Cell { bytes: 100, mix: Mix::Writes, clients: 256 };
/// Partitions of an app where nothing else is asked for.
pub(crate) const PARTITIONS: u32 = 8;
/// Before the idle cost is measured, and for how long that is.
const CALM: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(3);

/// A cluster's shape, written `3:8:3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) servers: usize,
    pub(crate) partitions: u32,
    pub(crate) replicas: u32,
}

impl Shape {
    /// What the settings that ship make, of so many partitions.
    pub(crate) fn of(partitions: u32) -> Self {
        Self { servers: 3, partitions, replicas: 3 }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.servers, self.partitions, self.replicas)
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not SERVERS:PARTITIONS:REPLICAS, as in 3:8:3");
        let parts: Vec<&str> = text.split(':').collect();
        let [servers, partitions, replicas] = parts[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u32>().ok().filter(|&it| it > 0).ok_or_else(wrong);
        let (servers, partitions, replicas) = (number(servers)?, number(partitions)?, number(replicas)?);
        let most = SERVERS.len();
        if servers as usize > most || replicas > servers {
            return Err(format!(
                "`{text}`: there are {most} servers at most, each with one replica of a partition"
            ));
        }
        Ok(Self { servers: servers as usize, partitions, replicas })
    }
}

/// What was seen of one.
#[derive(Clone, Debug)]
pub(crate) struct Shaped {
    pub(crate) load: Measured,
    /// What a server used of one processor while nobody asked for anything, in percent; the busiest.
    pub(crate) idle_percent: f64,
    /// Memory of the server that had most, without a load and after it.
    pub(crate) memory_idle_mib: u64,
    pub(crate) memory_mib: u64,
}

/// Starts such a cluster, looks at it while it is idle, then loads it.
pub(crate) fn measure(shape: Shape, seconds: Duration, runtime: &Runtime) -> Shaped {
    let system = System::Holdfast(Holdfast::start(Type::Counter, shape, &[]));
    let System::Holdfast(cluster) = &system else { unreachable!("it was just made") };
    std::thread::sleep(CALM);
    let (before, began) = (cluster.cpu_times(), Instant::now());
    std::thread::sleep(IDLE);
    let used = cluster.cpu_times().into_iter().zip(before).map(|(after, before)| after - before);
    let idle = used.max().unwrap_or_default().as_secs_f64() / began.elapsed().as_secs_f64();
    let memory_idle_mib = cluster.largest_memory_mib();
    let load = runtime.block_on(async {
        let clients = system.clients(CELL.clients).await;
        load::run(clients, CELL, seconds, || system.cpu_time()).await
    });
    eprintln!("{shape}: {:.0} writes a second", load.ops_per_s);
    Shaped { load, idle_percent: idle * 100.0, memory_idle_mib, memory_mib: cluster.largest_memory_mib() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        let shape = Shape { servers: 5, partitions: 1000, replicas: 2 };
        assert_eq!(shape.to_string().parse(), Ok(shape));
        for wrong in ["", "3", "3:8", "3:8:3:1", "3:0:3", "8:8:3", "3:8:4", "a:b:c"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }
}
