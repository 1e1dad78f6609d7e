//! Everything on drained nodes goes elsewhere.

use super::Part;
use super::board::{Board, Layer, Node, Seat};

/// Returns how many replicas no other node can take.
pub(super) fn empty(board: &mut Board) -> usize {
    let drained: Vec<Node> = (0..board.nodes.len()).filter(|&n| board.nodes[n].1 == Part::Drained).collect();
    for &node in &drained {
        for app in 0..board.apps {
            for seat in board.held(app, node).collect::<Vec<_>>() {
                hand_over(board, seat, node);
                copy(board, seat, node);
            }
        }
    }
    drained.iter().map(|&node| board.count(Layer::Replicas).has(None, node) as usize).sum()
}

/// The role goes first: that is done in no time, and then the node serves no client any more.
fn hand_over(board: &mut Board, seat: Seat, node: Node) {
    let (app, count) = (Some(board.seats[seat].app), board.count(Layer::Primaries));
    let successors = board.seats[seat]
        .members
        .iter()
        .copied()
        .filter(|&to| board.takes(to) && board.can_go(Layer::Primaries, seat, node, to));
    if let Some(to) = successors.min_by_key(|&to| (count.surplus(app, to), count.surplus(None, to), to)) {
        board.go(Layer::Primaries, seat, node, to);
    }
}

fn copy(board: &mut Board, seat: Seat, node: Node) {
    let (app, count) = (Some(board.seats[seat].app), board.count(Layer::Replicas));
    let takers = board.takers.iter().copied().filter(|&to| board.can_go(Layer::Replicas, seat, node, to));
    if let Some(to) = takers.min_by_key(|&to| (count.surplus(app, to), count.surplus(None, to), to)) {
        board.go(Layer::Replicas, seat, node, to);
    }
}
