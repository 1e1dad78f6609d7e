//! What is lost, and what can be brought back, in the messages of `loss.proto`.

use meta_core::{
    Diagnosis, LostPartition, PlannedApp, PlannedPartition, RecoveryPlan, ReplicaCopy, UnknownReplica,
};
use proto::{node_bytes, pb};

pub(crate) fn diagnosis_reply(Diagnosis { lost, unknown, nodes }: Diagnosis) -> pb::DiagnoseReply {
    pb::DiagnoseReply {
        lost: lost.into_iter().map(lost_partition).collect(),
        unknown: unknown.into_iter().map(unknown_replica).collect(),
        nodes: nodes.into_iter().map(Into::into).collect(),
    }
}

fn lost_partition(lost: LostPartition) -> pb::LostPartition {
    pb::LostPartition {
        gpid: Some(lost.gpid.into()),
        app_name: lost.app_name,
        configuration: Some(lost.configuration.into()),
        copies: lost.copies.into_iter().map(copy).collect(),
        advice: lost.advice,
    }
}

fn copy(copy: ReplicaCopy) -> pb::ReplicaCopy {
    pb::ReplicaCopy {
        node: node_bytes(copy.node),
        alive: copy.alive,
        is_member: copy.is_member,
        can_lead: copy.can_lead,
        report: copy.report.map(Into::into),
        age_ms: copy.age_ms,
    }
}

fn unknown_replica(replica: UnknownReplica) -> pb::UnknownReplica {
    pb::UnknownReplica {
        node: node_bytes(replica.node),
        alive: replica.alive,
        report: Some(replica.report.into()),
        age_ms: replica.age_ms,
    }
}

pub(crate) fn recovery_plan(plan: RecoveryPlan) -> pb::RecoveryPlan {
    pb::RecoveryPlan {
        apps: plan.apps.into_iter().map(planned_app).collect(),
        obstacles: plan.obstacles,
        nodes: plan.nodes.into_iter().map(Into::into).collect(),
    }
}

fn planned_app(app: PlannedApp) -> pb::PlannedApp {
    pb::PlannedApp {
        app: Some(app.info.into()),
        left_out: app.left_out,
        partitions: app.partitions.into_iter().map(planned_partition).collect(),
        notes: app.notes,
    }
}

fn planned_partition(partition: PlannedPartition) -> pb::PlannedPartition {
    pb::PlannedPartition {
        gpid: Some(partition.gpid.into()),
        highest_ballot: partition.highest.0,
        configuration: partition.configuration.map(Into::into),
        certain: partition.certain,
        notes: partition.notes,
    }
}
