//! One stream to one replica server, shared by all operations of this process (docs/client-protocol.md).
//!
//! Operations queue; whatever has queued when the stream can take a frame goes out as one. No timer waits for
//! a frame to fill.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use proto::pb;
use proto::pb::replica_client::ReplicaClient;
use proto::{Operation, OperationKind};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use words::{Gpid, Reply};

use crate::meta::root_cause;

/// Operations that wait for a frame; callers wait for a place among them.
const QUEUE: usize = 4096;
/// Operations in one frame at most.
const FRAME_OPERATIONS: usize = 1024;
/// Bytes of requests in one frame at most; a larger request goes alone. A server takes 4 MiB.
const FRAME_BYTES: usize = 1 << 20;
/// Largest frame of replies that is taken, in bytes.
pub(crate) const REPLY_FRAME_BYTES: usize = 64 << 20;
/// Operations that were sent and not answered. A server that answers nothing gets no more.
const IN_FLIGHT: usize = 16 * 1024;
/// A server that does not take the connection within this is as good as down.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A dead connection is noticed after at most the sum of these, if nothing else notices.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// After a connection failed, nobody tries again for this long.
const BETWEEN_CONNECTS: Duration = Duration::from_millis(10);
/// What the stream may have in flight before the server has taken it, in bytes.
const WINDOW: u32 = 4 << 20;

/// What became of one sending of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// It was answered.
    Reply(Reply),
    /// It was refused for a reason that this version does not know: not done.
    RefusedOtherwise { message: String, retry_can_help: bool },
    /// It never left this process.
    NotSent(String),
    /// It was sent, and the stream broke or the answer made no sense.
    Lost(String),
}

struct Submission {
    gpid: Gpid,
    kind: OperationKind,
    /// When its caller gives up.
    deadline: Instant,
    reply: oneshot::Sender<Delivery>,
}

/// The streams of this process, by address.
#[derive(Debug, Default)]
pub(crate) struct Links {
    open: DashMap<Arc<str>, Link>,
    /// Held while one task connects for all.
    connecting: DashMap<Arc<str>, Arc<Mutex<LastFailure>>>,
}

/// When and why connecting failed, if it did the last time.
type LastFailure = Option<(Instant, String)>;

impl Links {
    /// The stream to `address`, opened if need be.
    ///
    /// # Errors
    /// Why it can't be opened.
    pub(crate) async fn to(&self, address: &Arc<str>) -> Result<Link, String> {
        if let Some(link) = self.alive(address) {
            return Ok(link);
        }
        let connecting = Arc::clone(&self.connecting.entry(Arc::clone(address)).or_default());
        let mut last_failure = connecting.lock().await;
        if let Some(link) = self.alive(address) {
            return Ok(link);
        }
        if let Some((at, why)) = &*last_failure
            && at.elapsed() < BETWEEN_CONNECTS
        {
            return Err(why.clone());
        }
        let opened = Link::open(address).await;
        *last_failure = opened.as_ref().err().map(|why| (Instant::now(), why.clone()));
        let link = opened?;
        self.open.insert(Arc::clone(address), link.clone());
        Ok(link)
    }

    fn alive(&self, address: &Arc<str>) -> Option<Link> {
        self.open.get(address).filter(|link| !link.queue.is_closed()).map(|link| link.clone())
    }
}

/// A replica server, as this process connects to it.
///
/// # Errors
/// If that is no address.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, String> {
    Ok(Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| format!("`{address}` is no address"))?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// One stream. Clones share it; it ends when all are gone, or when it breaks.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    queue: mpsc::Sender<Submission>,
}

impl Link {
    async fn open(address: &str) -> Result<Self, String> {
        let endpoint =
            endpoint(address)?.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let channel = endpoint.connect().await.map_err(|error| root_cause(&error))?;
        let (frames, outgoing) = mpsc::channel(1);
        let mut client = ReplicaClient::new(channel).max_decoding_message_size(REPLY_FRAME_BYTES);
        let replies = tokio::time::timeout(CONNECT_TIMEOUT, client.operate(ReceiverStream::new(outgoing)))
            .await
            .map_err(|_| format!("no answer in {} ms", CONNECT_TIMEOUT.as_millis()))?
            .map_err(|status| root_cause(&status))?
            .into_inner();
        let (queue, queued) = mpsc::channel(QUEUE);
        tokio::spawn(run(queued, frames, replies));
        Ok(Self { queue })
    }

    /// Queues an operation. The receiver resolves when it was answered, and fails if it was sent and the stream
    /// broke.
    ///
    /// # Errors
    /// If the stream broke before; the operation was not sent.
    pub(crate) async fn submit(
        &self,
        gpid: Gpid,
        kind: OperationKind,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Delivery>, String> {
        let (reply, delivery) = oneshot::channel();
        let submission = Submission { gpid, kind, deadline, reply };
        self.queue.send(submission).await.map_err(|_| "the connection broke".to_owned())?;
        Ok(delivery)
    }
}

/// The task behind a [`Link`]: frames out, replies in, until either side ends.
async fn run(
    mut queue: mpsc::Receiver<Submission>,
    frames: mpsc::Sender<pb::RequestFrame>,
    mut replies: Streaming<pb::ReplyFrame>,
) {
    let mut in_flight = InFlight::default();
    let mut first = None;
    let why = loop {
        tokio::select! {
            submission = queue.recv(), if first.is_none() && in_flight.has_room() => match submission {
                Some(submission) => first = Some(submission),
                None => return,
            },
            permit = frames.reserve(), if first.is_some() => {
                let Ok(permit) = permit else { break "the connection broke".to_owned() };
                // Whoever else is ready comes first, and may want to send something, too.
                tokio::task::yield_now().await;
                permit.send(in_flight.fill_frame(first.take(), &mut queue));
            }
            frame = replies.message() => match frame {
                Ok(Some(frame)) => in_flight.answer(frame),
                Ok(None) => break "the server closed the connection".to_owned(),
                Err(status) => break root_cause(&status),
            },
        }
    };
    in_flight.lose(&why);
    queue.close();
    let queued = std::iter::from_fn(|| queue.try_recv().ok());
    for submission in first.into_iter().chain(queued) {
        let _ = submission.reply.send(Delivery::NotSent(why.clone()));
    }
}

/// What was sent and not answered.
#[derive(Default)]
struct InFlight {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Delivery>>,
}

impl InFlight {
    /// A server that answers nothing must not make the list of what it owes grow for ever.
    fn has_room(&mut self) -> bool {
        if self.waiting.len() >= IN_FLIGHT {
            self.waiting.retain(|_, reply| !reply.is_closed());
        }
        self.waiting.len() < IN_FLIGHT
    }

    /// A frame of what has queued, `next` before the others.
    fn fill_frame(
        &mut self,
        mut next: Option<Submission>,
        queue: &mut mpsc::Receiver<Submission>,
    ) -> pb::RequestFrame {
        let mut frame = pb::RequestFrame::default();
        let mut bytes = 0;
        while let Some(submission) = next {
            // What its caller gave up before it was sent stays unsent.
            if !submission.reply.is_closed() {
                bytes += size(&submission.kind);
                self.last_id += 1;
                let Submission { gpid, kind, deadline, reply } = submission;
                let patience = Some(deadline.saturating_duration_since(Instant::now()));
                let operation = Operation { id: self.last_id, gpid, kind, patience };
                frame.operations.push(operation.into());
                self.waiting.insert(self.last_id, reply);
            }
            let full = frame.operations.len() >= FRAME_OPERATIONS || bytes >= FRAME_BYTES;
            next = if full { None } else { queue.try_recv().ok() };
        }
        frame
    }

    fn answer(&mut self, frame: pb::ReplyFrame) {
        for reply in frame.replies {
            // Nobody is there any more for an operation whose caller gave up waiting.
            if let Some(waiting) = self.waiting.remove(&reply.id) {
                let _ = waiting.send(understand(reply));
            }
        }
    }

    fn lose(self, why: &str) {
        for (_, waiting) in self.waiting {
            let _ = waiting.send(Delivery::Lost(why.to_owned()));
        }
    }
}

fn size(kind: &OperationKind) -> usize {
    match kind {
        OperationKind::Write(write) => write.payload.len(),
        OperationKind::Read(request) => request.len(),
    }
}

/// What a reply says. One that we can't read says at least whether the operation was surely not done.
fn understand(reply: pb::OperationReply) -> Delivery {
    let refusal = reply.refusal.clone().filter(|_| reply.outcome() == pb::Outcome::NotDone);
    match (<(u64, Reply)>::try_from(reply), refusal) {
        (Ok((_, reply)), _) => Delivery::Reply(reply),
        (Err(_), Some(pb::Refusal { message, retry_can_help, .. })) => {
            Delivery::RefusedOtherwise { message, retry_can_help }
        }
        (Err(malformed), None) => Delivery::Lost(malformed.to_string()),
    }
}
