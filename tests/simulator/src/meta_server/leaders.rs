//! Who leads the meta servers: one starts, dies, or is deposed while it goes on.

use std::time::Duration;

use meta_core::{Command, MetaCore, MetaOutput, MetaState};

use super::{Leader, MetaServer};
use crate::clock::Moment;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

impl MetaServer {
    /// What is durable, read value by value as from a disk.
    fn stored(&self) -> MetaState {
        let mut state = MetaState::default();
        self.durable.values().for_each(|value| state.put(value));
        assert_eq!(state, self.durable, "not all of it is stored");
        state
    }
}

impl World<'_> {
    /// Somebody leads, from what is durable, if nobody did.
    pub(crate) fn start_meta(&mut self) -> Checked {
        if self.meta.leader.is_none() {
            let meta = &mut self.meta;
            meta.last_epoch += 1;
            let (epoch, now) = (meta.last_epoch, meta.clock.time(self.now));
            let core = MetaCore::new(meta.stored(), self.plan.meta.clone(), now);
            meta.leader = Some(Leader { core, epoch, wake_at: Moment::NEVER });
            trace!(self, format_args!("meta {epoch}"), "STARTS");
            self.carry_out_meta(epoch, MetaOutput::default());
        }
        Ok(())
    }

    pub(crate) fn crash_meta(&mut self) {
        let Some(leader) = self.meta.leader.take() else { return };
        trace!(
            self,
            format_args!("meta {}", leader.epoch),
            "CRASHES with {} commands under way",
            self.meta.committing.len()
        );
        if !self.meta.committing.is_empty() {
            self.tally.note(Sometimes::MetaCrashMidCommit);
        }
        self.settle_commits();
        self.lose_sessions(leader.epoch);
    }

    /// The disks of all meta servers are lost.
    pub(crate) fn lose_meta(&mut self) {
        self.crash_meta();
        self.meta.durable = MetaState::default();
        trace!(self, "meta", "LOST all that it knew");
    }

    /// Another one is elected while whoever led is cut off from the others and goes on, for a while: it keeps its
    /// sessions, and nodes and admins still find it.
    pub(crate) fn depose_meta(&mut self) {
        if self.meta.deposed.is_some() {
            return;
        }
        let Some(leader) = self.meta.leader.take() else { return };
        let epoch = leader.epoch;
        trace!(
            self,
            format_args!("meta {epoch}"),
            "is DEPOSED with {} commands under way",
            self.meta.committing.len()
        );
        self.tally.note(Sometimes::MetaDeposed);
        self.settle_commits();
        self.meta.deposed = Some(leader);
        let election = Duration::from_millis(self.dice.between(1, 1_000));
        self.put(self.now + election, Happening::StartMeta);
        let longest = self.dice.pick(&[200, 2_000, 8_000]);
        let notices = Duration::from_millis(self.dice.between(1, longest));
        self.put(self.now + notices, Happening::MetaStepsDown { epoch });
    }

    /// Who was deposed notices it.
    pub(crate) fn on_meta_steps_down(&mut self, epoch: u64) -> Checked {
        if self.meta.deposed.take_if(|leader| leader.epoch == epoch).is_some() {
            trace!(self, format_args!("meta {epoch}"), "STEPS DOWN");
            self.lose_sessions(epoch);
        }
        Ok(())
    }

    /// Nobody is deposed or slow any more.
    pub(crate) fn heal_meta(&mut self) -> Checked {
        self.meta.slow_until = self.now;
        self.meta.frozen_until = self.now;
        match &self.meta.deposed {
            Some(leader) => self.on_meta_steps_down(leader.epoch),
            None => Ok(()),
        }
    }

    /// Of what was on its way to the disks any beginning may be there; whoever led does not hear of it.
    fn settle_commits(&mut self) {
        let kept = self.dice.index(self.meta.committing.len() + 1);
        let commands: Vec<Command> = self.meta.committing.drain(..).take(kept).collect();
        let at = self.wall_time();
        for command in commands {
            self.make_durable(&command, at);
        }
    }

    /// Whom somebody finds who looks for the meta server.
    pub(super) fn who_answers(&mut self) -> Option<u64> {
        let deposed = self.meta.deposed.as_ref().map(|leader| leader.epoch);
        let finds_it = deposed.is_some() && self.dice.permille(400);
        if finds_it { deposed } else { self.meta.leader.as_ref().map(|leader| leader.epoch) }
    }
}
