//! What a replica works with during one step.

use words::{Gpid, Mutation, NodeId, NodeToMeta, Now, PeerMessage, Record, Signature};

use crate::{ApplyTask, LogSequence, Output, Settings, Work};
use std::sync::Arc;

/// The step that is being taken: what the shell handed in, and where what it owes is collected.
pub(crate) struct Step<'a> {
    pub(crate) now: Now,
    pub(crate) me: NodeId,
    pub(crate) settings: &'a Settings,
    /// The node's disk is below its watermark.
    pub(crate) disk_is_low: bool,
    pub(crate) counters: &'a mut Counters,
    pub(crate) out: &'a mut Output,
    /// Messages to other nodes; the node puts them into envelopes, since it knows the lives.
    pub(crate) outbox: &'a mut Vec<(NodeId, PeerMessage)>,
}

/// Numbers that a node gives out, each once in its life.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    log: LogSequence,
    signature: u64,
}

impl Counters {
    /// Signatures of different lives must differ: a late answer of an earlier learning is ignored by it.
    pub(crate) fn of_life(life: u64) -> Self {
        Self { log: 0, signature: life << 32 }
    }
}

impl Step<'_> {
    pub(crate) fn append(&mut self, record: Record) -> LogSequence {
        self.counters.log += 1;
        self.out.append.push((self.counters.log, record));
        self.counters.log
    }

    pub(crate) fn send(&mut self, to: NodeId, message: PeerMessage) {
        self.outbox.push((to, message));
    }

    pub(crate) fn meta(&mut self, message: NodeToMeta) {
        self.out.meta.push(message);
    }

    pub(crate) fn work(&mut self, work: Work) {
        self.out.work.push(work);
    }

    pub(crate) fn apply(&mut self, gpid: Gpid, mutations: Vec<Arc<Mutation>>) {
        self.out.apply.extend(mutations.into_iter().map(|mutation| ApplyTask { gpid, mutation }));
    }

    pub(crate) fn new_signature(&mut self) -> Signature {
        self.counters.signature += 1;
        Signature(self.counters.signature)
    }
}
