//! What a node and the meta server say to each other (`meta.proto`).

use ::words::{
    Ballot, Command, CopyProgress, Decree, DiskSpace, Life, MetaToNode, NodeToMeta, PartitionConfiguration,
    Proposal, ReplicaDescription, ReplicaReport, RoleName,
};

use crate::malformed::{all, count, each, required};
use crate::words::{node_bytes, node_id, node_ids};
use crate::{Malformed, pb};

impl From<NodeToMeta> for pb::NodeToMeta {
    fn from(message: NodeToMeta) -> Self {
        use pb::node_to_meta::What;
        let what = match message {
            NodeToMeta::Beacon { node, life, name, address, leaving, disk } => What::Beacon(pb::Beacon {
                node: node_bytes(node),
                life: life.0,
                name,
                address,
                leaving,
                disk: Some(disk.into()),
            }),
            NodeToMeta::Report { node, life, replicas } => {
                What::Report(pb::Report { node: node_bytes(node), life: life.0, replicas: all(replicas) })
            }
            NodeToMeta::Propose(proposal) => What::Propose(proposal.into()),
            NodeToMeta::Query { gpid } => What::Query(gpid.into()),
            NodeToMeta::Describe(description) => What::Describe(description.into()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<pb::NodeToMeta> for NodeToMeta {
    type Error = Malformed;

    fn try_from(message: pb::NodeToMeta) -> Result<Self, Malformed> {
        use pb::node_to_meta::What;
        Ok(match message.what.ok_or(Malformed { field: "NodeToMeta.what", problem: "is missing" })? {
            What::Beacon(beacon) => Self::Beacon {
                node: node_id(&beacon.node, "Beacon.node")?,
                life: count(Life, beacon.life, "Beacon.life")?,
                name: beacon.name,
                address: beacon.address,
                leaving: beacon.leaving,
                disk: beacon.disk.map(Into::into).unwrap_or_default(),
            },
            What::Report(report) => Self::Report {
                node: node_id(&report.node, "Report.node")?,
                life: count(Life, report.life, "Report.life")?,
                replicas: each(report.replicas)?,
            },
            What::Propose(proposal) => Self::Propose(proposal.try_into()?),
            What::Query(gpid) => Self::Query { gpid: gpid.into() },
            What::Describe(description) => Self::Describe(description.try_into()?),
        })
    }
}

impl From<DiskSpace> for pb::DiskSpace {
    fn from(disk: DiskSpace) -> Self {
        Self { capacity: disk.capacity, available: disk.available, is_low: disk.is_low }
    }
}

impl From<pb::DiskSpace> for DiskSpace {
    fn from(message: pb::DiskSpace) -> Self {
        Self { capacity: message.capacity, available: message.available, is_low: message.is_low }
    }
}

impl From<RoleName> for pb::Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Primary => Self::Primary,
            RoleName::Secondary => Self::Secondary,
            RoleName::Learner => Self::Learner,
            RoleName::Inactive => Self::Inactive,
            RoleName::Error => Self::Error,
        }
    }
}

impl TryFrom<pb::Role> for RoleName {
    type Error = Malformed;

    fn try_from(role: pb::Role) -> Result<Self, Malformed> {
        Ok(match role {
            pb::Role::Primary => Self::Primary,
            pb::Role::Secondary => Self::Secondary,
            pb::Role::Learner => Self::Learner,
            pb::Role::Inactive => Self::Inactive,
            pb::Role::Error => Self::Error,
            pb::Role::Unspecified => {
                return Err(Malformed { field: "ReplicaReport.role", problem: "is missing" });
            }
        })
    }
}

impl From<ReplicaReport> for pb::ReplicaReport {
    fn from(report: ReplicaReport) -> Self {
        Self {
            gpid: Some(report.gpid.into()),
            role: pb::Role::from(report.role).into(),
            ballot: report.ballot.0,
            last_committed: report.last_committed.0,
            last_prepared: report.last_prepared.0,
            last_durable: report.last_durable.0,
            learners: report.learners.into_iter().map(node_bytes).collect(),
            copying: report
                .copying
                .map(|CopyProgress { bytes, of_bytes }| pb::CopyProgress { bytes, of_bytes }),
        }
    }
}

impl TryFrom<pb::ReplicaReport> for ReplicaReport {
    type Error = Malformed;

    fn try_from(message: pb::ReplicaReport) -> Result<Self, Malformed> {
        let role = pb::Role::try_from(message.role)
            .map_err(|_| Malformed { field: "ReplicaReport.role", problem: "is no role" })?;
        Ok(Self {
            gpid: required(message.gpid, "ReplicaReport.gpid")?,
            role: role.try_into()?,
            ballot: count(Ballot, message.ballot, "ReplicaReport.ballot")?,
            last_committed: count(Decree, message.last_committed, "ReplicaReport.last_committed")?,
            last_prepared: count(Decree, message.last_prepared, "ReplicaReport.last_prepared")?,
            last_durable: count(Decree, message.last_durable, "ReplicaReport.last_durable")?,
            learners: node_ids(&message.learners, "ReplicaReport.learners")?,
            copying: message
                .copying
                .map(|pb::CopyProgress { bytes, of_bytes }| CopyProgress { bytes, of_bytes }),
        })
    }
}

impl From<ReplicaDescription> for pb::ReplicaDescription {
    fn from(description: ReplicaDescription) -> Self {
        Self {
            report: Some(description.report.into()),
            app: Some(description.app.into()),
            terms: Some(description.terms.into()),
            configuration: Some(description.configuration.into()),
            confirmed: description.confirmed.0,
        }
    }
}

impl TryFrom<pb::ReplicaDescription> for ReplicaDescription {
    type Error = Malformed;

    fn try_from(message: pb::ReplicaDescription) -> Result<Self, Malformed> {
        Ok(Self {
            report: required(message.report, "ReplicaDescription.report")?,
            app: required(message.app, "ReplicaDescription.app")?,
            terms: message.terms.map(Into::into).unwrap_or_default(),
            configuration: required(message.configuration, "ReplicaDescription.configuration")?,
            confirmed: count(Decree, message.confirmed, "ReplicaDescription.confirmed")?,
        })
    }
}

impl From<Proposal> for pb::Proposal {
    fn from(proposal: Proposal) -> Self {
        Self {
            gpid: Some(proposal.gpid.into()),
            node: node_bytes(proposal.node),
            proposed: Some(proposal.proposed.into()),
        }
    }
}

impl TryFrom<pb::Proposal> for Proposal {
    type Error = Malformed;

    fn try_from(message: pb::Proposal) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "Proposal.gpid")?,
            node: node_id(&message.node, "Proposal.node")?,
            proposed: required(message.proposed, "Proposal.proposed")?,
        })
    }
}

impl From<MetaToNode> for pb::MetaToNode {
    fn from(message: MetaToNode) -> Self {
        use pb::meta_to_node::What;
        let what = match message {
            MetaToNode::BeaconAck => What::BeaconAck(pb::BeaconAck {}),
            MetaToNode::Nodes(nodes) => What::Nodes(pb::Nodes { nodes: all(nodes) }),
            MetaToNode::Configuration(configuration) => What::Configuration(configuration.into()),
            MetaToNode::Command { gpid, ballot, command } => What::Command(pb::Command {
                gpid: Some(gpid.into()),
                ballot: ballot.0,
                what: Some(command.into()),
            }),
            MetaToNode::Collect { gpid, ballot } => {
                What::Collect(pb::Collect { gpid: Some(gpid.into()), ballot: ballot.0 })
            }
            MetaToNode::Describe { gpid } => What::Describe(gpid.into()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<pb::MetaToNode> for MetaToNode {
    type Error = Malformed;

    fn try_from(message: pb::MetaToNode) -> Result<Self, Malformed> {
        use pb::meta_to_node::What;
        Ok(match message.what.ok_or(Malformed { field: "MetaToNode.what", problem: "is missing" })? {
            What::BeaconAck(pb::BeaconAck {}) => Self::BeaconAck,
            What::Nodes(nodes) => Self::Nodes(each(nodes.nodes)?),
            What::Configuration(configuration) => Self::Configuration(configuration.try_into()?),
            What::Command(command) => Self::Command {
                gpid: required(command.gpid, "Command.gpid")?,
                ballot: count(Ballot, command.ballot, "Command.ballot")?,
                command: required(command.what, "Command.what")?,
            },
            What::Collect(collect) => Self::Collect {
                gpid: required(collect.gpid, "Collect.gpid")?,
                ballot: count(Ballot, collect.ballot, "Collect.ballot")?,
            },
            What::Describe(gpid) => Self::Describe { gpid: gpid.into() },
        })
    }
}

impl From<PartitionConfiguration> for pb::PartitionConfiguration {
    fn from(partition: PartitionConfiguration) -> Self {
        Self {
            gpid: Some(partition.gpid.into()),
            app: Some(partition.app.into()),
            terms: Some(partition.terms.into()),
            configuration: Some(partition.configuration.into()),
        }
    }
}

impl TryFrom<pb::PartitionConfiguration> for PartitionConfiguration {
    type Error = Malformed;

    fn try_from(message: pb::PartitionConfiguration) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "PartitionConfiguration.gpid")?,
            app: required(message.app, "PartitionConfiguration.app")?,
            terms: message.terms.map(Into::into).unwrap_or_default(),
            configuration: required(message.configuration, "PartitionConfiguration.configuration")?,
        })
    }
}

impl From<Command> for pb::command::What {
    fn from(command: Command) -> Self {
        match command {
            Command::AddSecondary(node) => Self::AddSecondary(node_bytes(node)),
            Command::Remove(node) => Self::Remove(node_bytes(node)),
            Command::HandOver(node) => Self::HandOver(node_bytes(node)),
        }
    }
}

impl TryFrom<pb::command::What> for Command {
    type Error = Malformed;

    fn try_from(what: pb::command::What) -> Result<Self, Malformed> {
        use pb::command::What;
        Ok(match what {
            What::AddSecondary(node) => Self::AddSecondary(node_id(&node, "Command.add_secondary")?),
            What::Remove(node) => Self::Remove(node_id(&node, "Command.remove")?),
            What::HandOver(node) => Self::HandOver(node_id(&node, "Command.hand_over")?),
        })
    }
}
