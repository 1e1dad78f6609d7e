//! What becomes of a client's request: taken, kept for a while, or refused (§3.5, §3.6, §5.3).

use std::time::Duration;

use bytes::Bytes;
use words::{Refusal, Reply, Time, Write};

use super::held::{Kept, Queued};
use super::throttle::{self, Verdict};
use super::{Replica, Role};
use crate::step::Step;
use crate::{ReadTask, Settings, Token};

/// Payload that may wait, in batches: a few large writes fill the queue as many small ones do.
const QUEUED_BATCHES: usize = 16;

impl Replica {
    pub(crate) fn on_write(
        &mut self,
        step: &mut Step<'_>,
        write: Write,
        token: Token,
        patience: Option<Duration>,
    ) {
        let verdict = self.judge_write(step, &write, patience.unwrap_or(Duration::MAX));
        // A line that is longer than the patience of those in it would serve nobody: each would be done just after its
        // client has given up, and come again. A quarter of it is left to be done in.
        let until = patience.map_or(Time::NEVER, |patience| step.now.time + patience / 4 * 3);
        self.carry_out(step, verdict, Kept::Write(Queued { write, token, until }));
    }

    /// By what is so just now, then by the app's environment.
    fn judge_write(&mut self, step: &Step<'_>, write: &Write, patience: Duration) -> Verdict {
        if let Some(verdict) = self.denies(throttle::is_read(write.kind)) {
            return verdict;
        }
        match self.refuse_write(step, write) {
            Some(refusal) => Verdict::Refuse(refusal, Duration::ZERO),
            None => self.throttling.judge(step.now.time, write.payload.len(), patience),
        }
    }

    fn denies(&self, is_read: bool) -> Option<Verdict> {
        let leads = matches!(self.role, Role::Primary(_));
        let moved = || Refusal::NotPrimary { ballot: self.ballot, primary: None };
        self.throttling.denies(is_read, moved).filter(|_| leads)
    }

    /// A request goes on, waits, or is refused. Where nothing more can be kept, nothing waits.
    fn carry_out(&mut self, step: &mut Step<'_>, verdict: Verdict, request: Kept) {
        let (Kept::Write(Queued { token, .. }) | Kept::Refusal(_, token)) = request;
        let (refusal, until) = match (verdict, request, &mut self.role) {
            (Verdict::Pass, Kept::Write(queued), Role::Primary(primary)) => {
                primary.waiting_bytes += queued.write.payload.len();
                return primary.waiting.push_back(queued);
            }
            (Verdict::Delay(span), request, Role::Primary(primary)) => {
                return primary.held.keep(step.now.time + span, request);
            }
            (Verdict::Refuse(refusal, span), ..) => (refusal, step.now.time + span),
            _ => (Refusal::NotReady, step.now.time),
        };
        match &mut self.role {
            Role::Primary(primary) if until > step.now.time && primary.held.len() < step.settings.queue => {
                primary.held.keep(until, Kept::Refusal(refusal, token));
            }
            _ => step.out.replies.push((token, Reply::Refused(refusal))),
        }
    }

    /// What was kept until now goes on, if it still may.
    pub(super) fn release_held(&mut self, step: &mut Step<'_>) {
        loop {
            let Role::Primary(primary) = &mut self.role else { return };
            let Some(kept) = primary.held.take(step.now.time) else { return };
            let refusal = match &kept {
                Kept::Write(queued) => self.refuse_write(step, &queued.write),
                Kept::Refusal(refusal, _) => Some(refusal.clone()),
            };
            let verdict = refusal.map_or(Verdict::Pass, |refusal| Verdict::Refuse(refusal, Duration::ZERO));
            self.carry_out(step, verdict, kept);
        }
    }

    fn refuse_write(&self, step: &Step<'_>, write: &Write) -> Option<Refusal> {
        let Role::Primary(primary) = &self.role else { return Some(self.not_primary(step)) };
        let limit = step.settings.max_write_bytes;
        let waiting_bytes = primary.waiting_bytes + primary.held.bytes();
        if write.payload.len() > limit {
            Some(Refusal::TooLarge { limit: limit as u64 })
        } else if primary.handover.is_some() {
            Some(Refusal::NotReady)
        } else if primary.waiting.len() + primary.held.len() >= step.settings.queue
            || waiting_bytes >= step.settings.batch_bytes * QUEUED_BATCHES
        {
            Some(Refusal::Busy)
        } else if self.log_is_stuck(step) {
            Some(Refusal::StorageUnavailable)
        } else if step.disk_is_low {
            Some(Refusal::DiskFull)
        } else if self.is_too_small(step.settings) {
            Some(Refusal::NotEnoughReplicas)
        } else {
            None
        }
    }

    pub(super) fn not_primary(&self, step: &Step<'_>) -> Refusal {
        let primary = self.believed_primary().filter(|&node| node != step.me);
        Refusal::NotPrimary { ballot: self.ballot, primary }
    }

    /// Whether there are fewer replicas than a write needs. A suspect counts: suspicion only leads to a proposal
    /// (§5.6).
    pub(super) fn is_too_small(&self, settings: &Settings) -> bool {
        let needed = self.needed_for_writes(settings);
        matches!(&self.role, Role::Primary(primary) if primary.members.len() + 1 < needed)
    }

    /// How many replicas a write needs (§3.6); an app that wants fewer than that needs no more than it wants.
    pub(super) fn needed_for_writes(&self, settings: &Settings) -> usize {
        settings.mutation_2pc_min_replica_count.min(self.app.replica_count as usize)
    }

    pub(crate) fn on_read(&mut self, step: &mut Step<'_>, request: Bytes, token: Token) {
        if let Some(Verdict::Refuse(refusal, span)) = self.denies(true) {
            let kept = Kept::Refusal(refusal.clone(), token);
            return self.carry_out(step, Verdict::Refuse(refusal, span), kept);
        }
        let refusal = match &self.role {
            Role::Primary(primary) if !primary.ready => Refusal::NotReady,
            Role::Primary(primary) if !primary.leases_cover(step.now.time) => Refusal::NoLease,
            Role::Primary(_) => {
                return step.out.reads.push(ReadTask { gpid: self.gpid, request, token });
            }
            _ => self.not_primary(step),
        };
        step.out.replies.push((token, Reply::Refused(refusal)));
    }
}
