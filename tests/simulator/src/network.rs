//! The network between machines: every message is an adventure of its own.

use std::time::Duration;

use crate::clock::Moment;
use crate::dice::{Dice, Spans};

/// How messages fare in one run.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How long a message takes as a rule.
    pub delay: Spans,
    /// How many in a thousand take much longer, and so overtake nobody and are overtaken by many.
    pub late_permille: u32,
    /// How long those take.
    pub late: Spans,
    /// How many in a thousand are lost.
    pub loss_permille: u32,
    /// How many in a thousand arrive twice.
    pub twice_permille: u32,
}

impl Weather {
    /// How long one message takes.
    pub fn delay(&self, dice: &mut Dice) -> Duration {
        if dice.permille(self.late_permille) { dice.span(self.late) } else { dice.span(self.delay) }
    }
}

/// The links between machines, and from each of them to the meta server. Each direction is cut by itself.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    machines: usize,
    /// For each (from, to): until when nothing gets through.
    cut_until: Vec<Moment>,
}

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives after this long, and perhaps a second time.
    Arrives(Duration, Option<Duration>),
}

impl Network {
    /// All links of so many machines, and of the meta server, whole.
    #[must_use]
    pub fn new(machines: usize, weather: Weather) -> Self {
        Self { weather, machines, cut_until: vec![Moment::default(); (machines + 1) * (machines + 1)] }
    }

    /// The place of the meta server among the machines.
    #[must_use]
    pub fn meta(&self) -> usize {
        self.machines
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * (self.machines + 1) + to
    }

    /// Nothing gets from `from` to `to` until then.
    pub fn cut(&mut self, from: usize, to: usize, until: Moment) {
        let link = self.link(from, to);
        self.cut_until[link] = self.cut_until[link].max(until);
    }

    /// Everything gets through again, and from now on the weather is fair.
    pub fn heal(&mut self) {
        self.cut_until.fill(Moment::default());
        self.weather.loss_permille = 0;
        self.weather.twice_permille = 0;
        self.weather.late_permille = 0;
    }

    /// Whether anything gets through.
    #[must_use]
    pub fn is_open(&self, from: usize, to: usize, now: Moment) -> bool {
        self.cut_until[self.link(from, to)] <= now
    }

    /// What becomes of a message that is sent now.
    pub fn send(&self, dice: &mut Dice, from: usize, to: usize, now: Moment) -> Fate {
        if !self.is_open(from, to, now) || dice.permille(self.weather.loss_permille) {
            return Fate::Lost;
        }
        let first = self.weather.delay(dice);
        let second = dice.permille(self.weather.twice_permille).then(|| self.weather.delay(dice));
        Fate::Arrives(first, second)
    }

    /// How long a message between a client and a machine takes; `None` if it is lost.
    pub fn client_delay(&self, dice: &mut Dice) -> Option<Duration> {
        (!dice.permille(self.weather.loss_permille)).then(|| self.weather.delay(dice))
    }

    /// How long a message of a connection takes that delivers in order, or not at all.
    pub fn stream_delay(&self, dice: &mut Dice) -> Duration {
        self.weather.delay(dice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_and_ends() {
        let weather = Weather {
            delay: Spans::us(1, 2),
            late_permille: 0,
            late: Spans::us(0, 0),
            loss_permille: 0,
            twice_permille: 0,
        };
        let mut network = Network::new(3, weather);
        let mut dice = Dice::new(1, 0);
        network.cut(0, 1, Moment(10));
        assert_eq!(network.send(&mut dice, 0, 1, Moment(9)), Fate::Lost);
        assert_ne!(network.send(&mut dice, 1, 0, Moment(9)), Fate::Lost);
        assert_ne!(network.send(&mut dice, 0, 1, Moment(10)), Fate::Lost);
    }
}
