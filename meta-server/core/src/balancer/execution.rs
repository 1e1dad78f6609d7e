//! Carrying a plan out, a few moves at a time, as long as nothing is in the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use words::{Gpid, NodeAddress, NodeId, Time};

use super::{Aim, Move, Part, Plan, Snapshot, plan};
use crate::guardian::Standing;
use crate::nodes::Node;
use crate::plan::Goal;
use crate::{BalanceKind, BalancePlan, BalancerStatus, Command, Level, MetaCore, PlannedMove};

/// The most moves that are listed for people; a plan can have hundreds of thousands.
const MOST_LISTED: usize = 1000;

/// Weights are multiples of a sixteenth of the largest disk, so that no few bytes more or less move anything.
const LARGEST_WEIGHT: u128 = 16;

/// What the balancer is at. All of it can be lost: it plans anew.
#[derive(Debug)]
pub(crate) struct Balancer {
    /// What it found should move and has not begun.
    plan: VecDeque<Move>,
    /// What is on its way.
    under_way: BTreeMap<Gpid, Move>,
    /// Something changed since it last found that nothing should move.
    stale: bool,
    /// Since when nothing is in the way.
    calm_since: Option<Time>,
    /// What the plan is for.
    aim: Aim,
    /// When it looks again.
    next: Time,
    /// What was in the way when it last looked.
    in_the_way: Option<String>,
    /// Replicas on drained nodes that no other node can take.
    stuck: usize,
}

impl Balancer {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            plan: VecDeque::new(),
            under_way: BTreeMap::new(),
            stale: true,
            calm_since: None,
            aim: Aim::Even,
            next: now,
            in_the_way: None,
            stuck: 0,
        }
    }

    /// When it has to be asked again.
    pub(crate) fn deadline(&self) -> Time {
        self.next
    }

    /// Something changed that a plan rests on.
    pub(crate) fn changed(&mut self) {
        self.stale = true;
    }

    /// Nothing is wanted of a partition any more: if something was under way there, that has ended.
    pub(crate) fn looked_at(&mut self, now: Time, gpid: Gpid) {
        if self.under_way.contains_key(&gpid) {
            self.next = now;
        }
    }

    fn give_up(&mut self) {
        self.plan.clear();
        self.stale = true;
        self.calm_since = None;
    }
}

impl MetaCore {
    /// Goes on with what is under way and begins what can begin.
    pub(crate) fn balance(&mut self, now: Time) {
        if now < self.balancer.next {
            return;
        }
        self.balancer.next = now + self.settings.balancer_pause;
        if self.settings.balancer_moves_in_flight == 0 {
            return;
        }
        self.end_moves();
        self.balancer.in_the_way = self.in_the_way();
        let aim = if self.balancer.in_the_way.is_none() { Aim::Even } else { Aim::Drains };
        let can_begin = aim == Aim::Even || self.may_drain();
        if !can_begin || self.balancer.aim != aim {
            self.balancer.give_up();
            self.balancer.aim = aim;
        }
        if !can_begin {
            return;
        }
        // What has just become healthy, or just come, may change again in a moment.
        let calm_since = *self.balancer.calm_since.get_or_insert(now);
        if now < calm_since + self.settings.balancer_pause {
            return;
        }
        if self.balancer.plan.is_empty() && self.balancer.under_way.is_empty() && self.balancer.stale {
            let Plan { moves, stuck } = plan(&self.snapshot(aim), aim);
            self.balancer.stale = !moves.is_empty();
            self.balancer.plan = moves.into();
            self.balancer.stuck = stuck;
        }
        self.begin_moves(now);
    }

    /// A move that ended elsewhere than it should shows that the plan does not hold any more.
    fn end_moves(&mut self) {
        let under_way = std::mem::take(&mut self.balancer.under_way);
        for (gpid, order) in under_way {
            match self.partitions.get(&gpid) {
                Some(partition) if partition.pending.is_some() || !partition.plan.is_empty() => {
                    self.balancer.under_way.insert(gpid, order);
                }
                Some(_) if self.is_done(&order) => {}
                _ => self.balancer.give_up(),
            }
        }
    }

    fn is_done(&self, order: &Move) -> bool {
        let Some(configuration) = self.state.configuration(order.gpid) else { return false };
        match order.kind {
            BalanceKind::MovePrimary => configuration.primary == Some(order.to),
            BalanceKind::CopyPrimary => {
                configuration.primary == Some(order.to) && !configuration.is_member(order.from)
            }
            BalanceKind::CopySecondary => {
                configuration.is_member(order.to) && !configuration.is_member(order.from)
            }
        }
    }

    /// In the plan's order, but never two of one partition at once.
    fn begin_moves(&mut self, now: Time) {
        while self.balancer.under_way.len() < self.settings.balancer_moves_in_flight {
            let next = self.balancer.plan.front();
            let Some(order) = next.filter(|order| !self.balancer.under_way.contains_key(&order.gpid)) else {
                return;
            };
            let order = order.clone();
            let Some(goals) = self.goals_of(now, &order) else {
                return self.balancer.give_up();
            };
            self.balancer.plan.pop_front();
            let partition = self.partitions.get_mut(&order.gpid).expect("it was just looked at");
            partition.plan = VecDeque::from(goals);
            partition.goal_since = now;
            partition.plan_by = format!("the balancer ({})", order.reason);
            self.unsettled.insert(order.gpid);
            self.dirty.insert(order.gpid);
            self.balancer.under_way.insert(order.gpid, order);
        }
    }

    /// What has to be reached for it, if it is still possible.
    fn goals_of(&self, now: Time, order: &Move) -> Option<Vec<Goal>> {
        if self.unsettled.contains(&order.gpid) {
            return None;
        }
        let (_, view) = self.partition_view(now, order.gpid).ok()?;
        let (from, to) = (view.node(order.from)?, view.node(order.to)?);
        self.check_move(order.gpid, &view, order.kind, from, to).ok()
    }

    /// Why nothing is balanced now, if so.
    fn in_the_way(&self) -> Option<String> {
        let level = self.level();
        if level < Level::Lively {
            return Some(format!("the level is {level}"));
        }
        if self
            .uncommitted()
            .any(|command| matches!(command, Command::CreateApp { .. } | Command::DropApp { .. }))
        {
            return Some("an app is being created or dropped".to_owned());
        }
        let mut unhealthy = self.unsettled.iter().filter(|gpid| !self.balancer.under_way.contains_key(gpid));
        if let Some(gpid) = unhealthy.next() {
            let others = unhealthy.count();
            let more = if others == 0 { String::new() } else { format!(", and {others} more") };
            return Some(format!("{gpid} is not healthy{more}"));
        }
        let within_grace = |(_, entry): &(NodeId, &Node)| match entry.standing() {
            Standing::Alive => false,
            Standing::Suspected => true,
            Standing::Dead(since) => {
                !entry.replaced && since + self.settings.replica_assign_delay > self.stepped
            }
        };
        let expected = self.nodes.iter().find(within_grace);
        expected.map(|(node, _)| format!("{node} was lost just now and may return"))
    }

    fn may_drain(&self) -> bool {
        self.level() >= Level::Steady && self.nodes.iter().any(|(node, _)| self.state.is_drained(node))
    }

    /// A partition that is not healthy is left alone.
    fn snapshot(&self, aim: Aim) -> Snapshot<'_> {
        let alive = || self.nodes.iter().filter(|(_, entry)| entry.standing() == Standing::Alive);
        let capacities = || alive().map(|(_, entry)| u128::from(entry.disk.capacity));
        // If one has not said how large its disk is, all count the same.
        let largest = capacities().max().filter(|_| capacities().all(|capacity| capacity > 0));
        let weight = |entry: &Node| match largest {
            Some(largest) => {
                let weight = (u128::from(entry.disk.capacity) * LARGEST_WEIGHT + largest / 2) / largest;
                u64::try_from(weight).unwrap_or(u64::MAX).max(1)
            }
            None => 1,
        };
        let part = |node: NodeId, entry: &Node| {
            let is_known = self.state.node(node).is_some();
            if !is_known || entry.standing() != Standing::Alive || entry.leaving || entry.replaced {
                Part::Fixed
            } else if self.state.is_drained(node) {
                Part::Drained
            } else if self.state.is_black_listed(node) || entry.disk.is_low {
                Part::Fixed
            } else {
                Part::Takes(weight(entry))
            }
        };
        let mut apps: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (gpid, configuration) in self.state.configurations() {
            let is_wanted = aim == Aim::Even || !self.unsettled.contains(&gpid);
            if is_wanted && !configuration.is_empty() && self.state.app_of(gpid).is_some() {
                apps.entry(gpid.app).or_default().push((gpid, configuration));
            }
        }
        Snapshot {
            nodes: self.nodes.iter().map(|(node, entry)| (node, part(node, entry))).collect(),
            apps: apps.into_values().collect(),
        }
    }

    /// What would move if it could move now: for operators.
    #[must_use]
    pub fn balance_plan(&self) -> BalancePlan {
        let Plan { moves, stuck } = plan(&self.snapshot(Aim::Even), Aim::Even);
        let count = moves.len();
        let moves: Vec<PlannedMove> =
            moves.iter().take(MOST_LISTED).map(|order| self.planned(order)).collect();
        let nodes = self.named_in(&moves);
        BalancePlan { moves, count, stuck, in_the_way: self.in_the_way_by_name(), nodes }
    }

    /// What the balancer does.
    #[must_use]
    pub fn balancer_status(&self) -> BalancerStatus {
        let under_way: Vec<PlannedMove> =
            self.balancer.under_way.values().map(|order| self.planned(order)).collect();
        BalancerStatus {
            in_the_way: self.in_the_way_by_name(),
            left: self.balancer.plan.len(),
            stuck: self.balancer.stuck,
            nodes: self.named_in(&under_way),
            under_way,
        }
    }

    fn in_the_way_by_name(&self) -> Option<String> {
        self.in_the_way().map(|why| self.state.with_names(&why))
    }

    fn named_in(&self, moves: &[PlannedMove]) -> Vec<NodeAddress> {
        let named: BTreeSet<NodeId> = moves.iter().flat_map(|order| [order.from, order.to]).collect();
        self.addresses(&named)
    }

    fn planned(&self, order: &Move) -> PlannedMove {
        let Move { gpid, kind, from, to, reason } = order.clone();
        PlannedMove { gpid, kind, from, to, reason: self.state.with_names(&reason.to_string()) }
    }
}
