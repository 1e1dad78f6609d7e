//! What is done to a cluster by clients that are not ours.

use bytes::Bytes;
use replica_core::Event;
use words::{Write, WriteKind};

use crate::world::{World, trace};

/// Sessions that a crowd opens: more than a partition keeps.
const CROWD: u64 = 12_000;

impl World<'_> {
    /// Many strangers come at once, and each opens a session: those that were not used for longest are pushed out
    /// (§8.2). Nobody waits for the answers.
    pub(super) fn crowd(&mut self) {
        let Some(gpid) = self.some_partition() else { return };
        let Some(index) = self.primary_of(gpid) else { return };
        trace!(self, self.machines[index].disk.node, "a CROWD opens sessions in {gpid}");
        for _ in 0..CROWD {
            let Some(process) = &mut self.machines[index].process else { return };
            process.last_token += 1;
            let token = process.last_token;
            let write = Write { session: None, kind: WriteKind::OpenSession, payload: Bytes::new() };
            self.hand_in(index, Event::Write { gpid, write, token, patience: None });
        }
    }
}
