//! What other nodes say to this one: their messages, and their requests for checkpoints (proto/peer.proto).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::pb;
use proto::pb::peer_server::Peer;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status, Streaming};
use words::Gpid;

use crate::hosted::{Offer, Offers};
use crate::mailbox::{Mail, MailSender};

/// A piece of a checkpoint in one message, in bytes.
const CHUNK: usize = 256 * 1024;
/// Chunks read ahead of the learner.
const CHUNKS_AHEAD: usize = 4;
/// Checkpoints sent at once; more learners wait for their turn.
const TRANSFERS: usize = 4;
/// A learner that takes no chunk for this long is given up.
const STUCK: Duration = Duration::from_secs(30);

/// The service.
pub(crate) struct PeerService {
    mail: MailSender,
    offers: Arc<Offers>,
    transfers: Arc<Transfers>,
}

/// What bounds the checkpoints that are being sent.
struct Transfers {
    places: Semaphore,
    pace: Pace,
}

impl PeerService {
    /// `bandwidth` is what all transfers together may send, in bytes a second; 0 is without bound.
    pub(crate) fn new(mail: MailSender, offers: Arc<Offers>, bandwidth: u64) -> Self {
        let transfers = Arc::new(Transfers { places: Semaphore::new(TRANSFERS), pace: Pace::new(bandwidth) });
        Self { mail, offers, transfers }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    /// Waits when the shard's mailbox is full, and lets the sender wait with it.
    async fn stream(&self, call: Call<Streaming<pb::PeerFrame>>) -> Result<Response<pb::StreamEnd>, Status> {
        let mut frames = call.into_inner();
        while let Some(frame) = frames.message().await? {
            let envelopes = proto::envelopes(frame).map_err(|malformed| {
                tracing::warn!(%malformed, "a node sent nonsense: its stream ends");
                Status::invalid_argument(malformed.to_string())
            })?;
            if self.mail.send(Mail::Peer(envelopes)).await.is_err() {
                return Err(Status::unavailable("this node is stopping"));
            }
        }
        Ok(Response::new(pb::StreamEnd {}))
    }

    type FetchCheckpointStream = Pin<Box<dyn Stream<Item = Result<pb::CheckpointChunk, Status>> + Send>>;

    async fn fetch_checkpoint(
        &self,
        call: Call<pb::FetchCheckpointRequest>,
    ) -> Result<Response<Self::FetchCheckpointStream>, Status> {
        let request = call.into_inner();
        let gpid = request.gpid.ok_or_else(|| Status::invalid_argument("gpid is missing"))?;
        let offer = self.offers.get(Gpid::from(gpid), request.transfer).ok_or_else(|| {
            Status::not_found("no such checkpoint is offered (any more): ask the primary to learn again")
        })?;
        let (chunks, queue) = mpsc::channel(CHUNKS_AHEAD);
        let transfers = Arc::clone(&self.transfers);
        tokio::spawn(async move {
            let _place = transfers.places.acquire().await;
            send_chunks(&offer, request.file as usize, request.offset, &chunks, &transfers.pace).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

type Chunks = mpsc::Sender<Result<pb::CheckpointChunk, Status>>;

/// Sends the manifest, then what is missing from `offset` of `file` on. Ends early if the learner goes away.
async fn send_chunks(offer: &Arc<Offer>, file: usize, mut offset: u64, chunks: &Chunks, pace: &Pace) {
    let manifest = pb::CheckpointChunk { manifest: Some(offer.manifest.clone()), ..Default::default() };
    let send =
        |chunk| async move { matches!(tokio::time::timeout(STUCK, chunks.send(chunk)).await, Ok(Ok(()))) };
    if !send(Ok(manifest)).await {
        return;
    }
    for (index, described) in offer.manifest.files.iter().enumerate().skip(file) {
        while offset < described.length {
            let length = usize::try_from(described.length - offset).unwrap_or(CHUNK).min(CHUNK);
            pace.wait(length as u64).await;
            let reader = Arc::clone(offer);
            let read = tokio::task::spawn_blocking(move || reader.read(index, offset, length)).await;
            let chunk = match read {
                Ok(Ok(data)) => Ok(pb::CheckpointChunk {
                    manifest: None,
                    file: u32::try_from(index).unwrap_or(u32::MAX),
                    offset,
                    crc32c: crc32c::crc32c(&data),
                    data,
                }),
                Ok(Err(error)) => {
                    Err(Status::data_loss(format!("the offered checkpoint can't be read: {error}")))
                }
                Err(_) => Err(Status::internal("reading the offered checkpoint failed")),
            };
            let failed = chunk.is_err();
            if !send(chunk).await || failed {
                return;
            }
            offset += length as u64;
        }
        offset = 0;
    }
}

/// Bytes a second, over all transfers.
struct Pace {
    bytes_per_second: u64,
    /// When the next piece may leave.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, next: Mutex::new(Instant::now()) }
    }

    /// Waits until a piece of this many bytes may leave.
    async fn wait(&self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let takes = Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second);
        let mine = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let mine = (*next).max(Instant::now());
            *next = mine + takes;
            mine
        };
        tokio::time::sleep_until(mine.into()).await;
    }
}
