//! A log that does not get further: a disk that is full, or that hangs (§7.6).
//!
//! Leases live in memory, so a primary whose disk hangs is as alive as any to the others, and its partitions would take
//! no write for as long as it hangs. It gives the role away itself, once other members have proved that their logs work,
//! and leaves the configuration in the same step: nobody has to wait for it to acknowledge what its log can't take. What
//! it has in flight was acknowledged to nobody; its successor proposes it again, or not, as after any change (§4.5).

use std::time::Duration;

use words::{NodeId, Time};

use super::primary::Primary;
use super::{Replica, Role};
use crate::Settings;
use crate::step::Step;

/// For so many prepare timeouts a primary waits for its log: most disks that stop go on soon, and those who wait for an
/// answer then get it, from the primary that they asked.
const PATIENCE: u32 = 3;

impl Replica {
    /// Whether the log has not got further for so long that it takes no new writes.
    pub(super) fn log_is_stuck(&self, step: &Step<'_>) -> bool {
        self.log_waits_for(step.now.time, step.settings.prepare_timeout)
    }

    /// Whether what is on its way to the disk has been so for that long.
    pub(super) fn log_waits_for(&self, now: Time, span: Duration) -> bool {
        self.pending.front().is_some_and(|oldest| oldest.since + span <= now)
    }

    /// When a primary asks whose log works. No two times for what is in flight: that is bounded (L2).
    pub(super) fn probes_at(&self, primary: &Primary, settings: &Settings) -> Time {
        let can_propose = primary.ready && self.durable_ballot == self.ballot;
        let has_room = self.in_flight() <= settings.window as u64 && primary.probe.is_none();
        let waits_since = self.pending.front().map(|oldest| oldest.since);
        let due = waits_since.filter(|_| can_propose && has_room);
        due.map_or(Time::NEVER, |since| since + settings.prepare_timeout * PATIENCE)
    }

    /// What the others acknowledged before says nothing of their logs now: those of all may have stopped.
    pub(super) fn probe_if_stuck(&mut self, step: &mut Step<'_>) {
        let Role::Primary(primary) = &self.role else { return };
        if self.probes_at(primary, step.settings) > step.now.time {
            return;
        }
        let decree = self.prepare(step, Vec::new());
        let Role::Primary(primary) = &mut self.role else { unreachable!("it prepares as primary") };
        primary.probe = Some(decree);
    }

    pub(super) fn log_goes_on(&mut self) {
        if let Role::Primary(primary) = &mut self.role {
            primary.probe = None;
        }
    }

    /// Who can lead in place of this primary, whose log is stuck. Nobody unless as many logs work as a write needs: then
    /// it is of more use where it is, for it goes on serving reads.
    pub(super) fn whose_log_works(&self, step: &Step<'_>) -> Option<NodeId> {
        let Role::Primary(primary) = &self.role else { return None };
        let probe = primary.probe?;
        let works = |node: &NodeId| {
            !primary.suspects.contains(node)
                && primary.members.get(node).is_some_and(|progress| progress.acked >= probe)
        };
        let mut working = self.configuration.secondaries.iter().copied().filter(works);
        let successor = working.next()?;
        (1 + working.count() >= self.needed_for_writes(step.settings)).then_some(successor)
    }
}
