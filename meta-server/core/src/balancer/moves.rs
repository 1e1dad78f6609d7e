//! The moves that lead from one placement to another.

use std::fmt;

use words::{Gpid, NodeId};

use super::board::{App, Board, Count, Layer, Node, Seat};
use super::shares::ONE;
use super::{Part, Snapshot};
use crate::BalanceKind;

/// One move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// Of which partition.
    pub(crate) gpid: Gpid,
    /// What moves.
    pub(crate) kind: BalanceKind,
    /// From where.
    pub(crate) from: NodeId,
    /// To where.
    pub(crate) to: NodeId,
    /// Why.
    pub(crate) reason: Reason,
}

/// Why something moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The node that it leaves is being drained.
    Drained(NodeId),
    /// This node has more or less than its share.
    Share {
        /// Who.
        node: NodeId,
        /// Of what: partitions that it leads, or replicas.
        of_primaries: bool,
        /// In this app alone, or in all.
        in_app: bool,
        /// How many it has.
        has: u32,
        /// How many it should have, in hundredths.
        share_hundredths: u64,
    },
    /// It makes another move possible.
    MakesRoom,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Drained(node) => write!(f, "{node} is being drained"),
            Self::Share { node, of_primaries, in_app, has, share_hundredths } => {
                let (whole, part) = (share_hundredths / 100, share_hundredths % 100);
                let what = if of_primaries { "leads" } else { "holds" };
                let scope = if in_app { "of the app" } else { "in all" };
                write!(f, "{node} {what} {has} {scope}, its share is {whole}.{part:02}")
            }
            Self::MakesRoom => f.write_str("makes room for another move"),
        }
    }
}

/// In which order moves are made: what is done at once, what takes copying, and what needs the copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    HandOver,
    Copy,
    HandOverToCopy,
}

/// The moves that make the present placement that of `wanted`. No partition gets more than one move for each of its
/// members and one for the primary's role.
pub(super) fn difference(snapshot: &Snapshot<'_>, wanted: &Board) -> Vec<Move> {
    let present = Board::new(snapshot);
    let mut moves: Vec<(Stage, Move)> = Vec::new();
    for seat in 0..present.seats.len() {
        for (stage, kind, from, to) in of_partition(&present.seats[seat].members, &wanted.seats[seat].members)
        {
            let reason = reason(&present, seat, kind, from, to);
            let (from, to) = (present.nodes[from].0, present.nodes[to].0);
            moves.push((stage, Move { gpid: present.seats[seat].gpid, kind, from, to, reason }));
        }
    }
    // The sort is stable: within a stage partitions keep their order.
    moves.sort_by_key(|&(stage, _)| stage);
    moves.into_iter().map(|(_, order)| order).collect()
}

fn of_partition(before: &[Node], after: &[Node]) -> Vec<(Stage, BalanceKind, Node, Node)> {
    let mut gone: Vec<Node> = before.iter().copied().filter(|node| !after.contains(node)).collect();
    let mut new: Vec<Node> = after.iter().copied().filter(|node| !before.contains(node)).collect();
    assert_eq!(gone.len(), new.len(), "a plan changes nobody's number of replicas");
    let mut moves = Vec::new();
    let (Some(&old_primary), Some(&primary)) = (before.first(), after.first()) else { return moves };
    if gone.contains(&old_primary) && new.contains(&primary) {
        moves.push((Stage::Copy, BalanceKind::CopyPrimary, old_primary, primary));
        gone.retain(|&node| node != old_primary);
        new.retain(|&node| node != primary);
    } else if old_primary != primary {
        let stage = if new.contains(&primary) { Stage::HandOverToCopy } else { Stage::HandOver };
        moves.push((stage, BalanceKind::MovePrimary, old_primary, primary));
    }
    let copies = gone.into_iter().zip(new);
    moves.extend(copies.map(|(from, to)| (Stage::Copy, BalanceKind::CopySecondary, from, to)));
    moves
}

/// What is most out of bounds at either end.
fn reason(present: &Board, seat: Seat, kind: BalanceKind, from: Node, to: Node) -> Reason {
    let app = present.seats[seat].app;
    if present.nodes[from].1 == Part::Drained {
        return Reason::Drained(present.nodes[from].0);
    }
    let layers: &[Layer] = match kind {
        BalanceKind::MovePrimary => &[Layer::Primaries],
        BalanceKind::CopyPrimary => &[Layer::Replicas, Layer::Primaries],
        BalanceKind::CopySecondary => &[Layer::Replicas],
    };
    let of = |(&layer, scope): (&Layer, Option<App>)| out_of_bounds(present, layer, scope, from, to);
    let scopes = [Some(app), None];
    let all = layers.iter().flat_map(|layer| scopes.map(|scope| (layer, scope)));
    all.into_iter().find_map(of).unwrap_or(Reason::MakesRoom)
}

fn out_of_bounds(board: &Board, layer: Layer, app: Option<App>, from: Node, to: Node) -> Option<Reason> {
    let count: &Count = board.count(layer);
    let node = if count.has(app, from) > count.bounds(app, from).1 {
        from
    } else if count.has(app, to) < count.bounds(app, to).0 {
        to
    } else {
        return None;
    };
    Some(Reason::Share {
        node: board.nodes[node].0,
        of_primaries: layer == Layer::Primaries,
        in_app: app.is_some(),
        has: count.has(app, node),
        share_hundredths: count.share(app, node) * 100 / ONE,
    })
}
