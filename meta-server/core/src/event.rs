//! What can happen to the meta server, and what its shell owes after a step.

use words::{MetaToNode, NodeToMeta};

use crate::{AdminReply, AdminRequest, Command, WallTime};

/// Names one session with one node; the shell never uses a number twice.
pub type SessionId = u64;

/// Names one operator's request that waits for its reply.
pub type AdminToken = u64;

/// What the shell tells the core.
#[derive(Debug)]
pub enum MetaEvent {
    /// A node opened a session; its first beacon says who it is.
    SessionOpened {
        /// The session.
        session: SessionId,
    },
    /// A session ended or broke.
    SessionClosed {
        /// The session.
        session: SessionId,
    },
    /// A message arrived from a node.
    Message {
        /// In which session.
        session: SessionId,
        /// What.
        message: NodeToMeta,
    },
    /// A command is durable: it takes effect now. Every command of [`MetaOutput::commit`] comes back so, in order.
    Committed {
        /// The command.
        command: Command,
        /// The time that it was given when it was made durable.
        at: WallTime,
    },
    /// An operator asks for something.
    Admin {
        /// Whom to answer.
        token: AdminToken,
        /// What.
        request: AdminRequest,
    },
    /// Nothing happened but time.
    Tick,
}

/// What the shell owes after a step. Appended to; the shell drains it.
#[derive(Debug, Default)]
pub struct MetaOutput {
    /// Commands to be made durable, in order; each then comes back as [`MetaEvent::Committed`].
    pub commit: Vec<Command>,
    /// Messages to nodes; what can't be sent is dropped, it is said again.
    pub send: Vec<(SessionId, MetaToNode)>,
    /// Sessions to be closed, and what their nodes are told: they may not take part.
    pub refuse: Vec<(SessionId, String)>,
    /// Answers to operators.
    pub replies: Vec<(AdminToken, AdminReply)>,
}
