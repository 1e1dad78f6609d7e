//! What a client is told.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Ballot, Decree, NodeId};

/// An app's answer to a request: bytes that only the app understands, or its refusal.
pub type AppAnswer = Result<Bytes, Rejection>;

/// An app's own refusal of a request (malformed, out of range, ...). It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The app's code for it, stable.
    pub code: u32,
    /// A line for people.
    pub message: String,
}

/// How an operation ended, as one node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done: the app's answer, and the decree at which it was applied (a write) or read.
    Done {
        /// That decree.
        decree: Decree,
        /// The answer.
        answer: AppAnswer,
    },
    /// Surely not done, and it never will be by this request.
    Refused(Refusal),
    /// It may take effect, now or later (a primary that lost its role with the write in flight).
    Unknown,
}

/// Why an operation was refused. It has no effect, now or later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node is primary; ask the meta server, or this node if it knows.
    NotPrimary {
        /// The highest ballot that this node knows of the partition.
        ballot: Ballot,
        /// The primary of that ballot, if this node knows.
        primary: Option<NodeId>,
    },
    /// A queue is full; back off and retry.
    Busy,
    /// Fewer replicas than `mutation_2pc_min_replica_count` (§3.6); reads go on.
    NotEnoughReplicas,
    /// A new primary that has not reconciled yet, or one that hands over; retry soon.
    NotReady,
    /// The primary's leases don't cover the partition just now (§5.3); retry.
    NoLease,
    /// This node has no such partition.
    UnknownPartition,
    /// The session is not known any more (§8.2); open another one.
    SessionExpired,
    /// The session's window of unanswered writes is full, or the write's number is below it.
    SequenceOutOfWindow,
    /// The request is larger than `max_write_bytes`.
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The node can't write just now (disk full, a log that failed); reads go on.
    StorageUnavailable,
    /// The node's disk is below its watermark (`disk_min_available_space_ratio`); reads go on.
    DiskFull,
    /// The app's environment allows no more writes just now (`replica.write_throttling`); back off and retry.
    Throttled,
    /// The app's environment denies such requests (`replica.deny_client_request`).
    Denied,
    /// Changes can't be watched from the decree that was asked for: what this node has of them begins later.
    Compacted {
        /// From where on they can.
        oldest: Decree,
    },
}

impl Refusal {
    /// The stable code on the wire and in metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotPrimary { .. } => "not_primary",
            Self::Busy => "busy",
            Self::NotEnoughReplicas => "not_enough_replicas",
            Self::NotReady => "not_ready",
            Self::NoLease => "no_lease",
            Self::UnknownPartition => "unknown_partition",
            Self::SessionExpired => "session_expired",
            Self::SequenceOutOfWindow => "sequence_out_of_window",
            Self::TooLarge { .. } => "too_large",
            Self::StorageUnavailable => "storage_unavailable",
            Self::DiskFull => "disk_full",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Compacted { .. } => "compacted",
        }
    }

    /// Whether the same request can succeed later, or elsewhere.
    #[must_use]
    pub fn retry_can_help(&self) -> bool {
        !matches!(
            self,
            Self::SessionExpired
                | Self::SequenceOutOfWindow
                | Self::TooLarge { .. }
                | Self::Denied
                | Self::Compacted { .. }
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPrimary { ballot, primary: Some(node) } => {
                write!(f, "not the primary; in ballot {ballot} that is {node}")
            }
            Self::NotPrimary { ballot, primary: None } => write!(f, "not the primary (ballot {ballot})"),
            Self::Busy => write!(f, "too many requests wait; retry later"),
            Self::NotEnoughReplicas => write!(f, "too few replicas to accept a write"),
            Self::NotReady => write!(f, "the primary is not ready yet"),
            Self::NoLease => write!(f, "the primary's leases have run out"),
            Self::UnknownPartition => write!(f, "no such partition on this node"),
            Self::SessionExpired => write!(f, "the session has expired"),
            Self::SequenceOutOfWindow => {
                write!(f, "the write's number is outside of its session's window")
            }
            Self::TooLarge { limit } => write!(f, "the request is larger than {limit} bytes"),
            Self::StorageUnavailable => write!(f, "the node can't write to its disk"),
            Self::DiskFull => {
                write!(f, "the node's disk is almost full; it takes writes again once there is space")
            }
            Self::Throttled => write!(f, "more is written than the app's environment allows; retry later"),
            Self::Denied => write!(f, "the app's environment denies such requests just now"),
            Self::Compacted { oldest } => {
                write!(
                    f,
                    "the changes asked for are not kept any more; they can be watched from decree {oldest} on"
                )
            }
        }
    }
}
