//! Watching what an app publishes of its changes: every change once and in order, wherever the primary is
//! meanwhile (docs/client-protocol.md).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use proto::pb;
use proto::pb::replica_client::ReplicaClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::Streaming;
use words::{Change, ChangePage, Decree, Gpid, KeyFilter, Refusal};

use crate::App;
use crate::app::Shared;
use crate::backoff::Pause;
use crate::link::REPLY_FRAME_BYTES;
use crate::meta::MetaError;
use crate::routes::Route;

/// Pages that wait for whoever watches; a server keeps the rest, for as long as it keeps anything.
const PAGES_AHEAD: usize = 2;
/// A server says something at least once a second. One that does not for this long makes us look elsewhere ...
const SILENCE: Duration = Duration::from_millis(1200);
/// ... and is given up after so many of them, whoever is said to lead.
const SILENCES: u32 = 2;

/// What a watch brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Of which partition.
    pub partition: u32,
    /// No change is missing up to this decree: a later watch can go on from the next one. Comes with each item, and
    /// one without changes comes at least once a second while somebody serves the partition.
    pub through: Decree,
    /// Changes, each with its decree, in order.
    pub changes: Vec<(Decree, Change)>,
}

/// Why a watch of a partition is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchFailure {
    /// The servers don't keep changes that far back. Read the state; then watch from the decree after that read.
    #[error(
        "the changes wanted next of partition {partition} are not kept any more, only those from decree {oldest} on: \
         read the state and watch from there"
    )]
    Compacted {
        /// The partition.
        partition: u32,
        /// The oldest decree that could be watched from.
        oldest: Decree,
    },
    /// A server refused for good.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// There is no such app (any more); what the meta server says of it.
    #[error("{0}")]
    UnknownApp(String),
}

/// The changes of one partition, or of several, as they are committed: a [`Stream`]. It finds the primary by itself,
/// again and again, and ends only with a failure; dropping it ends the watch. Whoever reads it slowly slows down
/// nobody, and falls behind until [`WatchFailure::Compacted`] says so.
#[derive(Debug)]
pub struct Watch {
    told: mpsc::Receiver<Result<Watched, WatchFailure>>,
}

impl Watch {
    /// The next item; `None` once all partitions have ended.
    pub async fn next(&mut self) -> Option<Result<Watched, WatchFailure>> {
        self.told.recv().await
    }
}

impl Stream for Watch {
    type Item = Result<Watched, WatchFailure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.told.poll_recv(context)
    }
}

impl App {
    /// Watches one key, which is also the one that operations on it name. `from`: the first decree of interest, as
    /// a rule the one after that of an answer; `None`: what is committed from now on.
    #[must_use]
    pub fn watch(&self, key: &[u8], from: Option<Decree>) -> Watch {
        let filter = KeyFilter::Key(Bytes::copy_from_slice(key));
        self.watch_partition(self.partition_of(key), filter, from)
    }

    /// Watches some keys of one partition.
    #[must_use]
    pub fn watch_partition(&self, partition: u32, filter: KeyFilter, from: Option<Decree>) -> Watch {
        self.follow([(partition, from)], &filter)
    }

    /// Watches all keys that begin so, in all partitions; in each from the decree that `from` names, if it does.
    /// What comes of one partition is in order; partitions know nothing of each other.
    #[must_use]
    pub fn watch_prefix(&self, prefix: &[u8], from: &BTreeMap<u32, Decree>) -> Watch {
        let all =
            (0..self.info().partition_count).map(|partition| (partition, from.get(&partition).copied()));
        self.follow(all, &KeyFilter::Prefix(Bytes::copy_from_slice(prefix)))
    }

    fn follow(
        &self,
        partitions: impl IntoIterator<Item = (u32, Option<Decree>)>,
        filter: &KeyFilter,
    ) -> Watch {
        let (sender, told) = mpsc::channel(PAGES_AHEAD);
        for (partition, from) in partitions {
            let gpid = Gpid { app: self.info().id, partition };
            let (shared, filter) = (Arc::clone(self.shared()), filter.clone());
            let follower = Follower { shared, gpid, filter, from, told: sender.clone(), refusals: 0 };
            tokio::spawn(follower.run());
        }
        Watch { told }
    }
}

/// The task behind the watch of one partition.
struct Follower {
    shared: Arc<Shared>,
    gpid: Gpid,
    filter: KeyFilter,
    /// What is wanted next.
    from: Option<Decree>,
    told: mpsc::Sender<Result<Watched, WatchFailure>>,
    /// Refusals since something was heard.
    refusals: u32,
}

/// Why one server's stream is over.
enum End {
    /// Go elsewhere, or here again, after this.
    Again(Pause),
    /// That one is said to lead.
    NotPrimary(Refusal),
    Failure(WatchFailure),
}

impl Follower {
    async fn run(mut self) {
        let told = self.told.clone();
        tokio::select! {
            failure = self.follow() => drop(told.send(Err(failure)).await),
            () = told.closed() => {}
        }
    }

    async fn follow(&mut self) -> WatchFailure {
        loop {
            let seen = self.shared.routes.version();
            let route = self.shared.routes.primary(self.gpid);
            let end = match &route {
                Some(route) => self.watch(route).await.unwrap_or_else(|end| end),
                None => End::Again(Pause::Asking),
            };
            let pause = match end {
                End::Failure(failure) => return failure,
                End::NotPrimary(Refusal::NotPrimary { ballot, primary: Some(primary) })
                    if self.shared.routes.take_hint(self.gpid, ballot, primary) =>
                {
                    continue;
                }
                End::NotPrimary(_) => Pause::Soon,
                End::Again(pause) => pause,
            };
            if let Err(MetaError::NotFound(why)) = self.shared.routes.refresh(seen).await {
                return WatchFailure::UnknownApp(why);
            }
            let now = self.shared.routes.primary(self.gpid);
            if now.is_none() || now == route {
                tokio::time::sleep(pause.length(self.shared.cluster.options())).await;
            }
        }
    }

    /// Follows one server for as long as it has something to say. The result is an end in any case.
    async fn watch(&mut self, route: &Route) -> Result<End, End> {
        let lost = || End::Again(Pause::Later);
        let channel = self.shared.cluster.watching(&route.address).ok_or_else(lost)?;
        let request = words::Watch { gpid: self.gpid, filter: self.filter.clone(), from: self.from };
        let mut client = ReplicaClient::new(channel).max_decoding_message_size(REPLY_FRAME_BYTES);
        let opened = timeout(SILENCE, client.watch(pb::WatchRequest::from(request))).await;
        let mut frames = opened.map_err(|_| lost())?.map_err(|_| lost())?.into_inner();
        loop {
            let frame = self.next_frame(&mut frames, route).await.ok_or_else(lost)?;
            let page = match Result::<ChangePage, Refusal>::try_from(frame).map_err(|_| lost())? {
                Ok(page) => page,
                Err(refusal) => return Ok(self.refused(refusal)),
            };
            self.refusals = 0;
            let first = page.changes.first().map_or(page.through.next(), |(decree, _)| *decree);
            if self.from.is_some_and(|from| first < from) {
                return Err(lost()); // that was not asked for
            }
            self.from = Some(page.through.next());
            let ChangePage { through, changes } = page;
            let watched = Watched { partition: self.gpid.partition, through, changes };
            // The task ends with the last one who listens.
            let _ = self.told.send(Ok(watched)).await;
        }
    }

    /// `None`: the stream has ended, or its server is silent and another one leads, or it was silent for too long.
    async fn next_frame(
        &self,
        frames: &mut Streaming<pb::WatchReply>,
        route: &Route,
    ) -> Option<pb::WatchReply> {
        let routes = &self.shared.routes;
        for _ in 0..SILENCES {
            if let Ok(frame) = timeout(SILENCE, frames.message()).await {
                return frame.ok().flatten();
            }
            tokio::select! {
                frame = frames.message() => return frame.ok().flatten(),
                _ = routes.refresh(routes.version()) => {}
            }
            if routes.primary(self.gpid).as_ref() != Some(route) {
                break;
            }
        }
        None
    }

    fn refused(&mut self, refusal: Refusal) -> End {
        let refusals = self.refusals;
        self.refusals += 1;
        match refusal {
            Refusal::NotPrimary { .. } => End::NotPrimary(refusal),
            Refusal::NotReady | Refusal::NoLease => End::Again(Pause::Soon),
            Refusal::UnknownPartition => End::Again(Pause::Later),
            Refusal::Compacted { oldest } => {
                End::Failure(WatchFailure::Compacted { partition: self.gpid.partition, oldest })
            }
            other if other.retry_can_help() => End::Again(Pause::Growing { refusals }),
            other => End::Failure(WatchFailure::Refused(other)),
        }
    }
}
