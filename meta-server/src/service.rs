//! `Meta`: what clients and replica servers ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meta_core::{AdminReply, AdminRequest, SessionId};
use proto::pb::{self, meta_server::Meta};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};
use words::AppId;

use crate::owner::Input;
use crate::session::{Outbound, pump};

/// Batches of messages that wait for one node; a node that lets more pile up loses its session.
const OUTBOUND_BATCHES: usize = 256;

/// Both gRPC services: they turn messages into inputs for the owner.
#[derive(Clone)]
pub(crate) struct Services {
    inputs: mpsc::Sender<Input>,
    last_session: Arc<AtomicU64>,
}

impl Services {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, last_session: Arc::new(AtomicU64::new(0)) }
    }

    /// Has an operator's request answered.
    pub(crate) async fn ask(&self, request: AdminRequest) -> Result<AdminReply, Status> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Input::Admin { request, reply }).await?;
        answer.await.map_err(|_| stopping())
    }

    async fn hand_over(&self, input: Input) -> Result<(), Status> {
        self.inputs.send(input).await.map_err(|_| stopping())
    }
}

fn stopping() -> Status {
    Status::unavailable("the meta server is stopping; try again")
}

#[tonic::async_trait]
impl Meta for Services {
    async fn query_configuration(
        &self,
        request: Request<pb::QueryConfigurationRequest>,
    ) -> Result<Response<pb::QueryConfigurationReply>, Status> {
        let pb::QueryConfigurationRequest { app_name, app_id } = request.into_inner();
        let (reply, answer) = oneshot::channel();
        self.hand_over(Input::Query { app_name, app_id: AppId(app_id), reply }).await?;
        let route = answer.await.map_err(|_| stopping())?.map_err(Status::not_found)?;
        Ok(Response::new(pb::QueryConfigurationReply {
            app: Some(route.app.into()),
            partitions: route.partitions.into_iter().map(Into::into).collect(),
            nodes: route.nodes.into_iter().map(Into::into).collect(),
        }))
    }

    type NodeSessionStream = Outbound;

    async fn node_session(
        &self,
        request: Request<Streaming<pb::NodeToMeta>>,
    ) -> Result<Response<Outbound>, Status> {
        let session: SessionId = self.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        let (outbound, batches) = mpsc::channel(OUTBOUND_BATCHES);
        let (stream, unheard) = Outbound::new(batches);
        self.hand_over(Input::SessionOpened { session, outbound }).await?;
        tokio::spawn(pump(session, request.into_inner(), self.inputs.clone(), unheard));
        Ok(Response::new(stream))
    }
}
