//! Whom to answer: tokens for the core, and the way back to each client.

use std::collections::HashMap;
use std::sync::Arc;

use proto::pb::OperationReply;
use replica_core::Token;
use tokio::sync::{mpsc, oneshot};
use words::Reply;

/// Whom to answer.
pub(crate) enum ReplyTo {
    /// One call.
    Unary(oneshot::Sender<Reply>),
    /// One operation of a stream.
    Stream {
        /// The stream.
        stream: Arc<ReplyStream>,
        /// The client's number for the operation.
        id: u64,
    },
}

/// The way back of one client stream. Not bounded by itself: its stream takes no more operations than
/// `MAX_IN_FLIGHT` before their replies are on their way.
pub(crate) struct ReplyStream {
    /// Unique on this node.
    pub(crate) number: u64,
    /// Replies, a turn's worth at once.
    pub(crate) replies: mpsc::UnboundedSender<Vec<OperationReply>>,
}

/// The requests that wait, and the replies of this turn, gathered so that each stream is woken once.
#[derive(Default)]
pub(crate) struct Replies {
    last: Token,
    waiting: HashMap<Token, ReplyTo>,
    ready: HashMap<u64, (Arc<ReplyStream>, Vec<OperationReply>)>,
}

impl Replies {
    /// A token for a request.
    pub(crate) fn token(&mut self, reply: ReplyTo) -> Token {
        self.last += 1;
        self.waiting.insert(self.last, reply);
        self.last
    }

    /// Notes the reply to a request. A client that has gone away needs none.
    pub(crate) fn answer(&mut self, token: Token, reply: Reply) {
        match self.waiting.remove(&token) {
            Some(ReplyTo::Unary(sender)) => drop(sender.send(reply)),
            Some(ReplyTo::Stream { stream, id }) => {
                let (_, replies) = self.ready.entry(stream.number).or_insert_with(|| (stream, Vec::new()));
                replies.push((id, reply).into());
            }
            None => debug_assert!(false, "token {token} is answered twice"),
        }
    }

    /// Sends what was noted.
    pub(crate) fn send(&mut self) {
        for (_, (stream, replies)) in self.ready.drain() {
            let _ = stream.replies.send(replies);
        }
    }
}
