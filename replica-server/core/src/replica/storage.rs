//! The app behind the replica: creation, removal, checkpoints (§4.8, §7.5).

use std::io;

use words::{AppInfo, Ballot, Configuration, Decree, Gpid, MutationId, Record, Time};

use super::{PendingKind, Presence, Replica, Role};
use crate::step::Step;
use crate::{Settings, Work};

/// Whether so many decrees are long to replay, and so worth a checkpoint by themselves.
pub(crate) fn is_long(settings: &Settings, decrees: u64) -> bool {
    decrees > settings.checkpoint_decrees / 64
}

/// When the next checkpoint is due.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    running: bool,
    /// Since when something is applied that is not durable.
    dirty_since: Option<Time>,
    /// A checkpoint is due once this decree is applied: a long replay ends with it, or the newest checkpoint can't be
    /// read.
    after: Option<Decree>,
    /// The last one failed; not before then. A disk that is full has enough to do without the next mutation's attempt.
    retry_at: Option<Time>,
}

impl Checkpoint {
    pub(super) fn deadline(&self, settings: &Settings) -> Time {
        match (self.retry_at, self.dirty_since) {
            _ if self.running => Time::NEVER,
            (Some(retry_at), _) => retry_at,
            (None, Some(since)) => since + settings.checkpoint_interval,
            (None, None) => Time::NEVER,
        }
    }

    fn failed(&mut self, step: &Step<'_>) {
        self.retry_at = Some(step.now.time + step.settings.checkpoint_interval / 10);
    }

    /// What the log has beyond the app has to be replayed at each start until a checkpoint holds it. A node that never
    /// lives for `checkpoint_interval` would have more of that each time, and come back later and later; so what took
    /// long once is not left to the next start.
    pub(super) fn replays(&mut self, step: &Step<'_>, durable: Decree, upto: Decree) {
        let behind = upto.0.saturating_sub(durable.0);
        self.dirty_since = (behind > 0).then_some(step.now.time);
        self.after = is_long(step.settings, behind).then_some(upto);
    }
}

impl Replica {
    /// Makes the first replica of a new partition (§4.8).
    pub(crate) fn create_first(
        step: &mut Step<'_>,
        gpid: Gpid,
        app: AppInfo,
        configuration: Configuration,
    ) -> Self {
        let mut replica = Self::blank(gpid, app.clone(), Role::Inactive, Presence::Opening);
        replica.deferred = Some(configuration);
        step.work(Work::Create { gpid, app });
        replica
    }

    /// Makes an empty replica that will learn. One that this node had before promised not to go below `ballot`,
    /// and may have granted a lease.
    pub(crate) fn create_learner(step: &mut Step<'_>, gpid: Gpid, app: AppInfo, ballot: Ballot) -> Self {
        let mut replica = Self::blank(gpid, app.clone(), Role::Inactive, Presence::Opening);
        replica.knows_nothing = true;
        replica.ballot = ballot;
        replica.configuration.ballot = ballot;
        replica.boot_grant = step.now.time + step.settings.grant();
        step.work(Work::Create { gpid, app });
        replica
    }

    pub(super) fn is_ready(&self) -> bool {
        self.presence == Presence::Ready
    }

    /// The app is there; now the log notes that. Returns whether the replica is to be forgotten: what was never
    /// noted has nothing to lose, and is tried again when it is asked for again.
    pub(crate) fn on_created(&mut self, step: &mut Step<'_>, result: &io::Result<()>) -> bool {
        if self.presence != Presence::Opening {
            return false;
        }
        if result.is_err() {
            return true;
        }
        self.presence = Presence::Noting;
        let (gpid, ballot) = (self.gpid, self.ballot);
        let created = step.append(Record::Created { gpid, app: self.app.clone() });
        self.await_durable(step, created, Ballot(0), PendingKind::Created);
        if ballot > Ballot(0) {
            let sequence = step.append(Record::Ballot { gpid, ballot });
            self.await_durable(step, sequence, ballot, PendingKind::Ballot);
        }
        false
    }

    pub(super) fn on_noted(&mut self, step: &mut Step<'_>) {
        if self.presence == Presence::Noting {
            self.presence = Presence::Ready;
            self.report_due = true;
            self.on_undeferred(step);
        }
    }

    /// The meta server does not need this replica any more (§4.7).
    pub(crate) fn on_collect(&mut self, step: &mut Step<'_>, ballot: Ballot) {
        // Said of who is no member in that ballot, or of a dropped app, whose replicas still serve. A learner
        // may be a member of the next one.
        let busy = matches!(self.role, Role::Learner(_)) || self.fetching.is_some();
        if !busy && ballot >= self.ballot {
            self.begin_removal(step);
        }
    }

    pub(super) fn begin_removal(&mut self, step: &mut Step<'_>) {
        if self.presence != Presence::Ready {
            return;
        }
        self.leave_primary(step);
        self.presence = Presence::Removing;
        self.set_role(Role::Inactive);
        step.work(Work::Remove { gpid: self.gpid });
    }

    /// The app's data is gone; so is the note. Returns whether the replica is to be forgotten.
    pub(crate) fn on_removed(&mut self, step: &mut Step<'_>) -> bool {
        if self.presence != Presence::Removing {
            return false;
        }
        step.append(Record::Removed { gpid: self.gpid, ballot: self.ballot });
        true
    }

    /// Asks for a checkpoint when enough was applied since the last, or when that was long ago: an idle
    /// partition must not pin the log (§7.5).
    pub(super) fn checkpoint_if_due(&mut self, step: &mut Step<'_>) {
        if self.checkpoint.running {
            return;
        }
        let is_awaited = self.checkpoint.after.take_if(|upto| *upto <= self.applied).is_some();
        let behind = self.to_replay();
        if behind == 0 {
            (self.checkpoint.dirty_since, self.checkpoint.retry_at) = (None, None);
            return;
        }
        let since = *self.checkpoint.dirty_since.get_or_insert(step.now.time);
        let is_due = match self.checkpoint.retry_at {
            Some(retry_at) => step.now.time >= retry_at,
            None => {
                is_awaited
                    || behind >= step.settings.checkpoint_decrees
                    || step.now.time >= since + step.settings.checkpoint_interval
            }
        };
        if is_due {
            self.checkpoint_now(step);
        }
    }

    /// The newest checkpoint can't be read back. What the app has in memory is whole, so another one takes its place;
    /// an app has none to take where nothing is new, so there has to be something new. Or a partition whose last member
    /// this is would wait for a client's write before anybody can learn from it.
    pub(super) fn replace_checkpoint(&mut self, step: &mut Step<'_>) {
        if self.checkpoint.running || self.checkpoint.after.is_some() {
            return;
        }
        if self.to_replay() > 0 {
            return self.checkpoint_now(step);
        }
        let idle = self.list.last_prepared() == self.applied;
        let next = if idle { self.prepare(step, Vec::new()) } else { self.applied.next() };
        self.checkpoint.after = Some(next);
    }

    /// ... whether it is due or not.
    pub(crate) fn checkpoint_now(&mut self, step: &mut Step<'_>) {
        (self.checkpoint.running, self.checkpoint.retry_at) = (true, None);
        step.work(Work::Checkpoint { gpid: self.gpid });
    }

    /// So many applied decrees are in the log alone, and in no checkpoint that is there or being written.
    pub(crate) fn to_replay(&self) -> u64 {
        let is_able = self.is_ready() && self.fetching.is_none() && !matches!(self.role, Role::Error(_));
        if !is_able || self.checkpoint.running {
            return 0;
        }
        self.applied.0 - self.durable.decree.0
    }

    pub(crate) fn on_checkpoint_done(&mut self, step: &Step<'_>, result: io::Result<MutationId>) {
        self.checkpoint.running = false;
        match result {
            Ok(durable) if durable.decree >= self.durable.decree && durable.decree <= self.applied => {
                self.durable = durable;
                self.checkpoint.dirty_since = (self.applied > durable.decree).then_some(step.now.time);
            }
            // Until it succeeds the log holds what the app does not.
            _ => self.checkpoint.failed(step),
        }
    }

    /// Up to where this node's log is not needed for the partition any more; `None` if it is not needed at all:
    /// a replica in `Error` is learned afresh, and must not hold the log of all others once the log says so.
    pub(crate) fn collectable(&self) -> Option<Decree> {
        let durable = self.durable.decree;
        let collectable = self.needed_by_learners().map_or(durable, |needed| needed.min(durable));
        (!self.broken_noted).then_some(collectable)
    }
}
