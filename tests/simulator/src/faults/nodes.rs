//! What befalls processes and machines: they die, freeze, are stopped, and their clocks jump.

use std::time::Duration;

use replica_core::Event;

use crate::machine::{Loss, Strike};
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

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
    pub(super) fn freeze_span(&mut self) -> Duration {
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
}
