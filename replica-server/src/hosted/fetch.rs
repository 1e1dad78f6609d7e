//! Fetches a checkpoint from another node into a new generation and opens it there (§6.2). Runs on a thread of
//! its own; the shard decides at the end whether the result takes the app's place.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::pb;
use proto::pb::peer_client::PeerClient;
use replica_core::Event;
use replicated_app::{AppInfo, LearnState};
use tokio::time::timeout;
use words::{Gpid, MutationId, Signature};

use super::WorkDone;
use super::app::{HostedApp, SharedRegistry};
use super::download::{Broken, Download};
use super::folder::ReplicaFolder;
use crate::wire::{self, CHECKPOINT_LIMIT};
use crate::workers::Workers;
use crate::{durable, jitter};

/// A fetch without any progress for this long is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// ... and one from a node that can't be reached for this long: by then another one may be asked.
const REACH_PATIENCE: Duration = Duration::from_secs(3);
/// A chunk that takes longer than this counts as a break: the connection is made anew.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two reports of how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What to fetch, and where to.
pub(crate) struct Fetch {
    pub(crate) gpid: Gpid,
    /// Which learning it is for.
    pub(crate) signature: Signature,
    pub(crate) info: AppInfo,
    pub(crate) folder: ReplicaFolder,
    /// The generation to make.
    pub(crate) generation: u64,
    /// Where the node that offers it can be reached, `host:port`.
    pub(crate) address: String,
    pub(crate) transfer: u64,
    pub(crate) checkpoint: MutationId,
    /// Set when nobody wants it any more.
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Fetch {
    /// Fetches it and opens an app with it, in a generation that does not count yet.
    ///
    /// # Errors
    /// The offer is gone or is another one, the node can't be reached, the data is damaged, the disk is full,
    /// the app does not take it. What was fetched by then stays for the next fetch, unless it is of no use.
    pub(crate) fn run(&self, registry: &SharedRegistry, workers: &Workers) -> io::Result<HostedApp> {
        let generation = self.folder.make_generation(self.generation)?;
        let result = self.fill(&generation, registry, workers);
        if result.is_err() {
            let _ = removal::remove_folder(&generation);
        }
        result
    }

    fn fill(&self, generation: &Path, registry: &SharedRegistry, workers: &Workers) -> io::Result<HostedApp> {
        let incoming = self.folder.take_incoming(generation)?;
        let mut download = Download::new(&incoming, self.checkpoint);
        let pulled = self.pull(&mut download, workers);
        let (received, here) = (download.received(), download.progress());
        tracing::info!(gpid = %self.gpid, received, bytes = here.bytes, of = here.of_bytes, "fetched of a checkpoint");
        let manifest = pulled.and_then(|()| download.finish()).inspect_err(|error| {
            // What this node's own disk failed to take can't be believed later, and may be what fills it.
            if error.raw_os_error().is_none() {
                self.folder.keep_incoming(&incoming);
            }
        })?;
        let state = LearnState {
            decree: self.checkpoint.decree,
            folder: incoming.clone(),
            files: manifest.files.iter().map(|file| PathBuf::from(&file.name)).collect(),
            blob: manifest.blob,
        };
        let mut app = HostedApp::open(registry, self.gpid, &self.info, generation)?;
        app.install(self.checkpoint, &manifest.sessions, &state)?;
        removal::remove_folder(&incoming)?;
        durable::sync_folder(generation)?;
        Ok(app)
    }

    /// Pulls all files, again and again from where the last connection broke.
    fn pull(&self, download: &mut Download<'_>, workers: &Workers) -> io::Result<()> {
        let mut last_progress = Instant::now();
        loop {
            let before = download.position();
            let broken = match workers.runtime.block_on(self.pull_once(download, workers)) {
                Ok(()) => return Ok(()),
                Err(broken) => broken,
            };
            if download.position() != before {
                last_progress = Instant::now();
            }
            let (error, patience) = match broken {
                Broken::Final(error) => return Err(error),
                Broken::Unreachable(error) => (error, REACH_PATIENCE),
                Broken::Retry(error) => (error, PATIENCE),
            };
            if last_progress.elapsed() > patience {
                return Err(error);
            }
            tracing::info!(gpid = %self.gpid, from = self.address, %error, "fetching a checkpoint: connecting again");
            std::thread::sleep(jitter::between(100, 300));
        }
    }

    /// One connection's worth of it: a stream for each row of files that are not here. Files are written from here:
    /// this thread has nothing else to do.
    async fn pull_once(&self, download: &mut Download<'_>, workers: &Workers) -> Result<(), Broken> {
        let channel = wire::connect(&self.address).await.map_err(|error| Broken::unreachable(&error))?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(CHECKPOINT_LIMIT);
        let mut reported = Instant::now();
        while !download.is_complete() {
            let (file, offset) = download.position();
            let request = pb::FetchCheckpointRequest {
                gpid: Some(self.gpid.into()),
                transfer: self.transfer,
                file: u32::try_from(file).unwrap_or(u32::MAX),
                offset,
            };
            let mut chunks = timeout(CHUNK_TIMEOUT, client.fetch_checkpoint(request))
                .await
                .map_err(|error| Broken::retry(&error))?
                .map_err(Broken::from_status)?
                .into_inner();
            download.begin_stream();
            while download.goes_on_in_stream() {
                if self.cancelled.load(Ordering::Relaxed) {
                    return Err(Broken::Final(io::Error::new(
                        io::ErrorKind::Interrupted,
                        "not wanted any more",
                    )));
                }
                let next =
                    timeout(CHUNK_TIMEOUT, chunks.message()).await.map_err(|error| Broken::retry(&error))?;
                let chunk = next.map_err(Broken::from_status)?;
                download.take(chunk.ok_or_else(|| Broken::retry(&"the stream ended early"))?)?;
                if reported.elapsed() >= REPORT_INTERVAL {
                    reported = Instant::now();
                    self.report(download, workers);
                }
            }
        }
        Ok(())
    }

    fn report(&self, download: &Download<'_>, workers: &Workers) {
        let (gpid, signature, progress) = (self.gpid, self.signature, download.progress());
        workers.report(WorkDone::Event(Event::CheckpointCopied { gpid, signature, progress }));
    }
}
