//! One watch: asks the shard for what comes next as soon as the client has room for it, and for nothing before.

use std::pin::Pin;
use std::sync::Arc;

use proto::{Malformed, pb};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use words::{ChangePage, Refusal, Watch};

use crate::mailbox::{Mail, MailSender};
use crate::watchers::Pull;

/// Frames handed to the transport ahead.
const FRAMES_AHEAD: usize = 1;

/// What a client hears.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Result<pb::WatchReply, Status>> + Send>>;

/// The watches of this node.
pub(crate) struct WatchService {
    pub(crate) mail: MailSender,
    /// Becomes true when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
    /// One for each watch that is still possible.
    pub(crate) places: Arc<Semaphore>,
}

impl WatchService {
    /// Begins a watch.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the request makes no sense.
    pub(crate) fn begin(&self, request: pb::WatchRequest) -> Result<Response<Frames>, Status> {
        let watch = Watch::try_from(request)
            .map_err(|malformed: Malformed| Status::invalid_argument(malformed.to_string()))?;
        let (frames, frame_queue) = mpsc::channel(FRAMES_AHEAD);
        let (mail, mut stopping) = (self.mail.clone(), self.stopping.clone());
        let place = Arc::clone(&self.places).try_acquire_owned();
        tokio::spawn(async move {
            let Ok(_place) = place else {
                let _ = frames.send(Ok(Err(Refusal::Busy).into())).await;
                return;
            };
            tokio::select! {
                () = serve(watch, &mail, &frames) => {}
                () = frames.closed() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(frame_queue))))
    }
}

/// Until the watch is refused or the client goes away. The first answer comes at once: from then on it watches.
async fn serve(mut watch: Watch, mail: &MailSender, frames: &mpsc::Sender<Result<pb::WatchReply, Status>>) {
    let mut at_once = true;
    while let Ok(room) = frames.reserve().await {
        let (reply, told) = oneshot::channel();
        let Watch { gpid, filter, from } = watch.clone();
        if mail.send(Mail::Watch(Pull { gpid, filter, from, at_once, reply })).await.is_err() {
            return;
        }
        // The shard lets go of a question only when it ends.
        let Ok(told) = told.await else { return };
        if let Ok(ChangePage { through, .. }) = &told {
            watch.from = Some(through.next());
        }
        at_once = false;
        let is_over = told.is_err();
        room.send(Ok(told.into()));
        if is_over {
            return;
        }
    }
}
