//! What goes wrong: when a kind of trouble is due, it chooses whom it hits and for how long.

use std::time::Duration;

use meta_core::BalanceKind;
use replica_core::Event;
use words::{Gpid, NodeId};

use crate::clock::Moment;
use crate::machine::{Loss, Strike};
use crate::plan::Fault;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// A strike waits for at most so many duties of its victim.
const MIDWAY: u64 = 12;

impl World<'_> {
    pub(crate) fn on_trouble(&mut self, fault: Fault) -> Checked {
        if !self.is_troubled() {
            return Ok(());
        }
        let mean = self.plan.faults.iter().find(|(kind, _)| *kind == fault).map(|&(_, mean)| mean);
        if let Some(mean) = mean {
            let next = self.now + self.dice.around(mean);
            self.put(next, Happening::Trouble(fault));
        }
        let victim = self.victim();
        match fault {
            Fault::Crash => {
                let loss = self.dice.pick(&[Loss::Kept, Loss::Power, Loss::Power]);
                self.strike_soon(victim, Strike::Crash(loss));
            }
            Fault::Blackout => self.black_out()?,
            Fault::Stop => self.ask_to_stop(victim),
            Fault::Freeze => {
                let span = self.freeze_span();
                self.strike_soon(victim, Strike::Freeze(span));
            }
            Fault::Cut => self.cut_some(),
            Fault::CutOne => {
                let other = self.dice.index(self.machines.len());
                let until = self.now + self.cut_span();
                self.network.cut(victim, other, until);
                self.tally.note(Sometimes::OneWayCut);
                trace!(self, "network", "machine {victim} can't send to {other} until {until}");
            }
            Fault::SlowDisk => {
                let until = self.now + self.cut_span();
                self.machines[victim].slow_until = until;
                trace!(self, self.machines[victim].disk.node, "slow disk until {until}");
            }
            Fault::Wipe => self.damage(victim, Loss::Everything),
            Fault::LoseApp => {
                let gpid = self.dice.pick(&self.gpids);
                self.damage(victim, Loss::App(gpid));
            }
            Fault::Rot => self.damage(victim, Loss::Rot),
            Fault::SyncFails if self.machines[victim].process.is_some() => {
                self.machines[victim].disk.log.fail_next_sync();
            }
            Fault::SyncFails => {}
            Fault::MetaCrash => {
                self.crash_meta();
                self.tally.note(Sometimes::MetaCrash);
                let at = self.now + Duration::from_millis(self.dice.between(10, 3_000));
                self.put(at, Happening::StartMeta);
            }
            Fault::MetaCut => self.cut_meta(victim),
            Fault::Move => self.move_something(),
            Fault::WallJump => {
                let by = self.dice.between(0, 200_000_000);
                let wall = &mut self.machines[victim].clock.wall_offset_us;
                *wall = (*wall + by).saturating_sub(100_000_000);
            }
        }
        self.truth.verdict()
    }

    /// Trouble finds primaries more often than others: that is where it hurts.
    fn victim(&mut self) -> usize {
        let anyone = self.dice.index(self.machines.len());
        let gpid = self.dice.pick(&self.gpids);
        if self.dice.permille(400) { self.primary_of(gpid).unwrap_or(anyone) } else { anyone }
    }

    /// Strikes at once, or in the middle of something.
    fn strike_soon(&mut self, index: usize, strike: Strike) {
        if self.machines[index].process.is_none() {
            return;
        }
        if self.dice.permille(300) {
            self.strike(index, strike, false);
        } else {
            let duties = self.dice.between(0, MIDWAY) as u32;
            self.machines[index].strike = Some((strike, duties));
        }
    }

    /// From much shorter to much longer than a lease.
    fn freeze_span(&mut self) -> Duration {
        let longest = self.plan.settings.lease * 4;
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.dice.between(1_000, longest_us))
    }

    /// A node is in a delicate moment: it installed a checkpoint, removed a replica, or its part in a
    /// configuration changed. What is too rare by chance is helped along.
    pub(crate) fn provoke(&mut self, index: usize) {
        if !self.is_troubled() || !self.dice.permille(self.plan.provoked_permille) {
            return;
        }
        let until = self.now + self.cut_span();
        match self.dice.index(5) {
            0 => self.strike_soon(index, Strike::Crash(Loss::Power)),
            1 => {
                let span = self.freeze_span();
                self.strike_soon(index, Strike::Freeze(span));
            }
            2 => self.machines[index].slow_until = until,
            3 => {
                let meta = self.network.meta();
                self.network.cut(index, meta, until);
                self.network.cut(meta, index, until);
            }
            _ => {
                let other = self.dice.index(self.machines.len());
                self.network.cut(index, other, until);
            }
        }
        self.tally.note(Sometimes::Provoked);
        trace!(self, self.machines[index].disk.node, "is provoked until {until}");
    }

    fn cut_span(&mut self) -> Duration {
        let longest = self.dice.pick(&[200, 1_500, 5_000]);
        Duration::from_millis(self.dice.between(20, longest))
    }

    fn black_out(&mut self) -> Checked {
        let loss = self.dice.pick(&[Loss::Kept, Loss::Power]);
        for index in 0..self.machines.len() {
            self.crash(index, loss);
        }
        if self.dice.permille(500) {
            self.crash_meta();
            let at = self.now + Duration::from_millis(self.dice.between(10, 1_000));
            self.put(at, Happening::StartMeta);
        }
        Ok(())
    }

    fn ask_to_stop(&mut self, index: usize) {
        trace!(self, self.machines[index].disk.node, "is asked to STOP");
        self.hand_in(index, Event::Stop);
        let epoch = self.machines[index].epoch;
        let at = self.now + Duration::from_millis(self.dice.between(500, 8_000));
        self.put(at, Happening::Kill { machine: index, epoch });
    }

    /// The machines fall into two groups, one of which can't reach the other, or neither can.
    fn cut_some(&mut self) {
        let until = self.now + self.cut_span();
        let one_way = self.dice.permille(300);
        let group: Vec<bool> = (0..=self.machines.len()).map(|_| self.dice.permille(500)).collect();
        trace!(self, "network", "cut {group:?}{} until {until}", if one_way { ", one way," } else { "" });
        for from in 0..group.len() {
            for to in 0..group.len() {
                if group[from] && !group[to] {
                    self.network.cut(from, to, until);
                    if !one_way {
                        self.network.cut(to, from, until);
                    }
                }
            }
        }
    }

    /// Sometimes for so long that whoever is cut off goes on without knowing of a whole chain of changes.
    fn cut_meta(&mut self, victim: usize) {
        let longest = self.dice.pick(&[500, 3_000, 12_000]);
        let until = self.now + Duration::from_millis(self.dice.between(100, longest));
        let everyone = self.dice.permille(400);
        trace!(self, "network", "meta cut off from {}", if everyone { "all" } else { "one" });
        let meta = self.network.meta();
        for index in 0..self.machines.len() {
            if everyone || index == victim {
                self.network.cut(index, meta, until);
                self.network.cut(meta, index, until);
            }
        }
    }

    /// Data are lost, if each partition keeps another member of its configuration that has them: what all have
    /// lost stays lost (§4.8).
    fn damage(&mut self, index: usize, loss: Loss) {
        let node = self.machines[index].disk.node;
        let spared = self.gpids.iter().all(|&gpid| !self.is_last_member(gpid, node));
        if spared {
            self.crash(index, loss);
        }
    }

    fn is_last_member(&self, gpid: Gpid, node: NodeId) -> bool {
        let Some(configuration) = self.meta.configuration(gpid) else { return false };
        let mut others = configuration.members().filter(|&member| member != node);
        configuration.is_member(node) && !others.any(|other| self.has_data(other, gpid))
    }

    /// Whether what a node had of a partition is still there.
    pub(crate) fn has_data(&self, node: NodeId, gpid: Gpid) -> bool {
        self.places.get(&node).is_some_and(|&place| {
            let disk = &self.machines[place].disk;
            // A member whose broken replica was collected before it heard that it is one has nothing.
            disk.node == node && disk.shadow.contains_key(&gpid) && !disk.doubtful.contains(&gpid)
        })
    }

    fn move_something(&mut self) {
        let gpid = self.dice.pick(&self.gpids);
        let kind = self.dice.pick(&[
            BalanceKind::MovePrimary,
            BalanceKind::MovePrimary,
            BalanceKind::CopyPrimary,
            BalanceKind::CopySecondary,
        ]);
        let Some(configuration) = self.meta.configuration(gpid).cloned() else { return };
        let from = match kind {
            BalanceKind::CopySecondary => configuration.secondaries.first().copied(),
            _ => configuration.primary,
        };
        let from = from.and_then(|node| self.places.get(&node).copied());
        let Some(from) = from else { return };
        let to = self.dice.index(self.machines.len());
        trace!(self, "operator", "{kind:?} of {gpid} from machine {from} to {to}");
        self.balance(gpid, kind, from, to);
    }

    /// Nothing goes wrong any more: the network heals, everybody starts and wakes, clients go on.
    pub(crate) fn on_calm(&mut self) -> Checked {
        trace!(self, "calm", "nothing goes wrong any more");
        self.network.heal();
        self.ending.begin(self.now);
        self.plan.speed.broken_permille = 0;
        // What must recover is the cluster, not an impatient crowd that asks for more than it can do.
        let habits = &mut self.plan.habits;
        habits.think = habits.think.max(Duration::from_millis(60));
        habits.patience = habits.patience.max(Duration::from_secs(1));
        habits.limit = habits.limit.max(Duration::from_secs(5));
        self.start_meta()?;
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            machine.strike = None;
            machine.slow_until = Moment::default();
            if machine.frozen_until > self.now {
                machine.frozen_until = self.now;
                self.wake_by(index, self.now);
            }
            self.start(index)?;
        }
        self.put(self.now + Duration::from_millis(100), Happening::Visit);
        Ok(())
    }
}
