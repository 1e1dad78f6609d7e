//! How a client reaches the meta server.

use std::error::Error;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::pb::meta_client::MetaClient;
use proto::pb::raft_client::RaftClient;
use proto::{Malformed, pb};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use words::{AppId, AppInfo, Configuration, NodeAddress};

use crate::backoff::jittered;

/// A meta server that does not say who it is within this is passed over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a query goes on while the meta servers elect one that leads.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two rounds of questions while they do.
const BETWEEN_ROUNDS: Range<Duration> = Duration::from_millis(20)..Duration::from_millis(60);

/// The most addresses that are known at once: those of the settings, and of those that led since.
const MOST_SERVERS: usize = 16;

/// The meta servers. Questions go to the one that leads, and some of them to any.
#[derive(Debug)]
pub struct MetaServers {
    servers: Mutex<Vec<(String, Channel)>>,
    /// The one that answered last: tried first.
    preferred: AtomicUsize,
}

/// Whether a request may be made again if it is not known what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It only reads.
    Always,
    /// It changes something.
    IfNotDone,
}

/// An address in the settings is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{address}` is no address of a meta server; write HOST:PORT, for example 127.0.0.1:34601")]
pub struct BadAddress {
    /// What was written.
    pub address: String,
}

/// Why a question to the meta server had no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// It says that there is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It says that the request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
    /// None was reached in time.
    #[error("{0}")]
    Unreachable(String),
}

/// One app as the meta server has it now.
#[derive(Clone, Debug)]
pub struct AppConfiguration {
    /// The app.
    pub app: AppInfo,
    /// By partition index.
    pub partitions: Vec<Configuration>,
    /// Every node named in `partitions`.
    pub nodes: Vec<NodeAddress>,
}

impl MetaServers {
    /// The servers at these addresses. Connects when first needed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If one of them is no `host:port`.
    pub fn new(addresses: &[String]) -> Result<Self, BadAddress> {
        let servers = addresses.iter().map(|address| connect(address)).collect::<Result<_, _>>()?;
        Ok(Self { servers: Mutex::new(servers), preferred: AtomicUsize::new(0) })
    }

    /// The configuration of the app of that name.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app; the others as they say.
    pub async fn query_configuration(&self, app_name: &str) -> Result<AppConfiguration, MetaError> {
        self.query(app_name, AppId::default()).await
    }

    /// The configuration of an app that was found before, whatever it is called now.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if it was dropped; the others as they say.
    pub async fn query_again(&self, app: &AppInfo) -> Result<AppConfiguration, MetaError> {
        self.query(&app.name, app.id).await
    }

    async fn query(&self, app_name: &str, id: AppId) -> Result<AppConfiguration, MetaError> {
        let ask = |channel| {
            let request = pb::QueryConfigurationRequest { app_name: app_name.to_owned(), app_id: id.0 };
            async move { MetaClient::new(channel).query_configuration(request).await }
        };
        let reply = self.ask(QUERY_TIMEOUT, Repeat::Always, ask).await?;
        AppConfiguration::try_from(reply).map_err(|malformed| MetaError::Refused(malformed.to_string()))
    }

    /// Asks the servers in turn, from the preferred one on and as they name the one that leads, until one answers.
    ///
    /// # Errors
    /// What the one that answered says, or that none did.
    pub async fn ask<R, F>(
        &self,
        timeout: Duration,
        repeat: Repeat,
        request: impl Fn(Channel) -> F,
    ) -> Result<R, MetaError>
    where
        F: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let deadline = Instant::now() + timeout;
        let mut turn = self.preferred.load(Ordering::Relaxed);
        let mut last = MetaError::Unreachable("no meta server is configured: set `meta_servers`".into());
        // Asked in this round; and whether one of them answered, if only that it does not lead.
        let (mut asked, mut is_somebody_there) = (vec![], false);
        while let Some((index, address, channel)) = self.server(turn) {
            let left = deadline.saturating_duration_since(Instant::now());
            let has_others = self.count() > 1;
            let patience = if has_others && repeat == Repeat::Always { left / 2 } else { left };
            let ask = async {
                // What changes something goes to a server that is there: it can't be taken back.
                if has_others && repeat == Repeat::IfNotDone {
                    probe(channel.clone()).await?;
                }
                request(channel).await
            };
            let answer = tokio::time::timeout(patience, ask).await;
            let status = match answer {
                Ok(Ok(reply)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(reply.into_inner());
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer in {} ms", patience.as_millis())),
            };
            asked.push(index);
            turn = index + 1;
            if let Some(leader) = status.metadata().get(proto::LEADER_KEY) {
                is_somebody_there = true;
                last = MetaError::Unreachable(status.message().to_owned());
                let named = leader.to_str().ok().and_then(|leader| self.place_of(leader));
                turn = named.filter(|named| !asked.contains(named)).unwrap_or(turn);
            } else {
                last = explain(&address, &status);
                let is_over = !matches!(last, MetaError::Unreachable(_));
                if is_over || repeat == Repeat::IfNotDone && was_perhaps_sent(&status) {
                    break;
                }
            }
            if asked.len() >= self.count() {
                if !is_somebody_there || Instant::now() >= deadline {
                    break;
                }
                asked.clear();
                tokio::time::sleep(jittered(BETWEEN_ROUNDS)).await;
            }
        }
        Err(last)
    }

    fn known(&self) -> MutexGuard<'_, Vec<(String, Channel)>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.known().len()
    }

    /// The server whose turn it is; `None` if there is none at all.
    fn server(&self, turn: usize) -> Option<(usize, String, Channel)> {
        let known = self.known();
        let index = turn.checked_rem(known.len())?;
        let (address, channel) = known[index].clone();
        Some((index, address, channel))
    }

    /// Where the server at an address is among those known. It becomes known if it was not.
    fn place_of(&self, address: &str) -> Option<usize> {
        let mut known = self.known();
        let place = known.iter().position(|(other, _)| other == address);
        if place.is_some() || address.is_empty() || known.len() >= MOST_SERVERS {
            return place;
        }
        known.push(connect(address).ok()?);
        Some(known.len() - 1)
    }
}

fn connect(address: &str) -> Result<(String, Channel), BadAddress> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| BadAddress { address: address.to_owned() })?
        .tcp_nodelay(true)
        .connect_timeout(ANSWER_TIMEOUT);
    Ok((address.to_owned(), endpoint.connect_lazy()))
}

/// A status in words that say what to do.
fn explain(address: &str, status: &Status) -> MetaError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => MetaError::NotFound(message),
        Code::InvalidArgument => MetaError::Invalid(message),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => unreachable(address, status),
        // It lost its lead before it knew whether the change was made.
        Code::Aborted => MetaError::Unreachable(message),
        // No server said this: its connection broke under the request, and the code is then any.
        _ if status.source().is_some() => unreachable(address, status),
        _ => MetaError::Refused(message),
    }
}

fn unreachable(address: &str, status: &Status) -> MetaError {
    let reason = root_cause(status);
    MetaError::Unreachable(format!(
        "the meta server at {address} can't be reached ({reason}): is it running? \
         Start it with `meta-server --config config.ini --name meta1`"
    ))
}

/// Whether somebody answers at all. If not, the error is the one of a server that can't be connected to.
async fn probe(channel: Channel) -> Result<(), Status> {
    let who = pb::IntroduceRequest::default();
    match tokio::time::timeout(ANSWER_TIMEOUT, RaftClient::new(channel).introduce(who)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(Status::from_error(Box::new(tonic::ConnectError(Box::new(status))))),
        Err(_) => {
            let silence = format!("no answer in {} ms", ANSWER_TIMEOUT.as_millis());
            Err(Status::from_error(Box::new(tonic::ConnectError(silence.into()))))
        }
    }
}

/// Whether the server may have got the request: unless there was no connection at all, it may.
fn was_perhaps_sent(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return false;
        }
        cause = error.source();
    }
    true
}

/// The innermost cause of an error, which is what a person wants to know: "Connection refused".
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    // A status prints all of its fields; its message is enough.
    cause.downcast_ref::<Status>().map_or_else(|| cause.to_string(), |status| status.message().to_owned())
}

impl TryFrom<pb::QueryConfigurationReply> for AppConfiguration {
    type Error = Malformed;

    fn try_from(reply: pb::QueryConfigurationReply) -> Result<Self, Malformed> {
        const APP: &str = "QueryConfigurationReply.app";
        let app: AppInfo = reply.app.ok_or(Malformed { field: APP, problem: "is missing" })?.into();
        if app.partition_count == 0 || reply.partitions.len() != app.partition_count as usize {
            return Err(Malformed { field: APP, problem: "has not as many partitions as it says" });
        }
        Ok(Self {
            app,
            partitions: reply.partitions.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            nodes: reply.nodes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}
