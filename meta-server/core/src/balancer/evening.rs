//! Everything is spread evenly: chain by chain, until nothing is out of bounds or no chain is left.

use std::cmp::Reverse;

use super::board::{App, Board, Count, Layer, Node, Seat};
use super::chain::{self, Link};

/// Replicas first: that takes as few copies as there can be. Then primaries, by handover; what that can't even out
/// costs copies, and those are made good by moving secondaries.
pub(super) fn even(board: &mut Board) {
    even_layer(board, Layer::Replicas);
    for app in 0..board.apps {
        while !even_app(board, Layer::Primaries, app) && copy_a_primary(board, Some(app)) {}
    }
    while !even_all(board, Layer::Primaries) && copy_a_primary(board, None) {}
    even_layer(board, Layer::Secondaries);
}

fn even_layer(board: &mut Board, layer: Layer) {
    for app in 0..board.apps {
        even_app(board, layer, app);
    }
    even_all(board, layer);
}

/// Returns whether nothing is out of bounds any more.
fn even_app(board: &mut Board, layer: Layer, app: App) -> bool {
    loop {
        let Some((sources, targets)) = ends(board, layer, Some(app)) else { return true };
        let direct = || {
            let (&from, &to) = (sources.first()?, targets.first()?);
            pick(board, layer, app, from, to).map(|seat| vec![Link { seat, from, to }])
        };
        let chain = direct().or_else(|| chain::within(board, layer, app, &sources, &targets));
        let Some(chain) = chain else { return false };
        carry_out(board, layer, &chain);
    }
}

/// The cluster's totals, leaving each app within its bounds. Returns whether nothing is out of bounds any more.
fn even_all(board: &mut Board, layer: Layer) -> bool {
    loop {
        let Some((sources, targets)) = ends(board, layer, None) else { return true };
        let chain = direct_in_any(board, layer, &sources, &targets)
            .or_else(|| chain::across(board, layer, &sources, &targets));
        let Some(chain) = chain else { return false };
        carry_out(board, layer, &chain);
    }
}

fn carry_out(board: &mut Board, layer: Layer, chain: &[Link]) {
    for link in chain {
        board.go(layer, link.seat, link.from, link.to);
    }
}

/// From which nodes to which a chain has to lead so that less is out of bounds; the best first. `None` if nothing
/// is.
fn ends(board: &Board, layer: Layer, app: Option<App>) -> Option<(Vec<Node>, Vec<Node>)> {
    let count = board.count(layer);
    let over = |node: &Node| count.has(app, *node) > count.bounds(app, *node).1;
    let under = |node: &Node| count.has(app, *node) < count.bounds(app, *node).0;
    let has_some = |node: &Node| count.has(app, *node) > count.bounds(app, *node).0;
    let has_room = |node: &Node| count.has(app, *node) < count.bounds(app, *node).1;
    let mut sources: Vec<Node> = board.takers.iter().copied().filter(over).collect();
    let mut targets: Vec<Node> = board.takers.iter().copied().filter(under).collect();
    if sources.is_empty() && targets.is_empty() {
        return None;
    }
    if sources.is_empty() {
        sources = board.takers.iter().copied().filter(has_some).collect();
    }
    if targets.is_empty() {
        targets = board.takers.iter().copied().filter(has_room).collect();
    }
    best_first(&mut sources, |node| (Reverse(in_all(count, node)), Reverse(count.surplus(app, node)), node));
    best_first(&mut targets, |node| (in_all(count, node), count.surplus(app, node), node));
    Some((sources, targets))
}

fn in_all(count: &Count, node: Node) -> i64 {
    count.surplus(None, node)
}

/// The others are needed only when there is no move from the best to the best, so they are not sorted.
fn best_first<K: Ord>(nodes: &mut [Node], key: impl Fn(Node) -> K) {
    if let Some(best) = (0..nodes.len()).min_by_key(|&index| key(nodes[index])) {
        nodes.swap(0, best);
    }
}

fn direct_in_any(board: &Board, layer: Layer, sources: &[Node], targets: &[Node]) -> Option<Vec<Link>> {
    let (&from, &to) = (sources.first()?, targets.first()?);
    let mut apps = (0..board.apps).filter(|&app| may_go(board.count(layer), app, from, to));
    apps.find_map(|app| pick(board, layer, app, from, to).map(|seat| vec![Link { seat, from, to }]))
}

/// Whether one can go and both nodes stay within their bounds in the app, if they are.
fn may_go(count: &Count, app: App, from: Node, to: Node) -> bool {
    count.has(Some(app), from) > count.bounds(Some(app), from).0
        && count.has(Some(app), to) < count.bounds(Some(app), to).1
}

/// A partition by which something can go. A replica takes its role along, so one is chosen that leads only if that
/// makes primaries more even, too.
fn pick(board: &Board, layer: Layer, app: App, from: Node, to: Node) -> Option<Seat> {
    let can_go = |seat: &Seat| board.can_go(layer, *seat, from, to);
    let fits = || match layer {
        Layer::Primaries => board.led(app, from).find(can_go),
        Layer::Replicas if leads_too_much(board.count(Layer::Primaries), app, from, to) => {
            board.led(app, from).find(can_go)
        }
        Layer::Replicas => board.held(app, from).filter(|&seat| !board.leads(from, seat)).find(can_go),
        Layer::Secondaries => None,
    };
    fits().or_else(|| board.held(app, from).find(can_go))
}

/// Whether primaries are more even if `to` leads one more in place of `from`.
fn leads_too_much(count: &Count, app: App, from: Node, to: Node) -> bool {
    let (has, (least, most)) = (count.has(Some(app), from), count.bounds(Some(app), from));
    let is_better = count.surplus(Some(app), from) > count.surplus(Some(app), to);
    is_better && (has > most || has > least && count.has(Some(app), to) < count.bounds(Some(app), to).0)
}

/// No chain of handovers leads on, so who leads too much is no co-member of who leads too little: a replica moves
/// between them with its role, and secondaries make that good afterwards.
fn copy_a_primary(board: &mut Board, app: Option<App>) -> bool {
    let Some((mut sources, mut targets)) = ends(board, Layer::Primaries, app) else { return false };
    let (replicas, primaries) = (board.count(Layer::Replicas), board.count(Layer::Primaries));
    sources.sort_by_key(|&node| (Reverse(replicas.surplus(app, node)), node));
    targets.sort_by_key(|&node| (replicas.surplus(app, node), node));
    let led = |app: App, from: Node, to: Node| {
        board.led(app, from).find(|&seat| board.can_go(Layer::Replicas, seat, from, to))
    };
    let find = |from: Node, to: Node| match app {
        Some(app) => led(app, from, to),
        None => {
            (0..board.apps).filter(|&app| may_go(primaries, app, from, to)).find_map(|app| led(app, from, to))
        }
    };
    let pairs = sources.iter().flat_map(|&from| targets.iter().map(move |&to| (from, to)));
    let found =
        pairs.filter(|(from, to)| from != to).find_map(|(from, to)| Some((find(from, to)?, from, to)));
    let Some((seat, from, to)) = found else { return false };
    board.go(Layer::Replicas, seat, from, to);
    true
}
