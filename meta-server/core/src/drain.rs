//! Nodes that shall go: everything on them moves away ([`crate::balancer`]), then they are forgotten.

use words::NodeId;

use crate::guardian::Standing;
use crate::operator::{Checked, forbidden};
use crate::{AdminReply, MetaCore};

impl MetaCore {
    pub(crate) fn drain_changed(&mut self, node: NodeId, drained: bool) -> AdminReply {
        self.mark(node);
        self.dirty.append(&mut self.starving);
        let what = match drained {
            true => "gets nothing new, and what it has goes elsewhere; `admin nodes` shows what is left",
            false => "is like any other node again",
        };
        AdminReply::Accepted(self.state.with_names(&format!("{node} {what}")))
    }

    /// One that runs would come back with its next beacon.
    pub(crate) fn check_removal(&self, given: &str) -> Checked<NodeId> {
        let node = self.node_called(given)?;
        match self.nodes.get(node) {
            Some(entry) if !matches!(entry.standing(), Standing::Dead(_)) => {
                Err(forbidden(format!("{node} runs; drain it (`admin node drain`), then stop it")))
            }
            _ => Ok(node),
        }
    }

    pub(crate) fn node_removed(&mut self, node: NodeId, name: &str) -> AdminReply {
        self.mark(node);
        self.nodes.forget(node);
        AdminReply::Accepted(format!("{name} is forgotten"))
    }
}
