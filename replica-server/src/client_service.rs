//! What clients say: `Write` and `Read` one at a time, `Operate` many at once (proto/client.proto).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::pb::replica_server::Replica;
use proto::{Operation, OperationKind, malformed_reply, pb};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status, Streaming};
use words::{Refusal, Reply};

use crate::mailbox::{Mail, MailSender, Request};
use crate::replies::{ReplyStream, ReplyTo};
use crate::wire::FRAME_TARGET;

/// Operations of one stream whose replies the client has not taken yet; more are not read from the stream, so a
/// slow reader slows down only itself.
const MAX_IN_FLIGHT: usize = 8192;
/// Operations given to the shard in one letter.
const LETTER: usize = 1024;
/// Reply frames handed to the transport ahead.
const FRAMES_AHEAD: usize = 2;

/// The service.
pub(crate) struct ClientService {
    pub(crate) mail: MailSender,
    /// The largest write, in bytes.
    pub(crate) max_write_bytes: usize,
    /// Becomes true when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) streams: AtomicU64,
}

#[tonic::async_trait]
impl Replica for ClientService {
    async fn write(&self, call: Call<pb::WriteRequest>) -> Result<Response<pb::OperationReply>, Status> {
        let pb::WriteRequest { gpid, write } = call.into_inner();
        self.unary(pb::Operation { id: 0, gpid, what: write.map(pb::operation::What::Write) }).await
    }

    async fn read(&self, call: Call<pb::ReadRequest>) -> Result<Response<pb::OperationReply>, Status> {
        let pb::ReadRequest { gpid, payload } = call.into_inner();
        self.unary(pb::Operation { id: 0, gpid, what: Some(pb::operation::What::Read(payload)) }).await
    }

    type OperateStream = Pin<Box<dyn Stream<Item = Result<pb::ReplyFrame, Status>> + Send>>;

    async fn operate(
        &self,
        call: Call<Streaming<pb::RequestFrame>>,
    ) -> Result<Response<Self::OperateStream>, Status> {
        let (replies, reply_queue) = mpsc::unbounded_channel();
        let (frames, frame_queue) = mpsc::channel(FRAMES_AHEAD);
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let reader = Reader {
            mail: self.mail.clone(),
            max_write_bytes: self.max_write_bytes,
            stopping: self.stopping.clone(),
            in_flight: Arc::clone(&in_flight),
            stream: Arc::new(ReplyStream { number, replies }),
        };
        tokio::spawn(reader.run(call.into_inner()));
        tokio::spawn(write_replies(reply_queue, frames, in_flight));
        Ok(Response::new(Box::pin(ReceiverStream::new(frame_queue))))
    }
}

impl ClientService {
    async fn unary(&self, operation: pb::Operation) -> Result<Response<pb::OperationReply>, Status> {
        let operation = Operation::try_from(operation)
            .map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        if let Some(refusal) = too_large(&operation.kind, self.max_write_bytes) {
            return Ok(Response::new((0, Reply::Refused(refusal)).into()));
        }
        let (sender, reply) = oneshot::channel();
        let request =
            Request { gpid: operation.gpid, operation: operation.kind, reply: ReplyTo::Unary(sender) };
        let reply = match self.mail.try_send(Mail::Requests(vec![request])) {
            Ok(()) => reply.await.unwrap_or(Reply::Unknown),
            Err(TrySendError::Full(_)) => Reply::Refused(Refusal::Busy),
            Err(TrySendError::Closed(_)) => Reply::Refused(Refusal::NotReady),
        };
        Ok(Response::new((0, reply).into()))
    }
}

/// Reads one stream's requests.
struct Reader {
    mail: MailSender,
    max_write_bytes: usize,
    stopping: watch::Receiver<bool>,
    in_flight: Arc<Semaphore>,
    stream: Arc<ReplyStream>,
}

impl Reader {
    /// Ends when the client does, when it talks nonsense, or when the server stops. Replies still under way are
    /// sent after that: the last of them lets go of the stream.
    async fn run(mut self, mut frames: Streaming<pb::RequestFrame>) {
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                _ = self.stopping.wait_for(|stopping| *stopping) => return,
            };
            let Ok(Some(frame)) = frame else { return };
            let mut operations = frame.operations.into_iter().peekable();
            while operations.peek().is_some() {
                self.take(operations.by_ref().take(LETTER).collect()).await;
            }
        }
    }

    async fn take(&self, operations: Vec<pb::Operation>) {
        let count = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        let Ok(places) = self.in_flight.acquire_many(count).await else { return };
        // Given back by the writer, one for each reply.
        places.forget();
        let (mut requests, mut refused) = (Vec::with_capacity(operations.len()), Vec::new());
        for operation in operations {
            let id = operation.id;
            match Operation::try_from(operation) {
                Ok(Operation { gpid, kind, .. }) => match too_large(&kind, self.max_write_bytes) {
                    None => requests.push(Request {
                        gpid,
                        operation: kind,
                        reply: ReplyTo::Stream { stream: Arc::clone(&self.stream), id },
                    }),
                    Some(refusal) => refused.push((id, Reply::Refused(refusal)).into()),
                },
                Err(malformed) => refused.push(malformed_reply(id, &malformed)),
            }
        }
        let letter = Mail::Requests(requests);
        if let Err(
            TrySendError::Full(Mail::Requests(requests)) | TrySendError::Closed(Mail::Requests(requests)),
        ) = self.mail.try_send(letter)
        {
            for request in requests {
                if let ReplyTo::Stream { id, .. } = request.reply {
                    refused.push((id, Reply::Refused(Refusal::Busy)).into());
                }
            }
        }
        if !refused.is_empty() {
            let _ = self.stream.replies.send(refused);
        }
    }
}

fn too_large(operation: &OperationKind, limit: usize) -> Option<Refusal> {
    let length = match operation {
        OperationKind::Write(write) => write.payload.len(),
        OperationKind::Read(request) => request.len(),
    };
    (length > limit).then_some(Refusal::TooLarge { limit: limit as u64 })
}

/// Sends one stream's replies, all that wait in one frame.
async fn write_replies(
    mut replies: mpsc::UnboundedReceiver<Vec<pb::OperationReply>>,
    frames: mpsc::Sender<Result<pb::ReplyFrame, Status>>,
    in_flight: Arc<Semaphore>,
) {
    let mut waiting = Vec::new();
    while replies.recv_many(&mut waiting, MAX_IN_FLIGHT).await > 0 {
        let (mut frame, mut size) = (Vec::new(), 0);
        let mut rest = waiting.drain(..).flatten().peekable();
        while let Some(reply) = rest.next() {
            size += 32 + reply.answer.len();
            frame.push(reply);
            if size < FRAME_TARGET && rest.peek().is_some() {
                continue;
            }
            let count = frame.len();
            let full = pb::ReplyFrame { replies: std::mem::take(&mut frame) };
            size = 0;
            if frames.send(Ok(full)).await.is_err() {
                return; // the client has gone away
            }
            in_flight.add_permits(count);
        }
    }
}
