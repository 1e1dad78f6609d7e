//! Whose messages a server without vote and log takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use openraft::error::Fatal;

use crate::raft::{MemberId, Raft};

/// Closed until this server is a member: what was still on its way from a cluster that its founder lost must not get
/// into the one that is founded now.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_open: AtomicBool,
    /// Who was told last that this server has nothing.
    founder: Mutex<Option<MemberId>>,
}

impl Gate {
    /// Whether a message of that server is taken.
    pub(crate) async fn admits(&self, raft: &Raft, from: MemberId) -> Result<bool, Fatal<MemberId>> {
        if self.is_open.load(Ordering::Acquire) || self.is_founder(from) {
            return Ok(true);
        }
        let is_member = raft.is_initialized().await?;
        if is_member {
            self.open();
        }
        Ok(is_member)
    }

    /// That server is about to be told that this one has nothing.
    pub(crate) fn founded_by(&self, founder: MemberId) {
        *self.founder.lock().unwrap_or_else(PoisonError::into_inner) = Some(founder);
    }

    /// This server is a member, or will be one of a cluster that has others already.
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    fn is_founder(&self, from: MemberId) -> bool {
        *self.founder.lock().unwrap_or_else(PoisonError::into_inner) == Some(from)
    }
}
