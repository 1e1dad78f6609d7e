//! Operations and how they ended (`client.proto`).

use std::time::Duration;

use ::words::{Ballot, Decree, Gpid, Refusal, Rejection, Reply, Write};
use bytes::Bytes;

use crate::malformed::{count, required};
use crate::words::{node_bytes, optional_node_id};
use crate::{Malformed, pb};

/// One operation of a client on its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The client's number for it; comes back with the reply.
    pub id: u64,
    /// The partition.
    pub gpid: Gpid,
    /// What to do.
    pub kind: OperationKind,
    /// How long the client waits for the reply, if it says so.
    pub patience: Option<Duration>,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// A write.
    Write(Write),
    /// A read, with the app's request.
    Read(Bytes),
}

impl From<Operation> for pb::Operation {
    fn from(operation: Operation) -> Self {
        let what = match operation.kind {
            OperationKind::Write(write) => pb::operation::What::Write(write.into()),
            OperationKind::Read(request) => pb::operation::What::Read(request),
        };
        let patience = operation.patience.map(|patience| patience.as_millis().clamp(1, u32::MAX.into()));
        Self {
            id: operation.id,
            gpid: Some(operation.gpid.into()),
            what: Some(what),
            timeout_ms: patience.map_or(0, |ms| u32::try_from(ms).unwrap_or(u32::MAX)),
        }
    }
}

impl TryFrom<pb::Operation> for Operation {
    type Error = Malformed;

    fn try_from(message: pb::Operation) -> Result<Self, Malformed> {
        let kind = match message.what {
            Some(pb::operation::What::Write(write)) => OperationKind::Write(write.try_into()?),
            Some(pb::operation::What::Read(request)) => OperationKind::Read(request),
            None => return Err(Malformed { field: "Operation.what", problem: "is missing" }),
        };
        let said = (message.timeout_ms > 0).then(|| Duration::from_millis(message.timeout_ms.into()));
        Ok(Self { id: message.id, gpid: required(message.gpid, "Operation.gpid")?, kind, patience: said })
    }
}

impl From<Rejection> for pb::AppRejection {
    fn from(rejection: Rejection) -> Self {
        Self { code: rejection.code, message: rejection.message }
    }
}

impl From<pb::AppRejection> for Rejection {
    fn from(message: pb::AppRejection) -> Self {
        Self { code: message.code, message: message.message }
    }
}

/// A reply with the number of the operation that it answers.
impl From<(u64, Reply)> for pb::OperationReply {
    fn from((id, reply): (u64, Reply)) -> Self {
        let mut message = Self { id, ..Self::default() };
        match reply {
            Reply::Done { decree, answer } => {
                message.set_outcome(pb::Outcome::Done);
                message.decree = decree.0;
                match answer {
                    Ok(answer) => message.answer = answer,
                    Err(rejection) => message.rejection = Some(rejection.into()),
                }
            }
            Reply::Refused(refusal) => {
                message.set_outcome(pb::Outcome::NotDone);
                message.refusal = Some(refusal.into());
            }
            Reply::Unknown => message.set_outcome(pb::Outcome::Unknown),
        }
        message
    }
}

/// A reply with the number of the operation that it answers.
impl TryFrom<pb::OperationReply> for (u64, Reply) {
    type Error = Malformed;

    fn try_from(message: pb::OperationReply) -> Result<Self, Malformed> {
        let outcome = pb::Outcome::try_from(message.outcome)
            .map_err(|_| Malformed { field: "OperationReply.outcome", problem: "is no outcome" })?;
        let reply = match outcome {
            pb::Outcome::Done => Reply::Done {
                decree: count(Decree, message.decree, "OperationReply.decree")?,
                answer: message.rejection.map_or(Ok(message.answer), |rejection| Err(rejection.into())),
            },
            pb::Outcome::NotDone => Reply::Refused(required(message.refusal, "OperationReply.refusal")?),
            pb::Outcome::Unknown => Reply::Unknown,
        };
        Ok((message.id, reply))
    }
}

/// What a client is told whose operation can't be understood: surely not done, and no retry can help.
#[must_use]
pub fn malformed_reply(id: u64, malformed: &Malformed) -> pb::OperationReply {
    let refusal =
        pb::Refusal { code: "malformed".to_owned(), message: malformed.to_string(), ..Default::default() };
    let mut message = pb::OperationReply { id, refusal: Some(refusal), ..Default::default() };
    message.set_outcome(pb::Outcome::NotDone);
    message
}

impl From<Refusal> for pb::Refusal {
    fn from(refusal: Refusal) -> Self {
        let mut message = Self {
            code: refusal.code().to_owned(),
            message: refusal.to_string(),
            retry_can_help: refusal.retry_can_help(),
            ..Self::default()
        };
        match refusal {
            Refusal::NotPrimary { ballot, primary } => {
                message.ballot = ballot.0;
                message.primary = primary.map(node_bytes).unwrap_or_default();
            }
            Refusal::TooLarge { limit } => message.limit = limit,
            Refusal::Compacted { oldest } => message.oldest = oldest.0,
            _ => {}
        }
        message
    }
}

impl TryFrom<pb::Refusal> for Refusal {
    type Error = Malformed;

    fn try_from(message: pb::Refusal) -> Result<Self, Malformed> {
        Ok(match message.code.as_str() {
            "not_primary" => Self::NotPrimary {
                ballot: count(Ballot, message.ballot, "Refusal.ballot")?,
                primary: optional_node_id(&message.primary, "Refusal.primary")?,
            },
            "busy" => Self::Busy,
            "not_enough_replicas" => Self::NotEnoughReplicas,
            "not_ready" => Self::NotReady,
            "no_lease" => Self::NoLease,
            "unknown_partition" => Self::UnknownPartition,
            "session_expired" => Self::SessionExpired,
            "sequence_out_of_window" => Self::SequenceOutOfWindow,
            "too_large" => Self::TooLarge { limit: message.limit },
            "storage_unavailable" => Self::StorageUnavailable,
            "disk_full" => Self::DiskFull,
            "throttled" => Self::Throttled,
            "denied" => Self::Denied,
            "compacted" => Self::Compacted { oldest: count(Decree, message.oldest, "Refusal.oldest")? },
            _ => return Err(Malformed { field: "Refusal.code", problem: "is no code that we know" }),
        })
    }
}
