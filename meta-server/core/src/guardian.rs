//! The guardian: from what is seen of one partition to what to do about it.
//!
//! A pure function. It reads as a table: [`RULES`] from top to bottom, the first that applies decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use words::{Ballot, Command as Order, Configuration, Decree, Gpid, NodeId, RoleName, Time};

use crate::Level;
use crate::plan::Goal;

/// Whether a node can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has a session and is heard.
    Alive,
    /// Its session broke, or the meta server has just started: soon it is alive or dead.
    Suspected,
    /// Neither heard nor expected within the grace; since when.
    Dead(Time),
}

/// What is known of a node's replica of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replica {
    /// The node has not reported since its session began, or not since the configuration changed.
    Unknown,
    /// The node reported, and has none.
    Absent,
    /// As reported.
    Held {
        /// Its role.
        role: RoleName,
        /// Its ballot.
        ballot: Ballot,
        /// Its last prepared decree.
        last_prepared: Decree,
    },
}

/// One node, as far as this partition is concerned.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    /// Who.
    pub(crate) node: NodeId,
    /// Whether it can be counted on.
    pub(crate) standing: Standing,
    /// It is stopping: nothing new for it.
    pub(crate) leaving: bool,
    /// Another node has its address, so it will not be back.
    pub(crate) replaced: bool,
    /// Its disk is below its watermark: it takes no client's writes and no new replicas.
    pub(crate) disk_is_low: bool,
    /// It starts again and again: it is given nothing new until then.
    pub(crate) unstable_until: Option<Time>,
    /// Operators want nothing new on it.
    pub(crate) black_listed: bool,
    /// Operators want everything on it to go.
    pub(crate) drained: bool,
    /// Its replica.
    pub(crate) replica: Replica,
    /// Partitions that it leads.
    pub(crate) primaries: usize,
    /// Partitions that it holds or is learning.
    pub(crate) replicas: usize,
}

/// All that the guardian looks at.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The time.
    pub(crate) now: Time,
    /// The partition.
    pub(crate) gpid: Gpid,
    /// How much is done without being asked.
    pub(crate) level: Level,
    /// Why no copies are made on other nodes, if so: too many are not heard.
    pub(crate) no_copies: Option<String>,
    /// How many replicas there should be.
    pub(crate) replica_count: usize,
    /// With fewer members than this writes are refused.
    pub(crate) enough: usize,
    /// How long a member that left is waited for.
    pub(crate) replica_assign_delay: Duration,
    /// Until when other nodes can be expected to arrive, after the one that came last.
    pub(crate) more_may_come: Time,
    /// The committed configuration.
    pub(crate) configuration: &'a Configuration,
    /// Every known node, by id; where nobody has to be added only those who have to do with the partition.
    pub(crate) nodes: Vec<NodeView>,
    /// What an operator or the balancer wants next; still possible and not yet so.
    pub(crate) goal: Option<Goal>,
    /// Who wants it.
    pub(crate) goal_by: &'a str,
    /// Who is being added.
    pub(crate) adding: Option<NodeId>,
    /// Who learns, as the primary reports.
    pub(crate) learners: &'a [NodeId],
    /// Who stopped being a member, and when.
    pub(crate) dropped: &'a BTreeMap<NodeId, Time>,
    /// Who was given up on while learning: taken again only if there is no other.
    pub(crate) avoid: BTreeSet<NodeId>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing, until something changes.
    Nothing,
    /// Nothing, until then or until a node comes.
    Wait(Time),
    /// Nothing can be done before another node is there.
    NeedsNode,
    /// Make this the next configuration.
    Set(Configuration),
    /// Ask the primary for this until it is done.
    Ask(Order),
}

/// What to do, and why, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// By which rule.
    pub(crate) rule: &'static str,
    /// What.
    pub(crate) action: Action,
    /// Why.
    pub(crate) reason: String,
}

type Rule = fn(&View<'_>) -> Option<(Action, String)>;

/// From the most to the least urgent. No rule below `primary_is_suspected` is reached without a live primary.
const RULES: [(&str, Rule); 10] = [
    ("level_forbids_cures", level_forbids_cures),
    ("new_partition", new_partition),
    ("primary_is_lost", primary_is_lost),
    ("primary_is_suspected", primary_is_suspected),
    ("operator_wants", operator_wants),
    ("secondary_is_broken", secondary_is_broken),
    ("primary_has_no_room", primary_has_no_room),
    ("too_many_members", too_many_members),
    ("too_few_members", too_few_members),
    ("all_is_well", all_is_well),
];

/// The first rule that applies.
pub(crate) fn decide(view: &View<'_>) -> Decision {
    let first = RULES
        .iter()
        .find_map(|&(rule, judge)| judge(view).map(|(action, reason)| Decision { rule, action, reason }));
    first.expect("the last rule always applies")
}

fn decision(action: Action, reason: String) -> Option<(Action, String)> {
    Some((action, reason))
}

/// Below `steady` only what an operator asks for is done.
fn level_forbids_cures(view: &View<'_>) -> Option<(Action, String)> {
    if view.level >= Level::Steady {
        return None;
    }
    if view.primary().is_some_and(|primary| primary.standing == Standing::Alive) && view.goal.is_some() {
        return operator_wants(view);
    }
    decision(Action::Nothing, format!("the level is {}: {}", view.level, view.level.leaves_out()))
}

/// A partition begins with one member; the others join by learning (§4.8). Primaries are spread evenly, so while
/// a cluster starts, the node that is there first does not get them all.
fn new_partition(view: &View<'_>) -> Option<(Action, String)> {
    if !view.configuration.is_empty() {
        return None;
    }
    let load = |node: &&NodeView| (node.primaries, node.replicas, node.node);
    // One that starts again and again is better than none: there is nothing to lose yet.
    let unstable = || view.nodes.iter().filter(|node| node.unstable_until.is_some() && node.has_room());
    let Some(first) = view.candidates().min_by_key(load).or_else(|| unstable().min_by_key(load)) else {
        return decision(Action::NeedsNode, "no live node to begin on".to_owned());
    };
    if view.candidates().count() < view.replica_count && view.now < view.more_may_come {
        return decision(Action::Wait(view.more_may_come), "waits for more nodes to arrive".to_owned());
    }
    let next =
        Configuration { ballot: Ballot::default().next(), primary: Some(first.node), secondaries: vec![] };
    decision(Action::Set(next), format!("a new partition begins on {}", first.node))
}

/// A live secondary of the latest configuration takes over: each is safe, the most prepared costs least (§4.4).
/// Whoever is dead or broken leaves in the same step. Without one, nothing is chosen (§4.8).
fn primary_is_lost(view: &View<'_>) -> Option<(Action, String)> {
    let primary = view.primary()?;
    let why = primary.why_lost()?;
    let secondaries = || view.configuration.secondaries.iter().filter_map(|&node| view.node(node));
    let successor = secondaries().filter(|node| node.can_lead()).max_by_key(|node| {
        let (stays, is_stable) = (!node.leaving && !node.drained, node.unstable_until.is_none());
        let leads_less = std::cmp::Reverse((node.primaries, node.node));
        (stays, !node.disk_is_low, is_stable, node.progress(), leads_less)
    });
    if let Some(successor) = successor {
        let mut next = view.configuration.promoted(successor.node);
        next.secondaries.retain(|&node| view.node(node).is_some_and(|node| node.why_lost().is_none()));
        return decision(Action::Set(next), format!("{why}; {} takes over", successor.node));
    }
    let members: Vec<String> = view.configuration.members().map(|node| node.to_string()).collect();
    let members = members.join(", ");
    decision(
        Action::Nothing,
        format!("{why} and no secondary is live; one of {members} must return with its data"),
    )
}

/// It can't be asked for anything just now.
fn primary_is_suspected(view: &View<'_>) -> Option<(Action, String)> {
    let primary = view.primary()?;
    if primary.standing == Standing::Alive {
        return None;
    }
    decision(Action::Nothing, format!("waits for {} to open a session again", primary.node))
}

fn operator_wants(view: &View<'_>) -> Option<(Action, String)> {
    let goal = view.goal?;
    decision(Action::Ask(goal.order()), format!("{} wants {goal}", view.goal_by))
}

/// A secondary that will not acknowledge again leaves. One that is merely dead is the primary's to remove (§4.2),
/// and is removed from here only if that has not happened for long.
fn secondary_is_broken(view: &View<'_>) -> Option<(Action, String)> {
    let broken = |node: &&NodeView| match node.standing {
        Standing::Dead(since) => view.now.since(since) >= view.replica_assign_delay,
        Standing::Alive | Standing::Suspected => node.why_lost().is_some(),
    };
    let mut secondaries = view.configuration.secondaries.iter().filter_map(|&node| view.node(node));
    let node = secondaries.find(broken)?;
    let why = node.why_lost()?;
    decision(Action::Ask(Order::Remove(node.node)), why)
}

/// It refuses clients' writes, and a secondary whose disk has room would take them. Before anybody is added: that may
/// take long, and what a new primary teaches is what it has.
fn primary_has_no_room(view: &View<'_>) -> Option<(Action, String)> {
    let primary = view.primary().filter(|primary| primary.disk_is_low)?;
    let secondaries = view.configuration.secondaries.iter().filter_map(|&node| view.node(node));
    let takes_writes = secondaries
        .filter(|node| node.serves_as(RoleName::Secondary, view) && !node.leaving && !node.disk_is_low);
    let ranked = takes_writes.map(|node| {
        let is_wanted = !node.drained && !node.black_listed;
        ((is_wanted, node.unstable_until.is_none()), node.node)
    });
    let ranked: BTreeSet<_> = ranked.collect();
    let &(best, _) = ranked.last()?;
    let successors: Vec<NodeId> =
        ranked.into_iter().filter(|&(rank, _)| rank == best).map(|(_, node)| node).collect();
    let successor = successors[scattered(view.gpid.partition, successors.len())];
    decision(
        Action::Ask(Order::HandOver(successor)),
        format!("the disk of {} is almost full, so it takes no writes; {successor} takes over", primary.node),
    )
}

/// One of so many for each partition, about as often the one as the other: what a node led goes all at once, and not all
/// to the same node. (Fibonacci hashing: neighbours differ, and so do those that are several apart.)
fn scattered(partition: u32, among: usize) -> usize {
    let fraction = u64::from(partition.wrapping_mul(0x9E37_79B9));
    ((fraction * among as u64) >> 32) as usize
}

/// The least useful secondary leaves: one that is not alive, is leaving, or carries most.
fn too_many_members(view: &View<'_>) -> Option<(Action, String)> {
    if view.configuration.len() <= view.replica_count {
        return None;
    }
    let secondaries = view.configuration.secondaries.iter().filter_map(|&node| view.node(node));
    let surplus = secondaries.max_by_key(|node| {
        (node.standing != Standing::Alive, node.leaving || node.drained, node.replicas, node.node)
    })?;
    let reason = format!("{} members, {} wanted", view.configuration.len(), view.replica_count);
    decision(Action::Ask(Order::Remove(surplus.node)), reason)
}

/// One node at a time: first who is at it already, then who has data, then, after some patience with the one
/// that left, the least loaded.
fn too_few_members(view: &View<'_>) -> Option<(Action, String)> {
    let members = view.configuration.len();
    if members >= view.replica_count {
        return None;
    }
    let lack = format!("{members} of {} members", view.replica_count);
    let add = |node: NodeId, what: &str| {
        decision(Action::Ask(Order::AddSecondary(node)), format!("{lack}; {node} {what}"))
    };
    if let Some(node) = view.adding {
        return add(node, "is learning");
    }
    let candidates = || view.candidates().filter(|node| !view.avoid.contains(&node.node));
    let with_data = candidates()
        .filter(|node| node.may_have_data(view.dropped))
        .max_by_key(|node| (node.progress(), std::cmp::Reverse((node.replicas, node.node))));
    if let Some(node) = with_data {
        return add(node.node, "is added again, it has data");
    }
    if let Some((node, until)) = view.expected_back().filter(|_| members >= view.enough) {
        return decision(Action::Wait(until), format!("{lack}; waits for {node} to return"));
    }
    match new_member(view) {
        Ok(node) => add(node, "is added"),
        Err((action, why)) => decision(action, format!("{lack}; {why}")),
    }
}

/// Who begins with nothing: the least loaded; or what is waited for.
fn new_member(view: &View<'_>) -> Result<NodeId, (Action, String)> {
    if let Some(why) = &view.no_copies {
        return Err((Action::NeedsNode, why.clone()));
    }
    let stable = view.candidates().filter(|node| node.unstable_until.is_none());
    let least_loaded = stable.min_by_key(|node| (view.avoid.contains(&node.node), node.replicas, node.node));
    if let Some(node) = least_loaded {
        return Ok(node.node);
    }
    let others = view.nodes.iter().filter(|node| !view.configuration.is_member(node.node) && node.has_room());
    match others.filter_map(|node| Some((node.unstable_until?, node.node))).min() {
        Some((until, node)) => {
            let why = format!("{node} starts again and again, and is added once it has run for a while");
            Err((Action::Wait(until), why))
        }
        None => Err((Action::NeedsNode, "no other live node can be added".to_owned())),
    }
}

fn all_is_well(view: &View<'_>) -> Option<(Action, String)> {
    let absent = view.configuration.secondaries.iter().filter(|&&node| !view.is_alive(node)).count();
    let reason = match absent {
        0 => "healthy".to_owned(),
        _ => format!("{absent} of {} members not heard", view.configuration.len()),
    };
    decision(Action::Nothing, reason)
}

/// Whose replicas are not needed any more: broken ones that are no member's, and all that is left over once
/// every replica that there should be is there and healthy (§4.7).
pub(crate) fn collectable(view: &View<'_>) -> Vec<NodeId> {
    let primary = view.primary().filter(|node| node.serves_as(RoleName::Primary, view));
    let Some(primary) = primary.filter(|_| view.level >= Level::Steady) else {
        return vec![];
    };
    let healthy = view.configuration.len() >= view.replica_count
        && view
            .configuration
            .secondaries
            .iter()
            .all(|&node| view.node(node).is_some_and(|node| node.serves_as(RoleName::Secondary, view)));
    let wanted = |node: NodeId| {
        view.configuration.is_member(node)
            || view.adding == Some(node)
            || view.learners.contains(&node)
            || view.goal == Some(Goal::Member(node))
    };
    assert!(wanted(primary.node), "a primary is a member");
    let over = |node: &&NodeView| match node.replica {
        Replica::Held { role: RoleName::Error, .. } => true,
        Replica::Held { role: RoleName::Inactive, .. } => healthy,
        _ => false,
    };
    view.nodes.iter().filter(over).map(|node| node.node).filter(|&node| !wanted(node)).collect()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing, until something changes"),
            Self::Wait(_) => write!(f, "wait, until the time is up or a node comes"),
            Self::NeedsNode => write!(f, "wait for another node"),
            Self::Set(configuration) => write!(f, "make {configuration} the next configuration"),
            Self::Ask(Order::AddSecondary(node)) => write!(f, "ask the primary to add {node}"),
            Self::Ask(Order::Remove(node)) => write!(f, "ask the primary to remove {node}"),
            Self::Ask(Order::HandOver(node)) => write!(f, "ask the primary to hand over to {node}"),
        }
    }
}

impl View<'_> {
    /// What is seen of a node.
    pub(crate) fn node(&self, node: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|view| view.node == node)
    }

    /// The primary, if there is a configuration.
    pub(crate) fn primary(&self) -> Option<&NodeView> {
        self.configuration.primary.and_then(|node| self.node(node))
    }

    /// Whether a node is alive.
    pub(crate) fn is_alive(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|node| node.standing == Standing::Alive)
    }

    /// Whether the primary is known to lead under the committed ballot.
    pub(crate) fn primary_leads(&self) -> bool {
        self.primary().is_some_and(|node| node.serves_as(RoleName::Primary, self))
    }

    /// Whether nothing has to be done for it, and all of its members are there. What they reported last may be of
    /// an earlier ballot.
    pub(crate) fn is_settled(&self, action: &Action) -> bool {
        let is_there = |node: NodeId| {
            self.node(node).is_some_and(|node| node.standing == Standing::Alive && node.why_lost().is_none())
        };
        matches!(action, Action::Nothing | Action::NeedsNode)
            && self.goal.is_none()
            && self.adding.is_none()
            && !self.configuration.is_empty()
            && self.configuration.members().all(is_there)
    }

    /// Nodes that can take a replica of this partition.
    fn candidates(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| node.can_join() && !self.configuration.is_member(node.node))
    }

    /// The member that left last and may still return, and until when it is waited for.
    fn expected_back(&self) -> Option<(NodeId, Time)> {
        let until = |(&node, &since): (&NodeId, &Time)| (node, since + self.replica_assign_delay);
        self.dropped
            .iter()
            .map(until)
            .filter(|&(node, until)| {
                until > self.now
                    && self.node(node).is_some_and(|node| !node.replaced && node.standing != Standing::Alive)
            })
            .max_by_key(|&(node, until)| (until, node))
    }
}

impl NodeView {
    /// Why the replica of a member can't be counted on any more, if so.
    pub(crate) fn why_lost(&self) -> Option<String> {
        match (self.standing, self.replica) {
            (Standing::Dead(_), _) => Some(format!("{} is dead", self.node)),
            (_, Replica::Held { role: RoleName::Error, .. }) => {
                Some(format!("the replica on {} can't be trusted", self.node))
            }
            (_, Replica::Absent) => Some(format!("{} has no replica", self.node)),
            _ => None,
        }
    }

    /// Whether it can take over. Not before it has reported: the others leave with that step, and what if its
    /// replica turns out to be broken?
    fn can_lead(&self) -> bool {
        self.standing == Standing::Alive
            && matches!(self.replica, Replica::Held { role, .. } if role != RoleName::Error)
    }

    /// How far the replica is.
    pub(crate) fn progress(&self) -> (Ballot, Decree) {
        match self.replica {
            Replica::Held { ballot, last_prepared, .. } => (ballot, last_prepared),
            _ => <(Ballot, Decree)>::default(),
        }
    }

    /// Whether it can take a replica. One that starts again and again may catch up with what it missed, but a whole
    /// copy would be made in vain.
    pub(crate) fn can_join(&self) -> bool {
        self.has_room() && (self.unstable_until.is_none() || self.replica != Replica::Absent)
    }

    /// ... once it is stable. On a disk that is almost full there is room for what a replica missed, not for another
    /// one.
    fn has_room(&self) -> bool {
        let has_room = !self.disk_is_low || matches!(self.replica, Replica::Held { .. });
        self.is_fit() && has_room && !self.black_listed && !self.drained
    }

    /// Whether it can be given something to do. A broken replica has to be collected first.
    pub(crate) fn is_fit(&self) -> bool {
        let broken = matches!(self.replica, Replica::Held { role: RoleName::Error, .. });
        self.standing == Standing::Alive && !self.leaving && !broken
    }

    pub(crate) fn may_have_data(&self, dropped: &BTreeMap<NodeId, Time>) -> bool {
        match self.replica {
            Replica::Held { .. } => true,
            Replica::Unknown => dropped.contains_key(&self.node),
            Replica::Absent => false,
        }
    }

    fn serves_as(&self, wanted: RoleName, view: &View<'_>) -> bool {
        let as_wanted = |role, ballot| role == wanted && ballot == view.configuration.ballot;
        self.standing == Standing::Alive
            && matches!(self.replica, Replica::Held { role, ballot, .. } if as_wanted(role, ballot))
    }
}

#[cfg(test)]
mod tests;
