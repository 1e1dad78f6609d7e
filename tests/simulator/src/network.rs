//! The network between machines: every message is an adventure of its own.

use std::time::Duration;

use crate::clock::Moment;
use crate::dice::{Dice, Spans};

/// How messages fare in one run.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// How long a message takes as a rule.
    pub(crate) delay: Spans,
    /// How many in a thousand leave the order of their link, and overtake others.
    pub(crate) stray_permille: u32,
    /// How many in a thousand take much longer, and are overtaken by many.
    pub(crate) late_permille: u32,
    /// How long those take.
    pub(crate) late: Spans,
    /// How many in a thousand are lost.
    pub(crate) loss_permille: u32,
    /// How many in a thousand arrive twice.
    pub(crate) twice_permille: u32,
}

impl Weather {
    /// Nothing is lost, late, doubled or out of order by chance any more.
    pub(crate) fn clear_up(&mut self) {
        self.loss_permille = 0;
        self.stray_permille = 0;
        self.twice_permille = 0;
        self.late_permille = 0;
    }

    /// How long one message takes.
    pub(crate) fn delay(&self, dice: &mut Dice) -> Duration {
        if dice.permille(self.late_permille) { dice.span(self.late) } else { dice.span(self.delay) }
    }
}

/// The links between machines, and from each of them to the meta server. Each direction is cut by itself.
#[derive(Debug)]
pub(crate) struct Network {
    weather: Weather,
    machines: usize,
    /// For each (from, to): until when nothing gets through.
    cut_until: Vec<Moment>,
    /// For each (from, to): when the last message that keeps the order arrives.
    arrives: Vec<Moment>,
}

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives then, and perhaps a second time.
    Arrives(Moment, Option<Moment>),
}

impl Network {
    /// All links of so many machines, and of the meta server, whole.
    #[must_use]
    pub(crate) fn new(machines: usize, weather: Weather) -> Self {
        let links = vec![Moment::default(); (machines + 1) * (machines + 1)];
        Self { weather, machines, cut_until: links.clone(), arrives: links }
    }

    /// The place of the meta server among the machines.
    #[must_use]
    pub(crate) fn meta(&self) -> usize {
        self.machines
    }

    fn link(&self, from: usize, to: usize) -> usize {
        from * (self.machines + 1) + to
    }

    /// Nothing gets from `from` to `to` until then.
    pub(crate) fn cut(&mut self, from: usize, to: usize, until: Moment) {
        let link = self.link(from, to);
        self.cut_until[link] = self.cut_until[link].max(until);
    }

    /// Everything gets through again, and from now on the weather is fair.
    pub(crate) fn heal(&mut self) {
        self.cut_until.fill(Moment::default());
        self.weather.clear_up();
    }

    /// Whether anything gets through.
    #[must_use]
    pub(crate) fn is_open(&self, from: usize, to: usize, now: Moment) -> bool {
        self.cut_until[self.link(from, to)] <= now
    }

    /// What becomes of a message that is sent now.
    pub(crate) fn send(&mut self, dice: &mut Dice, from: usize, to: usize, now: Moment) -> Fate {
        if !self.is_open(from, to, now) || dice.permille(self.weather.loss_permille) {
            return Fate::Lost;
        }
        let second = dice.permille(self.weather.twice_permille).then(|| now + self.weather.delay(dice));
        if dice.permille(self.weather.late_permille) {
            return Fate::Arrives(now + dice.span(self.weather.late), second);
        }
        let mut first = now + dice.span(self.weather.delay);
        if !dice.permille(self.weather.stray_permille) {
            // As a stream has it.
            let link = self.link(from, to);
            first = first.max(self.arrives[link] + Duration::from_nanos(1));
            self.arrives[link] = first;
        }
        Fate::Arrives(first, second)
    }

    /// How long a message between a client and a machine takes; `None` if it is lost.
    pub(crate) fn client_delay(&self, dice: &mut Dice) -> Option<Duration> {
        (!dice.permille(self.weather.loss_permille)).then(|| self.weather.delay(dice))
    }

    /// How long a message of a connection takes that delivers in order, or not at all.
    pub(crate) fn stream_delay(&self, dice: &mut Dice) -> Duration {
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
            stray_permille: 0,
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
