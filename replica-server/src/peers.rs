//! Outgoing streams to other nodes: one a node, everything that waits for it in one frame. Nothing here is
//! reliable: what can't be sent is dropped, the protocol sends again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use proto::pb;
use proto::pb::peer_client::PeerClient;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_stream::wrappers::ReceiverStream;
use words::{Envelope, NodeAddress, NodeId, PeerMessage};

use crate::jitter;
use crate::mailbox::{Mail, MailSender};
use crate::wire::{self, FRAME_TARGET};

/// Turns' worth of messages that wait for one node at most.
const QUEUE: usize = 1024;
/// Frames handed to the transport before it has taken the one before: two keep it busy, more would only be
/// older when they arrive.
const FRAMES_AHEAD: usize = 2;

/// A stream that lasted this long did not break because it was begun.
const HELD: Duration = Duration::from_secs(1);

/// Where each node can be reached, as the meta server says. Looked up by many, changed by the shard only.
pub(crate) type AddressBook = Arc<DashMap<NodeId, String>>;

/// All outgoing streams.
pub(crate) struct Peers {
    addresses: AddressBook,
    queues: BTreeMap<NodeId, Sender<Vec<Envelope>>>,
    /// This turn's messages, with room for as many as there were last time.
    ready: BTreeMap<NodeId, Vec<Envelope>>,
    mail: MailSender,
    runtime: Handle,
}

impl Peers {
    pub(crate) fn new(addresses: AddressBook, mail: MailSender, runtime: Handle) -> Self {
        Self { addresses, queues: BTreeMap::new(), ready: BTreeMap::new(), mail, runtime }
    }

    /// Notes where nodes are.
    pub(crate) fn note_addresses(&self, nodes: &[NodeAddress]) {
        for NodeAddress { node, address, .. } in nodes {
            self.addresses.insert(*node, address.clone());
        }
    }

    /// Where a node is.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.addresses.get(&node).map(|address| address.clone())
    }

    /// Takes a message to send with the others of this turn.
    pub(crate) fn add(&mut self, envelope: Envelope) {
        self.ready.entry(envelope.to).or_default().push(envelope);
    }

    /// Sends this turn's messages, as far as there is room.
    pub(crate) fn send(&mut self) {
        for (&node, ready) in self.ready.iter_mut().filter(|(_, ready)| !ready.is_empty()) {
            let room = Vec::with_capacity(ready.len());
            let envelopes = std::mem::replace(ready, room);
            let queue = self.queues.entry(node).or_insert_with(|| {
                let (sender, queue) = mpsc::channel(QUEUE);
                let peer = Peer { node, addresses: Arc::clone(&self.addresses), mail: self.mail.clone() };
                self.runtime.spawn(peer.run(queue));
                sender
            });
            if let Err(TrySendError::Full(envelopes)) = queue.try_send(envelopes) {
                tracing::debug!(%node, messages = envelopes.len(), "dropped: too much waits for this node");
            }
        }
    }
}

/// One outgoing stream, for as long as this process lives.
struct Peer {
    node: NodeId,
    addresses: AddressBook,
    mail: MailSender,
}

impl Peer {
    /// Ends when the queue's sender is dropped.
    async fn run(self, mut queue: Receiver<Vec<Envelope>>) {
        let mut waiting = Vec::new();
        let mut just_broke = false;
        while just_broke || queue.recv_many(&mut waiting, QUEUE).await > 0 {
            just_broke = false;
            let Some(address) = self.addresses.get(&self.node).map(|address| address.clone()) else {
                waiting.clear();
                continue;
            };
            let began = Instant::now();
            if let Err(error) = self.converse(&address, &mut queue, &mut waiting).await {
                tracing::debug!(node = %self.node, address, error = %*error, "no stream to this node");
                if wire::is_refusal(&*error) {
                    // Nobody to tell: the shard has ended.
                    let _ = self.mail.send(Mail::PeerUnreachable(self.node)).await;
                }
                // A stream that held for a while and broke: whether anybody still listens there is asked at
                // once, with or without a message to send (§5.6).
                just_broke = began.elapsed() >= HELD;
                if !just_broke {
                    tokio::time::sleep(jitter::between(20, 200)).await;
                }
            }
            // What waited while there was no stream is old by now.
            waiting.clear();
            while queue.try_recv().is_ok() {}
        }
    }

    /// One connection's worth: sends what waits and what comes, until it breaks or the node moves.
    async fn converse(
        &self,
        address: &str,
        queue: &mut Receiver<Vec<Envelope>>,
        waiting: &mut Vec<Vec<Envelope>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let channel = wire::connect(address).await?;
        tracing::info!(node = %self.node, address, "a stream to this node begins");
        let (frames, stream) = mpsc::channel(FRAMES_AHEAD);
        let mut client = PeerClient::new(channel);
        let call = client.stream(ReceiverStream::new(stream));
        let write = async {
            loop {
                for frame in into_frames(waiting) {
                    if frames.send(frame).await.is_err() {
                        return;
                    }
                }
                let moved = self.addresses.get(&self.node).is_none_or(|now| *now != address);
                if moved || queue.recv_many(waiting, QUEUE).await == 0 {
                    return;
                }
            }
        };
        tokio::select! {
            end = call => end.map(drop).map_err(Into::into),
            () = write => Ok(()),
        }
    }
}

/// Frames of a bounded size, in the messages' order.
fn into_frames(waiting: &mut Vec<Vec<Envelope>>) -> Vec<pb::PeerFrame> {
    let count = waiting.iter().map(Vec::len).sum();
    let (mut frames, mut frame, mut size) = (Vec::new(), Vec::with_capacity(count), 0);
    for envelope in waiting.drain(..).flatten() {
        size += payload_bytes(&envelope.body);
        frame.push(envelope);
        if size >= FRAME_TARGET {
            frames.push(proto::peer_frame(frame.drain(..)));
            size = 0;
        }
    }
    if !frame.is_empty() {
        frames.push(proto::peer_frame(frame.drain(..)));
    }
    frames
}

/// About how large a message is on the wire.
fn payload_bytes(message: &PeerMessage) -> usize {
    let of = |mutation: &words::Mutation| mutation.writes.packed().len();
    64 + match message {
        PeerMessage::Prepare(prepare) => of(&prepare.mutation),
        PeerMessage::LearnMutations(learn) => learn.mutations.iter().map(|mutation| of(mutation)).sum(),
        PeerMessage::Heartbeat(heartbeat) => heartbeat.claims.len() * 24,
        _ => 0,
    }
}
