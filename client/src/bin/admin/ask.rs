//! What can be asked of the meta server.

use std::time::Duration;

use client::meta::{MetaError, MetaServers};
use proto::pb;
use proto::pb::admin_client::AdminClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};
use words::Gpid;

/// How long a new app's partitions may take to get their primaries.
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A description of an app with many partitions, in bytes.
const LARGEST_REPLY: usize = 64 << 20;

/// The meta server's administration.
pub(crate) struct Admin {
    meta: MetaServers,
    timeout: Duration,
}

impl Admin {
    pub(crate) fn new(meta: MetaServers, timeout: Duration) -> Self {
        Self { meta, timeout }
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<pb::NodeStatus>, MetaError> {
        let reply = self.ask(async |mut admin| admin.list_nodes(pb::ListNodesRequest {}).await).await?;
        Ok(reply.nodes)
    }

    pub(crate) async fn apps(&self) -> Result<Vec<pb::AppStatus>, MetaError> {
        let reply = self.ask(async |mut admin| admin.list_apps(pb::ListAppsRequest {}).await).await?;
        Ok(reply.apps)
    }

    pub(crate) async fn app(&self, name: &str) -> Result<pb::DescribeAppReply, MetaError> {
        let request = pb::DescribeAppRequest { name: name.into() };
        self.ask(async |mut admin| admin.describe_app(request.clone()).await).await
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        app_type: &str,
        partition_count: u32,
        replica_count: u32,
    ) -> Result<pb::AppInfo, MetaError> {
        let (name, app_type) = (name.into(), app_type.into());
        let request = pb::CreateAppRequest { name, app_type, partition_count, replica_count };
        let reply = self.ask(async |mut admin| admin.create_app(request.clone()).await).await?;
        reply.app.ok_or_else(|| MetaError::Refused("the meta server does not say what it created".into()))
    }

    /// Returns when each partition of the app has a primary.
    ///
    /// # Errors
    /// If that takes longer than a minute.
    pub(crate) async fn wait_for_primaries(&self, name: &str) -> Result<(), MetaError> {
        let deadline = Instant::now() + CREATE_TIMEOUT;
        loop {
            let app = self.app(name).await?;
            let led = app.partitions.iter().filter(|partition| has_primary(partition)).count();
            if led == app.partitions.len() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let (all, waited) = (app.partitions.len(), CREATE_TIMEOUT.as_secs());
                return Err(MetaError::Refused(format!(
                    "`{name}` is created, but only {led} of its {all} partitions have a primary after {waited} s: \
                     `admin nodes` shows which servers are there"
                )));
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    pub(crate) async fn drop(&self, name: &str) -> Result<(), MetaError> {
        let request = pb::DropAppRequest { name: name.into() };
        self.ask(async |mut admin| admin.drop_app(request.clone()).await).await.map(|_| ())
    }

    pub(crate) async fn set_replica_count(
        &self,
        name: &str,
        replica_count: u32,
    ) -> Result<String, MetaError> {
        let request = pb::SetReplicaCountRequest { name: name.into(), replica_count };
        let reply = self.ask(async |mut admin| admin.set_replica_count(request.clone()).await).await?;
        Ok(reply.accepted)
    }

    pub(crate) async fn accept_loss(
        &self,
        gpid: Gpid,
        node: &str,
        others_are_stopped: bool,
    ) -> Result<String, MetaError> {
        let request =
            pb::AcceptLossRequest { gpid: Some(gpid.into()), node: node.into(), others_are_stopped };
        let reply = self.ask(async |mut admin| admin.accept_loss(request.clone()).await).await?;
        Ok(reply.accepted)
    }

    pub(crate) async fn propose(&self, gpid: Gpid, action: &str, node: &str) -> Result<String, MetaError> {
        let request =
            pb::ProposeRequest { gpid: Some(gpid.into()), r#type: action.into(), node: node.into() };
        let reply = self.ask(async |mut admin| admin.propose(request.clone()).await).await?;
        Ok(reply.accepted)
    }

    pub(crate) async fn balance(
        &self,
        gpid: Gpid,
        action: &str,
        from: &str,
        to: &str,
    ) -> Result<String, MetaError> {
        let (from, to) = (from.into(), to.into());
        let request = pb::BalanceRequest { gpid: Some(gpid.into()), r#type: action.into(), from, to };
        let reply = self.ask(async |mut admin| admin.balance(request.clone()).await).await?;
        Ok(reply.accepted)
    }

    async fn ask<R>(
        &self,
        request: impl AsyncFn(AdminClient<Channel>) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        let ask = |channel| request(AdminClient::new(channel).max_decoding_message_size(LARGEST_REPLY));
        self.meta.ask(self.timeout, ask).await
    }
}

fn has_primary(partition: &pb::PartitionStatus) -> bool {
    partition.configuration.as_ref().is_some_and(|configuration| !configuration.primary.is_empty())
}
