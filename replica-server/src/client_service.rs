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
use crate::watch_service::{Frames, WatchService};
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
    pub(crate) watches: WatchService,
}

#[tonic::async_trait]
impl Replica for ClientService {
    async fn write(&self, call: Call<pb::WriteRequest>) -> Result<Response<pb::OperationReply>, Status> {
        let pb::WriteRequest { gpid, write } = call.into_inner();
        self.unary(pb::Operation { id: 0, gpid, what: write.map(pb::operation::What::Write), timeout_ms: 0 })
            .await
    }

    async fn read(&self, call: Call<pb::ReadRequest>) -> Result<Response<pb::OperationReply>, Status> {
        let pb::ReadRequest { gpid, payload } = call.into_inner();
        self.unary(pb::Operation {
            id: 0,
            gpid,
            what: Some(pb::operation::What::Read(payload)),
            timeout_ms: 0,
        })
        .await
    }

    async fn read_local(&self, call: Call<pb::ReadRequest>) -> Result<Response<pb::OperationReply>, Status> {
        let pb::ReadRequest { gpid, payload } = call.into_inner();
        let gpid = gpid.ok_or_else(|| Status::invalid_argument("ReadRequest.gpid is missing"))?;
        if payload.len() > self.max_write_bytes {
            let refusal = Refusal::TooLarge { limit: self.max_write_bytes as u64 };
            return Ok(Response::new((0, Reply::Refused(refusal)).into()));
        }
        self.ask(|reply| Mail::LocalRead { gpid: gpid.into(), request: payload, reply }).await
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

    type WatchStream = Frames;

    async fn watch(&self, call: Call<pb::WatchRequest>) -> Result<Response<Frames>, Status> {
        self.watches.begin(call.into_inner())
    }
}

impl ClientService {
    async fn unary(&self, operation: pb::Operation) -> Result<Response<pb::OperationReply>, Status> {
        let operation = Operation::try_from(operation)
            .map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        if let Some(refusal) = too_large(&operation.kind, self.max_write_bytes) {
            return Ok(Response::new((0, Reply::Refused(refusal)).into()));
        }
        let Operation { gpid, kind: operation, .. } = operation;
        self.ask(|reply| Mail::Requests(vec![Request { gpid, operation, patience: None, reply }])).await
    }

    /// Gives the shard one letter, and waits for the answer.
    async fn ask(
        &self,
        letter: impl FnOnce(ReplyTo) -> Mail,
    ) -> Result<Response<pb::OperationReply>, Status> {
        let (sender, reply) = oneshot::channel();
        let reply = match self.mail.try_send(letter(ReplyTo::Unary(sender))) {
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
                Ok(Operation { gpid, kind, patience, .. }) => match too_large(&kind, self.max_write_bytes) {
                    None => requests.push(Request {
                        gpid,
                        operation: kind,
                        patience,
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

#[cfg(test)]
mod tests {
    use proto::pb::replica_client::ReplicaClient;
    use proto::pb::replica_server::ReplicaServer;
    use tokio::net::TcpListener;
    use tonic::transport::server::TcpIncoming;
    use words::Gpid;

    use super::*;
    use crate::mailbox::{Mailbox, mailbox};

    const GPID: Gpid = Gpid::new(1, 0);

    /// The service with a mailbox that nobody empties but the test.
    async fn served() -> (ReplicaClient<tonic::transport::Channel>, Mailbox, watch::Sender<bool>) {
        let (mail, _, mailbox) = mailbox();
        let (stop, stopping) = watch::channel(false);
        let places = Arc::new(Semaphore::new(1));
        let watches = WatchService { mail: mail.clone(), stopping: stopping.clone(), places };
        let streams = AtomicU64::new(0);
        let service = ClientService { mail, max_write_bytes: 100, stopping, streams, watches };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(ReplicaServer::new(service));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let client = ReplicaClient::connect(format!("http://{address}")).await.unwrap();
        (client, mailbox, stop)
    }

    fn read(id: u64, length: usize) -> pb::Operation {
        let what = pb::operation::What::Read(vec![0; length].into());
        pb::Operation { id, gpid: Some(GPID.into()), what: Some(what), timeout_ms: 0 }
    }

    fn code(reply: &pb::OperationReply) -> &str {
        reply.refusal.as_ref().map_or("", |refusal| &refusal.code)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_can_not_be_done_is_said_for_each_operation_by_itself() {
        let (mut client, mut mailbox, _stop) = served().await;
        let nonsense = pb::Operation { id: 3, ..Default::default() };
        let frame = pb::RequestFrame { operations: vec![read(1, 1), read(2, 101), nonsense] };
        let mut replies = client.operate(tokio_stream::once(frame)).await.unwrap().into_inner();
        let refused = replies.message().await.unwrap().unwrap().replies;
        let refused: Vec<_> = refused.iter().map(|reply| (reply.id, code(reply))).collect();
        assert_eq!(refused, [(2, "too_large"), (3, "malformed")]);
        let Some(Mail::Requests(requests)) = mailbox.mail.recv().await else { panic!("no letter") };
        assert!(matches!(&requests[..], [Request { reply: ReplyTo::Stream { id: 1, .. }, .. }]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_mailbox_is_busy() {
        let (mut client, mut mailbox, _stop) = served().await;
        let (frames, stream) = mpsc::channel(1);
        let mut replies = client.operate(ReceiverStream::new(stream)).await.unwrap().into_inner();
        let mut sent = 0;
        // Each frame is a letter; whether it found room is known once the next one is answered or not.
        let busy = loop {
            sent += 1;
            frames.send(pb::RequestFrame { operations: vec![read(sent, 1)] }).await.unwrap();
            if sent as usize > mailbox.mail.max_capacity() {
                break replies.message().await.unwrap().unwrap().replies.remove(0);
            }
        };
        assert_eq!((busy.id, code(&busy)), (sent, "busy"));
        let letters = std::iter::from_fn(|| mailbox.mail.try_recv().ok()).count();
        assert_eq!(letters as u64, sent - 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_takes_no_more_than_it_answers() {
        let (mut client, mut mailbox, _stop) = served().await;
        let all: Vec<_> = (0..MAX_IN_FLIGHT as u64 + 1).map(|id| read(id, 0)).collect();
        let frame = pb::RequestFrame { operations: all };
        let mut replies = client.operate(tokio_stream::once(frame)).await.unwrap().into_inner();
        let mut taken = Vec::new();
        while taken.len() < MAX_IN_FLIGHT {
            let Some(Mail::Requests(requests)) = mailbox.mail.recv().await else { panic!("no letter") };
            taken.extend(requests);
        }
        assert_eq!(taken.len(), MAX_IN_FLIGHT);
        assert!(mailbox.mail.try_recv().is_err(), "the last one has to wait");
        let ReplyTo::Stream { stream, id } = taken.remove(0).reply else { panic!("a stream") };
        stream.replies.send(vec![(id, Reply::Unknown).into()]).unwrap();
        assert_eq!(replies.message().await.unwrap().unwrap().replies[0].id, id);
        let Some(Mail::Requests(last)) = mailbox.mail.recv().await else { panic!("no letter") };
        assert!(
            matches!(&last[..], [Request { reply: ReplyTo::Stream { id, .. }, .. }] if *id == MAX_IN_FLIGHT as u64)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_stops_ends_the_stream_once_all_is_answered() {
        let (mut client, mut mailbox, stop) = served().await;
        let (frames, stream) = mpsc::channel(1);
        let mut replies = client.operate(ReceiverStream::new(stream)).await.unwrap().into_inner();
        frames.send(pb::RequestFrame { operations: vec![read(7, 1)] }).await.unwrap();
        let Some(Mail::Requests(mut requests)) = mailbox.mail.recv().await else { panic!("no letter") };
        stop.send(true).unwrap();
        let ReplyTo::Stream { stream, id } = requests.remove(0).reply else { panic!("a stream") };
        stream.replies.send(vec![(id, Reply::Unknown).into()]).unwrap();
        drop(stream);
        assert_eq!(replies.message().await.unwrap().unwrap().replies[0].id, 7);
        assert!(replies.message().await.unwrap().is_none(), "the stream ends");
    }
}
