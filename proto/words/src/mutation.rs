//! What is replicated.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Ballot, Decree, Writes};

/// A mutation's identity, given once by the primary that made it; it never changes, while the ballot under
/// which the mutation was last proposed can rise. Printed `ballot.decree`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MutationId {
    /// The ballot under which it was first proposed.
    pub ballot: Ballot,
    /// Its position in the partition's order.
    pub decree: Decree,
}

impl MutationId {
    /// "Before the first mutation", the same on every replica.
    pub const ZERO: Self = Self { ballot: Ballot(0), decree: Decree(0) };
}

impl fmt::Display for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ballot, self.decree)
    }
}

/// A batch of client writes that commits as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Its identity.
    pub id: MutationId,
    /// Microseconds since 1970, by the primary's clock; never falls from one decree to the next (§3.7).
    pub timestamp_us: u64,
    /// What clients asked for. Empty: only moves the commit point.
    pub writes: Writes,
}

/// One client's write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which session's which write this is; `None` for a client that does not ask for exactly-once.
    pub session: Option<SessionStamp>,
    /// What to do.
    pub kind: WriteKind,
    /// The app's request; empty when a session is opened.
    pub payload: Bytes,
}

/// What a write does when it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteKind {
    /// The app applies it.
    Update,
    /// The app reads: a read that was declared a write (`rpc_request_is_write_operation`).
    Read,
    /// Opens a session; the answer is its number, eight bytes little-endian.
    OpenSession,
}

/// Names one write of one session (§8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStamp {
    /// The session, as the partition numbered it when it was opened.
    pub session: u64,
    /// The write's number in the session, from 1.
    pub sequence: u64,
    /// All writes of the session below this have been answered and will never be retried, so their answers
    /// can be forgotten.
    pub first_incomplete: u64,
}
