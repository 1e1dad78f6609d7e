//! When all is over the members of a partition are equal, byte for byte (S12).

use std::io;
use std::path::PathBuf;

use replicated_app::ReplicatedApp;
use words::{Gpid, MutationId, NodeId};

use crate::violation::{Checked, Violation, check};
use crate::world::World;

/// All that a member has of a partition.
#[derive(PartialEq, Eq)]
struct Whole {
    applied: MutationId,
    sessions: Vec<u8>,
    /// What the app would hand to a learner, unless two that are equal may differ in that.
    blob: Vec<u8>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl World<'_> {
    /// Has every member of every partition write a checkpoint, and compares them. The digests along the way say
    /// which decree it was that made two differ; these are the bytes themselves.
    pub(crate) fn compare_bytes(&mut self) -> Checked {
        for gpid in self.gpids.clone() {
            let members: Vec<NodeId> =
                self.meta.configuration(gpid).map(|c| c.members().collect()).unwrap_or_default();
            if !self.can_live(gpid) {
                continue;
            }
            let mut wholes = Vec::new();
            for &node in &members {
                wholes.push(self.whole(gpid, node)?);
            }
            for (whole, node) in wholes.iter().zip(&members) {
                check(*whole == wholes[0], "S12", || {
                    let what = if whole.sessions == wholes[0].sessions { "app" } else { "sessions" };
                    format!("{gpid}: when all is over {node} and {} have another {what}", members[0])
                })?;
            }
        }
        Ok(())
    }

    fn whole(&mut self, gpid: Gpid, node: NodeId) -> Result<Whole, Violation> {
        let place = self.places[&node];
        let process = self.machines[place].process.as_mut();
        let hosted = process.and_then(|process| process.apps.get_mut(&gpid));
        let broken = |error: io::Error| Violation {
            rule: "app",
            what: format!("{gpid} on {node} makes no checkpoint at the end: {error}"),
        };
        let hosted = hosted.ok_or(io::ErrorKind::NotFound).map_err(|kind| broken(kind.into()))?;
        let mut whole = Whole {
            applied: hosted.applied,
            sessions: hosted.sessions.encode(),
            blob: Vec::new(),
            files: Vec::new(),
        };
        if self.subject.checkpoints_are_canonical() && hosted.applied != MutationId::ZERO {
            hosted.app.sync_checkpoint().map_err(broken)?;
            let state = hosted.app.get_checkpoint().map_err(broken)?;
            whole.blob = state.blob.to_vec();
            for file in state.files {
                let bytes = std::fs::read(state.folder.join(&file)).map_err(broken)?;
                whole.files.push((file, bytes));
            }
            whole.files.sort();
        }
        Ok(whole)
    }
}
