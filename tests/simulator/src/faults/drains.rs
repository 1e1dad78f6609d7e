//! Operators drain nodes: by the meta server's own means, and whatever goes wrong meanwhile.

use std::time::Duration;

use meta_core::AdminRequest;
use words::NodeId;

use crate::clock::Moment;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How often an operator looks how far a drain is.
const LOOK: Duration = Duration::from_millis(300);

/// For how long an operator tries to have a node forgotten.
const PATIENCE: u32 = 100;

impl World<'_> {
    pub(super) fn begin_to_drain(&mut self, index: usize) {
        let until = self.now + Duration::from_millis(self.dice.between(1_000, 8_000));
        let node = self.machines[index].disk.node;
        trace!(self, "operator", "drains {node} until {until}");
        self.put(self.now, Happening::Drain { node, until });
    }

    /// Once the node is empty its machine goes. If that takes too long, or nothing goes wrong any more, it stays.
    pub(crate) fn on_drain(&mut self, node: NodeId, until: Moment) -> Checked {
        let place = self.places.get(&node).copied();
        let Some(index) = place.filter(|&index| self.machines[index].disk.node == node) else {
            return Ok(());
        };
        let is_drained = self.meta.durable.is_drained(node);
        if self.now >= until || !self.is_troubled() {
            if !is_drained {
                self.tally.note(Sometimes::DrainTakenBack);
                return Ok(());
            }
            self.ask_to_drain(node, false);
        } else if !is_drained {
            self.ask_to_drain(node, true);
        } else if self.is_empty(node) && self.can_go(index) {
            self.tally.note(Sometimes::NodeDrained);
            self.take_away(index);
            self.put(self.now + LOOK, Happening::Forget { node, tries: PATIENCE });
            return self.truth.verdict();
        }
        self.put(self.now + LOOK, Happening::Drain { node, until });
        self.truth.verdict()
    }

    /// What is gone for good is forgotten, once the meta server has found it dead.
    pub(crate) fn on_forget(&mut self, node: NodeId, tries: u32) -> Checked {
        if self.meta.durable.node(node).is_none() {
            self.tally.note(Sometimes::NodeForgotten);
            return Ok(());
        }
        if tries > 0 {
            self.ask_meta(AdminRequest::RemoveNode { node: node.to_string() });
            self.put(self.now + LOOK, Happening::Forget { node, tries: tries - 1 });
        }
        self.truth.verdict()
    }

    fn ask_to_drain(&mut self, node: NodeId, drained: bool) {
        self.ask_meta(AdminRequest::Drain { node: node.to_string(), drained });
    }

    /// Whether a node is a member of nothing.
    fn is_empty(&self, node: NodeId) -> bool {
        self.gpids.iter().all(|&gpid| self.meta.configuration(gpid).is_none_or(|c| !c.is_member(node)))
    }
}
