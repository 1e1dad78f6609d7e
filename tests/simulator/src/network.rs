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

/// The links between machines, and from each of them to the meta server. What befalls a link befalls one of its
/// directions.
#[derive(Debug)]
pub(crate) struct Network {
    weather: Weather,
    machines: usize,
    /// For each (from, to).
    links: Vec<Link>,
}

/// One direction between two machines.
#[derive(Clone, Debug, Default)]
struct Link {
    /// When the last message that keeps the order arrives.
    arrives: Moment,
    /// What was sent until then and is not there yet is lost.
    reset_at: Option<Moment>,
    /// For each trouble, until when the link has it.
    until: [Moment; 4],
}

/// What a link can suffer from for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ailment {
    /// Nothing gets through.
    Cut,
    /// Connections are refused, as if no process listened.
    Refusing,
    /// Everything takes long.
    Slow,
    /// Half of all messages are lost.
    Lossy,
}

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never arrives.
    Lost,
    /// Nor does this one, and the sender is told.
    Refused,
    /// It arrives then, and perhaps a second time.
    Arrives(Moment, Option<Moment>),
}

impl Network {
    /// All links of so many machines, and of the meta server, whole.
    #[must_use]
    pub(crate) fn new(machines: usize, weather: Weather) -> Self {
        let links = vec![Link::default(); (machines + 1) * (machines + 1)];
        Self { weather, machines, links }
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
        self.afflict(from, to, Ailment::Cut, until);
    }

    /// What is sent from `from` to `to` suffers from this until then.
    pub(crate) fn afflict(&mut self, from: usize, to: usize, ailment: Ailment, until: Moment) {
        let link = self.link(from, to);
        let before = &mut self.links[link].until[ailment as usize];
        *before = until.max(*before);
    }

    /// All that is on its way from `from` to `to` is lost.
    pub(crate) fn reset(&mut self, from: usize, to: usize, now: Moment) {
        let link = self.link(from, to);
        self.links[link].reset_at = Some(now);
    }

    /// Whether a message that left then is not lost by a reset since.
    #[must_use]
    pub(crate) fn still_comes(&self, from: usize, to: usize, left: Moment) -> bool {
        self.links[self.link(from, to)].reset_at.is_none_or(|reset| left > reset)
    }

    fn has(&self, from: usize, to: usize, ailment: Ailment, now: Moment) -> bool {
        self.links[self.link(from, to)].until[ailment as usize] > now
    }

    /// Everything gets through again, and from now on the weather is fair.
    pub(crate) fn heal(&mut self) {
        self.links.iter_mut().for_each(|link| link.until = [Moment::default(); 4]);
        self.weather.clear_up();
    }

    /// Whether anything gets through.
    #[must_use]
    pub(crate) fn is_open(&self, from: usize, to: usize, now: Moment) -> bool {
        !self.has(from, to, Ailment::Cut, now) && !self.has(from, to, Ailment::Refusing, now)
    }

    /// What becomes of a message that is sent now.
    pub(crate) fn send(&mut self, dice: &mut Dice, from: usize, to: usize, now: Moment) -> Fate {
        if self.has(from, to, Ailment::Cut, now) || dice.permille(self.weather.loss_permille) {
            return Fate::Lost;
        }
        if self.has(from, to, Ailment::Refusing, now) {
            return Fate::Refused;
        }
        if self.has(from, to, Ailment::Lossy, now) && dice.permille(500) {
            return Fate::Lost;
        }
        let second = dice.permille(self.weather.twice_permille).then(|| now + self.weather.delay(dice));
        if dice.permille(self.weather.late_permille) {
            return Fate::Arrives(now + dice.span(self.weather.late), second);
        }
        let slow = self.has(from, to, Ailment::Slow, now);
        let mut first = now + dice.span(if slow { self.weather.late } else { self.weather.delay });
        if !dice.permille(self.weather.stray_permille) {
            // As a stream has it.
            let link = self.link(from, to);
            let link = &mut self.links[link];
            first = first.max(link.arrives + Duration::from_nanos(1));
            link.arrives = first;
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

    fn fair() -> Weather {
        Weather {
            delay: Spans::us(1, 2),
            stray_permille: 0,
            late_permille: 0,
            late: Spans::us(0, 0),
            loss_permille: 0,
            twice_permille: 0,
        }
    }

    #[test]
    fn a_cut_is_one_way_and_ends() {
        let mut network = Network::new(3, fair());
        let mut dice = Dice::new(1, 0);
        network.cut(0, 1, Moment(10));
        assert_eq!(network.send(&mut dice, 0, 1, Moment(9)), Fate::Lost);
        assert_ne!(network.send(&mut dice, 1, 0, Moment(9)), Fate::Lost);
        assert_ne!(network.send(&mut dice, 0, 1, Moment(10)), Fate::Lost);
    }

    #[test]
    fn a_reset_loses_what_is_on_its_way_and_nothing_after() {
        let mut network = Network::new(2, fair());
        network.reset(0, 1, Moment(5));
        assert!(!network.still_comes(0, 1, Moment(5)));
        assert!(network.still_comes(0, 1, Moment(6)) && network.still_comes(1, 0, Moment(5)));
    }
}
