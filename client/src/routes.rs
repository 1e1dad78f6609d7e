//! Where the primary of each partition is, as far as this client knows (§8.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Mutex;
use tokio::time::Instant;
use words::{AppInfo, Ballot, Gpid, NodeAddress, NodeId};

use crate::backoff::jittered;
use crate::meta::{AppConfiguration, MetaError, MetaServers};

/// Between two questions about one app. While a primary is being replaced this is how fine the client looks;
/// jittered, so that many clients don't ask in step.
const BETWEEN_QUERIES: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(40);

/// A partition's primary in the newest configuration known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ballot: Ballot,
    pub(crate) name: Arc<str>,
    pub(crate) address: Arc<str>,
}

/// The configurations of one app's partitions.
#[derive(Debug)]
pub(crate) struct Routes {
    meta: Arc<MetaServers>,
    app: AppInfo,
    /// `None`: a configuration without a primary, or with one whose address is not known.
    primaries: DashMap<Gpid, (Ballot, Option<Route>)>,
    nodes: DashMap<NodeId, NodeAddress>,
    /// Grows with each answer of the meta server, also with a failed one.
    version: AtomicU64,
    /// Held while one task asks for all of them: after a failover many operations want to know at once.
    asking: Mutex<LastAnswer>,
}

#[derive(Debug)]
struct LastAnswer {
    at: Instant,
    error: Option<MetaError>,
}

impl Routes {
    pub(crate) fn new(meta: Arc<MetaServers>, configuration: &AppConfiguration) -> Self {
        let routes = Self {
            meta,
            app: configuration.app.clone(),
            primaries: DashMap::new(),
            nodes: DashMap::new(),
            version: AtomicU64::new(0),
            asking: Mutex::new(LastAnswer { at: Instant::now(), error: None }),
        };
        routes.take(configuration);
        routes
    }

    /// Pass it to [`refresh`](Self::refresh) together with what was looked up after it.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The primary of a partition, if one is known.
    pub(crate) fn primary(&self, gpid: Gpid) -> Option<Route> {
        self.primaries.get(&gpid)?.1.clone()
    }

    /// Asks the meta server, unless somebody did since the caller looked at `seen`.
    ///
    /// # Errors
    /// What the meta server said when it was asked last. `NotFound` if the app was dropped, or dropped and
    /// created anew.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<(), MetaError> {
        let mut last = self.asking.lock().await;
        if self.version() == seen {
            tokio::time::sleep_until(last.at + jittered(BETWEEN_QUERIES)).await;
            last.error = match self.meta.query_again(&self.app).await {
                Ok(configuration) if self.is_same_app(&configuration) => {
                    self.take(&configuration);
                    None
                }
                Ok(_) => Some(MetaError::NotFound(format!("app `{}` was created anew", self.app.name))),
                Err(error) => Some(error),
            };
            last.at = Instant::now();
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        last.error.clone().map_or(Ok(()), Err)
    }

    /// Takes a replica server's word for who is primary. Returns whether that was news, and of use.
    pub(crate) fn take_hint(&self, gpid: Gpid, ballot: Ballot, primary: NodeId) -> bool {
        let Some(node) = self.nodes.get(&primary) else {
            return false;
        };
        let mut entry = self.primaries.entry(gpid).or_default();
        let is_news = ballot > entry.0;
        if is_news {
            *entry = (ballot, Some(route(ballot, &node)));
        }
        is_news
    }

    /// Where a node can be reached that is named in a configuration.
    ///
    /// # Errors
    /// The names of those that are.
    pub(crate) fn address(&self, name: &str) -> Result<String, String> {
        let mut names = Vec::new();
        for node in &self.nodes {
            if node.name == name {
                return Ok(node.address.clone());
            }
            names.push(node.name.clone());
        }
        names.sort_unstable();
        Err(names.join(", "))
    }

    fn is_same_app(&self, configuration: &AppConfiguration) -> bool {
        self.primaries.contains_key(&Gpid { app: configuration.app.id, partition: 0 })
    }

    fn take(&self, configuration: &AppConfiguration) {
        for node in &configuration.nodes {
            self.nodes.insert(node.node, node.clone());
        }
        for (partition, new) in (0..).zip(&configuration.partitions) {
            let primary = new.primary.and_then(|primary| self.nodes.get(&primary));
            let mut entry = self.primaries.entry(Gpid { app: configuration.app.id, partition }).or_default();
            // A hint may have been ahead of the meta server's answer. At the same ballot the address can be new.
            if new.ballot >= entry.0 {
                *entry = (new.ballot, primary.map(|node| route(new.ballot, &node)));
            }
        }
    }
}

fn route(ballot: Ballot, node: &NodeAddress) -> Route {
    Route { ballot, name: node.name.as_str().into(), address: node.address.as_str().into() }
}
