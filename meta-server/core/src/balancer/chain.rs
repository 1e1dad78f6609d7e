//! The shortest chain of moves from nodes with too much to a node with too little.

use std::collections::VecDeque;

use super::board::{App, Board, Layer, Node, Seat};

/// One move of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) seat: Seat,
    pub(super) from: Node,
    pub(super) to: Node,
}

/// Where a search can be: at a node as far as one app is concerned, or, between two apps, at the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Node(Node),
    Slot(App, Node),
}

struct Search<'a> {
    board: &'a Board,
    layer: Layer,
    /// Which nodes are looked for.
    wanted: Vec<bool>,
    /// From where each place was reached, and by which partition.
    reached: Vec<Option<(Place, Option<Seat>)>>,
    queue: VecDeque<Place>,
    found: Option<Place>,
}

/// Within one app: from one of the `sources` to one of the `targets`. Nodes on the way have as many as before.
///
/// A chain visits no node twice, so its links don't get in each other's way: when a link's turn comes its partition
/// is still on `from` and not yet on `to`.
pub(super) fn within(
    board: &Board,
    layer: Layer,
    app: App,
    sources: &[Node],
    targets: &[Node],
) -> Option<Vec<Link>> {
    let mut search = Search::new(board, layer, sources, targets);
    for &node in sources {
        search.begin(Place::Slot(app, node));
    }
    while let Some(Place::Slot(app, node)) = search.next() {
        search.go_on(app, node, |search, to| {
            if search.wanted[to] {
                search.found = Some(Place::Slot(app, to));
            }
        });
    }
    search.chain()
}

/// Over all apps: an app gives only where a node has more of it than the least, and takes only where one has less
/// than the most, so what was within its bounds in each app stays so.
pub(super) fn across(board: &Board, layer: Layer, sources: &[Node], targets: &[Node]) -> Option<Vec<Link>> {
    let mut search = Search::new(board, layer, sources, targets);
    let count = board.count(layer);
    for &node in sources {
        search.begin(Place::Node(node));
    }
    while let Some(place) = search.next() {
        match place {
            Place::Node(node) => {
                for app in 0..board.apps {
                    if count.has(Some(app), node) > count.bounds(Some(app), node).0 {
                        search.reach(Place::Slot(app, node), place, None);
                    }
                }
            }
            Place::Slot(app, node) => search.go_on(app, node, |search, to| {
                if count.has(Some(app), to) >= count.bounds(Some(app), to).1 {
                    return;
                }
                search.reach(Place::Node(to), Place::Slot(app, to), None);
                if search.wanted[to] {
                    search.found = Some(Place::Node(to));
                }
            }),
        }
    }
    search.chain()
}

impl<'a> Search<'a> {
    fn new(board: &'a Board, layer: Layer, sources: &[Node], targets: &[Node]) -> Self {
        let places = board.nodes.len() * (board.apps + 1);
        let mut wanted = vec![false; board.nodes.len()];
        targets.iter().for_each(|&node| wanted[node] = true);
        sources.iter().for_each(|&node| wanted[node] = false);
        Self { board, layer, wanted, reached: vec![None; places], queue: VecDeque::new(), found: None }
    }

    fn number(&self, place: Place) -> usize {
        match place {
            Place::Node(node) => node,
            Place::Slot(app, node) => (app + 1) * self.board.nodes.len() + node,
        }
    }

    fn begin(&mut self, place: Place) {
        self.reach(place, place, None);
    }

    /// Returns whether it is new.
    fn reach(&mut self, place: Place, from: Place, by: Option<Seat>) -> bool {
        let number = self.number(place);
        let is_new = self.reached[number].is_none();
        if is_new {
            self.reached[number] = Some((from, by));
            self.queue.push_back(place);
        }
        is_new
    }

    /// What to look at next; nothing once something is found.
    fn next(&mut self) -> Option<Place> {
        if self.found.is_some() { None } else { self.queue.pop_front() }
    }

    /// By every partition to everywhere it can go; `arrived` is told of each node that is new.
    fn go_on(&mut self, app: App, node: Node, arrived: impl Fn(&mut Self, Node)) {
        let (board, layer) = (self.board, self.layer);
        let mut step = |seat: Seat, to: Node| {
            if self.found.is_none()
                && board.takes(to)
                && board.can_go(layer, seat, node, to)
                && self.reach(Place::Slot(app, to), Place::Slot(app, node), Some(seat))
            {
                arrived(self, to);
            }
        };
        match layer {
            Layer::Primaries => {
                for seat in board.led(app, node) {
                    board.seats[seat].members.iter().for_each(|&to| step(seat, to));
                }
            }
            Layer::Replicas | Layer::Secondaries => {
                for seat in board.held(app, node) {
                    (0..board.nodes.len()).for_each(|to| step(seat, to));
                }
            }
        }
    }

    fn chain(&self) -> Option<Vec<Link>> {
        let mut chain = Vec::new();
        let mut place = self.found?;
        loop {
            let (from, by) = self.reached[self.number(place)].expect("it was reached");
            if from == place {
                break;
            }
            if let (Some(seat), Place::Slot(_, from), Place::Slot(_, to)) = (by, from, place) {
                chain.push(Link { seat, from, to });
            }
            place = from;
        }
        chain.reverse();
        Some(chain)
    }
}
