//! `Admin`: what operators ask.

use std::collections::HashMap;

use meta_core::{
    AdminRefusal, AdminReply, AdminRequest, AppDescription, AppSummary, BalanceKind, BalancePlan,
    BalancerStatus, EnvChange, Explanation, Level, LevelStatus, NodeOpinion, NodeStatus, PartitionStatus,
    PastChange, PlannedMove, ProposalKind, RefusalKind,
};
use proto::node_bytes;
use proto::pb::{self, admin_server::Admin};
use tonic::{Request, Response, Status};
use words::{AppEnvs, AppId};

use crate::loss::{diagnosis_reply, recovery_plan};
use crate::service::Services;

#[tonic::async_trait]
impl Admin for Services {
    async fn list_nodes(
        &self,
        _: Request<pb::ListNodesRequest>,
    ) -> Result<Response<pb::ListNodesReply>, Status> {
        match self.ask(AdminRequest::ListNodes).await? {
            AdminReply::Nodes { nodes, level } => {
                let nodes = nodes.into_iter().map(node_status).collect();
                Ok(Response::new(pb::ListNodesReply { nodes, level: Some(level_status(level)) }))
            }
            other => Err(refused(other)),
        }
    }

    async fn list_apps(
        &self,
        request: Request<pb::ListAppsRequest>,
    ) -> Result<Response<pb::ListAppsReply>, Status> {
        match self.ask(AdminRequest::ListApps { all: request.into_inner().all }).await? {
            AdminReply::Apps { apps, level } => {
                let apps = apps.into_iter().map(app_status).collect();
                Ok(Response::new(pb::ListAppsReply { apps, level: Some(level_status(level)) }))
            }
            other => Err(refused(other)),
        }
    }

    async fn describe_app(
        &self,
        request: Request<pb::DescribeAppRequest>,
    ) -> Result<Response<pb::DescribeAppReply>, Status> {
        let name = request.into_inner().name;
        match self.ask(AdminRequest::DescribeApp { name }).await? {
            AdminReply::App(AppDescription { app, envs, partitions, nodes, level }) => {
                Ok(Response::new(pb::DescribeAppReply {
                    app: Some(app.into()),
                    envs: envs_map(&envs),
                    partitions: partitions.into_iter().map(partition_status).collect(),
                    nodes: nodes.into_iter().map(Into::into).collect(),
                    level: Some(level_status(level)),
                }))
            }
            other => Err(refused(other)),
        }
    }

    async fn create_app(
        &self,
        request: Request<pb::CreateAppRequest>,
    ) -> Result<Response<pb::CreateAppReply>, Status> {
        let pb::CreateAppRequest { name, app_type, partition_count, replica_count } = request.into_inner();
        let request = AdminRequest::CreateApp { name, app_type, partition_count, replica_count };
        match self.ask(request).await? {
            AdminReply::Created(app) => Ok(Response::new(pb::CreateAppReply { app: Some(app.into()) })),
            other => Err(refused(other)),
        }
    }

    async fn drop_app(
        &self,
        request: Request<pb::DropAppRequest>,
    ) -> Result<Response<pb::DropAppReply>, Status> {
        let pb::DropAppRequest { name, hold_seconds } = request.into_inner();
        match self.ask(AdminRequest::DropApp { name, hold_seconds }).await? {
            AdminReply::Dropped { app, expires } => {
                Ok(Response::new(pb::DropAppReply { app: Some(app.into()), expires_ms: expires.0 }))
            }
            other => Err(refused(other)),
        }
    }

    async fn recall_app(
        &self,
        request: Request<pb::RecallAppRequest>,
    ) -> Result<Response<pb::RecallAppReply>, Status> {
        let pb::RecallAppRequest { app_id, new_name } = request.into_inner();
        let new_name = Some(new_name).filter(|name| !name.is_empty());
        match self.ask(AdminRequest::RecallApp { id: AppId(app_id), new_name }).await? {
            AdminReply::Recalled(app) => Ok(Response::new(pb::RecallAppReply { app: Some(app.into()) })),
            other => Err(refused(other)),
        }
    }

    async fn rename_app(
        &self,
        request: Request<pb::RenameAppRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::RenameAppRequest { name, new_name } = request.into_inner();
        self.accepted(AdminRequest::RenameApp { name, new_name }).await
    }

    async fn set_app_env(
        &self,
        request: Request<pb::SetAppEnvRequest>,
    ) -> Result<Response<pb::AppEnvsReply>, Status> {
        let pb::SetAppEnvRequest { name, key, value } = request.into_inner();
        self.change_envs(name, EnvChange::Set { key, value }).await
    }

    async fn remove_app_env(
        &self,
        request: Request<pb::RemoveAppEnvRequest>,
    ) -> Result<Response<pb::AppEnvsReply>, Status> {
        let pb::RemoveAppEnvRequest { name, key } = request.into_inner();
        self.change_envs(name, EnvChange::Remove { key }).await
    }

    async fn clear_app_envs(
        &self,
        request: Request<pb::ClearAppEnvsRequest>,
    ) -> Result<Response<pb::AppEnvsReply>, Status> {
        self.change_envs(request.into_inner().name, EnvChange::Clear).await
    }

    async fn set_replica_count(
        &self,
        request: Request<pb::SetReplicaCountRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::SetReplicaCountRequest { name, replica_count } = request.into_inner();
        self.accepted(AdminRequest::SetReplicaCount { name, count: replica_count }).await
    }

    async fn accept_loss(
        &self,
        request: Request<pb::AcceptLossRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::AcceptLossRequest { gpid, node, others_are_stopped } = request.into_inner();
        let gpid = gpid.ok_or_else(no_partition)?.into();
        self.accepted(AdminRequest::AcceptLoss { gpid, node, others_are_stopped }).await
    }

    async fn propose(
        &self,
        request: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::ProposeRequest { gpid, r#type, node } = request.into_inner();
        let kind: ProposalKind = r#type.parse().map_err(invalid)?;
        let gpid = gpid.ok_or_else(no_partition)?.into();
        self.accepted(AdminRequest::Propose { gpid, kind, node }).await
    }

    async fn balance(
        &self,
        request: Request<pb::BalanceRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::BalanceRequest { gpid, r#type, from, to } = request.into_inner();
        let kind: BalanceKind = r#type.parse().map_err(invalid)?;
        let gpid = gpid.ok_or_else(no_partition)?.into();
        self.accepted(AdminRequest::Balance { gpid, kind, from, to }).await
    }

    async fn why(&self, request: Request<pb::WhyRequest>) -> Result<Response<pb::WhyReply>, Status> {
        let gpid = request.into_inner().gpid.ok_or_else(no_partition)?.into();
        match self.ask(AdminRequest::Why { gpid }).await? {
            AdminReply::Why(explanation) => Ok(Response::new(why_reply(*explanation))),
            other => Err(refused(other)),
        }
    }

    async fn history(
        &self,
        request: Request<pb::HistoryRequest>,
    ) -> Result<Response<pb::HistoryReply>, Status> {
        let pb::HistoryRequest { gpid, limit } = request.into_inner();
        let limit = if limit == 0 { u32::MAX } else { limit };
        match self.ask(AdminRequest::History { gpid: gpid.map(Into::into), limit }).await? {
            AdminReply::History { changes, nodes } => Ok(Response::new(pb::HistoryReply {
                changes: changes.into_iter().map(past_change).collect(),
                nodes: nodes.into_iter().map(Into::into).collect(),
            })),
            other => Err(refused(other)),
        }
    }

    async fn get_level(&self, _: Request<pb::GetLevelRequest>) -> Result<Response<pb::Level>, Status> {
        match self.ask(AdminRequest::GetLevel).await? {
            AdminReply::Level(level) => Ok(Response::new(level_status(level))),
            other => Err(refused(other)),
        }
    }

    async fn diagnose(&self, _: Request<pb::DiagnoseRequest>) -> Result<Response<pb::DiagnoseReply>, Status> {
        match self.ask(AdminRequest::Diagnose).await? {
            AdminReply::Diagnosis(diagnosis) => Ok(Response::new(diagnosis_reply(diagnosis))),
            other => Err(refused(other)),
        }
    }

    async fn set_level(
        &self,
        request: Request<pb::SetLevelRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let level: Level = request.into_inner().level.parse().map_err(invalid)?;
        self.accepted(AdminRequest::SetLevel { level }).await
    }

    async fn black_list(
        &self,
        request: Request<pb::BlackListRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::BlackListRequest { node, listed } = request.into_inner();
        self.accepted(AdminRequest::BlackList { node, listed }).await
    }

    async fn plan_recovery(
        &self,
        request: Request<pb::PlanRecoveryRequest>,
    ) -> Result<Response<pb::RecoveryPlan>, Status> {
        let leave_out = request.into_inner().leave_out;
        match self.ask(AdminRequest::PlanRecovery { leave_out }).await? {
            AdminReply::Recovery(plan) => Ok(Response::new(recovery_plan(plan))),
            other => Err(refused(other)),
        }
    }

    async fn recover(
        &self,
        request: Request<pb::RecoverRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::RecoverRequest { leave_out, others_are_stopped } = request.into_inner();
        self.accepted(AdminRequest::Recover { leave_out, others_are_stopped }).await
    }

    /// Served by any meta server: when none leads, this is what shows why.
    async fn list_meta_servers(
        &self,
        _: Request<pb::ListMetaServersRequest>,
    ) -> Result<Response<pb::ListMetaServersReply>, Status> {
        Ok(Response::new(pb::ListMetaServersReply { servers: self.members.list().await }))
    }

    async fn add_meta_server(
        &self,
        request: Request<pb::AddMetaServerRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::AddMetaServerRequest { name, address } = request.into_inner();
        self.leads().await?;
        let accepted = self.members.add(&name, &address).await?;
        Ok(Response::new(pb::ProposeReply { accepted }))
    }

    async fn remove_meta_server(
        &self,
        request: Request<pb::RemoveMetaServerRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::RemoveMetaServerRequest { name } = request.into_inner();
        self.leads().await?;
        let accepted = self.members.remove(&name).await?;
        Ok(Response::new(pb::ProposeReply { accepted }))
    }

    async fn balance_plan(
        &self,
        _: Request<pb::BalancePlanRequest>,
    ) -> Result<Response<pb::BalancePlanReply>, Status> {
        match self.ask(AdminRequest::BalancePlan).await? {
            AdminReply::BalancePlan(plan) => Ok(Response::new(balance_plan(plan))),
            other => Err(refused(other)),
        }
    }

    async fn balancer_status(
        &self,
        _: Request<pb::BalancerStatusRequest>,
    ) -> Result<Response<pb::BalancerStatusReply>, Status> {
        match self.ask(AdminRequest::BalancerStatus).await? {
            AdminReply::Balancer(status) => Ok(Response::new(balancer_status(status))),
            other => Err(refused(other)),
        }
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::ProposeReply>, Status> {
        let pb::DrainRequest { node, drained } = request.into_inner();
        self.accepted(AdminRequest::Drain { node, drained }).await
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::ProposeReply>, Status> {
        let node = request.into_inner().node;
        self.accepted(AdminRequest::RemoveNode { node }).await
    }
}

impl Services {
    async fn change_envs(
        &self,
        name: String,
        change: EnvChange,
    ) -> Result<Response<pb::AppEnvsReply>, Status> {
        match self.ask(AdminRequest::ChangeEnvs { name, change }).await? {
            AdminReply::Envs(envs) => Ok(Response::new(pb::AppEnvsReply { envs: envs_map(&envs) })),
            other => Err(refused(other)),
        }
    }

    async fn accepted(&self, request: AdminRequest) -> Result<Response<pb::ProposeReply>, Status> {
        match self.ask(request).await? {
            AdminReply::Accepted(accepted) => Ok(Response::new(pb::ProposeReply { accepted })),
            other => Err(refused(other)),
        }
    }
}

fn invalid(problem: impl ToString) -> Status {
    Status::invalid_argument(problem.to_string())
}

fn no_partition() -> Status {
    invalid("no partition given; write APP.INDEX, for example 1.0")
}

/// What is not the answer that was asked for is a refusal.
fn refused(reply: AdminReply) -> Status {
    let AdminReply::Refused(AdminRefusal { kind, message }) = reply else {
        return Status::internal("the meta server gave the answer to another question; report this");
    };
    match kind {
        RefusalKind::InvalidArgument => Status::invalid_argument(message),
        RefusalKind::NotFound => Status::not_found(message),
        RefusalKind::AlreadyExists => Status::already_exists(message),
        RefusalKind::FailedPrecondition => Status::failed_precondition(message),
    }
}

fn node_status(status: NodeStatus) -> pb::NodeStatus {
    pb::NodeStatus {
        node: Some(status.node.into()),
        alive: status.alive,
        life: status.life.0,
        primaries: status.primaries,
        secondaries: status.secondaries,
        silent_ms: status.silent_ms,
        disk: Some(status.disk.into()),
        black_listed: status.black_listed,
        unknown: status.unknown,
        drained: status.drained,
    }
}

fn why_reply(explanation: Explanation) -> pb::WhyReply {
    let opinion = |NodeOpinion { node, standing, replica, opinion }| pb::NodeOpinion {
        node: Some(node.into()),
        standing,
        replica,
        opinion,
    };
    pb::WhyReply {
        partition: Some(partition_status(explanation.partition)),
        replica_count: explanation.replica_count,
        rule: explanation.rule,
        action: explanation.action,
        reason: explanation.reason,
        since_ms: explanation.since_ms,
        until_ms: explanation.until_ms,
        nodes: explanation.nodes.into_iter().map(opinion).collect(),
        level: Some(level_status(explanation.level)),
    }
}

fn past_change(PastChange { at, before, after, cause }: PastChange) -> pb::PastChange {
    pb::PastChange { at_ms: at.0, before: before.map(Into::into), after: after.map(Into::into), cause }
}

fn balance_plan(plan: BalancePlan) -> pb::BalancePlanReply {
    pb::BalancePlanReply {
        moves: plan.moves.into_iter().map(planned_move).collect(),
        count: plan.count as u64,
        stuck: plan.stuck as u64,
        in_the_way: plan.in_the_way.unwrap_or_default(),
        nodes: plan.nodes.into_iter().map(Into::into).collect(),
    }
}

fn balancer_status(status: BalancerStatus) -> pb::BalancerStatusReply {
    pb::BalancerStatusReply {
        in_the_way: status.in_the_way.unwrap_or_default(),
        under_way: status.under_way.into_iter().map(planned_move).collect(),
        left: status.left as u64,
        stuck: status.stuck as u64,
        nodes: status.nodes.into_iter().map(Into::into).collect(),
    }
}

fn planned_move(order: PlannedMove) -> pb::Move {
    pb::Move {
        gpid: Some(order.gpid.into()),
        r#type: order.kind.to_string(),
        from: node_bytes(order.from),
        to: node_bytes(order.to),
        reason: order.reason,
    }
}

fn level_status(LevelStatus { level, set, why }: LevelStatus) -> pb::Level {
    pb::Level { level: level.to_string(), set: set.to_string(), why }
}

fn envs_map(envs: &AppEnvs) -> HashMap<String, String> {
    envs.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn app_status(summary: AppSummary) -> pb::AppStatus {
    pb::AppStatus {
        app: Some(summary.app.into()),
        healthy: summary.healthy,
        readable: summary.readable,
        expires_ms: summary.expires.map(|expires| expires.0),
    }
}

fn partition_status(status: PartitionStatus) -> pb::PartitionStatus {
    let replica = |(node, report)| pb::ReplicaAt {
        node: node_bytes(node),
        report: Some(pb::ReplicaReport::from(report)),
    };
    pb::PartitionStatus {
        gpid: Some(status.gpid.into()),
        configuration: Some(status.configuration.into()),
        learners: status.learners.into_iter().map(node_bytes).collect(),
        last_committed: status.last_committed.0,
        replicas: status.replicas.into_iter().map(replica).collect(),
        decision: status.decision,
        healthy: status.healthy,
    }
}
