//! What operators ask for. Each request is checked against the present state first, and each refusal says what
//! is wrong (rDSN's "validity of a proposal").

use std::cmp::Reverse;
use std::collections::VecDeque;

use words::{AppInfo, Gpid, NodeAddress, NodeId, Time};

use crate::first_app::FirstApp;
use crate::guardian::{Action, NodeView, Standing, View, decide};
use crate::plan::Goal;
use crate::{
    AdminRefusal, AdminReply, AdminRequest, AdminToken, BalanceKind, Command, Level, MetaCore, MetaOutput,
    ProposalKind, RefusalKind,
};

/// What a request comes down to.
enum Verdict {
    /// Goals for the guardian to reach.
    Plan(Vec<Goal>),
    /// The guardian's own decision is what is asked for: it acts at once.
    Cure,
}

pub(crate) type Checked<T> = Result<T, AdminRefusal>;

impl MetaCore {
    pub(crate) fn on_admin(
        &mut self,
        now: Time,
        token: AdminToken,
        request: AdminRequest,
        out: &mut MetaOutput,
    ) {
        if !self.level().allows(&request) {
            out.replies.push((token, AdminReply::Refused(level_forbids(self.level()))));
            return;
        }
        let reply = match request {
            AdminRequest::ListNodes => {
                AdminReply::Nodes { nodes: self.list_nodes(now), level: self.level_status() }
            }
            AdminRequest::ListApps { all } => {
                AdminReply::Apps { apps: self.list_apps(all), level: self.level_status() }
            }
            AdminRequest::Why { gpid } => match self.explain(now, gpid) {
                Ok(explanation) => AdminReply::Why(Box::new(explanation)),
                Err(refusal) => AdminReply::Refused(refusal),
            },
            AdminRequest::History { gpid, limit } => self.past(gpid, limit as usize),
            AdminRequest::GetLevel => AdminReply::Level(self.level_status()),
            AdminRequest::SetLevel { level } => {
                return self.commit(Command::SetLevel(level), Some(token), out);
            }
            AdminRequest::BlackList { node, listed } => match self.node_called(&node) {
                Ok(node) => return self.commit(Command::BlackList { node, listed }, Some(token), out),
                Err(refusal) => AdminReply::Refused(refusal),
            },
            AdminRequest::Drain { node, drained } => match self.node_called(&node) {
                Ok(node) => return self.commit(Command::Drain { node, drained }, Some(token), out),
                Err(refusal) => AdminReply::Refused(refusal),
            },
            AdminRequest::RemoveNode { node } => match self.check_removal(&node) {
                Ok(node) => return self.commit(Command::RemoveNode(node), Some(token), out),
                Err(refusal) => self.named(AdminReply::Refused(refusal)),
            },
            AdminRequest::BalancePlan => AdminReply::BalancePlan(self.balance_plan()),
            AdminRequest::BalancerStatus => AdminReply::Balancer(self.balancer_status()),
            AdminRequest::DescribeApp { name } => match self.describe_app(&name) {
                Some(app) => AdminReply::App(app),
                None => {
                    AdminReply::refused(RefusalKind::NotFound, crate::Refused::NoSuchApp(name).to_string())
                }
            },
            AdminRequest::CreateApp { name, app_type, partition_count, replica_count } => {
                match self.check_creation(&app_type) {
                    Ok(()) => {
                        let create = Command::CreateApp { name, app_type, partition_count, replica_count };
                        return self.commit(create, Some(token), out);
                    }
                    Err(refusal) => AdminReply::Refused(refusal),
                }
            }
            AdminRequest::CreateFirstApp { name, app_type, partition_count, replica_count } => {
                let create = Command::CreateApp { name, app_type, partition_count, replica_count };
                self.first_app = Some(FirstApp { create, nodes: replica_count as usize, token });
                return;
            }
            AdminRequest::DropApp { name, hold_seconds } => {
                let hold_seconds = hold_seconds.unwrap_or(self.settings.hold_seconds_for_dropped_app);
                return self.commit(Command::DropApp { name, hold_seconds }, Some(token), out);
            }
            AdminRequest::RecallApp { id, new_name } => {
                return self.commit(Command::RecallApp { id, new_name }, Some(token), out);
            }
            AdminRequest::RenameApp { name, new_name } => {
                return self.commit(Command::RenameApp { name, new_name }, Some(token), out);
            }
            AdminRequest::ChangeEnvs { name, change } => {
                return self.commit(Command::ChangeEnvs { name, change }, Some(token), out);
            }
            AdminRequest::SetReplicaCount { name, count } => {
                return self.commit(Command::SetReplicaCount { name, count }, Some(token), out);
            }
            AdminRequest::AcceptLoss { gpid, node, others_are_stopped } => {
                match self.check_loss(now, gpid, &node, others_are_stopped) {
                    Ok((configuration, cause)) => {
                        return self.accept_loss(gpid, configuration, cause, token, out);
                    }
                    Err(refusal) => self.named(AdminReply::Refused(refusal)),
                }
            }
            AdminRequest::PlanRecovery { leave_out } => match self.plan_recovery(&leave_out) {
                Ok(plan) => AdminReply::Recovery(plan),
                Err(refusal) => AdminReply::Refused(refusal),
            },
            AdminRequest::Recover { leave_out, others_are_stopped } => {
                match self.check_recovery(&leave_out, others_are_stopped) {
                    Ok(command) => return self.commit(command, Some(token), out),
                    Err(refusal) => AdminReply::Refused(refusal),
                }
            }
            AdminRequest::Diagnose => AdminReply::Diagnosis(self.diagnose(now)),
            AdminRequest::Propose { gpid, kind, node } => {
                let verdict = self.check_proposal(now, gpid, kind, &node);
                let reply = self.take_up(now, gpid, verdict);
                self.named(reply)
            }
            AdminRequest::Balance { gpid, kind, from, to } => {
                let verdict = self.check_balance(now, gpid, kind, &from, &to);
                let reply = self.take_up(now, gpid, verdict);
                self.named(reply)
            }
        };
        out.replies.push((token, reply));
    }

    fn check_creation(&self, app_type: &String) -> Checked<()> {
        self.check_no_strangers()?;
        if self.settings.app_types.contains(app_type) {
            return Ok(());
        }
        let known = self.settings.app_types.join(", ");
        let message = format!("unknown app type `{app_type}`; the replica servers host: {known}");
        Err(refusal(RefusalKind::InvalidArgument, message))
    }

    fn take_up(&mut self, now: Time, gpid: Gpid, verdict: Checked<Verdict>) -> AdminReply {
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(refusal) => return AdminReply::Refused(refusal),
        };
        self.dirty.insert(gpid);
        let Verdict::Plan(goals) = verdict else {
            return AdminReply::Accepted(format!("{gpid}: it becomes primary now"));
        };
        let steps: Vec<String> = goals.iter().map(Goal::to_string).collect();
        let partition = self.partitions.get_mut(&gpid).expect("it was just looked at");
        partition.plan = VecDeque::from(goals);
        partition.goal_since = now;
        "an operator".clone_into(&mut partition.plan_by);
        AdminReply::Accepted(format!("{gpid}: the primary is asked for {}", steps.join(", then for ")))
    }

    /// People know nodes by their names.
    fn named(&self, mut reply: AdminReply) -> AdminReply {
        if let AdminReply::Accepted(message) | AdminReply::Refused(AdminRefusal { message, .. }) = &mut reply
        {
            *message = self.state.with_names(message);
        }
        reply
    }

    /// The partition, if its app is there and no change of it is under way.
    pub(crate) fn partition_view(&self, now: Time, gpid: Gpid) -> Checked<(&AppInfo, View<'_>)> {
        let app = self.state.app_of(gpid).filter(|app| gpid.partition < app.partition_count);
        let app = app.ok_or_else(|| {
            refusal(RefusalKind::NotFound, crate::Refused::NoSuchPartition(gpid).to_string())
        })?;
        let partition = self.partitions.get(&gpid).expect("every partition is known");
        if partition.pending.is_some() {
            return Err(forbidden(format!("a change of {gpid} is under way; try again")));
        }
        Ok((app, self.view(now, gpid, app, partition)))
    }

    fn check_proposal(&self, now: Time, gpid: Gpid, kind: ProposalKind, node: &str) -> Checked<Verdict> {
        let (_, view) = self.partition_view(now, gpid)?;
        let target = self.resolve(node, &view)?;
        match kind {
            ProposalKind::AssignPrimary => assign_primary(&view, target),
            ProposalKind::UpgradeToPrimary => upgrade_to_primary(&view, target),
            ProposalKind::AddSecondary | ProposalKind::UpgradeToSecondary => {
                self.check_add(gpid, &view, target)?;
                Ok(Verdict::Plan(vec![Goal::Member(target.node)]))
            }
            ProposalKind::DowngradeToSecondary => {
                check_primary(&view, target)?;
                Ok(Verdict::Plan(vec![Goal::Primary(best_secondary(&view)?)]))
            }
            ProposalKind::DowngradeToInactive | ProposalKind::Remove => remove(&view, target),
        }
    }

    fn check_balance(
        &self,
        now: Time,
        gpid: Gpid,
        kind: BalanceKind,
        from: &str,
        to: &str,
    ) -> Checked<Verdict> {
        let (_, view) = self.partition_view(now, gpid)?;
        let from = self.resolve(from, &view)?;
        let to = self.resolve(to, &view)?;
        self.check_move(gpid, &view, kind, from, to).map(Verdict::Plan)
    }

    /// What has to be reached one after the other to make a move, if it can be made.
    pub(crate) fn check_move(
        &self,
        gpid: Gpid,
        view: &View<'_>,
        kind: BalanceKind,
        from: &NodeView,
        to: &NodeView,
    ) -> Checked<Vec<Goal>> {
        match kind {
            BalanceKind::MovePrimary => {
                check_primary(view, from)?;
                check_successor(view, to)?;
                Ok(vec![Goal::Primary(to.node)])
            }
            BalanceKind::CopyPrimary => {
                check_primary(view, from)?;
                self.check_add(gpid, view, to)?;
                Ok(vec![Goal::Member(to.node), Goal::Primary(to.node), Goal::Gone(from.node)])
            }
            BalanceKind::CopySecondary => {
                check_secondary(view, from)?;
                self.check_add(gpid, view, to)?;
                Ok(vec![Goal::Member(to.node), Goal::Gone(from.node)])
            }
        }
    }

    fn check_add(&self, gpid: Gpid, view: &View<'_>, target: &NodeView) -> Checked<()> {
        let node = target.node;
        if view.configuration.is_member(node) {
            return Err(forbidden(format!("{node} is a member already: {}", view.configuration)));
        }
        check_fit(target)?;
        if target.disk_is_low && !target.can_join() {
            return Err(forbidden(format!(
                "the disk of {node} is almost full; choose another node, or make room there"
            )));
        }
        if target.drained {
            return Err(forbidden(format!("{node} is being drained; `admin node undrain` ends that")));
        }
        if target.unstable_until.is_some() && !target.can_join() {
            return Err(forbidden(format!(
                "{node} starts again and again; look at its log, or choose another node"
            )));
        }
        if target.black_listed {
            return Err(forbidden(format!(
                "{node} is on the black list; `admin node black-list remove` takes it off"
            )));
        }
        live_primary(view)?;
        let adding = self.partitions[&gpid].adding.as_ref().map(|adding| adding.node);
        match adding.filter(|&other| other != node) {
            Some(other) => {
                Err(forbidden(format!("{other} is being added just now; wait for it or remove it first")))
            }
            None => Ok(()),
        }
    }

    /// The node of that name, address or id, as the partition sees it.
    pub(crate) fn resolve<'v>(&self, given: &str, view: &'v View<'_>) -> Checked<&'v NodeView> {
        let node = self.node_called(given)?;
        view.node(node).ok_or_else(|| no_such_node(given))
    }

    /// The node of that name, address or id; of several with one name, the one that is alive.
    pub(crate) fn node_called(&self, given: &str) -> Checked<NodeId> {
        let standing = |address: &&NodeAddress| {
            let entry = self.nodes.get(address.node);
            entry.map(|entry| (entry.standing() == Standing::Alive, !entry.replaced))
        };
        let meant = self.state.nodes().filter(|address| is_called(address, given)).max_by_key(standing);
        meant.map(|address| address.node).ok_or_else(|| no_such_node(given))
    }
}

/// Only where nobody leads; and then only somebody who surely has all that was acknowledged (§4.8).
fn assign_primary(view: &View<'_>, target: &NodeView) -> Checked<Verdict> {
    let node = target.node;
    check_fit(target)?;
    let Some(primary) = view.primary() else {
        return Err(forbidden(
            "the partition is new; a primary is chosen as soon as a node is there".to_owned(),
        ));
    };
    if !matches!(primary.standing, Standing::Dead(_)) {
        return Err(forbidden(format!(
            "{} is primary; use upgrade_to_primary to move that role to a secondary",
            primary.node
        )));
    }
    if !view.configuration.is_member(node) {
        return Err(forbidden(format!(
            "{node} is no member of {} and may miss acknowledged writes; a member must return with its data",
            view.configuration
        )));
    }
    match decide(view).action {
        Action::Set(next) if next.primary == Some(node) => Ok(Verdict::Cure),
        Action::Set(next) => {
            let better = next.primary.expect("a promotion names a primary");
            Err(forbidden(format!("{better} takes over just now, it has prepared more")))
        }
        _ => Err(forbidden(format!("{node} can't lead: {}", decide(view).reason))),
    }
}

fn upgrade_to_primary(view: &View<'_>, target: &NodeView) -> Checked<Verdict> {
    check_successor(view, target)?;
    Ok(Verdict::Plan(vec![Goal::Primary(target.node)]))
}

fn remove(view: &View<'_>, target: &NodeView) -> Checked<Verdict> {
    let node = target.node;
    let is_learning = view.learners.contains(&node);
    if !view.configuration.is_member(node) && !is_learning {
        return Err(forbidden(format!("{node} is no member of {} and does not learn", view.configuration)));
    }
    live_primary(view)?;
    if view.configuration.primary != Some(node) {
        return Ok(Verdict::Plan(vec![Goal::Gone(node)]));
    }
    Ok(Verdict::Plan(vec![Goal::Primary(best_secondary(view)?), Goal::Gone(node)]))
}

fn check_primary(view: &View<'_>, target: &NodeView) -> Checked<()> {
    if view.configuration.primary != Some(target.node) {
        return Err(forbidden(format!("{} is not the primary: {}", target.node, view.configuration)));
    }
    live_primary(view)
}

fn check_successor(view: &View<'_>, target: &NodeView) -> Checked<()> {
    let node = target.node;
    if view.configuration.primary == Some(node) {
        return Err(forbidden(format!("{node} is the primary already")));
    }
    check_secondary(view, target)?;
    check_fit(target)?;
    if target.disk_is_low {
        return Err(forbidden(format!(
            "the disk of {node} is almost full, so it would take no writes; choose another node, or make room there"
        )));
    }
    live_primary(view)
}

fn check_secondary(view: &View<'_>, target: &NodeView) -> Checked<()> {
    if view.configuration.secondaries.contains(&target.node) {
        return Ok(());
    }
    Err(forbidden(format!("{} is no secondary: {}", target.node, view.configuration)))
}

fn live_primary(view: &View<'_>) -> Checked<()> {
    match view.primary() {
        Some(primary) if primary.standing == Standing::Alive => Ok(()),
        Some(primary) => {
            Err(forbidden(format!("the primary, {}, is not alive; wait until it is replaced", primary.node)))
        }
        None => Err(forbidden("the partition has no primary yet; wait until one is chosen".to_owned())),
    }
}

/// Dead, leaving or broken nodes are given nothing to do.
pub(crate) fn check_fit(target: &NodeView) -> Checked<()> {
    let node = target.node;
    match target.standing {
        _ if target.is_fit() => Ok(()),
        Standing::Alive if target.leaving => {
            Err(forbidden(format!("{node} is stopping; choose another node")))
        }
        Standing::Alive => {
            Err(forbidden(format!("the replica on {node} can't be trusted; it is collected first")))
        }
        Standing::Suspected | Standing::Dead(_) => {
            Err(forbidden(format!("{node} is not alive; choose another node")))
        }
    }
}

/// Whom the primary's role goes to if nobody is named.
fn best_secondary(view: &View<'_>) -> Checked<NodeId> {
    let secondaries = view.configuration.secondaries.iter().filter_map(|&node| view.node(node));
    let best = secondaries
        .filter(|node| node.is_fit())
        .min_by_key(|node| (node.primaries, Reverse(node.progress()), node.node));
    best.map(|node| node.node)
        .ok_or_else(|| forbidden("no live secondary can take over; add one first (add_secondary)".to_owned()))
}

pub(crate) fn refusal(kind: RefusalKind, message: String) -> AdminRefusal {
    AdminRefusal { kind, message }
}

/// Whether a node has that name, address or id.
pub(crate) fn is_called(address: &NodeAddress, given: &str) -> bool {
    address.name == given
        || address.address == given
        || address.node.to_string() == given
        || format!("{:032x}", address.node.0) == given.replace('-', "")
}

fn no_such_node(given: &str) -> AdminRefusal {
    refusal(RefusalKind::NotFound, format!("no node `{given}`; `admin nodes` lists the nodes"))
}

fn level_forbids(level: Level) -> AdminRefusal {
    forbidden(format!("the level is {level}: {}; `admin level lively` changes that", level.leaves_out()))
}

pub(crate) fn forbidden(message: String) -> AdminRefusal {
    refusal(RefusalKind::FailedPrecondition, message)
}

impl AdminReply {
    pub(crate) fn refused(kind: RefusalKind, message: String) -> Self {
        Self::Refused(refusal(kind, message))
    }
}
