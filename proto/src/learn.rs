//! What a primary and a learner say to each other (`peer.proto`).

use std::sync::Arc;

use ::words::{
    AddLearner, Ballot, Learn, LearnCheckpoint, LearnFailed, LearnFromList, LearnMutations, LearnStartOver,
    Mutation, Signature,
};

use crate::malformed::{count, required};
use crate::{Malformed, pb};

impl From<AddLearner> for pb::AddLearner {
    fn from(message: AddLearner) -> Self {
        Self {
            gpid: Some(message.gpid.into()),
            ballot: message.ballot.0,
            signature: message.signature.0,
            app: Some(message.app.into()),
        }
    }
}

impl TryFrom<pb::AddLearner> for AddLearner {
    type Error = Malformed;

    fn try_from(message: pb::AddLearner) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "AddLearner.gpid")?,
            ballot: count(Ballot, message.ballot, "AddLearner.ballot")?,
            signature: Signature(message.signature),
            app: required(message.app, "AddLearner.app")?,
        })
    }
}

impl From<Learn> for pb::Learn {
    fn from(message: Learn) -> Self {
        Self {
            gpid: Some(message.gpid.into()),
            ballot: message.ballot.0,
            signature: message.signature.0,
            last_committed: Some(message.last_committed.into()),
        }
    }
}

impl TryFrom<pb::Learn> for Learn {
    type Error = Malformed;

    fn try_from(message: pb::Learn) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "Learn.gpid")?,
            ballot: count(Ballot, message.ballot, "Learn.ballot")?,
            signature: Signature(message.signature),
            last_committed: required(message.last_committed, "Learn.last_committed")?,
        })
    }
}

impl From<LearnFromList> for pb::LearnFromList {
    fn from(message: LearnFromList) -> Self {
        Self { gpid: Some(message.gpid.into()), ballot: message.ballot.0, signature: message.signature.0 }
    }
}

impl TryFrom<pb::LearnFromList> for LearnFromList {
    type Error = Malformed;

    fn try_from(message: pb::LearnFromList) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "LearnFromList.gpid")?,
            ballot: count(Ballot, message.ballot, "LearnFromList.ballot")?,
            signature: Signature(message.signature),
        })
    }
}

impl From<LearnMutations> for pb::LearnMutations {
    fn from(message: LearnMutations) -> Self {
        let mutations = message.mutations.iter().map(|mutation| (&**mutation).into());
        Self {
            gpid: Some(message.gpid.into()),
            ballot: message.ballot.0,
            signature: message.signature.0,
            mutations: mutations.collect(),
        }
    }
}

impl TryFrom<pb::LearnMutations> for LearnMutations {
    type Error = Malformed;

    fn try_from(message: pb::LearnMutations) -> Result<Self, Malformed> {
        let mutations =
            message.mutations.into_iter().map(|mutation| Mutation::try_from(mutation).map(Arc::new));
        Ok(Self {
            gpid: required(message.gpid, "LearnMutations.gpid")?,
            ballot: count(Ballot, message.ballot, "LearnMutations.ballot")?,
            signature: Signature(message.signature),
            mutations: mutations.collect::<Result<_, _>>()?,
        })
    }
}

impl From<LearnCheckpoint> for pb::LearnCheckpoint {
    fn from(message: LearnCheckpoint) -> Self {
        Self {
            gpid: Some(message.gpid.into()),
            ballot: message.ballot.0,
            signature: message.signature.0,
            checkpoint: Some(message.checkpoint.into()),
            transfer: message.transfer,
        }
    }
}

impl TryFrom<pb::LearnCheckpoint> for LearnCheckpoint {
    type Error = Malformed;

    fn try_from(message: pb::LearnCheckpoint) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "LearnCheckpoint.gpid")?,
            ballot: count(Ballot, message.ballot, "LearnCheckpoint.ballot")?,
            signature: Signature(message.signature),
            checkpoint: required(message.checkpoint, "LearnCheckpoint.checkpoint")?,
            transfer: message.transfer,
        })
    }
}

impl From<LearnStartOver> for pb::LearnStartOver {
    fn from(message: LearnStartOver) -> Self {
        Self { gpid: Some(message.gpid.into()), ballot: message.ballot.0, signature: message.signature.0 }
    }
}

impl TryFrom<pb::LearnStartOver> for LearnStartOver {
    type Error = Malformed;

    fn try_from(message: pb::LearnStartOver) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "LearnStartOver.gpid")?,
            ballot: count(Ballot, message.ballot, "LearnStartOver.ballot")?,
            signature: Signature(message.signature),
        })
    }
}

impl From<LearnFailed> for pb::LearnFailed {
    fn from(message: LearnFailed) -> Self {
        Self { gpid: Some(message.gpid.into()), signature: message.signature.0 }
    }
}

impl TryFrom<pb::LearnFailed> for LearnFailed {
    type Error = Malformed;

    fn try_from(message: pb::LearnFailed) -> Result<Self, Malformed> {
        Ok(Self {
            gpid: required(message.gpid, "LearnFailed.gpid")?,
            signature: Signature(message.signature),
        })
    }
}
