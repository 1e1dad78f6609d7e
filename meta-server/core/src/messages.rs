//! What nodes say.

use std::collections::BTreeSet;

use words::{
    Configuration, Gpid, Life, MetaToNode, NodeAddress, NodeId, NodeToMeta, Proposal, ReplicaReport,
    RoleName, Time,
};

use crate::guardian::Standing;
use crate::nodes::Beacon;
use crate::operator::is_called;
use crate::{AppStatus, Command, Level, MAX_NAME_BYTES, MetaCore, MetaOutput, SessionId};

impl MetaCore {
    /// A message arrived. Only a beacon can come by a session that is not yet a node's newest one.
    pub(crate) fn on_message(
        &mut self,
        now: Time,
        session: SessionId,
        message: NodeToMeta,
        out: &mut MetaOutput,
    ) {
        if let NodeToMeta::Beacon { node, life, name, address, leaving, disk } = message {
            self.on_beacon(now, session, life, leaving, NodeAddress { node, name, address }, out);
            if let Some(node) = self.nodes.measured(session, disk) {
                self.mark(node);
                self.dirty.append(&mut self.starving);
            }
            return;
        }
        let Some(from) = self.nodes.node_of(session) else { return };
        match message {
            NodeToMeta::Beacon { .. } => unreachable!("handled above"),
            NodeToMeta::Report { node, life, replicas } => {
                let known = self.nodes.get(from).map(|entry| entry.life);
                if node == from && known == Some(life) {
                    self.on_report(now, node, replicas, out);
                }
            }
            NodeToMeta::Propose(proposal) => self.on_propose(from, proposal, out),
            NodeToMeta::Query { gpid } => self.answer(gpid, from, out),
            NodeToMeta::Describe(description) => self.on_description(from, description),
        }
    }

    fn on_beacon(
        &mut self,
        now: Time,
        session: SessionId,
        life: Life,
        leaving: bool,
        address: NodeAddress,
        out: &mut MetaOutput,
    ) {
        if address.name.len() > MAX_NAME_BYTES || address.address.len() > MAX_NAME_BYTES {
            return;
        }
        if !self.may_take_part(&address) {
            let NodeAddress { name, address, .. } = address;
            let why = format!("{name} at {address} is not on `[meta_server] replica_white_list`");
            out.refuse.push((session, why));
            return;
        }
        let node = address.node;
        let beacon = self.nodes.beacon(session, node, life, leaving, now);
        if beacon == Beacon::Old {
            return;
        }
        out.send.push((session, MetaToNode::BeaconAck));
        self.register(address, out);
        match beacon {
            Beacon::Begins => self.on_session_begun(session, node, out),
            Beacon::Leaving => self.mark(node),
            Beacon::Usual | Beacon::Old => {}
        }
    }

    fn may_take_part(&self, address: &NodeAddress) -> bool {
        let list = &self.settings.replica_white_list;
        list.is_empty() || list.iter().any(|listed| is_called(address, listed))
    }

    /// Notes durably where a node is, if that is new.
    fn register(&mut self, address: NodeAddress, out: &mut MetaOutput) {
        let entry = self.nodes.get_mut(address.node).expect("its beacon was just taken in");
        let newest = entry.registering.as_ref().or(self.state.node(address.node));
        if newest != Some(&address) {
            entry.registering = Some(address.clone());
            self.commit(Command::RegisterNode(address), None, out);
        }
    }

    /// The node is told all that it may have missed: where the others are, and what it is a member of.
    fn on_session_begun(&mut self, session: SessionId, node: NodeId, out: &mut MetaOutput) {
        out.send.push((session, MetaToNode::Nodes(self.state.nodes().cloned().collect())));
        let member_of = self.nodes.get(node).map(|entry| entry.member_of.clone()).unwrap_or_default();
        for gpid in member_of {
            self.tell(gpid, node, out);
        }
        self.mark(node);
        self.dirty.append(&mut self.starving);
    }

    /// A node says which replicas it has. What it seems not to know it is told again.
    fn on_report(&mut self, now: Time, node: NodeId, replicas: Vec<ReplicaReport>, out: &mut MetaOutput) {
        let Some(entry) = self.nodes.get_mut(node) else { return };
        let first = entry.reported.replace(now).is_none();
        let reported: BTreeSet<Gpid> = replicas.iter().map(|report| report.gpid).collect();
        let gone: Vec<Gpid> = entry.holds.difference(&reported).copied().collect();
        let missing: Vec<Gpid> = entry.member_of.difference(&reported).copied().collect();
        entry.holds = reported;
        for gpid in gone {
            if let Some(partition) = self.partitions.get_mut(&gpid) {
                partition.reports.remove(&node);
                self.dirty.insert(gpid);
            }
            self.no_stranger(gpid, node);
        }
        for gpid in missing {
            self.tell_again(gpid, node, out);
            self.dirty.insert(gpid);
        }
        for report in replicas {
            self.on_replica_report(node, report, first, out);
        }
    }

    fn on_replica_report(&mut self, node: NodeId, report: ReplicaReport, first: bool, out: &mut MetaOutput) {
        let gpid = report.gpid;
        let Some(configuration) = self.state.configuration(gpid) else {
            return self.on_stranger(node, report, out);
        };
        if self.state.app_of(gpid).is_none() {
            return self.on_report_of_dropped(node, report, out);
        }
        let outdated = is_outdated(configuration, node, &report);
        let partition = self.partitions.get_mut(&gpid).expect("every partition is known");
        let learns = partition.adding.as_ref().is_some_and(|adding| adding.node == node);
        let known = partition.reports.get(&node);
        let same = known.is_some_and(|known| {
            known.role == report.role && known.ballot == report.ballot && known.learners == report.learners
        });
        partition.reports.insert(node, report);
        if first || learns || !same {
            self.dirty.insert(gpid);
        }
        if outdated {
            self.tell_again(gpid, node, out);
        }
    }

    /// A replica of a dropped app serves nobody; once the app is gone, it is not needed any more.
    fn on_report_of_dropped(&mut self, node: NodeId, report: ReplicaReport, out: &mut MetaOutput) {
        let gpid = report.gpid;
        if self.is_gone(gpid) {
            return self.collect(gpid, node, out);
        }
        if matches!(report.role, RoleName::Primary | RoleName::Secondary) {
            self.tell_again(gpid, node, out);
        }
        self.partitions.get_mut(&gpid).expect("every partition is known").reports.insert(node, report);
    }

    fn is_gone(&self, gpid: Gpid) -> bool {
        self.state.app(gpid.app).is_some_and(|app| app.status == AppStatus::Gone)
    }

    /// A primary wants the next configuration. It is told what holds, once that is known (§4.2).
    fn on_propose(&mut self, from: NodeId, proposal: Proposal, out: &mut MetaOutput) {
        let Proposal { gpid, node, proposed } = proposal;
        if self.state.level() <= Level::Blind
            || self.partitions.get(&gpid).is_none_or(|partition| partition.pending.is_some())
            || node != from
            || !self.may_follow(gpid, node, &proposed)
        {
            return self.answer(gpid, from, out);
        }
        let mut partition = self.partitions.remove(&gpid).expect("it was just there");
        partition.waiting.insert(from);
        let cause = partition.proposed_by(node, &proposed);
        self.reconfigure(gpid, &mut partition, proposed, cause, out);
        self.partitions.insert(gpid, partition);
    }

    /// Whether a proposal is acceptable: from the current primary, on the current ballot, a legal step, and
    /// nobody is added or promoted who is not there or can't be trusted.
    fn may_follow(&self, gpid: Gpid, proposer: NodeId, proposed: &Configuration) -> bool {
        let (Some(current), Some(_)) = (self.state.configuration(gpid), self.state.app_of(gpid)) else {
            return false;
        };
        let gains = |node: &NodeId| {
            !current.is_member(*node) || current.primary != Some(*node) && proposed.primary == Some(*node)
        };
        let is_there = |node: NodeId| {
            self.state.node(node).is_some()
                && self
                    .nodes
                    .get(node)
                    .is_some_and(|entry| !entry.leaving && !matches!(entry.standing(), Standing::Dead(_)))
        };
        let is_broken = |node: NodeId| {
            let report = self.partitions[&gpid].reports.get(&node);
            report.is_some_and(|report| report.role == RoleName::Error)
        };
        // A primary leaves because its log is stuck. Where all disks are full the next one's soon is, too, and who leads
        // with its own stuck from the beginning can't even read (§7.6).
        let has_room = |node: NodeId| self.nodes.get(node).is_some_and(|entry| !entry.disk.is_low);
        let helps = proposed.is_member(proposer) || proposed.members().any(has_room);
        current.primary == Some(proposer)
            && current.check_step(proposed).is_ok()
            && helps
            && proposed.members().filter(gains).all(|node| is_there(node) && !is_broken(node))
    }

    /// Tells a node what holds of a partition: its configuration, or that its app was dropped.
    fn answer(&mut self, gpid: Gpid, node: NodeId, out: &mut MetaOutput) {
        if self.is_gone(gpid) {
            self.collect(gpid, node, out);
        } else {
            self.tell(gpid, node, out);
        }
    }
}

/// Whether the node seems not to know the configuration.
fn is_outdated(configuration: &Configuration, node: NodeId, report: &ReplicaReport) -> bool {
    let as_it_should = match report.role {
        RoleName::Primary => configuration.primary == Some(node),
        RoleName::Secondary => configuration.secondaries.contains(&node),
        RoleName::Learner | RoleName::Inactive => !configuration.is_member(node),
        RoleName::Error => true,
    };
    report.ballot < configuration.ballot || !as_it_should
}
