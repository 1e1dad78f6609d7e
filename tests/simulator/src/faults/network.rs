//! What befalls the links between machines, and those to the meta server.

use std::time::Duration;

use crate::network::Ailment;
use crate::sometimes::Sometimes;
use crate::world::{Answer, Happening, World, trace};

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

    /// A machine hears everybody and nobody hears it, or the other way round.
    pub(super) fn one_sided(&mut self, victim: usize, hears: bool) {
        let until = self.now + self.cut_span();
        trace!(
            self,
            "network",
            "machine {victim} only {} until {until}",
            if hears { "hears" } else { "speaks" }
        );
        for other in (0..=self.network.meta()).filter(|&other| other != victim) {
            let (from, to) = if hears { (victim, other) } else { (other, victim) };
            self.network.cut(from, to, until);
        }
        self.tally.note(if hears { Sometimes::Mute } else { Sometimes::Deaf });
    }

    /// Two machines can't reach each other; all others reach both.
    pub(super) fn part(&mut self, one: usize) {
        let other = self.another(one);
        let until = self.now + self.cut_span();
        trace!(self, "network", "machines {one} and {other} are cut off from each other until {until}");
        self.network.cut(one, other, until);
        self.network.cut(other, one, until);
        self.tally.note(Sometimes::PartialPartition);
    }

    /// A link is slow, or loses a lot, for a while; what comes back over it too, or not.
    pub(super) fn hamper(&mut self, victim: usize, ailment: Ailment) {
        let other = self.another(victim);
        let until = self.now + self.cut_span();
        trace!(self, "network", "{ailment:?} from machine {victim} to {other} until {until}");
        self.network.afflict(victim, other, ailment, until);
        if self.dice.permille(500) {
            self.network.afflict(other, victim, ailment, until);
        }
        self.tally.note(match ailment {
            Ailment::Slow => Sometimes::SlowLink,
            _ => Sometimes::BurstLoss,
        });
    }

    /// Connections to a machine are refused, as if no process listened, though one does.
    pub(super) fn refuse(&mut self, victim: usize) {
        let until = self.now + self.cut_span();
        let everyone = self.dice.permille(300);
        let other = self.another(victim);
        trace!(self, "network", "machine {victim} refuses connections until {until}");
        for from in (0..=self.network.meta()).filter(|&from| from != victim) {
            if everyone || from == other {
                self.network.afflict(from, victim, Ailment::Refusing, until);
            }
        }
    }

    /// Connections of a machine are reset: what is on its way is lost together, both ends are told.
    pub(super) fn reset(&mut self, victim: usize) {
        trace!(self, "network", "connections of machine {victim} are reset");
        for other in (0..self.machines.len()).filter(|&other| other != victim) {
            if self.dice.permille(500) {
                self.network.reset(victim, other, self.now);
                self.network.reset(other, victim, self.now);
            }
        }
        let Some(process) = &mut self.machines[victim].process else { return };
        let (waiting, session) = (std::mem::take(&mut process.waiting), process.session);
        for waiting in waiting.into_values() {
            // The client is told that it will get no answer; what it asked for may be done all the same.
            let at = self.now + self.network.stream_delay(&mut self.dice);
            let (op, attempt) = (waiting.op, waiting.attempt);
            self.put(at, Happening::Answer { op, attempt, machine: victim, answer: Answer::Broken });
        }
        if let Some(session) = session.filter(|_| self.dice.permille(500)) {
            self.tally.note(Sometimes::SessionReset);
            self.put(self.now, Happening::SessionLost { machine: victim, session });
            self.put(self.now, Happening::SessionClosed { session });
        }
    }

    /// Another machine than this one; this one if it is alone.
    fn another(&mut self, one: usize) -> usize {
        if self.machines.len() == 1 {
            return one;
        }
        let other = self.dice.index(self.machines.len() - 1);
        if other < one { other } else { other + 1 }
    }
}
