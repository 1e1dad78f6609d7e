//! The balancer: from where everything is to what should move, and why.
//!
//! A pure function, [`plan`]. What it aims at, for each app and for the whole cluster: a node holds its share of
//! the replicas and leads its share of the partitions, rounded up or down. A share is in proportion to the node's
//! weight, its disk; with equal weights that is "no two nodes differ by more than one".
//!
//! 1. **Drains.** What is on a node that is being drained goes elsewhere: a primary is handed over first.
//! 2. **Replicas**, app by app, then the cluster's totals.
//! 3. **Primaries**, the same way, by handover. Where no chain of handovers leads to a node that leads too
//!    little, a replica moves too.
//! 4. The **plan** is the difference between the placement that this led to and the present one, so nothing moves
//!    twice.
//!
//! Why it ends: 2 and 3 move along the shortest chain from a node with too much to a node with too little, so each
//! chain makes the sum of what is above and below the bounds smaller by at least one, and no other chain makes it
//! larger. For replicas such a chain exists as long as anything is out of bounds (a partition's members can be
//! rounded like a flow), and with equal weights it is a single move.

use words::{Configuration, Gpid, NodeId};

mod board;
mod chain;
mod drains;
mod evening;
mod execution;
mod moves;
mod shares;
#[cfg(test)]
mod tests;

use self::board::Board;
pub(crate) use self::execution::Balancer;
pub(crate) use self::moves::Move;

/// What a node is for the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It takes replicas, in proportion to this weight (above 0).
    Takes(u64),
    /// Everything on it shall go.
    Drained,
    /// It is left alone.
    Fixed,
}

/// Where everything is. The balancer is asked only when every partition is healthy.
#[derive(Debug, Default)]
pub(crate) struct Snapshot<'a> {
    /// Every node that is a member of anything, or could be; by id.
    pub(crate) nodes: Vec<(NodeId, Part)>,
    /// The partitions of each app.
    pub(crate) apps: Vec<Vec<(Gpid, &'a Configuration)>>,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Drained nodes become empty; all else stays.
    Drains,
    /// Everything is spread evenly.
    Even,
}

/// What should move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In this order; each leaves its partition as healthy as it was.
    pub(crate) moves: Vec<Move>,
    /// Replicas on drained nodes that no other node can take.
    pub(crate) stuck: usize,
}

/// What should move so that it is as it should be.
pub(crate) fn plan(snapshot: &Snapshot<'_>, aim: Aim) -> Plan {
    let mut board = Board::new(snapshot);
    let stuck = drains::empty(&mut board);
    if aim == Aim::Even {
        evening::even(&mut board);
    }
    Plan { moves: moves::difference(snapshot, &board), stuck }
}
