//! The session with the meta server: this node's beacons, reports and proposals one way, configurations and
//! commands the other. While there is none, the node serves on (§5).

use std::time::Duration;

use proto::pb::meta_client::MetaClient;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use words::NodeToMeta;

use crate::jitter;
use crate::mailbox::{Mail, MailSender};
use crate::wire::{self, META_LIMIT};

/// Turns' worth of messages that wait at most; what does not fit is dropped, the core asks again.
pub(crate) const QUEUE: usize = 256;

/// Keeps a session with the meta server that leads, for as long as the shard lives: asks one after the other, and the
/// one that another names.
///
/// `silence` is how long the meta server, which acknowledges every beacon, may say nothing: a connection that was
/// cut and is whole again takes longer to notice that than a new one takes to begin.
pub(crate) async fn run(
    addresses: Vec<String>,
    silence: Duration,
    mut outgoing: Receiver<Vec<NodeToMeta>>,
    mail: MailSender,
) {
    let mut known_down = false;
    let mut turns = addresses.iter().cycle();
    let mut named: Option<String> = None;
    while let Some(address) = named.take().or_else(|| turns.next().cloned()) {
        match converse(&address, silence, &mut outgoing, &mail).await {
            Ok(()) => return,
            Err((began, error)) => {
                if began || !known_down {
                    tracing::warn!(address, error = %*error, "no session with the meta server; serving on without");
                }
                known_down = true;
                named = leader(&*error).filter(|leader| *leader != address);
            }
        }
        tokio::time::sleep(jitter::between(20, 200)).await;
    }
}

/// Who leads, as a meta server says that refuses a session because it does not.
fn leader(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<String> {
    let status = error.downcast_ref::<tonic::Status>()?;
    let leader = status.metadata().get(proto::LEADER_KEY)?.to_str().ok()?;
    (!leader.is_empty()).then(|| leader.to_owned())
}

type Ended = (bool, Box<dyn std::error::Error + Send + Sync>);

/// One session. `Ok` once the shard has ended; otherwise whether the session had begun, and how it ended.
async fn converse(
    address: &str,
    silence: Duration,
    outgoing: &mut Receiver<Vec<NodeToMeta>>,
    mail: &MailSender,
) -> Result<(), Ended> {
    let channel = wire::connect(address).await.map_err(|error| (false, error.into()))?;
    let (messages, stream) = mpsc::channel(QUEUE);
    let mut client =
        MetaClient::new(channel).max_encoding_message_size(META_LIMIT).max_decoding_message_size(META_LIMIT);
    let begin = timeout(silence, client.node_session(ReceiverStream::new(stream))).await;
    let begin = begin.map_err(|silence| (false, silence.into()))?;
    // Refused by one that does not lead.
    let mut incoming = begin.map_err(|status| (false, status.into()))?.into_inner();
    tracing::info!(address, "a session with the meta server begins");
    // Meant for an earlier session.
    while outgoing.try_recv().is_ok() {}
    if mail.send(Mail::MetaConnected).await.is_err() {
        return Ok(());
    }
    let write = async {
        while let Some(batch) = outgoing.recv().await {
            for message in batch {
                if messages.send(message.into()).await.is_err() {
                    return std::future::pending().await; // the session broke: reading says how
                }
            }
        }
    };
    let read = async {
        while let Some(message) = timeout(silence, incoming.message()).await?? {
            match message.try_into() {
                Ok(message) => {
                    if mail.send(Mail::Meta(message)).await.is_err() {
                        return Ok(());
                    }
                }
                Err(malformed) => tracing::warn!(%malformed, "the meta server sent nonsense"),
            }
        }
        Err("the meta server ended it".into())
    };
    tokio::select! {
        ended = read => ended.map_err(|error| (true, error)),
        () = write => Ok(()),
    }
}
