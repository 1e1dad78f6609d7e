//! How a client reaches the meta server.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proto::pb::meta_client::MetaClient;
use proto::{Malformed, pb};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use words::{AppId, AppInfo, Configuration, NodeAddress};

/// A meta server that does not answer within this is passed over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The meta servers, of which any that answers will do.
#[derive(Debug)]
pub struct MetaServers {
    servers: Vec<(String, Channel)>,
    /// The one that answered last: tried first.
    preferred: AtomicUsize,
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
        let connect = |address: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .map_err(|_| BadAddress { address: address.clone() })?
                .tcp_nodelay(true)
                .connect_timeout(ANSWER_TIMEOUT);
            Ok((address.clone(), endpoint.connect_lazy()))
        };
        let servers = addresses.iter().map(connect).collect::<Result<_, _>>()?;
        Ok(Self { servers, preferred: AtomicUsize::new(0) })
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
        let reply = self.ask(ANSWER_TIMEOUT, ask).await?;
        AppConfiguration::try_from(reply).map_err(|malformed| MetaError::Refused(malformed.to_string()))
    }

    /// Asks the servers in turn, from the preferred one on, until one is reached. Each has `timeout`.
    ///
    /// # Errors
    /// What the one that was reached says, or that none was.
    pub async fn ask<R, F>(&self, timeout: Duration, request: impl Fn(Channel) -> F) -> Result<R, MetaError>
    where
        F: Future<Output = Result<tonic::Response<R>, Status>>,
    {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut last = MetaError::Unreachable("no meta server is configured: set `meta_servers`".into());
        for index in (0..self.servers.len()).map(|offset| (preferred + offset) % self.servers.len()) {
            let (address, channel) = &self.servers[index];
            let answer = tokio::time::timeout(timeout, request(channel.clone())).await;
            let status = match answer {
                Ok(Ok(reply)) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(reply.into_inner());
                }
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer in {} ms", timeout.as_millis())),
            };
            last = explain(address, &status);
            if !matches!(last, MetaError::Unreachable(_)) {
                break;
            }
        }
        Err(last)
    }
}

/// A status in words that say what to do.
fn explain(address: &str, status: &Status) -> MetaError {
    let message = status.message().to_owned();
    match status.code() {
        Code::NotFound => MetaError::NotFound(message),
        Code::InvalidArgument => MetaError::Invalid(message),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
            let reason = root_cause(status);
            MetaError::Unreachable(format!(
                "the meta server at {address} can't be reached ({reason}): is it running? \
                 Start it with `meta-server --config config.ini --name meta1`"
            ))
        }
        _ => MetaError::Refused(message),
    }
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
