//! The primary's side of learning (§6): a learner is asked to learn, taught what it misses by the cheapest
//! way (prepare list, prepare log, checkpoint), then gets prepares like a secondary, until it has all.

use std::io;
use std::sync::Arc;

use words::{
    AddLearner, Decree, Learn, LearnCheckpoint, LearnFromList, LearnMutations, LearnStartOver, Mutation,
    MutationId, NodeId, PeerMessage, Signature, Time,
};

use super::portion::Portion;
use super::progress::Progress;
use super::{Replica, Role};
use crate::step::Step;
use crate::{Settings, Work};

/// How many times less often a learner is invited that was heard of.
const BUSY_PATIENCE: u32 = 16;

/// How many learn timeouts the copy of a checkpoint may take.
const COPY_PATIENCE: u32 = 20;

/// One learner.
#[derive(Debug)]
pub(super) struct Teaching {
    pub(super) signature: Signature,
    phase: Phase,
    /// What it has once it has got what is on its way: the log keeps what follows.
    has: Decree,
    /// What it asks for next, once it has what is on its way, begins after this; the list keeps that, or whoever
    /// is taught in smaller steps than the list is long would never come to be taught from the list (§6.3).
    wants_after: Option<Decree>,
    /// How much is read from the log for it next.
    portion: Portion,
    /// What it had, and what was committed, when it asked last.
    asked: Option<(Decree, Decree)>,
    /// When it is invited again, unless it gets prepares: the invitation may be lost, or the learner has given
    /// up and nobody heard of it. One that is busy with this learning ignores it.
    invite_at: Time,
    /// When it last came further; dropped `learn_timeout` after (L2).
    progress_at: Time,
    /// Where commits began to wait for it.
    waited_from: Option<WaitedFrom>,
}

/// What was acknowledged by a learner, and what committed, when commits began to wait for it.
#[derive(Debug)]
struct WaitedFrom {
    acked: Decree,
    committed: Decree,
}

#[derive(Debug)]
enum Phase {
    /// It has not asked yet.
    Invited,
    /// What it misses after this is being read or written out.
    Preparing { after: MutationId },
    /// Something is on its way to it; it asks again when it has that.
    Handed,
    /// It copies a checkpoint, which can take long.
    Copying,
    /// It gets prepares.
    Streaming(Progress),
}

impl Teaching {
    pub(super) fn streaming(&mut self) -> Option<&mut Progress> {
        match &mut self.phase {
            Phase::Streaming(progress) => Some(progress),
            _ => None,
        }
    }

    pub(super) fn into_progress(self) -> Option<Progress> {
        match self.phase {
            Phase::Streaming(progress) => Some(progress),
            _ => None,
        }
    }

    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.phase, Phase::Streaming(_))
    }

    /// Up to where commits may go, so that this learner comes to have all that is committed. A learner whose
    /// acknowledgements take longer than a commit would never be seen to have caught up under a steady load (§6.3).
    /// Until it has, commits go half as fast as it does: they never stand still while it gets nearer, and what it
    /// lacks gets less with all that it acknowledges. Then they wait for it as for a member.
    pub(super) fn holds_commits_at(&self, committed: Decree) -> Option<Decree> {
        let (Phase::Streaming(progress), Some(from)) = (&self.phase, &self.waited_from) else { return None };
        let half_its_pace = Decree(from.committed.0 + progress.acked.0.saturating_sub(from.acked.0) / 2);
        (progress.acked > Decree::ZERO).then(|| progress.acked.max(half_its_pace).max(committed))
    }

    /// Whether it has acknowledged, as this learner, all up to `committed`.
    pub(super) fn has_all(&self, committed: Decree) -> bool {
        matches!(&self.phase, Phase::Streaming(progress)
            if progress.acked > Decree::ZERO && progress.acked >= committed)
    }

    /// It acknowledged; `bytes_above` says how many bytes there are above a decree. Commits wait for it from when it is
    /// near, or when all is on its way to it for so long that it is not coming nearer, for as long as it does not get
    /// stuck. Near in bytes too: what it lacks is what commits wait for, and a hundred large mutations take long.
    pub(super) fn progressed(
        &mut self,
        now: Time,
        committed: Decree,
        bytes_above: impl FnOnce(Decree) -> usize,
        settings: &Settings,
    ) {
        self.progress_at = now;
        let Phase::Streaming(progress) = &self.phase else { return };
        if self.waited_from.is_some() {
            return;
        }
        let distance = settings.window.max(settings.resend_batch) as u64;
        let near = progress.acked.0.saturating_add(distance) >= committed.0
            && bytes_above(progress.acked) <= settings.batch_bytes;
        let level = progress.level_since.is_some_and(|since| since + settings.prepare_timeout <= now);
        if progress.acked > Decree::ZERO && (near || level) {
            self.waited_from = Some(WaitedFrom { acked: progress.acked, committed });
        }
    }

    pub(super) fn deadline(&self, settings: &Settings) -> Time {
        let phase = match &self.phase {
            Phase::Streaming(progress) => progress.deadline(settings.prepare_timeout),
            _ => self.invite_at,
        };
        phase.min(self.gives_up_at(settings))
    }

    fn gives_up_at(&self, settings: &Settings) -> Time {
        let patience = if matches!(self.phase, Phase::Copying) { COPY_PATIENCE } else { 1 };
        self.progress_at + settings.learn_timeout * patience
    }
}

impl Replica {
    /// Begins to teach a node, or begins anew.
    pub(super) fn start_teaching(&mut self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &mut self.role else { return };
        assert!(!primary.members.contains_key(&node) && node != step.me, "a member does not learn");
        let signature = step.new_signature();
        let teaching = Teaching {
            signature,
            phase: Phase::Invited,
            has: Decree::ZERO,
            wants_after: None,
            portion: Portion::default(),
            asked: None,
            invite_at: step.now.time + step.settings.resend,
            progress_at: step.now.time,
            waited_from: None,
        };
        primary.learners.insert(node, teaching);
        self.partners_changed = true;
        self.report_due = true;
        self.invite(step, node, signature);
    }

    pub(super) fn invite_all(&self, step: &mut Step<'_>) {
        let Role::Primary(primary) = &self.role else { return };
        for &node in primary.learners.keys() {
            self.invite_again(step, node);
        }
    }

    fn invite(&self, step: &mut Step<'_>, node: NodeId, signature: Signature) {
        if self.durable_ballot < self.ballot {
            return; // said as soon as it may be
        }
        let message = AddLearner { gpid: self.gpid, ballot: self.ballot, signature, app: self.app.clone() };
        step.send(node, PeerMessage::AddLearner(message));
    }

    pub(super) fn invite_again(&self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &self.role else { return };
        if let Some(Teaching { signature, phase: Phase::Invited, .. }) = primary.learners.get(&node) {
            self.invite(step, node, *signature);
        }
    }

    /// A learner's node has a new life, or its replica is gone: whatever it was taught is over.
    pub(super) fn teach_anew(&mut self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &self.role else { return };
        match primary.learners.get(&node) {
            Some(Teaching { phase: Phase::Invited, .. }) => self.invite_again(step, node),
            Some(_) => self.start_teaching(step, node),
            None => {}
        }
    }

    /// The learner asks for what it misses.
    pub(crate) fn on_learn(&mut self, step: &mut Step<'_>, from: NodeId, learn: &Learn) {
        let (gpid, ballot, signature) = (self.gpid, self.ballot, learn.signature);
        if learn.ballot != ballot || self.durable_ballot < ballot {
            return;
        }
        let (floor, committed, prepared) =
            (self.list.floor(), self.list.last_committed(), self.list.last_prepared());
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(teaching) = primary.learners.get_mut(&from).filter(|t| t.signature == signature) else {
            return;
        };
        let (after, has) = (learn.last_committed, learn.last_committed.decree);
        let here = self.list.identity_at(has);
        if has > committed || here.is_some_and(|here| here != after) {
            return self.start_over(step, from, signature);
        }
        if has >= floor && here.is_some() {
            if !teaching.is_streaming() {
                let mut progress = Progress::from(has);
                progress.rewind(has, &self.list, step.settings);
                teaching.phase = Phase::Streaming(progress);
                teaching.progress_at = step.now.time;
                teaching.waited_from = None;
                self.partners_changed = true;
            }
            step.send(from, PeerMessage::LearnFromList(LearnFromList { gpid, ballot, signature }));
            if has == prepared {
                // Nothing to send would mean nothing to acknowledge (PITFALLS 32).
                self.prepare(step, Vec::new());
            }
            return self.pump(step, from);
        }
        if matches!(teaching.phase, Phase::Preparing { after: asked } if asked == after) {
            return; // asked twice, being prepared
        }
        teaching.phase = Phase::Preparing { after };
        teaching.has = has;
        teaching.wants_after = Some(committed);
        teaching.progress_at = step.now.time;
        if let Some((had, there_was)) = teaching.asked.replace((has, committed)) {
            teaching.portion.was_taken((had, has), (there_was, committed));
        }
        let (mutations, bytes) =
            (teaching.portion.mutations(step.settings), teaching.portion.bytes(step.settings));
        let to = committed.min(Decree(has.0 + mutations as u64));
        // What it has is read too, to see that it is the same.
        step.work(Work::ReadLog { gpid, signature, from: has.max(Decree(1)), to, bytes });
    }

    /// The learner has another history, or more than this primary: only after an operator forced an older one
    /// (§6.4). The emptied node learns under another signature, so that a late duplicate can't empty it again.
    fn start_over(&mut self, step: &mut Step<'_>, node: NodeId, signature: Signature) {
        let message = LearnStartOver { gpid: self.gpid, ballot: self.ballot, signature };
        step.send(node, PeerMessage::LearnStartOver(message));
        self.start_teaching(step, node);
    }

    fn learner_of(&mut self, signature: Signature) -> Option<(NodeId, &mut Teaching)> {
        let Role::Primary(primary) = &mut self.role else { return None };
        let learner = primary.learners.iter_mut().find(|(_, teaching)| teaching.signature == signature);
        learner.map(|(&node, teaching)| (node, teaching))
    }

    pub(crate) fn on_log_read(
        &mut self,
        step: &mut Step<'_>,
        signature: Signature,
        mut mutations: Vec<Arc<Mutation>>,
    ) {
        let (gpid, ballot, floor, committed) =
            (self.gpid, self.ballot, self.list.floor(), self.list.last_committed());
        let Some((node, teaching)) = self.learner_of(signature) else { return };
        let Phase::Preparing { after } = teaching.phase else { return };
        if let Some(first) = mutations.first().filter(|first| first.id.decree == after.decree) {
            if first.id != after {
                return self.start_over(step, node, signature);
            }
            mutations.remove(0);
        } else if after.decree > Decree::ZERO {
            mutations.clear();
        }
        let from = after.decree.next();
        let contiguous = (from.0..).zip(&mutations).all(|(d, mutation)| mutation.id.decree == Decree(d));
        let known = mutations.last().is_some_and(|last| last.id.decree <= committed);
        teaching.progress_at = step.now.time;
        if contiguous && known {
            teaching.phase = Phase::Handed;
            let message = LearnMutations { gpid, ballot, signature, mutations };
            step.send(node, PeerMessage::LearnMutations(message));
        } else {
            // The log has been cut above that: a checkpoint, and one from which the list goes on.
            step.work(Work::OfferCheckpoint { gpid, signature, at_least: floor.max(from) });
        }
    }

    pub(crate) fn on_checkpoint_offered(
        &mut self,
        step: &mut Step<'_>,
        signature: Signature,
        result: io::Result<(MutationId, u64)>,
    ) {
        let (gpid, ballot) = (self.gpid, self.ballot);
        let Some((node, teaching)) = self.learner_of(signature) else { return };
        if !matches!(teaching.phase, Phase::Preparing { .. }) {
            return;
        }
        teaching.progress_at = step.now.time;
        match result {
            Ok((checkpoint, transfer)) => {
                teaching.phase = Phase::Copying;
                teaching.wants_after = None;
                teaching.has = checkpoint.decree;
                let message = LearnCheckpoint { gpid, ballot, signature, checkpoint, transfer };
                step.send(node, PeerMessage::LearnCheckpoint(message));
            }
            // Nothing came of it; the learner asks again.
            Err(error) => {
                teaching.phase = Phase::Handed;
                if error.kind() == io::ErrorKind::InvalidData {
                    self.replace_checkpoint(step);
                }
            }
        }
    }

    /// A learner gives up.
    pub(crate) fn on_learn_failed(&mut self, from: NodeId, signature: Signature) {
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.learners.get(&from).is_some_and(|teaching| teaching.signature == signature) {
            primary.learners.remove(&from);
            self.partners_changed = true;
            self.report_due = true;
        }
    }

    pub(super) fn teaching_on_time(&mut self, step: &mut Step<'_>) {
        let now = step.now.time;
        let Role::Primary(primary) = &mut self.role else { return };
        let stuck: Vec<NodeId> = primary
            .learners
            .iter()
            .filter(|(_, teaching)| teaching.gives_up_at(step.settings) <= now)
            .map(|(&node, _)| node)
            .collect();
        for node in stuck {
            primary.learners.remove(&node);
            self.partners_changed = true;
            self.report_due = true;
        }
        let mut invitations = Vec::new();
        for (&node, teaching) in &mut primary.learners {
            if !teaching.is_streaming() && teaching.invite_at <= now {
                let busy = if matches!(teaching.phase, Phase::Invited) { 1 } else { BUSY_PATIENCE };
                teaching.invite_at = now + step.settings.resend * busy;
                invitations.push((node, teaching.signature));
            }
        }
        for (node, signature) in invitations {
            self.invite(step, node, signature);
        }
    }

    /// The nodes with which this replica needs leases: its members, and learners about to be proposed (§5.1).
    pub(crate) fn lease_partners(&self) -> Vec<NodeId> {
        let Role::Primary(primary) = &self.role else { return Vec::new() };
        let learners = primary.learners.iter().filter(|(_, t)| t.is_streaming()).map(|(&node, _)| node);
        primary.members.keys().copied().chain(learners).collect()
    }

    /// A decree above which the list keeps everything for its learners, within its bound in bytes; each is done,
    /// or given up, after a bounded time.
    pub(super) fn wanted_by_learners(&self) -> Option<Decree> {
        let Role::Primary(primary) = &self.role else { return None };
        let wanted = primary.learners.values().filter_map(|teaching| match &teaching.phase {
            Phase::Streaming(progress) => Some(progress.known()),
            Phase::Invited => None,
            Phase::Preparing { .. } | Phase::Handed | Phase::Copying => teaching.wants_after,
        });
        wanted.min()
    }

    /// A decree below which the log is not to be cut while a learner needs it; bounded by `learn_timeout`.
    pub(crate) fn needed_by_learners(&self) -> Option<Decree> {
        let Role::Primary(primary) = &self.role else { return None };
        let learning = primary.learners.values().filter_map(|teaching| match teaching.phase {
            Phase::Preparing { .. } | Phase::Handed | Phase::Copying => Some(teaching.has),
            Phase::Invited | Phase::Streaming(_) => None,
        });
        // What it has is compared with.
        learning.min().map(|has| Decree(has.0.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_go_half_as_fast_as_a_learner_that_is_near_until_it_has_all() {
        let (now, settings) = (Time(1), Settings::default());
        let mut teaching = Teaching {
            signature: Signature(1),
            phase: Phase::Streaming(Progress::from(Decree(50))),
            has: Decree(50),
            wants_after: None,
            portion: Portion::default(),
            asked: None,
            invite_at: now,
            progress_at: now,
            waited_from: None,
        };
        let each = settings.batch_bytes / 100;
        let mut acknowledge = |acked, committed| {
            teaching.streaming().expect("it gets prepares").acked = Decree(acked);
            let bytes_above = |decree: Decree| each * (201_usize.saturating_sub(decree.0 as usize));
            teaching.progressed(now, Decree(committed), bytes_above, &settings);
            teaching.holds_commits_at(Decree(committed)).map(|decree| decree.0)
        };
        assert_eq!(acknowledge(60, 200), None, "far behind");
        assert_eq!(acknowledge(100, 200), None, "far behind in bytes");
        assert_eq!(acknowledge(101, 200), Some(200));
        assert_eq!(acknowledge(141, 200), Some(220));
        assert_eq!(acknowledge(241, 220), Some(270));
        assert_eq!(acknowledge(300, 270), Some(300), "it has all");
        assert_eq!(acknowledge(310, 300), Some(310), "they wait for it");
    }
}
