//! Messages between replica servers.

use std::fmt;
use std::sync::Arc;

use crate::{AppInfo, Ballot, Decree, Gpid, Life, Mutation, MutationId, NodeId, Signature};

/// A message with whom it is from and for; one that was meant for another node, or for another life of this
/// one, is dropped (§1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Who sent it.
    pub from: NodeId,
    /// In which of its lives.
    pub from_life: Life,
    /// For whom it is.
    pub to: NodeId,
    /// For which of its lives; 0 (not known) only on `Hello` and `Welcome`.
    pub to_life: Life,
    /// What it says.
    pub body: PeerMessage,
}

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// "This is my life; which is yours?"
    Hello,
    /// Answers a `Hello`, or a message that was meant for an earlier life.
    Welcome,
    /// See [`Prepare`].
    Prepare(Prepare),
    /// See [`PrepareAck`].
    PrepareAck(PrepareAck),
    /// See [`PrepareRefused`].
    PrepareRefused(PrepareRefused),
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`HeartbeatAck`].
    HeartbeatAck(HeartbeatAck),
    /// See [`StepDown`].
    StepDown(StepDown),
    /// See [`AddLearner`].
    AddLearner(AddLearner),
    /// See [`Learn`].
    Learn(Learn),
    /// See [`LearnFromList`].
    LearnFromList(LearnFromList),
    /// See [`LearnMutations`].
    LearnMutations(LearnMutations),
    /// See [`LearnCheckpoint`].
    LearnCheckpoint(LearnCheckpoint),
    /// See [`LearnStartOver`].
    LearnStartOver(LearnStartOver),
    /// See [`LearnFailed`].
    LearnFailed(LearnFailed),
}

/// The primary proposes a mutation (§3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The partition.
    pub gpid: Gpid,
    /// The sender's ballot.
    pub ballot: Ballot,
    /// What is proposed.
    pub mutation: Arc<Mutation>,
    /// The identity of the mutation one decree before.
    pub previous: MutationId,
    /// What the sender has committed.
    pub last_committed: Decree,
    /// Set for a learner: which learning this belongs to. A secondary gets none.
    pub learning: Option<Signature>,
}

/// The receiver is confirmed, durably and in this ballot, up to a decree (§3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareAck {
    /// The partition.
    pub gpid: Gpid,
    /// The ballot in which it is confirmed.
    pub ballot: Ballot,
    /// The last confirmed decree.
    pub confirmed: Decree,
    /// The learning that was named in the prepare.
    pub learning: Option<Signature>,
}

/// The receiver did not take a prepare. Says where to re-send from; never counts as an acknowledgement (§3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareRefused {
    /// The partition.
    pub gpid: Gpid,
    /// The receiver's ballot; above the prepare's if that is why.
    pub ballot: Ballot,
    /// What the receiver has confirmed.
    pub confirmed: Decree,
    /// The receiver can't take part at all: it has no such replica, or its state can't be trusted.
    pub unable: bool,
    /// The learning that was named in the prepare.
    pub learning: Option<Signature>,
}

/// One partition of which the sender is primary and the receiver a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub gpid: Gpid,
    /// The sender's ballot.
    pub ballot: Ballot,
    /// What the sender has committed (§3.4).
    pub last_committed: Decree,
}

/// One heartbeat for all partitions between two nodes (§5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Grows by one a heartbeat to this receiver.
    pub sequence: u64,
    /// The partitions for which the sender asks for a lease.
    pub claims: Vec<Claim>,
}

/// Grants the sender of a heartbeat a lease (§5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The heartbeat that it answers.
    pub sequence: u64,
    /// The claimed partitions that the lease does *not* cover.
    pub exceptions: Vec<Gpid>,
}

/// An old primary gives up its leases (§5.5): releases grants for this ballot and lower ones only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepDown {
    /// The partition.
    pub gpid: Gpid,
    /// The last ballot in which the sender was primary.
    pub ballot: Ballot,
}

/// The primary asks a node to learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddLearner {
    /// The partition.
    pub gpid: Gpid,
    /// The primary's ballot.
    pub ballot: Ballot,
    /// This learning.
    pub signature: Signature,
    /// The app, for a node that has no replica of it yet.
    pub app: AppInfo,
}

/// The learner asks for what it misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learn {
    /// The partition.
    pub gpid: Gpid,
    /// The ballot under which it learns.
    pub ballot: Ballot,
    /// Which learning.
    pub signature: Signature,
    /// The last that it has committed.
    pub last_committed: MutationId,
}

/// What the learner misses is in the primary's prepare list: prepares follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnFromList {
    /// The partition.
    pub gpid: Gpid,
    /// The primary's ballot.
    pub ballot: Ballot,
    /// Which learning.
    pub signature: Signature,
}

/// Committed mutations from the primary's prepare log, in order. The learner logs them and asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnMutations {
    /// The partition.
    pub gpid: Gpid,
    /// The primary's ballot.
    pub ballot: Ballot,
    /// Which learning.
    pub signature: Signature,
    /// They follow on what the learner had committed when it asked.
    pub mutations: Vec<Arc<Mutation>>,
}

/// A checkpoint of the app is ready to be fetched from the primary's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnCheckpoint {
    /// The partition.
    pub gpid: Gpid,
    /// The primary's ballot.
    pub ballot: Ballot,
    /// Which learning.
    pub signature: Signature,
    /// The identity of its last decree.
    pub checkpoint: MutationId,
    /// What to ask for when fetching; means something only to the primary's node.
    pub transfer: u64,
}

/// The learner is ahead of a primary that was forced: it sets its state aside and asks again from nothing (§6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnStartOver {
    /// The partition.
    pub gpid: Gpid,
    /// The primary's ballot.
    pub ballot: Ballot,
    /// Which learning.
    pub signature: Signature,
}

/// The learner gives up this learning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnFailed {
    /// The partition.
    pub gpid: Gpid,
    /// Which learning.
    pub signature: Signature,
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} -> {}/{} {}", self.from, self.from_life, self.to, self.to_life, self.body)
    }
}

impl fmt::Display for PeerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => write!(f, "hello"),
            Self::Welcome => write!(f, "welcome"),
            Self::Prepare(m) => {
                write!(
                    f,
                    "prepare {} {} {} after {}, committed {}",
                    m.gpid, m.ballot, m.mutation.id, m.previous, m.last_committed
                )?;
                m.learning.map_or(Ok(()), |signature| write!(f, ", learning {signature}"))
            }
            Self::PrepareAck(m) => {
                write!(f, "prepare_ack {} {} confirmed {}", m.gpid, m.ballot, m.confirmed)?;
                m.learning.map_or(Ok(()), |signature| write!(f, ", learning {signature}"))
            }
            Self::PrepareRefused(m) => {
                let unable = if m.unable { ", unable" } else { "" };
                write!(f, "prepare_refused {} {} confirmed {}{unable}", m.gpid, m.ballot, m.confirmed)
            }
            Self::Heartbeat(m) => {
                write!(f, "heartbeat {}", m.sequence)?;
                m.claims.iter().try_for_each(|c| write!(f, " {}:{}:{}", c.gpid, c.ballot, c.last_committed))
            }
            Self::HeartbeatAck(m) => {
                write!(f, "heartbeat_ack {}", m.sequence)?;
                m.exceptions.iter().try_for_each(|gpid| write!(f, " not {gpid}"))
            }
            Self::StepDown(m) => write!(f, "step_down {} {}", m.gpid, m.ballot),
            Self::AddLearner(m) => write!(f, "add_learner {} {} learning {}", m.gpid, m.ballot, m.signature),
            Self::Learn(m) => {
                write!(f, "learn {} {} learning {} from {}", m.gpid, m.ballot, m.signature, m.last_committed)
            }
            Self::LearnFromList(m) => {
                write!(f, "learn_from_list {} {} learning {}", m.gpid, m.ballot, m.signature)
            }
            Self::LearnMutations(m) => {
                write!(
                    f,
                    "learn_mutations {} {} learning {}, {} of them",
                    m.gpid,
                    m.ballot,
                    m.signature,
                    m.mutations.len()
                )
            }
            Self::LearnCheckpoint(m) => {
                write!(
                    f,
                    "learn_checkpoint {} {} learning {} at {}",
                    m.gpid, m.ballot, m.signature, m.checkpoint
                )
            }
            Self::LearnStartOver(m) => {
                write!(f, "learn_start_over {} {} learning {}", m.gpid, m.ballot, m.signature)
            }
            Self::LearnFailed(m) => write!(f, "learn_failed {} learning {}", m.gpid, m.signature),
        }
    }
}
