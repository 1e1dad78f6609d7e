//! The client library: finds the primary of a key's partition, keeps sending until the outcome is known or the
//! caller's deadline has passed, and takes care that a write that was sent twice takes effect once.
//!
//! ```no_run
//! # async fn example(settings: settings::Settings) -> Result<(), Box<dyn std::error::Error>> {
//! use client::{App, Cluster, Outcome};
//!
//! let cluster = Cluster::connect(&settings)?;
//! let app = App::open(&cluster, "counter.instance0").await?;
//! match app.write(b"key", "request".into()).await {
//!     Outcome::Done { decree, answer } => println!("{answer:?}, as decree {decree}"),
//!     Outcome::Failed(why) => println!("surely not done: {why}"),
//!     Outcome::Unknown => println!("done at most once, now or later"),
//! }
//! # Ok(()) }
//! ```
//!
//! docs/client-protocol.md says what goes over the wire, for clients in other languages.

mod app;
mod backoff;
pub mod command_line;
mod copies;
mod hash;
mod link;
mod local;
pub mod meta;
mod operation;
mod outcome;
mod routes;
mod session;
mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use app::App;
pub use copies::Copies;
pub use hash::partition_of;
pub use outcome::{Failure, Outcome};
pub use watch::{Watch, WatchFailure, Watched};
pub use words::{Change, Decree, KeyFilter};

use dashmap::DashMap;
use settings::Settings;
use tonic::transport::Channel;

use link::Links;
use meta::{BadAddress, MetaServers};

/// What may be under way to all watches of one server that are not read, in bytes: 64 KiB each.
const WATCH_WINDOW: u32 = 64 << 20;

/// What a client needs to know of a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses of the meta servers, `host:port`.
    pub meta_servers: Vec<String>,
    /// How long an operation may take, all attempts together.
    pub timeout: Duration,
    /// A server that has been silent for this long makes the client look for another primary. (The end of a
    /// connection is noticed at once; this is for a server that is frozen or cut off.)
    pub attempt_timeout: Duration,
    /// The pause before the second attempt, about.
    pub backoff: Duration,
    /// Pauses grow up to this while a server refuses for want of room, replicas or disk.
    pub backoff_max: Duration,
    /// Requests larger than this, in bytes, are refused without being sent.
    pub max_write_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            meta_servers: vec!["127.0.0.1:34601".into()],
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_millis(300),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(200),
            max_write_bytes: (1 << 20) + (64 << 10),
        }
    }
}

/// A cluster, as a client sees it. Clones share connections: one stream to each replica server for a whole
/// process.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Connections>);

#[derive(Debug)]
struct Connections {
    options: Options,
    meta: Arc<MetaServers>,
    links: Links,
    watching: DashMap<Arc<str>, Channel>,
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Self {
            meta_servers: settings.meta_servers().into_iter().map(|server| server.address).collect(),
            timeout: Duration::from_millis(settings.client.timeout_ms),
            max_write_bytes: settings.replication.max_write_bytes,
            ..Self::default()
        }
    }
}

impl Cluster {
    /// The cluster that the settings describe; see [`Cluster::new`].
    ///
    /// # Errors
    /// If an address is no address.
    pub fn connect(settings: &Settings) -> Result<Self, BadAddress> {
        Self::new(Options::from(settings))
    }

    /// A cluster with these options. Connects when first needed. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If an address is no address.
    pub fn new(options: Options) -> Result<Self, BadAddress> {
        let meta = Arc::new(MetaServers::new(&options.meta_servers)?);
        Ok(Self(Arc::new(Connections { options, meta, links: Links::default(), watching: DashMap::new() })))
    }

    /// The meta servers.
    #[must_use]
    pub fn meta(&self) -> &Arc<MetaServers> {
        &self.0.meta
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// The connection to `address` that watches share; `None` if that is no address. It is not the operations': a
    /// watch that nobody reads must not stand in their way.
    fn watching(&self, address: &Arc<str>) -> Option<Channel> {
        if let Some(channel) = self.0.watching.get(address) {
            return Some(channel.clone());
        }
        let channel =
            link::endpoint(address).ok()?.initial_connection_window_size(WATCH_WINDOW).connect_lazy();
        Some(self.0.watching.entry(Arc::clone(address)).or_insert(channel).clone())
    }

    fn links(&self) -> &Links {
        &self.0.links
    }
}
