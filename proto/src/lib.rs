//! The wire: generated messages and services, and the only place where they meet our own types.

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
