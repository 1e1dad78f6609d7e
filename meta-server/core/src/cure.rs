//! Carrying out what the guardian decides.

use std::collections::{BTreeSet, VecDeque};

use words::{AppInfo, Ballot, Command as Order, Gpid, MetaToNode, NodeId, ReplicaReport, RoleName, Time};

use crate::guardian::{Action, Decision, NodeView, Replica, View, collectable, decide};
use crate::nodes::Node;
use crate::partition::{Adding, Asked, Partition};
use crate::plan::{Goal, Progress};
use crate::{MetaCore, MetaOutput};

impl MetaCore {
    /// Looks at one partition and does what has to be done.
    pub(crate) fn cure(&mut self, now: Time, gpid: Gpid, out: &mut MetaOutput) {
        let Some(mut partition) = self.partitions.remove(&gpid) else { return };
        if let Some(wake) = partition.wake.take() {
            self.timers.remove(&(wake, gpid));
        }
        if let Some(app) = self.state.app_of(gpid).filter(|_| partition.pending.is_none()).cloned() {
            self.cure_open(now, gpid, &app, &mut partition, out);
        }
        if let Some(wake) = partition.wake {
            self.timers.insert((wake, gpid));
        }
        if self.state.app_of(gpid).is_none() {
            self.unsettled.remove(&gpid);
        }
        let is_open = partition.pending.is_none() && partition.plan.is_empty();
        self.partitions.insert(gpid, partition);
        if is_open {
            self.balancer.looked_at(now, gpid);
        }
    }

    /// ... one whose configuration is not just changing.
    fn cure_open(
        &mut self,
        now: Time,
        gpid: Gpid,
        app: &AppInfo,
        partition: &mut Partition,
        out: &mut MetaOutput,
    ) {
        let was_adding = partition.adding.as_ref().map(|adding| adding.node);
        let mut plan = std::mem::take(&mut partition.plan);
        let mut adding = partition.adding.take();
        let goal_before = plan.front().copied();

        let mut view = match plan.is_empty() && adding.is_none() {
            true => self.view_of_members(now, gpid, app, partition),
            false => self.view(now, gpid, app, partition),
        };
        settle_plan(&mut plan, &view);
        view.goal = plan.front().copied();
        let adding_until = self.settle_adding(&mut adding, &mut plan, &mut view, partition);
        view.adding = adding.as_ref().map(|adding| adding.node);
        let decision = decide(&view);
        let collectable = collectable(&view);
        let is_settled = view.is_settled(&decision.action);
        let ballot = view.configuration.ballot;
        let primary = view.configuration.primary.filter(|&node| view.is_alive(node));
        let remind = primary.filter(|_| !view.primary_leads());
        partition.avoid = view.avoid;

        if is_settled {
            self.unsettled.remove(&gpid);
        } else {
            self.unsettled.insert(gpid);
        }
        if let (Action::Ask(Order::AddSecondary(node)), None) = (&decision.action, &adding) {
            adding = Some(Adding::new(*node, ballot, now));
        }
        self.now_adding(gpid, was_adding, adding.as_ref().map(|adding| adding.node));
        partition.adding = adding;
        if plan.front().copied() != goal_before {
            partition.goal_since = now;
        }
        partition.plan = plan;
        self.limit_goal(now, partition);
        if let Some(until) = adding_until {
            partition.wake_at(until);
        }
        partition.decide(&decision, now);
        if let Some(node) = remind {
            self.remind(now, gpid, partition, node, ballot, out);
        }
        for node in collectable {
            self.collect_now_and_then(now, gpid, partition, node, out);
        }
        self.act(now, gpid, partition, decision, primary, out);
    }

    fn act(
        &mut self,
        now: Time,
        gpid: Gpid,
        partition: &mut Partition,
        Decision { rule, action, reason }: Decision,
        primary: Option<NodeId>,
        out: &mut MetaOutput,
    ) {
        self.starving.remove(&gpid);
        match action {
            Action::Nothing => {}
            Action::Wait(until) => {
                partition.wake_at(until);
                self.starving.insert(gpid);
            }
            Action::NeedsNode => {
                self.starving.insert(gpid);
            }
            Action::Set(configuration) => {
                let cause = format!("guardian, {rule}: {reason}");
                self.reconfigure(gpid, partition, configuration, cause, out);
            }
            Action::Ask(order) => {
                let primary = primary.expect("only a live primary is asked");
                self.ask(now, gpid, partition, primary, order, out);
            }
        }
    }

    /// Asks the primary, and asks again until it is done; a request for another ballot is a new one. Soon at first
    /// (a primary that has just become one is not ready for it yet, §4.5), then more and more rarely.
    fn ask(
        &mut self,
        now: Time,
        gpid: Gpid,
        partition: &mut Partition,
        primary: NodeId,
        order: Order,
        out: &mut MetaOutput,
    ) {
        let ballot = self.state.configuration(gpid).expect("a partition has a configuration").ballot;
        let longest = self.settings.ask_again;
        let pause = match partition.asked.filter(|asked| (asked.order, asked.ballot) == (order, ballot)) {
            Some(asked) if asked.again_at > now => return partition.wake_at(asked.again_at),
            Some(asked) => longest.min(asked.pause * 2),
            None => longest / 8,
        };
        let again_at = now + pause;
        partition.asked = Some(Asked { order, ballot, again_at, pause });
        partition.wake_at(again_at);
        if let Some(session) = self.nodes.session_of(primary) {
            out.send.push((session, MetaToNode::Command { gpid, ballot, command: order }));
        }
    }

    /// The primary does not report that it leads: the message that says so may be lost.
    fn remind(
        &mut self,
        now: Time,
        gpid: Gpid,
        partition: &mut Partition,
        primary: NodeId,
        ballot: Ballot,
        out: &mut MetaOutput,
    ) {
        if partition.was_told(primary, ballot, now, self.settings.ask_again) {
            partition.wake_at(partition.told[&primary].1 + self.settings.ask_again);
            return;
        }
        partition.told.insert(primary, (ballot, now));
        partition.wake_at(now + self.settings.ask_again);
        self.send_configuration(gpid, primary, out);
    }

    fn collect_now_and_then(
        &mut self,
        now: Time,
        gpid: Gpid,
        partition: &mut Partition,
        node: NodeId,
        out: &mut MetaOutput,
    ) {
        let due = partition.collected.get(&node).map_or(now, |&at| at + self.settings.ask_again);
        if due <= now {
            partition.collected.insert(node, now);
            self.collect(gpid, node, out);
        }
        partition.wake_at(due.max(now + self.settings.ask_again));
    }

    /// An operator's goal that is not reached for long is dropped; the guardian decides anew. Learning has its
    /// own limit.
    fn limit_goal(&mut self, now: Time, partition: &mut Partition) {
        if !matches!(partition.plan.front(), Some(Goal::Primary(_) | Goal::Gone(_))) {
            return;
        }
        let until = partition.goal_since + self.settings.learn_timeout;
        if until <= now {
            partition.plan.clear();
        }
        partition.wake_at(until.max(now + self.settings.ask_again));
    }

    /// Who is being added: the node that an operator wants, or who was chosen before and still makes progress, or
    /// whom the primary is teaching anyway. Returns until when it is waited for.
    fn settle_adding(
        &self,
        adding: &mut Option<Adding>,
        plan: &mut VecDeque<Goal>,
        view: &mut View<'_>,
        partition: &Partition,
    ) -> Option<Time> {
        let ballot = view.configuration.ballot;
        let wanted = match view.goal {
            Some(Goal::Member(node)) => Some(node),
            _ if view.configuration.len() >= view.replica_count => None,
            _ => {
                let chosen = adding.as_ref().map(|adding| adding.node);
                chosen.into_iter().chain(view.learners.iter().copied()).find(|&node| {
                    view.goal != Some(Goal::Gone(node))
                        && !view.configuration.is_member(node)
                        && view.node(node).is_some_and(NodeView::can_join)
                })
            }
        };
        let Some(node) = wanted else {
            *adding = None;
            return None;
        };
        let current = adding.take().filter(|adding| adding.node == node);
        let mut current = current.unwrap_or_else(|| Adding::new(node, ballot, view.now));
        let report = |node: NodeId| partition.reports.get(&node);
        let primary = view.configuration.primary.and_then(report);
        let until = current.observe(ballot, primary, report(node), self.settings.learn_timeout, view.now);
        if until.is_none_or(|until| until <= view.now) {
            view.avoid.insert(node);
            if view.goal == Some(Goal::Member(node)) {
                plan.clear();
                view.goal = None;
            }
            return None;
        }
        *adding = Some(current);
        until
    }

    fn now_adding(&mut self, gpid: Gpid, before: Option<NodeId>, after: Option<NodeId>) {
        if before == after {
            return;
        }
        if let Some(entry) = before.and_then(|node| self.nodes.get_mut(node)) {
            entry.joining.remove(&gpid);
        }
        if let Some(entry) = after.and_then(|node| self.nodes.get_mut(node)) {
            entry.joining.insert(gpid);
        }
    }

    /// What the guardian looks at where nobody has to be added: those who have, or had, to do with the partition.
    /// With a thousand nodes and a hundred thousand partitions most looks are of this kind, and most nodes strangers.
    fn view_of_members<'a>(
        &'a self,
        now: Time,
        gpid: Gpid,
        app: &AppInfo,
        partition: &'a Partition,
    ) -> View<'a> {
        let configuration = self.state.configuration(gpid).expect("a partition has a configuration");
        if configuration.len() < app.replica_count as usize {
            return self.view(now, gpid, app, partition);
        }
        let learners = partition.learners(configuration.primary, configuration.ballot).iter().copied();
        let others = partition.reports.keys().chain(partition.dropped.keys()).copied().chain(learners);
        let concerned: BTreeSet<NodeId> = configuration.members().chain(others).collect();
        let nodes = concerned.into_iter().filter_map(|node| Some((node, self.nodes.get(node)?)));
        self.view_of(nodes, now, gpid, app, partition)
    }

    /// What the guardian looks at.
    pub(crate) fn view<'a>(
        &'a self,
        now: Time,
        gpid: Gpid,
        app: &AppInfo,
        partition: &'a Partition,
    ) -> View<'a> {
        self.view_of(self.nodes.iter(), now, gpid, app, partition)
    }

    fn view_of<'a, 'n>(
        &'a self,
        nodes: impl Iterator<Item = (NodeId, &'n Node)>,
        now: Time,
        gpid: Gpid,
        app: &AppInfo,
        partition: &'a Partition,
    ) -> View<'a> {
        let configuration = self.state.configuration(gpid).expect("a partition has a configuration");
        let known = nodes.filter(|&(node, _)| self.state.node(node).is_some());
        let replica_count = app.replica_count as usize;
        // It goes through all nodes, which only a copy is worth.
        let wants_copies = configuration.len() < replica_count;
        View {
            now,
            gpid,
            level: self.state.level(),
            no_copies: wants_copies.then(|| self.too_few_alive()).flatten(),
            replica_count,
            enough: self.settings.mutation_2pc_min_replica_count.min(replica_count),
            replica_assign_delay: self.settings.replica_assign_delay,
            more_may_come: self.nodes.last_arrival() + self.settings.failure_timeout,
            configuration,
            nodes: known.map(|(node, entry)| self.node_view(now, node, entry, partition)).collect(),
            goal: None,
            goal_by: &partition.plan_by,
            adding: None,
            learners: partition.learners(configuration.primary, configuration.ballot),
            dropped: &partition.dropped,
            avoid: partition.avoid.clone(),
        }
    }

    fn node_view(&self, now: Time, node: NodeId, entry: &Node, partition: &Partition) -> NodeView {
        let settled = partition.changed + self.settings.ask_again;
        let replica = match (entry.reported, partition.reports.get(&node)) {
            (None, _) => Replica::Unknown,
            (Some(_), Some(report)) => Replica::of(report),
            // A report may have been on its way when the replica came to be.
            (Some(reported), None) if reported < settled => Replica::Unknown,
            (Some(_), None) => Replica::Absent,
        };
        NodeView {
            node,
            standing: entry.standing(),
            leaving: entry.leaving,
            replaced: entry.replaced,
            disk_is_low: entry.disk.is_low,
            unstable_until: entry.unstable_until(&self.settings, now),
            black_listed: self.state.is_black_listed(node),
            drained: self.state.is_drained(node),
            replica,
            primaries: entry.leads.len(),
            replicas: entry.member_of.len() + entry.joining.len(),
        }
    }
}

/// Reached goals are done with; one that can't be reached any more ends the plan.
fn settle_plan(plan: &mut VecDeque<Goal>, view: &View<'_>) {
    // A goal that needs a live primary is not lost while there is none.
    while let Some(goal) = plan.front() {
        match goal.progress(view) {
            Progress::Reached => {
                plan.pop_front();
            }
            Progress::Open => return,
            Progress::Lost => plan.clear(),
        }
    }
}

impl Replica {
    fn of(report: &ReplicaReport) -> Self {
        Self::Held { role: report.role, ballot: report.ballot, last_prepared: report.last_prepared }
    }
}

impl Partition {
    /// Who learns from the primary under this ballot, as it last reported.
    pub(crate) fn learners(&self, primary: Option<NodeId>, ballot: Ballot) -> &[NodeId] {
        let report = primary.and_then(|node| self.reports.get(&node));
        let leads = |report: &&ReplicaReport| report.role == RoleName::Primary && report.ballot == ballot;
        report.filter(leads).map_or(&[], |report| &report.learners)
    }
}
