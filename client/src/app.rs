//! Operations on one app: finds the primary, sends, and sends again until the outcome is known or the deadline
//! has passed (§8).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::OperationKind;
use tokio::time::{Instant, timeout_at};
use words::{AppInfo, Gpid, Write, WriteKind};

use crate::backoff::{Pause, jittered};
use crate::link::Delivery;
use crate::meta::{AppConfiguration, MetaError};
use crate::operation::{Next, Trail};
use crate::routes::{Route, Routes};
use crate::session::Session;
use crate::{Cluster, Failure, Outcome, local, partition_of};

/// Between two attempts to open an app while no meta server answers.
const BETWEEN_ATTEMPTS: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(150);

/// One app of a cluster. Clones share everything; operations may run concurrently, and those that do share
/// frames.
#[derive(Clone, Debug)]
pub struct App {
    shared: Arc<Shared>,
    timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    info: AppInfo,
    pub(crate) routes: Routes,
    /// By partition index.
    sessions: Vec<Session>,
}

impl App {
    /// Opens an app by its name.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app; [`MetaError::Unreachable`] if no meta server answers
    /// within the cluster's timeout.
    pub async fn open(cluster: &Cluster, name: &str) -> Result<Self, MetaError> {
        let timeout = cluster.options().timeout;
        let deadline = Instant::now() + timeout;
        let configuration = loop {
            match cluster.meta().query_configuration(name).await {
                Err(MetaError::Unreachable(_)) if Instant::now() + BETWEEN_ATTEMPTS.end < deadline => {
                    tokio::time::sleep(jittered(BETWEEN_ATTEMPTS)).await;
                }
                answer => break answer?,
            }
        };
        let AppConfiguration { app: info, .. } = configuration.clone();
        let sessions = (0..info.partition_count).map(|_| Session::default()).collect();
        let routes = Routes::new(Arc::clone(cluster.meta()), &configuration);
        Ok(Self { shared: Arc::new(Shared { cluster: cluster.clone(), info, routes, sessions }), timeout })
    }

    /// The same for a client that speaks to apps of one type.
    ///
    /// # Errors
    /// [`MetaError::Invalid`] if the app is of another type; else as for [`App::open`].
    pub async fn open_of_type(cluster: &Cluster, name: &str, app_type: &str) -> Result<Self, MetaError> {
        let app = Self::open(cluster, name).await?;
        let found = &app.info().app_type;
        if found != app_type {
            let message = format!("app `{name}` is of type `{found}`, not `{app_type}`");
            return Err(MetaError::Invalid(message));
        }
        Ok(app)
    }

    /// The app, as the meta server described it.
    #[must_use]
    pub fn info(&self) -> &AppInfo {
        &self.shared.info
    }

    /// The same app, with another time limit for each operation.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Writes: the app of `key`'s partition applies `request`, once (V4).
    pub async fn write(&self, key: &[u8], request: Bytes) -> Outcome<Bytes> {
        if let Some(failure) = self.too_large(&request) {
            return Outcome::Failed(failure);
        }
        let gpid = self.partition(key);
        let deadline = Instant::now() + self.timeout;
        let mut trail = Trail::until(deadline);
        let ended = timeout_at(deadline, self.shared.write(gpid, request, &mut trail)).await;
        ended.unwrap_or_else(|_| trail.end(self.timeout))
    }

    /// Reads at the primary, under its leases (§5.3). Never ends as unknown.
    pub async fn read(&self, key: &[u8], request: Bytes) -> Outcome<Bytes> {
        self.run(self.partition(key), OperationKind::Read(request)).await
    }

    /// The same, of a partition of which the caller knows the number: what it asks is not about one key.
    ///
    /// # Panics
    /// If there is no such partition.
    pub async fn read_partition(&self, partition: u32, request: Bytes) -> Outcome<Bytes> {
        self.run(self.numbered(partition), OperationKind::Read(request)).await
    }

    /// Reads what the replica on one node has, by the node's name in `config.ini`, whatever its role: it may lack
    /// what was committed lately. The decree says which state that is. Tried once; never ends as unknown.
    pub async fn read_local(&self, node: &str, key: &[u8], request: Bytes) -> Outcome<Bytes> {
        let address = match self.shared.routes.address(node) {
            Ok(address) => address,
            Err(names) => {
                let message = format!("no node `{node}` has a replica of this app (nodes: {names})");
                return Outcome::Failed(Failure::NotUnderstood(message));
            }
        };
        local::read(&address, self.partition(key), request, self.timeout).await
    }

    /// Reads by a round through all replicas, as writes go (rDSN's `rpc_request_is_write_operation`). Needs no
    /// lease. Never ends as unknown.
    pub async fn read_as_write(&self, key: &[u8], request: Bytes) -> Outcome<Bytes> {
        let write = Write { session: None, kind: WriteKind::Read, payload: request };
        self.run(self.partition(key), OperationKind::Write(write)).await
    }

    /// The same, of a partition of which the caller knows the number.
    ///
    /// # Panics
    /// If there is no such partition.
    pub async fn read_partition_as_write(&self, partition: u32, request: Bytes) -> Outcome<Bytes> {
        let write = Write { session: None, kind: WriteKind::Read, payload: request };
        self.run(self.numbered(partition), OperationKind::Write(write)).await
    }

    async fn run(&self, gpid: Gpid, kind: OperationKind) -> Outcome<Bytes> {
        let request = match &kind {
            OperationKind::Read(request) => request,
            OperationKind::Write(write) => &write.payload,
        };
        if let Some(failure) = self.too_large(request) {
            return Outcome::Failed(failure);
        }
        let deadline = Instant::now() + self.timeout;
        let mut trail = Trail::until(deadline);
        let ended = timeout_at(deadline, self.shared.run(gpid, &kind, &mut trail)).await;
        match ended {
            Ok(Ended::With(outcome)) => outcome,
            // A read has no number, so its session can't have expired.
            Ok(Ended::SessionExpired) | Err(_) => trail.end(self.timeout),
        }
    }

    /// The partition of a key.
    #[must_use]
    pub fn partition_of(&self, key: &[u8]) -> u32 {
        partition_of(key, self.shared.info.partition_count)
    }

    fn partition(&self, key: &[u8]) -> Gpid {
        Gpid { app: self.shared.info.id, partition: self.partition_of(key) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn numbered(&self, partition: u32) -> Gpid {
        assert!(partition < self.info().partition_count, "there is a partition {partition}");
        Gpid { app: self.info().id, partition }
    }

    fn too_large(&self, request: &Bytes) -> Option<Failure> {
        let (size, limit) = (request.len(), self.shared.cluster.options().max_write_bytes);
        (size > limit).then_some(Failure::TooLarge { size, limit })
    }
}

/// How an operation with a certain number ended.
enum Ended {
    With(Outcome<Bytes>),
    /// Surely not done under that number.
    SessionExpired,
}

impl Shared {
    /// One write, in as many sessions as it takes; each that expires says that it was not done there.
    async fn write(&self, gpid: Gpid, request: Bytes, trail: &mut Trail) -> Outcome<Bytes> {
        let session = &self.sessions[gpid.partition as usize];
        loop {
            let Some(numbered) = session.number().await else {
                if let Err(failure) = self.open_session(gpid, session, trail).await {
                    return Outcome::Failed(failure);
                }
                continue;
            };
            let stamp = numbered.stamp();
            let write = Write { session: Some(stamp), kind: WriteKind::Update, payload: request.clone() };
            match self.run(gpid, &OperationKind::Write(write), trail).await {
                Ended::With(outcome) => return outcome,
                Ended::SessionExpired => session.expired(stamp.session),
            }
        }
    }

    /// Opens the session with a partition, unless somebody did meanwhile. Two may get opened if an answer is
    /// lost; the one that nobody uses expires.
    async fn open_session(&self, gpid: Gpid, session: &Session, trail: &mut Trail) -> Result<(), Failure> {
        let Some(_opening) = session.begin_opening().await else {
            return Ok(());
        };
        let write = Write { session: None, kind: WriteKind::OpenSession, payload: Bytes::new() };
        let answer = match self.run(gpid, &OperationKind::Write(write), trail).await {
            Ended::With(Outcome::Done { answer, .. }) => answer,
            Ended::With(Outcome::Failed(failure)) => return Err(failure),
            Ended::With(Outcome::Unknown) | Ended::SessionExpired => Bytes::new(),
        };
        let number = answer[..].try_into().map(u64::from_le_bytes);
        session.opened(number.map_err(|_| Failure::NotUnderstood("no session was opened".into()))?);
        Ok(())
    }

    /// Sends one operation until it has an end. Runs until the caller's deadline drops it.
    async fn run(&self, gpid: Gpid, kind: &OperationKind, trail: &mut Trail) -> Ended {
        loop {
            let seen = self.routes.version();
            let route = self.routes.primary(gpid);
            let next = match &route {
                Some(route) => self.send(gpid, kind, route, seen, trail).await,
                None => {
                    trail.last = format!("partition {gpid} has no primary");
                    // Asking has its own pace.
                    Next::Ask { pause: Pause::Asking }
                }
            };
            let pause = match next {
                Next::End(outcome) => return Ended::With(outcome),
                Next::NewSession => return Ended::SessionExpired,
                Next::Follow { ballot, primary } if self.routes.take_hint(gpid, ballot, primary) => continue,
                Next::Follow { .. } => self.ask(gpid, &route, seen, trail, Pause::Soon).await,
                Next::Ask { pause } => self.ask(gpid, &route, seen, trail, pause).await,
                Next::Again { pause } => Ok(Some(pause)),
            };
            match pause {
                Ok(Some(pause)) => tokio::time::sleep(pause.length(self.cluster.options())).await,
                Ok(None) => {}
                Err(failure) => return Ended::With(trail.fail(failure)),
            }
        }
    }

    /// Sends it once and waits for what becomes of it.
    async fn send(
        &self,
        gpid: Gpid,
        kind: &OperationKind,
        route: &Route,
        seen: u64,
        trail: &mut Trail,
    ) -> Next {
        let submitted = match self.cluster.links().to(&route.address).await {
            Ok(link) => link.submit(gpid, kind.clone(), trail.deadline).await,
            Err(why) => Err(why),
        };
        let delivery = match submitted {
            Ok(delivery) => {
                trail.sent(kind);
                self.wait(gpid, delivery, route, seen).await
            }
            Err(why) => Delivery::NotSent(why),
        };
        trail.judge(delivery, kind, &route.name)
    }

    /// Waits for an answer. While the server is silent, looks now and then whether another one is primary: then
    /// the answer is not waited for any longer.
    async fn wait(
        &self,
        gpid: Gpid,
        mut delivery: tokio::sync::oneshot::Receiver<Delivery>,
        route: &Route,
        mut seen: u64,
    ) -> Delivery {
        let lost = |_| Delivery::Lost("the connection broke".into());
        let patience = self.cluster.options().attempt_timeout;
        for patience in [patience, patience * 2, patience * 4] {
            if let Ok(delivered) = tokio::time::timeout(patience, &mut delivery).await {
                return delivered.unwrap_or_else(lost);
            }
            tokio::select! {
                delivered = &mut delivery => return delivered.unwrap_or_else(lost),
                _ = self.routes.refresh(seen) => seen = self.routes.version(),
            }
            if self.routes.primary(gpid).as_ref() != Some(route) {
                break;
            }
        }
        Delivery::Lost("does not answer".into())
    }

    /// Asks the meta server who is primary. Returns how long to pause before the next sending: not at all if the
    /// primary is another one than before.
    async fn ask(
        &self,
        gpid: Gpid,
        before: &Option<Route>,
        seen: u64,
        trail: &mut Trail,
        pause: Pause,
    ) -> Result<Option<Pause>, Failure> {
        match self.routes.refresh(seen).await {
            Err(MetaError::NotFound(why)) => return Err(Failure::UnknownApp(why)),
            Err(error) if before.is_none() => trail.last = error.to_string(),
            Ok(()) | Err(_) => {}
        }
        let now = self.routes.primary(gpid);
        Ok(if now.is_some() && now != *before { None } else { Some(pause) })
    }
}
