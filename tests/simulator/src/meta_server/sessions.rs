//! The sessions of nodes with the meta server: opened, broken by either side, and what travels in them.

use std::time::Duration;

use meta_core::MetaEvent;
use replica_core::Event;
use words::{MetaToNode, NodeToMeta, Proposal};

use crate::clock::Moment;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How much longer a slow meta server takes to look at a message, in milliseconds.
const SLOWNESS_MS: (u64, u64) = (50, 1_500);

/// A session of a node with one of those who lead, or take themselves for it.
pub(super) struct Session {
    pub(super) machine: usize,
    /// With whom.
    pub(super) epoch: u64,
    /// When the last message to the node arrives: a stream keeps its order.
    arrives: Moment,
}

impl World<'_> {
    pub(crate) fn on_connect(&mut self, index: usize, epoch: u64) -> Checked {
        let machine = &self.machines[index];
        let idle = machine.process.as_ref().is_some_and(|process| process.session.is_none());
        if machine.epoch != epoch || !idle {
            return Ok(());
        }
        let meta = self.network.meta();
        let open = self.network.is_open(index, meta, self.now) && self.network.is_open(meta, index, self.now);
        let awake = machine.frozen_until <= self.now;
        let leader = self.who_answers().filter(|_| open && awake);
        let Some(leader) = leader else {
            self.connect_later(index, epoch);
            return Ok(());
        };
        self.meta.last_session += 1;
        let session = self.meta.last_session;
        self.meta.sessions.insert(session, Session { machine: index, epoch: leader, arrives: self.now });
        if let Some(process) = &mut self.machines[index].process {
            process.session = Some(session);
            process.to_meta_at = self.now;
        }
        self.step_meta(leader, MetaEvent::SessionOpened { session });
        self.hand_in(index, Event::MetaConnected);
        Ok(())
    }

    fn connect_later(&mut self, index: usize, epoch: u64) {
        let at = self.now + Duration::from_millis(self.dice.between(20, 200));
        self.put(at, Happening::Connect { machine: index, epoch });
    }

    pub(crate) fn tell_meta(&mut self, index: usize, message: NodeToMeta) -> Checked {
        self.look_for_addition(index, &message)?;
        let machine = &self.machines[index];
        trace!(self, machine.disk.node, "-> meta {message:?}");
        let Some(process) = &machine.process else { return Ok(()) };
        let Some(session) = process.session else { return Ok(()) };
        if !self.network.is_open(index, self.network.meta(), self.now) {
            let at = self.now + self.break_delay();
            self.put(at, Happening::SessionLost { machine: index, session });
            return Ok(());
        }
        let mut delay = self.network.stream_delay(&mut self.dice);
        if self.meta.slow_until > self.now {
            delay += Duration::from_millis(self.dice.between(SLOWNESS_MS.0, SLOWNESS_MS.1));
        }
        if let Some(process) = &mut self.machines[index].process {
            process.to_meta_at = (self.now + delay).max(process.to_meta_at + Duration::from_nanos(1));
            let at = process.to_meta_at;
            self.dispatch(at, Happening::ToMeta { session, message });
        }
        Ok(())
    }

    /// S9, at the first proposal to add a node; from here on it is a member for S2.
    fn look_for_addition(&mut self, index: usize, message: &NodeToMeta) -> Checked {
        let NodeToMeta::Propose(Proposal { gpid, node, proposed }) = message else { return Ok(()) };
        let Some(process) = &mut self.machines[index].process else { return Ok(()) };
        let Some(replica) = process.core.replica(*gpid) else { return Ok(()) };
        let current = replica.configuration();
        // Of a node that was stopped for a while one turn can bring the proposal, and the configuration that settles it.
        if proposed.ballot <= current.ballot {
            return Ok(());
        }
        if !proposed.is_member(*node) {
            self.tally.note(Sometimes::GaveWay);
        }
        let Some(&added) = proposed.secondaries.iter().find(|&&node| !current.is_member(node)) else {
            return Ok(());
        };
        let committed = replica.last_committed();
        let ballot = current.ballot;
        if process.adding.insert(*gpid, (ballot, added)).is_some() {
            return Ok(());
        }
        self.truth.on_propose_addition(&self.machines, &self.places, *gpid, ballot, (added, committed))
    }

    /// How long it takes until a connection over a link that was cut is given up.
    fn break_delay(&mut self) -> Duration {
        Duration::from_millis(self.dice.between(50, 800))
    }

    pub(crate) fn on_to_meta(&mut self, session: u64, message: NodeToMeta) -> Checked {
        if self.meta.frozen_until > self.now {
            self.put(self.meta.frozen_until, Happening::ToMeta { session, message });
        } else if let Some(&Session { epoch, .. }) = self.meta.sessions.get(&session) {
            self.step_meta(epoch, MetaEvent::Message { session, message });
        }
        Ok(())
    }

    pub(super) fn send_to_node(&mut self, session: u64, message: MetaToNode) {
        let meta = self.network.meta();
        let Some(machine) = self.meta.sessions.get(&session).map(|session| session.machine) else { return };
        trace!(self, "meta", "-> {} {message:?}", self.machines[machine].disk.node);
        if !self.network.is_open(meta, machine, self.now) {
            let at = self.now + self.break_delay();
            self.put(at, Happening::SessionClosed { session });
            return;
        }
        let delay = self.network.stream_delay(&mut self.dice);
        if let Some(stream) = self.meta.sessions.get_mut(&session) {
            stream.arrives = (self.now + delay).max(stream.arrives + Duration::from_nanos(1));
            let at = stream.arrives;
            self.dispatch(at, Happening::FromMeta { machine, session, message });
        }
    }

    pub(crate) fn on_from_meta(&mut self, machine: usize, session: u64, message: MetaToNode) -> Checked {
        let same = self.machines[machine].process.as_ref().is_some_and(|p| p.session == Some(session));
        if same {
            self.hand_in(machine, Event::Meta(message));
        }
        Ok(())
    }

    /// A node notices that its session broke, and opens another one.
    pub(crate) fn on_session_lost(&mut self, index: usize, session: u64) -> Checked {
        let epoch = self.machines[index].epoch;
        if let Some(process) = &mut self.machines[index].process
            && process.session == Some(session)
        {
            process.session = None;
            self.close_session(index, session);
            self.connect_later(index, epoch);
        }
        Ok(())
    }

    /// The node's end of a session is closed; the meta server hears of it, at once or after a while.
    pub(crate) fn close_session(&mut self, index: usize, session: u64) {
        let open = self.network.is_open(index, self.network.meta(), self.now);
        let delay = if open { self.network.stream_delay(&mut self.dice) } else { self.break_delay() };
        self.put(self.now + delay, Happening::SessionClosed { session });
    }

    pub(crate) fn on_session_closed(&mut self, session: u64) -> Checked {
        if self.meta.frozen_until > self.now {
            self.put(self.meta.frozen_until, Happening::SessionClosed { session });
        } else if let Some(epoch) = self.lose_session(session) {
            self.step_meta(epoch, MetaEvent::SessionClosed { session });
        }
        Ok(())
    }

    /// A session is over; the node hears of it. Returns with whom it was.
    fn lose_session(&mut self, session: u64) -> Option<u64> {
        let Session { machine, epoch, .. } = self.meta.sessions.remove(&session)?;
        let at = self.now + self.network.stream_delay(&mut self.dice);
        self.put(at, Happening::SessionLost { machine, session });
        Some(epoch)
    }

    /// Who led, or took itself for it, is gone, and all of its sessions.
    pub(super) fn lose_sessions(&mut self, epoch: u64) {
        let its = self.meta.sessions.iter().filter(|(_, session)| session.epoch == epoch);
        for session in its.map(|(&session, _)| session).collect::<Vec<_>>() {
            self.lose_session(session);
        }
    }

    /// The session of a machine breaks, without a cause that anybody could see.
    pub(crate) fn break_session(&mut self, machine: usize) -> Checked {
        let its = self.meta.sessions.iter().find(|(_, session)| session.machine == machine);
        let Some((&session, _)) = its else { return Ok(()) };
        trace!(self, "network", "session {session} of machine {machine} breaks");
        self.tally.note(Sometimes::SessionBroken);
        self.on_session_closed(session)
    }
}
