//! `Meta`: what clients and replica servers ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meta_core::{AdminReply, AdminRequest, AppRoute, SessionId};
use proto::pb::{self, meta_server::Meta};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};
use words::AppId;

use crate::clock::now;
use crate::owner::{Input, Standing};
use crate::raft::Heard;
use crate::raft::machine::View;
use crate::raft::membership::Members;
use crate::session::{Outbound, pump};

/// Batches of messages that wait for one node; a node that lets more pile up loses its session.
const OUTBOUND_BATCHES: usize = 256;

/// How long a request waits for this server to know who leads, for example while one is being elected.
const PATIENCE: Duration = Duration::from_millis(500);

/// Both gRPC services: they turn messages into inputs for the owner.
#[derive(Clone)]
pub(crate) struct Services {
    inputs: mpsc::Sender<Input>,
    last_session: Arc<AtomicU64>,
    standing: watch::Receiver<Standing>,
    view: watch::Receiver<View>,
    heard: watch::Receiver<Heard>,
    /// How long after it heard the one that leads this server still answers for it.
    answers_for: Duration,
    /// The app that is created as soon as there are servers for it, if no app ever was.
    first_app: Option<Arc<str>>,
    pub(crate) members: Arc<Members>,
}

impl Services {
    pub(crate) fn new(
        inputs: mpsc::Sender<Input>,
        standing: watch::Receiver<Standing>,
        view: watch::Receiver<View>,
        heard: watch::Receiver<Heard>,
        answers_for: Duration,
        first_app: Option<&str>,
        members: Arc<Members>,
    ) -> Self {
        let first_app = first_app.map(Arc::from);
        Self { inputs, last_session: Arc::default(), standing, view, heard, answers_for, first_app, members }
    }

    /// Has an operator's request answered.
    pub(crate) async fn ask(&self, request: AdminRequest) -> Result<AdminReply, Status> {
        self.leads().await?;
        let (reply, answer) = oneshot::channel();
        self.hand_over(Input::Admin { request, reply }).await?;
        answer.await.map_err(|_| {
            Status::aborted(
                "the meta server lost its lead, or stops; the outcome is unknown, look before you repeat",
            )
        })
    }

    async fn hand_over(&self, input: Input) -> Result<(), Status> {
        self.inputs.send(input).await.map_err(|_| elsewhere(""))
    }

    /// Whether this server leads; refused with the address of the one that does, if it does not.
    pub(crate) async fn leads(&self) -> Result<(), Status> {
        let mut standing = self.standing.clone();
        let known = standing.wait_for(|standing| *standing != Standing::Unknown);
        let Ok(Ok(standing)) = timeout(PATIENCE, known).await else { return Err(elsewhere("")) };
        match &*standing {
            Standing::Leads => Ok(()),
            Standing::Follows(leader) => Err(elsewhere(leader)),
            Standing::Unknown => Err(elsewhere("")),
        }
    }

    /// An app's route in the state of this server, if that is as new as what the one that leads said lately. Ballots
    /// tell how new a configuration is, so one that is a little old does no harm; but that there is no such app only
    /// the one that leads may say.
    async fn route(&self, app_name: &str, id: AppId) -> Result<AppRoute, Status> {
        if *self.standing.borrow() != Standing::Leads
            && let Some(route) = self.heard_route(app_name, id).await
        {
            return Ok(route);
        }
        self.leads().await?;
        let state = &self.view.borrow().state;
        state.route(app_name, id).map_err(|why| {
            // A client that is started together with the cluster asks again.
            let is_to_come = state.apps().next().is_none() && self.first_app.as_deref() == Some(app_name);
            if is_to_come { not_yet(app_name) } else { Status::not_found(why) }
        })
    }

    async fn heard_route(&self, app_name: &str, id: AppId) -> Option<AppRoute> {
        let Heard { at, committed } = *self.heard.borrow();
        if now().since(at) > self.answers_for {
            return None;
        }
        let mut view = self.view.clone();
        let caught_up = view.wait_for(|view| view.last.map(|last| last.index) >= committed);
        let view = timeout(PATIENCE, caught_up).await.ok()?.ok()?;
        view.state.route(app_name, id).ok()
    }
}

/// A refusal: nothing was done, and who might do it.
fn elsewhere(leader: &str) -> Status {
    let message = match leader {
        "" => "no meta server leads just now; try again".to_owned(),
        leader => format!("this meta server does not lead; ask the one at {leader}"),
    };
    refused_for_now(message, leader)
}

/// The first app of `config.ini` is to come.
fn not_yet(app_name: &str) -> Status {
    let message = format!(
        "no app `{app_name}` yet: it is created once enough replica servers are there and hold nothing; see `admin nodes`"
    );
    refused_for_now(message, "")
}

fn refused_for_now(message: String, leader: &str) -> Status {
    let mut status = Status::unavailable(message);
    let leader = leader.parse().unwrap_or_else(|_| MetadataValue::from_static(""));
    status.metadata_mut().insert(proto::LEADER_KEY, leader);
    status
}

#[tonic::async_trait]
impl Meta for Services {
    async fn query_configuration(
        &self,
        request: Request<pb::QueryConfigurationRequest>,
    ) -> Result<Response<pb::QueryConfigurationReply>, Status> {
        let pb::QueryConfigurationRequest { app_name, app_id } = request.into_inner();
        let route = self.route(&app_name, AppId(app_id)).await?;
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
        self.leads().await?;
        let session: SessionId = self.last_session.fetch_add(1, Ordering::Relaxed) + 1;
        let (outbound, batches) = mpsc::channel(OUTBOUND_BATCHES);
        let (stream, unheard) = Outbound::new(batches);
        self.hand_over(Input::SessionOpened { session, outbound }).await?;
        tokio::spawn(pump(session, request.into_inner(), self.inputs.clone(), unheard));
        Ok(Response::new(stream))
    }
}
