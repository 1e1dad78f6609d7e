//! One node's session: messages in, messages out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use meta_core::SessionId;
use proto::pb;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Status, Streaming};
use tracing::{debug, warn};
use words::{MetaToNode, NodeToMeta};

use crate::owner::Input;

/// What a node is told at once; or why its session ends.
pub(crate) type Told = Result<Vec<MetaToNode>, Status>;

/// What a node is told, as the stream that gRPC sends.
pub(crate) struct Outbound {
    batches: mpsc::Receiver<Told>,
    batch: VecDeque<MetaToNode>,
    /// Dropped with the stream: that is how [`pump`] learns that nobody listens any more.
    _listens: oneshot::Sender<()>,
}

impl Outbound {
    /// The stream, and what completes once it is dropped.
    pub(crate) fn new(batches: mpsc::Receiver<Told>) -> (Self, oneshot::Receiver<()>) {
        let (listens, dropped) = oneshot::channel();
        (Self { batches, batch: VecDeque::new(), _listens: listens }, dropped)
    }
}

impl Stream for Outbound {
    type Item = Result<pb::MetaToNode, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                return Poll::Ready(Some(Ok(message.into())));
            }
            match self.batches.poll_recv(context) {
                Poll::Ready(Some(Ok(batch))) => self.batch = batch.into(),
                Poll::Ready(Some(Err(refused))) => return Poll::Ready(Some(Err(refused))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Hands a node's messages to the owner until the stream breaks either way; then says at once that the session
/// is closed (§5.6).
pub(crate) async fn pump(
    session: SessionId,
    mut inbound: Streaming<pb::NodeToMeta>,
    inputs: mpsc::Sender<Input>,
    mut unheard: oneshot::Receiver<()>,
) {
    loop {
        let message = tokio::select! {
            message = inbound.message() => message,
            _ = &mut unheard => break,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                debug!(session, "the session broke: {status}");
                break;
            }
        };
        match NodeToMeta::try_from(message) {
            Ok(message) => {
                if inputs.send(Input::Message { session, message }).await.is_err() {
                    return;
                }
            }
            Err(malformed) => {
                warn!(session, "the session is closed, a message makes no sense: {malformed}");
                break;
            }
        }
    }
    let _ = inputs.send(Input::SessionClosed { session }).await;
}
