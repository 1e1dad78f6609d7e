//! The learner's side of learning (§6).

use std::io;
use std::time::Duration;

use words::{
    AddLearner, Ballot, Configuration, CopyProgress, Learn, LearnCheckpoint, LearnFailed, LearnFromList,
    LearnMutations, LearnStartOver, MutationId, NodeId, PeerMessage, Record, Signature, Time,
};

use super::{PendingKind, Replica, Role};
use crate::prepare_list::Offer;
use crate::step::Step;
use crate::{LogSequence, Settings, Work};

/// What only a learner has.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) signature: Signature,
    /// The ballot under which it learns; it is proposed as a secondary under no other (§6.3).
    pub(super) ballot: Ballot,
    primary: NodeId,
    /// It gets prepares: what it lacked is in the primary's prepare list.
    following: bool,
    /// When it asks again, if nothing came.
    ask_at: Time,
    /// It asks for more once its disk has come so far: what it takes must not outrun that (L2).
    ask_after: Option<LogSequence>,
    progress_at: Time,
}

impl Learner {
    pub(super) fn following(&self) -> bool {
        self.following
    }

    pub(super) fn deadline(&self, settings: &Settings) -> Time {
        let give_up = self.progress_at + settings.learn_timeout;
        if self.following || self.ask_after.is_some() { give_up } else { give_up.min(self.ask_at) }
    }
}

/// An answer can take a while: reading a log, writing a checkpoint.
fn patience(settings: &Settings) -> Duration {
    settings.resend * 4
}

impl Replica {
    /// A primary wants this node to learn. Repeated until the learner asks.
    pub(crate) fn on_add_learner(&mut self, step: &mut Step<'_>, from: NodeId, message: &AddLearner) {
        if message.ballot < self.ballot || self.fetching.is_some() || !self.is_ready() {
            return;
        }
        if self.log_is_stuck(step) {
            return; // each learning would leave more for the disk than there is already (L2)
        }
        let newer = message.ballot > self.ballot;
        match &self.role {
            // It is no member in that ballot, so nothing here is needed: away with it, and learn afresh. In
            // the ballot that it knows it can be one of the next.
            Role::Error(_) if newer => return self.begin_removal(step),
            Role::Error(_) => {
                // Said before, and lost: its teacher would count it as a learner for ever.
                let failed = LearnFailed { gpid: self.gpid, signature: message.signature };
                return step.send(from, PeerMessage::LearnFailed(failed));
            }
            // A duplicate that was delayed, or two roles that meet (PITFALLS 14 to 16).
            Role::Primary(_) | Role::Secondary if !newer => return,
            // Signatures of one primary grow: an older one is of a learning that is over.
            Role::Learner(learner) if message.signature <= learner.signature && !newer => return,
            _ => {}
        }
        self.leave_primary(step);
        self.knows_nothing = false;
        let configuration =
            Configuration { ballot: message.ballot, primary: Some(from), secondaries: Vec::new() };
        if newer {
            self.raise_ballot(step, configuration);
        } else {
            self.configuration = configuration;
        }
        self.set_role(Role::Learner(Learner {
            signature: message.signature,
            ballot: message.ballot,
            primary: from,
            following: false,
            ask_at: Time::NEVER,
            ask_after: None,
            progress_at: step.now.time,
        }));
        self.ask_to_learn(step);
    }

    fn ask_to_learn(&mut self, step: &mut Step<'_>) {
        let last_committed = self.list.last_committed_id();
        let Role::Learner(learner) = &mut self.role else { return };
        learner.ask_at = step.now.time + patience(step.settings);
        learner.ask_after = None;
        let (ballot, signature) = (learner.ballot, learner.signature);
        let message = Learn { gpid: self.gpid, ballot, signature, last_committed };
        step.send(learner.primary, PeerMessage::Learn(message));
    }

    /// The primary was restarted or met anew: the question may be lost.
    pub(super) fn ask_again(&mut self, step: &mut Step<'_>, node: NodeId) {
        if matches!(&self.role, Role::Learner(learner) if learner.primary == node && !learner.following)
            && self.fetching.is_none()
        {
            self.ask_to_learn(step);
        }
    }

    /// Whether a prepare is of the learning that this replica is in.
    pub(super) fn learns(&mut self, now: Time, ballot: Ballot, signature: Signature) -> bool {
        let Some(learner) = self.learner_in(ballot, signature) else { return false };
        learner.progress_at = now;
        learner.following = true;
        true
    }

    /// The learner, if a message is of its learning; messages of another one are ignored.
    fn learner_in(&mut self, ballot: Ballot, signature: Signature) -> Option<&mut Learner> {
        if self.fetching.is_some() || ballot != self.ballot {
            return None;
        }
        match &mut self.role {
            Role::Learner(learner) if learner.signature == signature => Some(learner),
            _ => None,
        }
    }

    pub(crate) fn on_learn_from_list(&mut self, step: &mut Step<'_>, message: &LearnFromList) {
        let Some(learner) = self.learner_in(message.ballot, message.signature) else { return };
        learner.following = true;
        learner.progress_at = step.now.time;
    }

    /// Committed mutations from the primary's log: prepared and committed in one.
    pub(crate) fn on_learn_mutations(&mut self, step: &mut Step<'_>, message: &LearnMutations) {
        let Some(learner) = self.learner_in(message.ballot, message.signature) else { return };
        learner.progress_at = step.now.time;
        let on_its_way = self.pending.back().map(|pending| pending.sequence);
        for mutation in &message.mutations {
            let decree = mutation.id.decree;
            if decree <= self.last_committed() {
                continue;
            }
            if decree > self.last_committed().next() || mutation.id.ballot > self.ballot {
                return; // of a request that is overtaken
            }
            let offer = self.list.offer(mutation, self.ballot, None);
            match offer {
                Offer::Appended | Offer::Raised | Offer::Replaced => {}
                Offer::Repeated | Offer::Committed => {
                    self.confirmed = self.confirmed.max(decree);
                    self.commit(step, decree);
                    continue;
                }
                Offer::Contradicts | Offer::Gap => return,
            }
            self.log_prepare(step, mutation, offer == Offer::Replaced, decree);
            self.commit(step, decree);
        }
        match (on_its_way, &mut self.role) {
            (Some(_), Role::Learner(learner)) => learner.ask_after = on_its_way,
            _ => self.ask_to_learn(step),
        }
    }

    /// The disk has come so far: there is room for more.
    pub(super) fn learn_on(&mut self, step: &mut Step<'_>, durable: LogSequence) {
        let Role::Learner(learner) = &mut self.role else { return };
        if learner.ask_after.is_some_and(|sequence| sequence <= durable) && self.fetching.is_none() {
            learner.progress_at = step.now.time;
            self.ask_to_learn(step);
        }
    }

    /// A checkpoint waits at the primary's node.
    pub(crate) fn on_learn_checkpoint(&mut self, step: &mut Step<'_>, message: &LearnCheckpoint) {
        let last_committed = self.last_committed();
        let gpid = self.gpid;
        let Some(learner) = self.learner_in(message.ballot, message.signature) else { return };
        if message.checkpoint.decree <= last_committed || learner.following {
            return; // it must never shorten what is here (§6.2)
        }
        learner.progress_at = step.now.time;
        let (from, signature) = (learner.primary, learner.signature);
        self.fetching = Some(signature);
        let (transfer, checkpoint) = (message.transfer, message.checkpoint);
        step.work(Work::FetchCheckpoint { gpid, signature, from, transfer, checkpoint });
    }

    /// So much of the checkpoint is here. People wait for it: the meta server hears of it at once.
    pub(crate) fn on_checkpoint_copied(&mut self, signature: Signature, progress: CopyProgress) {
        if self.fetching == Some(signature) {
            self.copied = Some(progress);
            self.report_due = true;
        }
    }

    /// The checkpoint has taken the app's place, durably, or nothing changed.
    pub(crate) fn on_checkpoint_installed(
        &mut self,
        step: &mut Step<'_>,
        signature: Signature,
        result: io::Result<MutationId>,
    ) {
        if self.fetching != Some(signature) {
            return;
        }
        (self.fetching, self.copied) = (None, None);
        match result {
            Ok(checkpoint) => self.install(step, checkpoint),
            Err(_) => {
                if self.give_up_learning(step) {
                    self.set_role(Role::Inactive);
                }
            }
        }
        self.on_undeferred(step);
        if let Role::Learner(learner) = &mut self.role {
            learner.progress_at = step.now.time;
            self.ask_to_learn(step);
        }
    }

    /// Tells the primary that nothing comes of this learning; whether there was one.
    pub(super) fn give_up_learning(&self, step: &mut Step<'_>) -> bool {
        let Role::Learner(learner) = &self.role else { return false };
        let message = LearnFailed { gpid: self.gpid, signature: learner.signature };
        step.send(learner.primary, PeerMessage::LearnFailed(message));
        true
    }

    fn install(&mut self, step: &mut Step<'_>, checkpoint: MutationId) {
        let suffix_kept = self.list.install(checkpoint);
        let decree = checkpoint.decree;
        let prepared = self.list.last_prepared();
        self.confirmed = self.confirmed.max(decree).min(prepared);
        self.durable_prepared = self.durable_prepared.max(decree).min(prepared);
        self.confirmed_durable = self.confirmed_durable.max(decree).min(prepared);
        (self.handed, self.applied, self.durable) = (decree, decree, checkpoint);
        self.trim_list(step.settings);
        let sequence = step.append(Record::Installed { gpid: self.gpid, checkpoint, suffix_kept });
        let ballot = self.durable_ballot;
        self.await_durable(step, sequence, ballot, PendingKind::Installed);
        self.report_due = true;
    }

    /// This replica is ahead of a primary that an operator forced: its state is set aside (§6.4). The primary
    /// goes on inviting until a new, empty learner asks.
    pub(crate) fn on_learn_start_over(&mut self, step: &mut Step<'_>, message: &LearnStartOver) {
        if self.learner_in(message.ballot, message.signature).is_some() {
            self.begin_removal(step);
        }
    }

    pub(super) fn learner_on_time(&mut self, step: &mut Step<'_>) {
        let (now, settings) = (step.now.time, step.settings);
        let Role::Learner(learner) = &mut self.role else { return };
        if self.fetching.is_some() {
            // Bounded by the transfer's own deadlines; it reports when it is over.
            learner.progress_at = now;
            learner.ask_at = now + patience(settings);
        } else if learner.progress_at + settings.learn_timeout <= now {
            self.give_up_learning(step);
            self.set_role(Role::Inactive);
        } else if !learner.following && learner.ask_after.is_none() && learner.ask_at <= now {
            self.ask_to_learn(step);
        }
    }
}
