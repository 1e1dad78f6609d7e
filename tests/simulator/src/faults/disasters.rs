//! All members of a partition are lost but one that was away and has less; then an operator declares the loss
//! (§4.8). Some of those that were given up come back later, with more than the new primary has.

use std::time::Duration;

use meta_core::AdminRequest;
use replica_core::Replica;
use words::{Configuration, Gpid, NodeId, RoleName};

use crate::clock::Moment;
use crate::machine::{Loss, Presence};
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How often a disaster goes on.
const STEP: Duration = Duration::from_millis(100);

/// A disaster under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disaster {
    gpid: Gpid,
    /// Who is away, and leads in the end.
    laggard: NodeId,
    stage: Stage,
    /// It is given up then.
    until: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// One member is cut off until it is a member no more.
    Lagging,
    /// The others go on until then.
    Parted(Moment),
    /// They are lost, and the operator says so.
    Declaring,
}

impl World<'_> {
    pub(super) fn begin_disaster(&mut self) {
        let gpid = self.some_partition();
        let configuration = gpid.and_then(|gpid| self.meta.configuration(gpid)).cloned();
        let (Some(gpid), Some(configuration), None) = (gpid, configuration, self.disaster) else { return };
        let Some(&laggard) = configuration.secondaries.last() else { return };
        trace!(self, "operator", "a disaster begins in {gpid}: {laggard} falls behind");
        let until = self.now + Duration::from_secs(10);
        self.disaster = Some(Disaster { gpid, laggard, stage: Stage::Lagging, until });
        self.put(self.now, Happening::Disaster);
    }

    pub(crate) fn on_disaster(&mut self) -> Checked {
        let Some(disaster) = self.disaster else { return Ok(()) };
        let Disaster { gpid, laggard, stage, until } = disaster;
        let configuration = self.meta.configuration(gpid).cloned().unwrap_or_default();
        let dropped = !self.gpids.contains(&gpid);
        if dropped || self.now >= until || !self.has_data(laggard, gpid) {
            return self.end_disaster();
        }
        match stage {
            Stage::Lagging | Stage::Parted(_) if !self.is_troubled() => return self.end_disaster(),
            Stage::Lagging if !configuration.is_member(laggard) => {
                let parted = self.now + Duration::from_millis(self.dice.between(0, 1_500));
                self.disaster = Some(Disaster { stage: Stage::Parted(parted), ..disaster });
            }
            Stage::Parted(parted) if parted <= self.now => {
                self.lose_members(gpid, &configuration);
                self.stop_former_primaries(gpid);
                self.disaster =
                    Some(Disaster { stage: Stage::Declaring, until: until + STEP * 100, ..disaster });
            }
            Stage::Lagging | Stage::Parted(_) => self.cut_off(laggard),
            Stage::Declaring if configuration.primary == Some(laggard) => return self.end_disaster(),
            Stage::Declaring if self.are_lost(gpid, &configuration) => {
                let node = laggard.to_string();
                self.ask_meta(AdminRequest::AcceptLoss { gpid, node, others_are_stopped: true });
            }
            Stage::Declaring => {}
        }
        self.put(self.now + STEP, Happening::Disaster);
        self.truth.verdict()
    }

    /// Every disk is lost. What was committed is gone, so that nothing is to be served in its place (§4.8); apps
    /// that are created later live on.
    pub(super) fn lose_all(&mut self) {
        trace!(self, "operator", "every disk is LOST");
        self.tally.note(Sometimes::AllLost);
        for index in 0..self.machines.len() {
            self.crash(index, Loss::Everything);
            if self.machines[index].presence != Presence::Spare {
                self.wipe(index); // it may have been down
            }
        }
        self.truth.lose_all();
    }

    /// Nothing gets to a node or away from it, for a while.
    fn cut_off(&mut self, node: NodeId) {
        let (place, until) = (self.places[&node], self.now + STEP * 3);
        for other in 0..=self.machines.len() {
            self.network.cut(place, other, until);
            self.network.cut(other, place, until);
        }
    }

    /// All members lose what they have of the partition: their machines are down, their disks or the app's files
    /// are lost.
    fn lose_members(&mut self, gpid: Gpid, configuration: &Configuration) {
        let way = self.dice.index(3);
        for node in configuration.members() {
            let index = self.places[&node];
            let others = self.gpids.iter().filter(|&&other| other != gpid);
            let spared = others.clone().all(|&other| !self.is_last_member(other, node));
            match way {
                0 if spared => self.crash(index, Loss::Everything),
                1 => self.crash(index, Loss::App(gpid)),
                _ => self.stop_for_long(index),
            }
        }
        trace!(self, "operator", "all of {configuration} are lost to {gpid}");
    }

    /// The operator will say that nobody goes on with an older configuration.
    fn stop_former_primaries(&mut self, gpid: Gpid) {
        for index in 0..self.machines.len() {
            let process = self.machines[index].process.as_ref();
            let role = process.and_then(|process| process.core.replica(gpid)).map(Replica::role);
            if role == Some(RoleName::Primary) {
                self.stop_for_long(index);
            }
        }
    }

    fn stop_for_long(&mut self, index: usize) {
        if self.machines[index].presence == Presence::Here {
            let loss = self.dice.pick(&[Loss::Kept, Loss::Power]);
            self.crash(index, loss);
            self.machines[index].presence = Presence::Stopped;
        }
    }

    /// Whether nobody in a configuration runs with what it had.
    fn are_lost(&self, gpid: Gpid, configuration: &Configuration) -> bool {
        let is_lost = |node: NodeId| {
            let stopped = self.machines[self.places[&node]].presence == Presence::Stopped;
            stopped || !self.has_data(node, gpid)
        };
        configuration.members().all(is_lost)
    }

    /// What was stopped comes back some time later.
    fn end_disaster(&mut self) -> Checked {
        self.disaster = None;
        let at = self.now + Duration::from_millis(self.dice.between(0, 3_000));
        self.put(at, Happening::StartStopped);
        Ok(())
    }

    pub(crate) fn start_stopped(&mut self) -> Checked {
        for index in 0..self.machines.len() {
            if self.machines[index].presence == Presence::Stopped {
                self.machines[index].presence = Presence::Here;
                self.tally.note(Sometimes::StoppedReturned);
                self.start(index)?;
            }
        }
        Ok(())
    }
}
