//! What befalls the links between machines, and those to the meta server.

use std::time::Duration;

use crate::sometimes::Sometimes;
use crate::world::{World, trace};

impl World<'_> {
    pub(super) fn cut_one(&mut self, victim: usize) {
        let other = self.dice.index(self.machines.len());
        let until = self.now + self.cut_span();
        self.network.cut(victim, other, until);
        self.tally.note(Sometimes::OneWayCut);
        trace!(self, "network", "machine {victim} can't send to {other} until {until}");
    }

    /// The machines fall into two groups, one of which can't reach the other, or neither can.
    pub(super) fn cut_some(&mut self) {
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
    pub(super) fn cut_meta(&mut self, victim: usize) {
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
}
