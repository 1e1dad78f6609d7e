//! A placement that can be tried out: who holds and leads what, counted, and the bounds to it.

use std::collections::BTreeSet;

use words::{Gpid, NodeId};

use super::shares::{ONE, bounds, divide};
use super::{Part, Snapshot};

/// An index into [`Board::nodes`].
pub(super) type Node = usize;
/// An index into [`Snapshot::apps`].
pub(super) type App = usize;
/// An index into [`Board::seats`].
pub(super) type Seat = usize;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Replicas; any of them may move.
    Replicas,
    /// Replicas; only secondaries may move.
    Secondaries,
    /// Partitions that a node leads; by handover only.
    Primaries,
}

/// One partition.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) gpid: Gpid,
    pub(super) app: App,
    /// The primary first.
    pub(super) members: Vec<Node>,
}

/// How many each node has of something, and how many it should have.
#[derive(Debug)]
pub(super) struct Count {
    nodes: usize,
    /// By app and node: how many, its share, and that rounded down and up.
    has: Vec<u32>,
    share: Vec<u64>,
    bounds: Vec<(u32, u32)>,
    /// By node, over all apps.
    has_in_all: Vec<u32>,
    share_in_all: Vec<u64>,
    bounds_in_all: Vec<(u32, u32)>,
}

/// The placement.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) nodes: Vec<(NodeId, Part)>,
    /// Nodes that take replicas.
    pub(super) takers: Vec<Node>,
    takes: Vec<bool>,
    pub(super) apps: usize,
    pub(super) seats: Vec<Partition>,
    /// By app and node: the partitions that it is a member of.
    held: Vec<BTreeSet<Seat>>,
    /// ... and those of them that it leads.
    led: Vec<BTreeSet<Seat>>,
    replicas: Count,
    primaries: Count,
}

impl Count {
    fn new(apps: usize, nodes: usize) -> Self {
        Self {
            nodes,
            has: vec![0; apps * nodes],
            share: vec![0; apps * nodes],
            bounds: vec![(0, 0); apps * nodes],
            has_in_all: vec![0; nodes],
            share_in_all: vec![0; nodes],
            bounds_in_all: vec![(0, 0); nodes],
        }
    }

    fn put(&mut self, app: App, node: Node) {
        self.has[app * self.nodes + node] += 1;
        self.has_in_all[node] += 1;
    }

    fn take(&mut self, app: App, node: Node) {
        self.has[app * self.nodes + node] -= 1;
        self.has_in_all[node] -= 1;
    }

    fn set_shares(&mut self, app: App, shares: &[u64]) {
        for (node, &share) in shares.iter().enumerate() {
            self.share[app * self.nodes + node] = share;
            self.bounds[app * self.nodes + node] = bounds(share);
            self.share_in_all[node] += share;
            self.bounds_in_all[node] = bounds(self.share_in_all[node]);
        }
    }

    /// How many, in one app or in all.
    pub(super) fn has(&self, app: Option<App>, node: Node) -> u32 {
        app.map_or(self.has_in_all[node], |app| self.has[app * self.nodes + node])
    }

    /// The least and the most that it should have, in one app or in all.
    pub(super) fn bounds(&self, app: Option<App>, node: Node) -> (u32, u32) {
        app.map_or(self.bounds_in_all[node], |app| self.bounds[app * self.nodes + node])
    }

    /// What a node should have, in one app or in all.
    pub(super) fn share(&self, app: Option<App>, node: Node) -> u64 {
        app.map_or(self.share_in_all[node], |app| self.share[app * self.nodes + node])
    }

    /// How much more than its share a node has.
    pub(super) fn surplus(&self, app: Option<App>, node: Node) -> i64 {
        let has = i64::from(self.has(app, node)) * ONE.cast_signed();
        has - self.share(app, node).cast_signed()
    }
}

impl Board {
    pub(super) fn new(snapshot: &Snapshot<'_>) -> Self {
        let (apps, nodes) = (snapshot.apps.len(), snapshot.nodes.len());
        let takes: Vec<bool> =
            snapshot.nodes.iter().map(|(_, part)| matches!(part, Part::Takes(_))).collect();
        let mut board = Self {
            takers: (0..nodes).filter(|&node| takes[node]).collect(),
            takes,
            nodes: snapshot.nodes.clone(),
            apps,
            seats: Vec::new(),
            held: vec![BTreeSet::new(); apps * nodes],
            led: vec![BTreeSet::new(); apps * nodes],
            replicas: Count::new(apps, nodes),
            primaries: Count::new(apps, nodes),
        };
        for (app, partitions) in snapshot.apps.iter().enumerate() {
            let before = board.seats.len();
            for (gpid, configuration) in partitions {
                let members: Vec<Node> = configuration.members().filter_map(|id| board.index(id)).collect();
                for &node in &members {
                    board.held[app * nodes + node].insert(board.seats.len());
                    board.replicas.put(app, node);
                }
                if let Some(&primary) = members.first() {
                    board.primaries.put(app, primary);
                    board.led[app * nodes + primary].insert(board.seats.len());
                }
                board.seats.push(Partition { gpid: *gpid, app, members });
            }
            board.share_out(app, before);
        }
        board
    }

    /// What each node should have of an app whose partitions begin at `first`. What stays on nodes that are left
    /// alone is not shared out.
    fn share_out(&mut self, app: App, first: Seat) {
        let weight = |&(_, part): &(NodeId, Part)| match part {
            Part::Takes(weight) => weight.max(1),
            Part::Drained | Part::Fixed => 0,
        };
        let weights: Vec<u64> = self.nodes.iter().map(weight).collect();
        let partitions = (self.seats.len() - first) as u64;
        let fixed = |node: Node| self.nodes[node].1 == Part::Fixed;
        let seats = &self.seats[first..];
        let replicas = seats.iter().flat_map(|seat| &seat.members).filter(|&&node| !fixed(node)).count();
        let led = seats.iter().filter(|seat| seat.members.first().is_some_and(|&node| !fixed(node))).count();
        let shares = divide(replicas as u64, partitions, &weights);
        // Of what it holds every node leads the same part.
        let sum = shares.iter().copied().map(u128::from).sum::<u128>().max(1);
        let of_led = |&share: &u64| (u128::from(share) * led as u128 * u128::from(ONE) / sum) as u64;
        self.primaries.set_shares(app, &shares.iter().map(of_led).collect::<Vec<_>>());
        self.replicas.set_shares(app, &shares);
    }

    pub(super) fn index(&self, id: NodeId) -> Option<Node> {
        self.nodes.binary_search_by_key(&id, |&(node, _)| node).ok()
    }

    pub(super) fn takes(&self, node: Node) -> bool {
        self.takes[node]
    }

    pub(super) fn count(&self, layer: Layer) -> &Count {
        match layer {
            Layer::Replicas | Layer::Secondaries => &self.replicas,
            Layer::Primaries => &self.primaries,
        }
    }

    /// The partitions of an app that a node is a member of.
    pub(super) fn held(&self, app: App, node: Node) -> impl Iterator<Item = Seat> + '_ {
        self.held[app * self.nodes.len() + node].iter().copied()
    }

    /// The partitions of an app that a node leads.
    pub(super) fn led(&self, app: App, node: Node) -> impl Iterator<Item = Seat> + '_ {
        self.led[app * self.nodes.len() + node].iter().copied()
    }

    pub(super) fn leads(&self, node: Node, seat: Seat) -> bool {
        self.seats[seat].members.first() == Some(&node)
    }

    /// Whether one unit of the layer can go from one node to another by this partition, which `from` is a member
    /// of.
    pub(super) fn can_go(&self, layer: Layer, seat: Seat, from: Node, to: Node) -> bool {
        let is_member = self.seats[seat].members.contains(&to);
        match layer {
            Layer::Replicas => !is_member,
            Layer::Secondaries => !is_member && !self.leads(from, seat),
            Layer::Primaries => is_member && self.leads(from, seat),
        }
    }

    /// ... and it goes.
    pub(super) fn go(&mut self, layer: Layer, seat: Seat, from: Node, to: Node) {
        assert!(self.can_go(layer, seat, from, to), "only what can go goes");
        match layer {
            Layer::Replicas | Layer::Secondaries => self.copy(seat, from, to),
            Layer::Primaries => self.hand_over(seat, to),
        }
    }

    /// The new member has the role of the old one.
    fn copy(&mut self, seat: Seat, from: Node, to: Node) {
        let app = self.seats[seat].app;
        if self.leads(from, seat) {
            self.move_role(seat, from, to);
        }
        self.replicas.take(app, from);
        self.replicas.put(app, to);
        self.held[app * self.nodes.len() + from].remove(&seat);
        self.held[app * self.nodes.len() + to].insert(seat);
        let place = self.seats[seat].members.iter_mut().find(|node| **node == from);
        *place.expect("who hands on is a member") = to;
    }

    fn hand_over(&mut self, seat: Seat, to: Node) {
        let members = &mut self.seats[seat].members;
        let place = members.iter().position(|&node| node == to).expect("a successor is a member");
        members.swap(0, place);
        let from = members[place];
        self.move_role(seat, from, to);
    }

    fn move_role(&mut self, seat: Seat, from: Node, to: Node) {
        let app = self.seats[seat].app;
        self.primaries.take(app, from);
        self.primaries.put(app, to);
        self.led[app * self.nodes.len() + from].remove(&seat);
        self.led[app * self.nodes.len() + to].insert(seat);
    }
}
