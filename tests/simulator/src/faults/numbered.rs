//! Troubles have numbers, so that a mask can leave some out, and each has dice of its own, so that leaving one out
//! changes little else.

use std::fmt::Arguments;

use crate::dice::Dice;
use crate::ills::Ill;
use crate::mask::Struck;
use crate::plan::Fault;
use crate::violation::Checked;
use crate::world::{Happening, World};

/// What delicate moments provoke is numbered from here on, apart from the troubles that are due by themselves:
/// how many moments there are depends on what happened before, and must not renumber those.
const PROVOKED: u32 = 10_000;

/// The first of the streams of dice that troubles draw from.
const STREAMS: u64 = 1_000;

/// How many there were so far, those that were left out included.
#[derive(Debug, Default)]
pub(crate) struct Count {
    due: u32,
    provoked: u32,
}

impl World<'_> {
    /// A kind of trouble is due. When the next one is depends on nothing but the seed.
    pub(crate) fn on_trouble(&mut self, fault: Fault) -> Checked {
        if !self.is_troubled() {
            return Ok(());
        }
        self.count.due += 1;
        let number = self.count.due;
        let mut dice = self.dice_of(number);
        let mean = self.plan.faults.iter().find(|(kind, _)| *kind == fault).map(|&(_, mean)| mean);
        if let Some(mean) = mean {
            self.put(self.now + dice.around(mean), Happening::Trouble(fault));
        }
        let struck = self.strike_numbered(number, dice, format_args!("{fault:?}"), |w| w.befall(fault));
        struck.unwrap_or(Ok(()))?;
        self.truth.verdict()
    }

    /// A node is in a delicate moment: it installed a checkpoint, removed a replica, or its part in a
    /// configuration changed. What is too rare by chance is helped along.
    pub(crate) fn provoke(&mut self, index: usize) {
        if !self.is_troubled() || !self.dice.permille(self.plan.provoked_permille) {
            return;
        }
        self.count.provoked += 1;
        let number = PROVOKED + self.count.provoked;
        let dice = self.dice_of(number);
        self.strike_numbered(number, dice, format_args!("provoked"), |w| w.befall_provoked(index));
    }

    /// A node begins what one of these ills would spoil.
    pub(crate) fn provoke_ill(&mut self, index: usize, ills: &[Ill]) {
        if !self.is_troubled() || !self.dice.permille(self.plan.provoked_permille) {
            return;
        }
        self.count.provoked += 1;
        let number = PROVOKED + self.count.provoked;
        let mut dice = self.dice_of(number);
        let ill = dice.pick(ills);
        self.strike_numbered(number, dice, format_args!("provoked"), |w| w.fall_ill(index, ill));
    }

    fn dice_of(&self, number: u32) -> Dice {
        Dice::new(self.seed, STREAMS + u64::from(number))
    }

    /// Lets a trouble happen with dice of its own, unless it is left out.
    fn strike_numbered<R>(
        &mut self,
        number: u32,
        dice: Dice,
        name: Arguments<'_>,
        befall: impl FnOnce(&mut Self) -> R,
    ) -> Option<R> {
        if !self.mask.admits(number) {
            return None;
        }
        self.struck.push(Struck { number, at: self.now.since_start() });
        let mark = self.trace.mark();
        let everyones = std::mem::replace(&mut self.dice, dice);
        let result = befall(self);
        self.dice = everyones;
        self.trace.trouble(self.now, number, name, mark);
        Some(result)
    }
}
