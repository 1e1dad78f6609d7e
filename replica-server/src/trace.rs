//! A mutation's life in rDSN's steps, target `mutation`: to be seen with `RUST_LOG=mutation=trace`.

use tracing::trace;
use words::{Envelope, Gpid, Mutation, NodeId, PeerMessage, Record};

/// What leaves this node.
pub(crate) fn sent(envelope: &Envelope) {
    let (node, to) = (envelope.from, envelope.to);
    match &envelope.body {
        PeerMessage::Prepare(m) => {
            trace!(target: "mutation", gpid = %m.gpid, %node, %to, ballot = %m.ballot, mutation = %m.mutation.id, "send_prepare_message");
        }
        PeerMessage::PrepareAck(m) => {
            trace!(target: "mutation", gpid = %m.gpid, %node, %to, ballot = %m.ballot, decree = %m.confirmed, "ack_prepare_message");
        }
        _ => {}
    }
}

/// What arrives at this node.
pub(crate) fn received(envelope: &Envelope) {
    let (node, from) = (envelope.to, envelope.from);
    match &envelope.body {
        PeerMessage::Prepare(m) => {
            trace!(target: "mutation", gpid = %m.gpid, %node, %from, ballot = %m.ballot, mutation = %m.mutation.id, "on_prepare");
        }
        PeerMessage::PrepareAck(m) => {
            trace!(target: "mutation", gpid = %m.gpid, %node, %from, ballot = %m.ballot, decree = %m.confirmed, "on_prepare_reply");
        }
        PeerMessage::PrepareRefused(m) => {
            trace!(target: "mutation", gpid = %m.gpid, %node, %from, ballot = %m.ballot, decree = %m.confirmed, "on_prepare_reply: refused");
        }
        _ => {}
    }
}

/// What goes to the prepare log.
pub(crate) fn appended(node: NodeId, record: &Record) {
    if let Record::Prepare { gpid, ballot, mutation, .. } = record {
        trace!(target: "mutation", %gpid, %node, %ballot, mutation = %mutation.id, "init_prepare");
    }
}

/// What is durable in the prepare log.
pub(crate) fn durable(node: NodeId, sequence: u64) {
    trace!(target: "mutation", %node, sequence, "on_append_log_completed");
}

/// What is committed here, and is applied now.
pub(crate) fn committed(node: NodeId, gpid: Gpid, mutation: &Mutation) {
    trace!(target: "mutation", %gpid, %node, mutation = %mutation.id, "committed");
}
