//! What befalls disks and what is on them.

use replica_core::Event;
use words::{Gpid, NodeId};

use crate::ills::Ill;
use crate::machine::{Loss, Machine, Presence};
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

impl World<'_> {
    /// Less is left than the node wants to have, though all of it can still be written.
    pub(super) fn fill_disk(&mut self, victim: usize) {
        self.tally.note(Sometimes::DiskLow);
        trace!(self, self.machines[victim].disk.node, "finds its disk almost full");
        self.hand_in(victim, Event::DiskMeasured { capacity: 100, available: 5 });
        let until = self.now + self.cut_span();
        self.put(until, Happening::DiskFreed { machine: victim });
    }

    pub(crate) fn on_disk_freed(&mut self, machine: usize) -> Checked {
        self.hand_in(machine, Event::DiskMeasured { capacity: 100, available: 50 });
        Ok(())
    }

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

    pub(super) fn fail_a_write(&mut self, victim: usize) {
        if self.machines[victim].process.is_some() {
            self.machines[victim].disk.log.fail_next_write();
        }
    }

    /// A machine suffers from something for a while.
    pub(super) fn fall_ill(&mut self, victim: usize, ill: Ill) {
        let until = self.now + self.cut_span();
        trace!(self, self.machines[victim].disk.node, "{ill:?} until {until}");
        let machine = &mut self.machines[victim];
        machine.ills.befall(ill, until);
        match ill {
            // Not always at once: what was begun while there was room fails in the middle.
            Ill::DiskFull => {
                let left = self.dice.pick(&[0, 20, 300, 2_000]);
                machine.disk.log.set_capacity(Some(machine.disk.log.used() + left));
            }
            Ill::NoHandles => machine.disk.log.set_out_of_handles(true),
            _ => return,
        }
        self.put(until, Happening::Eased { machine: victim });
    }

    /// What the log's files had no room or no handle for goes on, as soon as that is over.
    pub(crate) fn ease(&mut self, index: usize) -> Checked {
        let Machine { ills, disk, .. } = &self.machines[index];
        if !ills.has(Ill::DiskFull, self.now) {
            disk.log.set_capacity(None);
        }
        if !ills.has(Ill::NoHandles, self.now) {
            disk.log.set_out_of_handles(false);
        }
        Ok(())
    }

    /// A bit of the log changes while the node is down, or while it runs.
    pub(super) fn rot_log(&mut self, victim: usize) {
        if self.dice.permille(700) {
            self.damage(victim, Loss::Rot);
        } else if self.machines[victim].process.is_some() && self.can_be_spared(victim) {
            self.rot_open_log(victim);
        }
    }

    /// The bit changes while the process runs, which notices when it next needs it, or while the node is down.
    pub(super) fn rot_a_checkpoint(&mut self, victim: usize) {
        let Some(gpid) = self.some_partition() else { return };
        let beside = self.dice.permille(500);
        if self.dice.permille(500) {
            let loss = if beside { Loss::RottenBeside(gpid) } else { Loss::RottenCheckpoint(gpid) };
            return self.damage(victim, loss);
        }
        let number = self.dice.between(0, u64::MAX);
        if !self.can_be_spared(victim) {
            return;
        }
        trace!(self, self.machines[victim].disk.node, "a checkpoint of {gpid} rots");
        if beside { self.rot_beside(victim, gpid, number) } else { self.rot_checkpoint(victim, gpid, number) }
    }

    /// Data are lost, if each partition keeps another member of its configuration that has them: what all have
    /// lost stays lost (§4.8).
    pub(super) fn damage(&mut self, index: usize, loss: Loss) {
        if self.can_be_spared(index) {
            self.crash(index, loss);
        }
    }

    /// Whether each partition has another member that has its data.
    pub(crate) fn can_be_spared(&self, index: usize) -> bool {
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
            let damaged = disk.doubtful.contains(&gpid) || disk.rotten.contains(&gpid);
            let here = matches!(self.machines[place].presence, Presence::Here | Presence::Stopped);
            here && disk.node == node && disk.shadow.contains_key(&gpid) && !damaged
        })
    }
}
