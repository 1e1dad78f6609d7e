//! Who is alive: sessions, lives, beacons and silence (§5.6). Volatile; nodes beacon again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use words::{Configuration, DiskSpace, Gpid, Life, NodeAddress, NodeId, Time};

use crate::guardian::Standing;
use crate::{MetaSettings, SessionId};

/// One node, as seen since the meta server started.
#[derive(Debug)]
pub(crate) struct Node {
    /// The highest life that it named.
    pub(crate) life: Life,
    /// When that was first heard.
    started: Time,
    /// How often in a row it started again before it had run for long.
    unstable_restarts: u32,
    /// Its newest session, if that is open.
    pub(crate) session: Option<SessionId>,
    /// When it was last heard.
    pub(crate) heard: Time,
    /// When it reported all of its replicas, in this session.
    pub(crate) reported: Option<Time>,
    /// It is stopping.
    pub(crate) leaving: bool,
    /// Another node has its address now.
    pub(crate) replaced: bool,
    /// What is being made durable about it.
    pub(crate) registering: Option<NodeAddress>,
    /// The file system of its data directory.
    pub(crate) disk: DiskSpace,
    /// Partitions in whose configuration it is, committed or about to be.
    pub(crate) member_of: BTreeSet<Gpid>,
    /// Those of them that it leads.
    pub(crate) leads: BTreeSet<Gpid>,
    /// Partitions to which it is being added.
    pub(crate) joining: BTreeSet<Gpid>,
    /// Partitions of which it reported a replica.
    pub(crate) holds: BTreeSet<Gpid>,
    presence: Presence,
    /// When it died it was a member of something.
    was_missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Alive,
    Suspected { until: Time },
    Dead { since: Time },
}

/// What a beacon says about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beacon {
    /// It came by a session that is not the node's newest, or from an earlier life.
    Old,
    /// The node's session begins, or it is heard again after having been taken for dead.
    Begins,
    /// The node changed its mind about leaving.
    Leaving,
    /// Nothing new.
    Usual,
}

impl Node {
    fn new(presence: Presence, heard: Time) -> Self {
        Self {
            life: Life::default(),
            started: heard,
            unstable_restarts: 0,
            session: None,
            heard,
            reported: None,
            leaving: false,
            replaced: false,
            registering: None,
            disk: DiskSpace::default(),
            member_of: BTreeSet::new(),
            leads: BTreeSet::new(),
            joining: BTreeSet::new(),
            holds: BTreeSet::new(),
            presence,
            was_missed: false,
        }
    }

    fn dies(&mut self, now: Time) {
        self.presence = Presence::Dead { since: now };
        self.was_missed = !self.member_of.is_empty();
    }

    /// Whether it can be counted on.
    pub(crate) fn standing(&self) -> Standing {
        match self.presence {
            Presence::Alive => Standing::Alive,
            Presence::Suspected { .. } => Standing::Suspected,
            Presence::Dead { since } => Standing::Dead(since),
        }
    }

    /// Until when it has to run before it is given anything new, if it starts again and again.
    pub(crate) fn unstable_until(&self, settings: &MetaSettings, now: Time) -> Option<Time> {
        let stable = self.started + settings.stable_rs_min_running;
        let is_unstable = self.unstable_restarts >= settings.max_successive_unstable_restart;
        (is_unstable && stable > now).then_some(stable)
    }

    /// A beacon names a life: a new one is a start.
    fn lives(&mut self, life: Life, stable_after: Duration, now: Time) {
        // Of what was before the meta server came nothing is known.
        let is_known = self.life != Life::default();
        if is_known && life > self.life {
            let was_stable = now.since(self.started) >= stable_after;
            self.unstable_restarts = if was_stable { 0 } else { self.unstable_restarts + 1 };
        }
        if life != self.life {
            self.started = now;
        }
        self.life = life;
    }

    /// Partitions that have to do with it.
    pub(crate) fn partitions(&self) -> BTreeSet<Gpid> {
        self.member_of.iter().chain(&self.joining).chain(&self.holds).copied().collect()
    }

    /// When it will be dead if nothing is heard of it.
    fn deadline(&self, failure_timeout: Duration) -> Time {
        match self.presence {
            Presence::Alive => self.heard + failure_timeout,
            Presence::Suspected { until } => until,
            Presence::Dead { .. } => Time::NEVER,
        }
    }
}

/// All nodes, and the sessions that they came by.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    /// Each open session, and whose it is once its first beacon arrived.
    sessions: BTreeMap<SessionId, Option<NodeId>>,
    last_arrival: Time,
    failure_timeout: Duration,
    reconnect_grace: Duration,
    stable_after: Duration,
}

impl Nodes {
    /// Every node known has a fresh grace: the meta server has just started and heard nobody yet.
    pub(crate) fn new(known: impl Iterator<Item = NodeId>, settings: &MetaSettings, now: Time) -> Self {
        let suspected = Presence::Suspected { until: now + settings.failure_timeout };
        let nodes = known.map(|node| (node, Node::new(suspected, now))).collect();
        Self {
            nodes,
            sessions: BTreeMap::new(),
            last_arrival: now,
            failure_timeout: settings.failure_timeout,
            reconnect_grace: settings.reconnect_grace,
            stable_after: settings.stable_rs_min_running,
        }
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(&node, entry)| (node, entry))
    }

    /// Sessions of live nodes.
    pub(crate) fn live_sessions(&self) -> impl Iterator<Item = SessionId> {
        self.nodes.values().filter_map(Node::live_session)
    }

    /// The session of a live node.
    pub(crate) fn session_of(&self, node: NodeId) -> Option<SessionId> {
        self.nodes.get(&node).and_then(Node::live_session)
    }

    /// Whose newest session this is.
    pub(crate) fn node_of(&self, session: SessionId) -> Option<NodeId> {
        let node = (*self.sessions.get(&session)?)?;
        (self.nodes.get(&node)?.session == Some(session)).then_some(node)
    }

    pub(crate) fn opened(&mut self, session: SessionId) {
        self.sessions.insert(session, None);
    }

    /// A session is gone. Returns the node that has none any more: it is suspected at once, and dead at once if
    /// it had said that it is leaving.
    pub(crate) fn closed(&mut self, session: SessionId, now: Time) -> Option<NodeId> {
        let node = self.node_of(session);
        self.sessions.remove(&session);
        let entry = self.nodes.get_mut(&node?)?;
        entry.session = None;
        entry.reported = None;
        if entry.presence == Presence::Alive {
            match entry.leaving {
                true => entry.dies(now),
                false => entry.presence = Presence::Suspected { until: now + self.reconnect_grace },
            }
        }
        node
    }

    /// A beacon arrived.
    pub(crate) fn beacon(
        &mut self,
        session: SessionId,
        node: NodeId,
        life: Life,
        leaving: bool,
        now: Time,
    ) -> Beacon {
        let nobody_is_alive = self.nodes.values().all(|entry| entry.presence != Presence::Alive);
        let Some(whose) = self.sessions.get_mut(&session) else { return Beacon::Old };
        if whose.is_some_and(|whose| whose != node) {
            return Beacon::Old;
        }
        let entry = self.nodes.entry(node).or_insert_with(|| Node::new(Presence::Dead { since: now }, now));
        let newer_session = entry.session.is_some_and(|newest| newest > session);
        if life < entry.life || (life == entry.life && newer_session) {
            return Beacon::Old;
        }
        *whose = Some(node);
        let begins = entry.session != Some(session) || entry.presence != Presence::Alive;
        let changed = entry.leaving != leaving;
        if begins {
            entry.reported = None;
            self.last_arrival = now;
        }
        entry.session = Some(session);
        entry.lives(life, self.stable_after, now);
        entry.heard = now;
        entry.leaving = leaving;
        entry.replaced = false;
        entry.presence = Presence::Alive;
        if begins && nobody_is_alive {
            self.expect_others(now);
        }
        match (begins, changed) {
            (true, _) => Beacon::Begins,
            (false, true) => Beacon::Leaving,
            (false, false) => Beacon::Usual,
        }
    }

    /// What a node says of its disk, by its newest session. Returns the node if it has become low or well again.
    pub(crate) fn measured(&mut self, session: SessionId, disk: DiskSpace) -> Option<NodeId> {
        let node = self.node_of(session)?;
        let before = std::mem::replace(&mut self.nodes.get_mut(&node)?.disk, disk);
        (before.is_low != disk.is_low).then_some(node)
    }

    /// The first node is heard after a time in which none was: more likely the meta server was cut off than all of
    /// them, so those that fell silent together get the grace that they have at its start. Or else a primary whose
    /// connection takes a moment longer would be replaced for nothing. At its start, too, the grace counts from here:
    /// until somebody is heard nothing shows that this meta server can be reached, and on a machine that has too much
    /// to do that takes a while.
    fn expect_others(&mut self, now: Time) {
        let until = now + self.failure_timeout;
        let others = || self.nodes.values().filter(|entry| entry.presence != Presence::Alive);
        let fell_silent = others().map(|entry| entry.heard).max().unwrap_or(now);
        for entry in self.nodes.values_mut() {
            if let Presence::Suspected { until: earlier } = &mut entry.presence {
                *earlier = (*earlier).max(until);
            }
            let together = entry.heard + self.failure_timeout >= fell_silent;
            if matches!(entry.presence, Presence::Dead { .. })
                && together
                && !entry.leaving
                && !entry.replaced
            {
                entry.presence = Presence::Suspected { until };
            }
        }
    }

    /// A node has the address of others: those will not be back, and are dead at once. Returns who is new to
    /// that.
    pub(crate) fn replaces(&mut self, node: NodeId, others: &[NodeId], now: Time) -> Vec<NodeId> {
        assert!(!others.contains(&node), "a node does not replace itself");
        let mut gone = vec![];
        for other in others {
            let is_gone = |entry: &&mut Node| entry.session.is_none() && !entry.replaced;
            let Some(entry) = self.nodes.get_mut(other).filter(is_gone) else { continue };
            entry.replaced = true;
            if !matches!(entry.presence, Presence::Dead { .. }) {
                entry.dies(now);
            }
            gone.push(*other);
        }
        gone
    }

    /// Who has been silent, or without a session, for too long.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<NodeId> {
        let timeout = self.failure_timeout;
        let overdue = self.nodes.iter_mut().filter(|(_, entry)| entry.deadline(timeout) <= now);
        overdue
            .map(|(&node, entry)| {
                entry.dies(now);
                node
            })
            .collect()
    }

    /// The meta server itself was away: nobody's silence counts (PITFALLS 12).
    pub(crate) fn grace(&mut self, now: Time) {
        for entry in self.nodes.values_mut() {
            entry.heard = now;
            if let Presence::Suspected { until } = &mut entry.presence {
                *until = now + self.failure_timeout;
            }
        }
    }

    /// A node is forgotten, unless it has come back meanwhile.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.nodes.retain(|&other, entry| other != node || entry.session.is_some());
    }

    /// How many nodes are heard, and how many died after that time that were missed.
    pub(crate) fn heard_of(&self, after: Time) -> (usize, usize) {
        let alive = self.nodes.values().filter(|entry| entry.presence == Presence::Alive).count();
        let lost = |entry: &&Node| match entry.presence {
            Presence::Dead { since } => since > after && !entry.replaced && entry.was_missed,
            Presence::Alive | Presence::Suspected { .. } => false,
        };
        (alive, self.nodes.values().filter(lost).count())
    }

    /// When a node was last heard that was not there before.
    pub(crate) fn last_arrival(&self) -> Time {
        self.last_arrival
    }

    /// When the next node is dead if nothing is heard.
    pub(crate) fn deadline(&self) -> Time {
        self.nodes.values().map(|entry| entry.deadline(self.failure_timeout)).min().unwrap_or(Time::NEVER)
    }

    /// Keeps `member_of` and `leads` in step with a configuration that changes.
    pub(crate) fn reconfigured(&mut self, gpid: Gpid, before: &Configuration, after: &Configuration) {
        for node in before.members() {
            if let Some(entry) = self.nodes.get_mut(&node) {
                entry.member_of.remove(&gpid);
                entry.leads.remove(&gpid);
            }
        }
        for node in after.members() {
            if let Some(entry) = self.nodes.get_mut(&node) {
                entry.member_of.insert(gpid);
            }
        }
        if let Some(entry) = after.primary.and_then(|node| self.nodes.get_mut(&node)) {
            entry.leads.insert(gpid);
        }
    }
}

impl Node {
    fn live_session(&self) -> Option<SessionId> {
        self.session.filter(|_| self.presence == Presence::Alive)
    }
}
