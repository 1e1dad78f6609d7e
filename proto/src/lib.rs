//! The wire: generated messages and services, and the only place where they meet our own types.
//!
//! Each type of `words` becomes its message by [`From`], and a message becomes its type by [`TryFrom`], which
//! fails with [`Malformed`]: whatever arrives from outside is judged here, once, and nothing that it says can
//! make the process panic. A node id is 16 bytes, big-endian; empty stands for none.

mod client;
mod learn;
mod malformed;
mod meta;
mod peer;
mod watch;
mod words;

pub use client::{Operation, OperationKind, malformed_reply};
pub use malformed::Malformed;
pub use peer::{envelopes, peer_frame};
pub use words::{node_bytes, node_id};

/// With the status of a meta server that does not lead comes the address of the one that does, if it knows that; and
/// empty otherwise. Nothing of the request was done.
pub const LEADER_KEY: &str = "holdfast-leader";

/// The generated messages, clients and servers of package `holdfast.v1`; `proto/*.proto` document them.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::use_self
)]
pub mod pb {
    tonic::include_proto!("holdfast.v1");
}

/// The descriptors of all services and messages, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
