//! What can happen to a node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use words::{
    AppAnswer, CopyProgress, Decree, Envelope, Gpid, MetaToNode, Mutation, MutationId, NodeId, Signature,
    Write,
};

use crate::{LogSequence, Token};

/// What the shell tells the core.
#[derive(Debug)]
pub enum Event {
    /// A message arrived from another node.
    Message(Envelope),
    /// A message arrived from the meta server.
    Meta(MetaToNode),
    /// A session with the meta server began: what was told in an earlier one must be told again.
    MetaConnected,
    /// A connection to the node was refused or reset: its process is gone, or was (§5.6).
    PeerUnreachable(NodeId),
    /// A client wants to write.
    Write {
        /// To which partition.
        gpid: Gpid,
        /// What.
        write: Write,
        /// Whom to answer.
        token: Token,
        /// How long the client waits for the answer, if it says so.
        patience: Option<Duration>,
    },
    /// A client wants to read.
    Read {
        /// From which partition.
        gpid: Gpid,
        /// What.
        request: Bytes,
        /// Whom to answer.
        token: Token,
    },
    /// All records up to this one are durable.
    LogDurable(LogSequence),
    /// The app applied a mutation: one answer for each of its writes.
    Applied {
        /// The partition.
        gpid: Gpid,
        /// The mutation's decree.
        decree: Decree,
        /// The answers.
        answers: Vec<WriteAnswer>,
    },
    /// `Work::Create` is done.
    Created {
        /// The partition.
        gpid: Gpid,
        /// Whether it worked.
        result: io::Result<()>,
    },
    /// `Work::Remove` is done.
    Removed {
        /// The partition.
        gpid: Gpid,
    },
    /// `Work::Checkpoint` is done: the app is durable up to this identity.
    CheckpointDone {
        /// The partition.
        gpid: Gpid,
        /// The identity of its last durable decree.
        result: io::Result<MutationId>,
    },
    /// `Work::OfferCheckpoint` is done.
    CheckpointOffered {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// The checkpoint's identity, and the number under which the learner can fetch it.
        result: io::Result<(MutationId, u64)>,
    },
    /// `Work::ReadLog` is done: the mutations from the first decree asked for on, without a gap; fewer than
    /// asked for, or none, if the log has no more.
    LogRead {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// What was found.
        mutations: Vec<Arc<Mutation>>,
    },
    /// `Work::FetchCheckpoint` has come so far.
    CheckpointCopied {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// How much of it is here.
        progress: CopyProgress,
    },
    /// `Work::FetchCheckpoint` is done: the checkpoint is fetched and has taken the app's place, durably.
    CheckpointInstalled {
        /// The partition.
        gpid: Gpid,
        /// Which learning it was for.
        signature: Signature,
        /// The identity of its last decree; on an error the app is as it was.
        result: io::Result<MutationId>,
    },
    /// The replica's app or files failed: its state can't be trusted any more.
    ReplicaFailed {
        /// The partition.
        gpid: Gpid,
        /// Why, for people.
        reason: String,
    },
    /// The file system of the data directory was measured.
    DiskMeasured {
        /// Its size in bytes.
        capacity: u64,
        /// Bytes that can still be written.
        available: u64,
    },
    /// An operator or SIGTERM wants the node to stop: primaries are handed over (§5.5).
    Stop,
    /// Nothing happened but time.
    Tick,
}

/// What became of one write when it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// The app's answer, now or when its session asked first; and the decree at which it was applied.
    Applied {
        /// That decree.
        decree: Decree,
        /// The answer.
        answer: AppAnswer,
    },
    /// Its session is not known (any more).
    SessionExpired,
    /// Its number is outside of its session's window.
    SequenceOutOfWindow,
}

/// An app as it was found on this node at start.
#[derive(Debug)]
pub struct RecoveredApp {
    /// The partition.
    pub gpid: Gpid,
    /// The identity of the last durable decree, or why it can't be opened.
    pub durable: io::Result<MutationId>,
}
