//! What befalls disks and what is on them.

use words::{Gpid, NodeId};

use crate::machine::{Loss, Presence};
use crate::world::{World, trace};

impl World<'_> {
    pub(super) fn slow_disk(&mut self, victim: usize) {
        let until = self.now + self.cut_span();
        self.machines[victim].slow_until = until;
        trace!(self, self.machines[victim].disk.node, "slow disk until {until}");
    }

    pub(super) fn fail_a_sync(&mut self, victim: usize) {
        if self.machines[victim].process.is_some() {
            self.machines[victim].disk.log.fail_next_sync();
        }
    }

    /// Data are lost, if each partition keeps another member of its configuration that has them: what all have
    /// lost stays lost (§4.8).
    pub(super) fn damage(&mut self, index: usize, loss: Loss) {
        if self.can_be_spared(index) {
            self.crash(index, loss);
        }
    }

    /// Whether each partition has another member that has its data.
    pub(super) fn can_be_spared(&self, index: usize) -> bool {
        let node = self.machines[index].disk.node;
        self.gpids.iter().all(|&gpid| !self.is_last_member(gpid, node))
    }

    pub(super) fn is_last_member(&self, gpid: Gpid, node: NodeId) -> bool {
        let Some(configuration) = self.meta.configuration(gpid) else { return false };
        let mut others = configuration.members().filter(|&member| member != node);
        configuration.is_member(node) && !others.any(|other| self.has_data(other, gpid))
    }

    /// Whether what a node had of a partition is still there.
    pub(crate) fn has_data(&self, node: NodeId, gpid: Gpid) -> bool {
        self.places.get(&node).is_some_and(|&place| {
            let disk = &self.machines[place].disk;
            // A member whose broken replica was collected before it heard that it is one has nothing.
            let here = self.machines[place].presence == Presence::Here;
            here && disk.node == node && disk.shadow.contains_key(&gpid) && !disk.doubtful.contains(&gpid)
        })
    }
}
