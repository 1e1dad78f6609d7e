//! What the prepare log holds.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AppInfo, Ballot, Decree, Gpid, Mutation, MutationId};

/// One record of the prepare log. Replay reads them in log order and follows the same rules as memory did
/// (§4.6, `replica_core::Replay`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A replica of this partition exists on this node from here on (§4.8).
    Created {
        /// The partition.
        gpid: Gpid,
        /// The app that it is a part of.
        app: AppInfo,
    },
    /// The replica's ballot rose to this (§4.5, §3.2).
    Ballot {
        /// The partition.
        gpid: Gpid,
        /// Its ballot.
        ballot: Ballot,
    },
    /// A mutation was prepared, or proposed again under a higher ballot.
    Prepare {
        /// The partition.
        gpid: Gpid,
        /// The ballot under which it was proposed; at least `mutation.id.ballot`.
        ballot: Ballot,
        /// What is prepared.
        mutation: Arc<Mutation>,
        /// Whether it took the place of a different mutation, so that all that followed that one is gone. Replay
        /// can't always tell: what was replaced may have been cut from the log, and what followed it not.
        replaces: bool,
        /// What the sender of the prepare had committed by then.
        last_committed: Decree,
    },
    /// A checkpoint that was learned took the place of the app's state (§6.2).
    Installed {
        /// The partition.
        gpid: Gpid,
        /// The identity of the checkpoint's last decree.
        checkpoint: MutationId,
        /// Whether memory had that very identity there and kept what follows it. Replay can't always tell: what
        /// is at or below the checkpoint may have been cut from the log.
        suffix_kept: bool,
    },
    /// The replica is gone from this node: collected, or set aside to be learned afresh.
    Removed {
        /// The partition.
        gpid: Gpid,
        /// The ballot that it had: a message of an older one, say from a meta server that was deposed, must not
        /// bring it back (§4.8).
        ballot: Ballot,
    },
    /// The replica can't be trusted any more. From here on nothing of it is kept in the log, and a start must not
    /// take what is left for a replica that is merely behind (§4.4, §4.8).
    Broken {
        /// The partition.
        gpid: Gpid,
        /// Why, for people.
        reason: String,
    },
}

impl Record {
    /// The partition that it belongs to.
    #[must_use]
    pub fn gpid(&self) -> Gpid {
        match self {
            Self::Created { gpid, .. }
            | Self::Ballot { gpid, .. }
            | Self::Prepare { gpid, .. }
            | Self::Installed { gpid, .. }
            | Self::Removed { gpid, .. }
            | Self::Broken { gpid, .. } => *gpid,
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { gpid, app } => write!(f, "created {gpid} of {}", app.name),
            Self::Ballot { gpid, ballot } => write!(f, "ballot {gpid} {ballot}"),
            Self::Prepare { gpid, ballot, mutation, replaces, last_committed } => {
                let anew = if *replaces { ", in place of another" } else { "" };
                write!(f, "prepare {gpid} {} under {ballot}{anew}, committed {last_committed}", mutation.id)
            }
            Self::Installed { gpid, checkpoint, suffix_kept } => {
                let kept = if *suffix_kept { ", with what follows" } else { "" };
                write!(f, "installed {gpid} {checkpoint}{kept}")
            }
            Self::Removed { gpid, ballot } => write!(f, "removed {gpid} in ballot {ballot}"),
            Self::Broken { gpid, reason } => write!(f, "broken {gpid}: {reason}"),
        }
    }
}
