//! Machines come, are emptied, and go for good.

use std::time::Duration;

use meta_core::{AdminRequest, BalanceKind};

use crate::clock::Moment;
use crate::machine::Presence;
use crate::power::name;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How often an operator looks at a machine that is being emptied.
const LOOK: Duration = Duration::from_millis(300);

impl World<'_> {
    /// How many machines belong to the cluster now.
    pub(crate) fn machines_here(&self) -> usize {
        let belongs = |presence| matches!(presence, Presence::Here | Presence::Stopped);
        self.machines.iter().filter(|machine| belongs(machine.presence)).count()
    }

    /// A machine joins that was not there before.
    pub(super) fn join(&mut self) -> Checked {
        let spare = self.machines.iter().position(|machine| machine.presence == Presence::Spare);
        let Some(index) = spare else { return Ok(()) };
        self.machines[index].presence = Presence::Here;
        self.tally.note(Sometimes::MachineJoined);
        self.start(index)
    }

    /// A machine is lost for good, if the others have all data and are enough for writes (§3.6).
    pub(super) fn take_away(&mut self, index: usize) {
        if !self.can_go(index) {
            return;
        }
        trace!(self, self.machines[index].disk.node, "is GONE for good");
        self.tally.note(Sometimes::MachineGone);
        self.end_process(index);
        self.machines[index].presence = Presence::Gone;
    }

    pub(super) fn can_go(&self, index: usize) -> bool {
        let enough = self.plan.settings.mutation_2pc_min_replica_count.max(1);
        self.machines[index].presence == Presence::Here
            && self.machines_here() > enough
            && self.can_be_spared(index)
    }

    pub(super) fn begin_to_empty(&mut self, machine: usize) {
        let until = self.now + Duration::from_millis(self.dice.between(1_000, 6_000));
        self.put(self.now, Happening::Empty { machine, until });
    }

    /// An operator moves one replica after the other away from a machine; once it is empty it is taken away.
    pub(crate) fn on_empty(&mut self, index: usize, until: Moment) -> Checked {
        if !self.can_go(index) || self.now >= until || !self.is_troubled() {
            return Ok(());
        }
        let node = self.machines[index].disk.node;
        let mut empty = true;
        for gpid in self.gpids.clone() {
            let Some(configuration) = self.meta.configuration(gpid).cloned() else { continue };
            if !configuration.is_member(node) {
                continue;
            }
            empty = false;
            let to = self.dice.index(self.machines.len());
            if configuration.is_member(self.machines[to].disk.node) {
                continue;
            }
            let leads = configuration.primary == Some(node);
            let kind = if leads { BalanceKind::CopyPrimary } else { BalanceKind::CopySecondary };
            self.ask_meta(AdminRequest::Balance { gpid, kind, from: name(index), to: name(to) });
        }
        if empty {
            self.tally.note(Sometimes::MachineEmptied);
            self.take_away(index);
        } else {
            self.put(self.now + LOOK, Happening::Empty { machine: index, until });
        }
        self.truth.verdict()
    }
}
