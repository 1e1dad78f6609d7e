//! What replica servers say to each other (`peer.proto`).

use std::sync::Arc;

use ::words::{
    Ballot, Claim, Decree, Envelope, Heartbeat, HeartbeatAck, Life, Mutation, PeerMessage, Prepare,
    PrepareAck, PrepareRefused, Signature, StepDown,
};

use crate::malformed::{all, count, each, required};
use crate::words::{node_bytes, node_id};
use crate::{Malformed, pb};

/// All that waits for one node, in one frame. What has the same sender and receiver shares an envelope there: of a
/// thousand partitions' messages, all have.
#[must_use]
pub fn peer_frame(envelopes: impl IntoIterator<Item = Envelope>) -> pb::PeerFrame {
    let mut frame = pb::PeerFrame::default();
    let mut open = None;
    let mut envelopes = envelopes.into_iter();
    while let Some(Envelope { from, from_life, to, to_life, body }) = envelopes.next() {
        let addresses = (from, from_life, to, to_life);
        if open != Some(addresses) {
            open = Some(addresses);
            frame.envelopes.push(pb::Envelope {
                from: node_bytes(from),
                from_life: from_life.0,
                to: node_bytes(to),
                to_life: to_life.0,
                // Mostly all that follow are in it, too.
                messages: Vec::with_capacity(1 + envelopes.size_hint().0),
            });
        }
        let envelope = frame.envelopes.last_mut().expect("one is open");
        envelope.messages.push(pb::PeerMessage { body: Some(body.into()) });
    }
    frame
}

/// What a frame holds, one message in each envelope.
///
/// # Errors
/// The first message in it that makes no sense; the sender speaks another version, so the others are not to be
/// trusted either.
pub fn envelopes(frame: pb::PeerFrame) -> Result<Vec<Envelope>, Malformed> {
    let mut envelopes = Vec::new();
    for pb::Envelope { from, from_life, to, to_life, messages } in frame.envelopes {
        let (from, to) = (node_id(&from, "Envelope.from")?, node_id(&to, "Envelope.to")?);
        let from_life = count(Life, from_life, "Envelope.from_life")?;
        let to_life = count(Life, to_life, "Envelope.to_life")?;
        envelopes.reserve(messages.len());
        for message in messages {
            let body = required(message.body, "PeerMessage.body")?;
            envelopes.push(Envelope { from, from_life, to, to_life, body });
        }
    }
    Ok(envelopes)
}

impl From<PeerMessage> for pb::peer_message::Body {
    fn from(message: PeerMessage) -> Self {
        match message {
            PeerMessage::Hello => Self::Hello(pb::Empty {}),
            PeerMessage::Welcome => Self::Welcome(pb::Empty {}),
            PeerMessage::Prepare(m) => Self::Prepare(m.into()),
            PeerMessage::PrepareAck(m) => Self::PrepareAck(m.into()),
            PeerMessage::PrepareRefused(m) => Self::PrepareRefused(m.into()),
            PeerMessage::Heartbeat(m) => Self::Heartbeat(m.into()),
            PeerMessage::HeartbeatAck(m) => Self::HeartbeatAck(m.into()),
            PeerMessage::StepDown(m) => Self::StepDown(m.into()),
            PeerMessage::AddLearner(m) => Self::AddLearner(m.into()),
            PeerMessage::Learn(m) => Self::Learn(m.into()),
            PeerMessage::LearnFromList(m) => Self::LearnFromList(m.into()),
            PeerMessage::LearnMutations(m) => Self::LearnMutations(m.into()),
            PeerMessage::LearnCheckpoint(m) => Self::LearnCheckpoint(m.into()),
            PeerMessage::LearnStartOver(m) => Self::LearnStartOver(m.into()),
            PeerMessage::LearnFailed(m) => Self::LearnFailed(m.into()),
        }
    }
}

impl TryFrom<pb::peer_message::Body> for PeerMessage {
    type Error = Malformed;

    fn try_from(body: pb::peer_message::Body) -> Result<Self, Malformed> {
        use pb::peer_message::Body;
        Ok(match body {
            Body::Hello(pb::Empty {}) => Self::Hello,
            Body::Welcome(pb::Empty {}) => Self::Welcome,
            Body::Prepare(m) => Self::Prepare(m.try_into()?),
            Body::PrepareAck(m) => Self::PrepareAck(m.try_into()?),
            Body::PrepareRefused(m) => Self::PrepareRefused(m.try_into()?),
            Body::Heartbeat(m) => Self::Heartbeat(m.try_into()?),
            Body::HeartbeatAck(m) => Self::HeartbeatAck(m.into()),
            Body::StepDown(m) => Self::StepDown(m.try_into()?),
            Body::AddLearner(m) => Self::AddLearner(m.try_into()?),
            Body::Learn(m) => Self::Learn(m.try_into()?),
            Body::LearnFromList(m) => Self::LearnFromList(m.try_into()?),
            Body::LearnMutations(m) => Self::LearnMutations(m.try_into()?),
            Body::LearnCheckpoint(m) => Self::LearnCheckpoint(m.try_into()?),
            Body::LearnStartOver(m) => Self::LearnStartOver(m.try_into()?),
            Body::LearnFailed(m) => Self::LearnFailed(m.try_into()?),
        })
    }
}

impl From<Prepare> for pb::Prepare {
    fn from(prepare: Prepare) -> Self {
        Self {
            gpid: Some(prepare.gpid.into()),
            ballot: prepare.ballot.0,
            mutation: Some((&*prepare.mutation).into()),
            previous: Some(prepare.previous.into()),
            last_committed: prepare.last_committed.0,
            learning: prepare.learning.map(|signature| signature.0),
        }
    }
}

impl TryFrom<pb::Prepare> for Prepare {
    type Error = Malformed;

    fn try_from(message: pb::Prepare) -> Result<Self, Malformed> {
        let mutation: Mutation = required(message.mutation, "Prepare.mutation")?;
        Ok(Self {
            gpid: required(message.gpid, "Prepare.gpid")?,
            ballot: count(Ballot, message.ballot, "Prepare.ballot")?,
            mutation: Arc::new(mutation),
            previous: required(message.previous, "Prepare.previous")?,
            last_committed: count(Decree, message.last_committed, "Prepare.last_committed")?,
            learning: message.learning.map(Signature),
        })
    }
}

impl From<PrepareAck> for pb::PrepareAck {
    fn from(ack: PrepareAck) -> Self {
        Self {
            gpid: Some(ack.gpid.into()),
            ballot: ack.ballot.0,
            confirmed: ack.confirmed.0,
            learning: ack.learning.map(|signature| signature.0),
        }
    }
}

impl TryFrom<pb::PrepareAck> for PrepareAck {
    type Error = Malformed;

    fn try_from(message: pb::PrepareAck) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "PrepareAck.gpid")?,
            ballot: count(Ballot, message.ballot, "PrepareAck.ballot")?,
            confirmed: count(Decree, message.confirmed, "PrepareAck.confirmed")?,
            learning: message.learning.map(Signature),
        })
    }
}

impl From<PrepareRefused> for pb::PrepareRefused {
    fn from(refused: PrepareRefused) -> Self {
        Self {
            gpid: Some(refused.gpid.into()),
            ballot: refused.ballot.0,
            confirmed: refused.confirmed.0,
            unable: refused.unable,
            learning: refused.learning.map(|signature| signature.0),
        }
    }
}

impl TryFrom<pb::PrepareRefused> for PrepareRefused {
    type Error = Malformed;

    fn try_from(message: pb::PrepareRefused) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "PrepareRefused.gpid")?,
            ballot: count(Ballot, message.ballot, "PrepareRefused.ballot")?,
            confirmed: count(Decree, message.confirmed, "PrepareRefused.confirmed")?,
            unable: message.unable,
            learning: message.learning.map(Signature),
        })
    }
}

impl From<Claim> for pb::Claim {
    fn from(claim: Claim) -> Self {
        Self { gpid: Some(claim.gpid.into()), ballot: claim.ballot.0, last_committed: claim.last_committed.0 }
    }
}

impl TryFrom<pb::Claim> for Claim {
    type Error = Malformed;

    fn try_from(message: pb::Claim) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "Claim.gpid")?,
            ballot: count(Ballot, message.ballot, "Claim.ballot")?,
            last_committed: count(Decree, message.last_committed, "Claim.last_committed")?,
        })
    }
}

impl From<Heartbeat> for pb::Heartbeat {
    fn from(heartbeat: Heartbeat) -> Self {
        Self { sequence: heartbeat.sequence, claims: all(heartbeat.claims) }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = Malformed;

    fn try_from(message: pb::Heartbeat) -> Result<Self, Malformed> {
        Ok(Self { sequence: message.sequence, claims: each(message.claims)? })
    }
}

impl From<HeartbeatAck> for pb::HeartbeatAck {
    fn from(ack: HeartbeatAck) -> Self {
        Self { sequence: ack.sequence, exceptions: all(ack.exceptions) }
    }
}

impl From<pb::HeartbeatAck> for HeartbeatAck {
    fn from(message: pb::HeartbeatAck) -> Self {
        Self { sequence: message.sequence, exceptions: all(message.exceptions) }
    }
}

impl From<StepDown> for pb::StepDown {
    fn from(step_down: StepDown) -> Self {
        Self { gpid: Some(step_down.gpid.into()), ballot: step_down.ballot.0 }
    }
}

impl TryFrom<pb::StepDown> for StepDown {
    type Error = Malformed;

    fn try_from(message: pb::StepDown) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "StepDown.gpid")?,
            ballot: count(Ballot, message.ballot, "StepDown.ballot")?,
        })
    }
}
