//! What befalls processes and machines: they die, freeze, are stopped, and their clocks jump.

use std::time::Duration;

use replica_core::Event;
use replica_log::Crash;

use crate::machine::{Loss, Strike};
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, draw_rate, trace};

/// A strike waits for at most so many duties of its victim.
const MIDWAY: u64 = 12;

impl World<'_> {
    pub(super) fn crash_soon(&mut self, victim: usize) {
        let loss = self.dice.pick(&[Loss::Kept, Loss::Power, Loss::Power]);
        self.strike_soon(victim, Strike::Crash(loss));
    }

    pub(super) fn freeze_soon(&mut self, victim: usize) {
        let span = self.freeze_span();
        self.strike_soon(victim, Strike::Freeze(span));
    }

    /// Strikes at once, or in the middle of something.
    pub(super) fn strike_soon(&mut self, index: usize, strike: Strike) {
        if self.machines[index].process.is_none() {
            return;
        }
        if self.dice.permille(300) {
            self.strike(index, strike, false);
        } else {
            let duties = self.dice.between(0, MIDWAY) as u32;
            trace!(self, self.machines[index].disk.node, "{strike:?} in {duties} duties");
            self.machines[index].strike = Some((strike, duties));
        }
    }

    /// From much shorter to much longer than a lease.
    pub(crate) fn freeze_span(&mut self) -> Duration {
        let longest = self.plan.settings.lease * 4;
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.dice.between(1_000, longest_us))
    }

    pub(super) fn black_out(&mut self) -> Checked {
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

    pub(super) fn ask_to_stop(&mut self, index: usize) {
        trace!(self, self.machines[index].disk.node, "is asked to STOP");
        self.hand_in(index, Event::Stop);
        let epoch = self.machines[index].epoch;
        let at = self.now + Duration::from_millis(self.dice.between(500, 8_000));
        self.put(at, Happening::Kill { machine: index, epoch });
    }

    /// A wall clock jumps, forth or back.
    pub(super) fn jump(&mut self, victim: usize) {
        let by = self.dice.between(0, 200_000_000);
        trace!(self, self.machines[victim].disk.node, "wall clock jumps by {by} - 100000000 us");
        let wall = &mut self.machines[victim].clock.wall_offset_us;
        *wall = (*wall + by).saturating_sub(100_000_000);
    }

    /// Two or more machines lose power together.
    pub(super) fn cut_power(&mut self) {
        let spared = self.dice.index(self.machines.len());
        let mut struck = 0;
        for index in (0..self.machines.len()).filter(|&index| index != spared) {
            if self.machines[index].process.is_some() && self.dice.permille(700) {
                self.crash(index, Loss::Power);
                struck += 1;
            }
        }
        if struck > 1 {
            self.tally.note(Sometimes::PowerCut);
        }
    }

    /// The power of a machine goes between two operations of its disk: in the middle of a new segment, of a
    /// checkpoint, of a removal.
    pub(super) fn cut_writing(&mut self, victim: usize) {
        if self.machines[victim].process.is_none() || !self.machines[victim].cuts.is_empty() {
            return;
        }
        let (operations, number) = (self.dice.between(0, 12), self.dice.between(0, u64::MAX));
        let outcome =
            self.dice.pick(&[Crash::Lose, Crash::Keep, Crash::Torn(number), Crash::Scattered(number)]);
        trace!(
            self,
            self.machines[victim].disk.node, "its power goes after {operations} operations, {outcome:?}"
        );
        self.machines[victim].cuts.push_back((operations, outcome));
        self.machines[victim].arm();
    }

    /// A node dies, and dies again while it reads its disk; the second time the power goes, or it does not.
    pub(super) fn crash_at_start(&mut self, victim: usize) {
        let operations = self.dice.between(0, 6);
        let loss = self.dice.pick(&[Loss::Kept, Loss::Power]);
        self.machines[victim].dies_starting = Some((operations, loss));
        self.crash(victim, Loss::Power);
    }

    /// A node is asked to stop, and dies at any point of that.
    pub(super) fn kill_stopping(&mut self, victim: usize) {
        if self.machines[victim].process.is_none() {
            return;
        }
        self.ask_to_stop(victim);
        let epoch = self.machines[victim].epoch;
        let at = self.now + Duration::from_micros(self.dice.between(0, 60_000));
        self.put(at, Happening::Kill { machine: victim, epoch });
    }

    /// A clock's rate changes. What the node waits for is due at another true instant now.
    pub(super) fn drift(&mut self, victim: usize) -> Checked {
        let rate = draw_rate(&mut self.dice, self.plan.settings.clock_ratio_permille);
        self.machines[victim].clock.drift(self.now, rate);
        trace!(self, self.machines[victim].disk.node, "its clock runs at {rate} millionths");
        self.tally.note(Sometimes::Drifted);
        self.plan_next_wake(victim)
    }
}
