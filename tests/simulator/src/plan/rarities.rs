//! What few seeds have, since it is costly or changes a run from the ground up. Drawn from dice of its own: what
//! most seeds do is not changed by it.

use std::time::Duration;

use super::{Fault, Plan};
use crate::dice::Dice;

impl Plan {
    pub(super) fn add_rarities(&mut self, dice: &mut Dice) {
        if dice.permille(200) {
            // Less than a learner needs under load: what it asks for next may be gone.
            self.settings.list_tail_bytes = dice.pick(&[2_000, 20_000]);
        }
        if dice.permille(100) {
            self.settings.max_write_bytes = 256;
            self.habits.bulky_permille = 50;
        }
        if dice.permille(5) {
            (self.settings.queue, self.settings.batch) = (16_384, 1_024);
            self.faults.push((Fault::Crowd, Duration::from_millis(dice.between(400, 2_000))));
        }
        for fault in [Fault::Level, Fault::BlackList] {
            if dice.permille(100) {
                self.faults.push((fault, Duration::from_millis(dice.between(1_000, 6_000))));
            }
        }
        if dice.permille(10) {
            self.faults.push((Fault::LoseAll, Duration::from_millis(dice.between(4_000, 12_000))));
        }
    }
}
