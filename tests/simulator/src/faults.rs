//! What goes wrong: when a kind of trouble is due, it chooses whom it hits and for how long.

use std::time::Duration;

use crate::clock::Moment;
use crate::ills::Ills;
use crate::machine::{Loss, Strike};
use crate::network::Ailment;
use crate::plan::Fault;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

mod clients;
mod disasters;
mod disks;
mod drains;
mod machines;
mod network;
mod nodes;
mod numbered;
mod operators;
mod policies;

pub(crate) use disasters::Disaster;
pub(crate) use numbered::Count;

impl World<'_> {
    fn befall(&mut self, fault: Fault) -> Checked {
        let victim = self.victim();
        match fault {
            Fault::Crash => self.crash_soon(victim),
            Fault::Blackout => self.black_out()?,
            Fault::Stop => self.ask_to_stop(victim),
            Fault::Freeze => self.freeze_soon(victim),
            Fault::Cut => self.cut_some(),
            Fault::CutOne => self.cut_one(victim),
            Fault::Mute => self.one_sided(victim, true),
            Fault::Deaf => self.one_sided(victim, false),
            Fault::Part => self.part(victim),
            Fault::SlowLink => self.hamper(victim, Ailment::Slow),
            Fault::BurstLoss => self.hamper(victim, Ailment::Lossy),
            Fault::Refuse => self.refuse(victim),
            Fault::Reset => self.reset(victim),
            Fault::SlowDisk => self.slow_disk(victim),
            Fault::Wipe => self.damage(victim, Loss::Everything),
            Fault::LoseApp => {
                if let Some(gpid) = self.some_partition() {
                    self.damage(victim, Loss::App(gpid));
                }
            }
            Fault::Rot => self.rot_log(victim),
            Fault::SyncFails => self.fail_a_sync(victim),
            Fault::WriteFails => self.fail_a_write(victim),
            Fault::Ail(ill) => self.fall_ill(victim, ill),
            Fault::RotCheckpoint => self.rot_a_checkpoint(victim),
            Fault::RotIdentity => self.damage(victim, Loss::RottenIdentity),
            Fault::MetaCrash => self.kill_meta(),
            Fault::MetaCut => self.cut_meta(victim),
            Fault::MetaDeposed => self.depose_meta(),
            Fault::MetaSlow => self.slow_meta(),
            Fault::MetaFreeze => self.freeze_meta(),
            Fault::SessionBreak => self.break_session(victim)?,
            Fault::Move => self.move_something(),
            Fault::PowerCut => self.cut_power(),
            Fault::CutWriting => self.cut_writing(victim),
            Fault::CrashAtStart => self.crash_at_start(victim),
            Fault::KillStopping => self.kill_stopping(victim),
            Fault::Order => self.order_anything(),
            Fault::Join => self.join()?,
            Fault::Empty => self.begin_to_empty(victim),
            Fault::Drain => self.begin_to_drain(victim),
            Fault::Leave => self.take_away(victim),
            Fault::Disaster => self.begin_disaster(),
            Fault::LoseAll => self.lose_all(),
            Fault::Level => self.set_level(),
            Fault::BlackList => self.black_list(victim),
            Fault::Crowd => self.crowd(),
            Fault::DropApp => self.drop_something(),
            Fault::Resize => self.change_replica_count(),
            Fault::WallJump => self.jump(victim),
            Fault::Drift => self.drift(victim)?,
            Fault::Env => self.change_envs(),
            Fault::DiskLow => self.fill_disk(victim),
        }
        Ok(())
    }

    /// Trouble finds primaries more often than others: that is where it hurts.
    fn victim(&mut self) -> usize {
        let anyone = self.dice.index(self.machines.len());
        let gpid = self.some_partition();
        let primary = gpid.and_then(|gpid| self.primary_of(gpid));
        if self.dice.permille(400) { primary.unwrap_or(anyone) } else { anyone }
    }

    fn befall_provoked(&mut self, index: usize) {
        let until = self.now + self.cut_span();
        match self.dice.index(5) {
            0 => self.strike_soon(index, Strike::Crash(Loss::Power)),
            1 => {
                let span = self.freeze_span();
                self.strike_soon(index, Strike::Freeze(span));
            }
            2 => {
                self.machines[index].slow_until = until;
                trace!(self, self.machines[index].disk.node, "slow disk until {until}");
            }
            3 => {
                trace!(self, self.machines[index].disk.node, "cut off from meta until {until}");
                let meta = self.network.meta();
                self.network.cut(index, meta, until);
                self.network.cut(meta, index, until);
            }
            _ => {
                let other = self.dice.index(self.machines.len());
                trace!(self, self.machines[index].disk.node, "can't send to machine {other} until {until}");
                self.network.cut(index, other, until);
            }
        }
        self.tally.note(Sometimes::Provoked);
    }

    pub(super) fn cut_span(&mut self) -> Duration {
        let longest = self.dice.pick(&[200, 1_500, 5_000]);
        Duration::from_millis(self.dice.between(20, longest))
    }

    /// Nothing goes wrong any more: the network heals, everybody starts and wakes, clients go on.
    pub(crate) fn on_calm(&mut self) -> Checked {
        trace!(self, "calm", "nothing goes wrong any more");
        self.network.heal();
        self.ending.begin(self.now);
        self.plan.speed.broken_permille = 0;
        // What must recover is the cluster, not an impatient crowd that asks for more than it can do.
        let habits = &mut self.plan.habits;
        habits.think = habits.think.max(Duration::from_millis(60));
        habits.patience = habits.patience.max(Duration::from_secs(1));
        habits.limit = habits.limit.max(Duration::from_secs(5));
        self.heal_meta()?;
        self.start_meta()?;
        self.start_stopped()?;
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            machine.strike = None;
            machine.slow_until = Moment::default();
            machine.dies_starting = None;
            machine.ills = Ills::default();
            machine.cuts.clear();
            machine.disk.log.fail_after(u64::MAX);
            if machine.frozen_until > self.now {
                machine.frozen_until = self.now;
                self.wake_by(index, self.now);
            }
            self.ease(index)?;
            self.on_disk_freed(index)?;
            self.start(index)?;
        }
        for app in 0..self.apps.len() {
            self.put(self.now, Happening::ClearEnvs { app });
        }
        self.put(self.now + Duration::from_millis(100), Happening::Visit);
        Ok(())
    }
}
