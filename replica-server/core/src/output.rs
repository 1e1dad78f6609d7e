//! What the shell owes after a step.

use std::sync::Arc;

use bytes::Bytes;
use words::{
    AppInfo, Decree, Envelope, Gpid, Mutation, MutationId, NodeId, NodeToMeta, Record, Reply, Signature,
};

use crate::{LogSequence, Token};

/// What the shell owes, in the order in which it owes it (see the crate's front page).
#[derive(Debug, Default)]
pub struct Output {
    /// Records for the prepare log, with their numbers.
    pub append: Vec<(LogSequence, Record)>,
    /// Messages to other nodes.
    pub send: Vec<Envelope>,
    /// Mutations to apply.
    pub apply: Vec<ApplyTask>,
    /// Reads that the lease allows.
    pub reads: Vec<ReadTask>,
    /// Requests that are answered.
    pub replies: Vec<(Token, Reply)>,
    /// Messages to the meta server.
    pub meta: Vec<NodeToMeta>,
    /// Long work to start.
    pub work: Vec<Work>,
}

/// A committed mutation for an app.
#[derive(Clone, Debug)]
pub struct ApplyTask {
    /// The partition.
    pub gpid: Gpid,
    /// What to apply.
    pub mutation: Arc<Mutation>,
}

/// A read that may be answered from the app's state as it is now.
#[derive(Clone, Debug)]
pub struct ReadTask {
    /// The partition.
    pub gpid: Gpid,
    /// The request.
    pub request: Bytes,
    /// Whom to answer.
    pub token: Token,
}

/// Work that takes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make an empty app of this type; `Event::Created`.
    Create {
        /// The partition.
        gpid: Gpid,
        /// The app that it is a part of.
        app: AppInfo,
    },
    /// Close the app and delete its data; `Event::Removed`.
    Remove {
        /// The partition.
        gpid: Gpid,
    },
    /// Write a checkpoint of what is applied now; `Event::CheckpointDone`.
    Checkpoint {
        /// The partition.
        gpid: Gpid,
    },
    /// Make the newest durable checkpoint (write one if there is none, or if it is older than `at_least`) ready
    /// to be fetched; `Event::CheckpointOffered`.
    OfferCheckpoint {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// The checkpoint must hold the effect of this decree.
        at_least: Decree,
    },
    /// Read committed mutations `from..=to` from the prepare log, until those after the first are so many bytes, or
    /// as many as fit into one message; `Event::LogRead`.
    ReadLog {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// The first decree wanted.
        from: Decree,
        /// The last decree wanted.
        to: Decree,
        /// Bytes wanted after the first, which the learner may have already.
        bytes: usize,
    },
    /// Fetch a checkpoint from another node and put it in the place of the app, atomically;
    /// `Event::CheckpointInstalled`.
    FetchCheckpoint {
        /// The partition.
        gpid: Gpid,
        /// Which learning it is for.
        signature: Signature,
        /// Where it is.
        from: NodeId,
        /// Its number there.
        transfer: u64,
        /// Its identity.
        checkpoint: MutationId,
    },
    /// Cut the prepare log: below these decrees nothing is needed any more. Partitions that are not named hold
    /// nothing back.
    CollectLog {
        /// For each replica, the last decree that is not needed.
        durable: Vec<(Gpid, Decree)>,
    },
    /// All that could be handed over is: the process may exit.
    Stopped,
}
