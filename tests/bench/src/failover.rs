//! How long nothing can be written when the one that takes the writes is killed.

use std::time::Duration;

use bytes::Bytes;
use tests::PATIENCE;
use tokio::runtime::Runtime;

use crate::etcd::Etcd;
use crate::holdfast::Holdfast;
use crate::load::{KEYS, Watched};
use crate::system::{Kind, System};

/// Clients that write meanwhile; all of them to the partition that loses its primary.
const CLIENTS: usize = 16;
const BYTES: usize = 100;
/// Writes by which a system shows that it is well.
const STEADY: u64 = 200;
/// Before each kill, and with each server that is back.
const CALM: Duration = Duration::from_secs(2);

/// Kills whoever takes the writes, so many times, and answers the longest times without a success.
///
/// # Panics
/// If it does not go on within a minute.
pub(crate) fn measure(kind: Kind, times: usize, runtime: &Runtime) -> Vec<Duration> {
    // One partition, since etcd has one group: every client is hit by every kill.
    let mut system = kind.start(1, runtime);
    let clients = runtime.block_on(system.clients(CLIENTS));
    let value = Bytes::from(vec![0x5a; BYTES]);
    let watched = runtime.block_on(async { Watched::start(clients, 0..KEYS, &value) });
    let gaps = (0..times).map(|_| {
        watched.wait_for(STEADY);
        std::thread::sleep(CALM);
        watched.take_longest_gap();
        let back = match &mut system {
            System::Holdfast(cluster) => kill_primary(cluster, &watched),
            System::Etcd(members) => kill_leader(members, runtime, &watched),
            System::Echo(_) => unreachable!("it has nothing to fail over to"),
        };
        eprintln!("{}: {} ms without a write", kind.name(), back.as_millis());
        back
    });
    let gaps = gaps.collect();
    watched.stop();
    gaps
}

fn kill_primary(cluster: &mut Holdfast, watched: &Watched) -> Duration {
    let primary = tests::wait_for("a primary", || cluster.primary().ok_or_else(|| "none".to_owned()));
    cluster.processes.kill(primary);
    let gap = gap_after_kill(watched);
    cluster.processes.restart(primary);
    cluster.wait_until_whole(PATIENCE);
    gap
}

fn kill_leader(members: &mut Etcd, runtime: &Runtime, watched: &Watched) -> Duration {
    let leader = runtime.block_on(members.leader());
    members.kill(leader);
    let gap = gap_after_kill(watched);
    members.start_member(leader);
    gap
}

fn gap_after_kill(watched: &Watched) -> Duration {
    // What was on its way may still succeed: more than all clients have in flight shows that it goes on.
    watched.wait_for(STEADY);
    watched.take_longest_gap()
}
