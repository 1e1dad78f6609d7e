//! Taking prepares, as a secondary or a learner (§3.2, §3.4, §4.6).

use std::sync::Arc;

use words::{
    Ballot, Configuration, Decree, Gpid, Mutation, NodeId, PeerMessage, Prepare, PrepareRefused, Record,
    Signature,
};

use super::{PendingKind, Replica, Role};
use crate::prepare_list::Offer;
use crate::step::Step;

/// What a node without the replica answers.
pub(crate) fn refuse_unable(step: &mut Step<'_>, from: NodeId, prepare: &Prepare) {
    let refused = PrepareRefused {
        gpid: prepare.gpid,
        ballot: prepare.ballot,
        confirmed: Decree::ZERO,
        unable: true,
        learning: prepare.learning,
    };
    step.send(from, PeerMessage::PrepareRefused(refused));
}

impl Replica {
    pub(crate) fn on_prepare(&mut self, step: &mut Step<'_>, from: NodeId, prepare: &Prepare) {
        let stranger = self.knows_nothing && prepare.learning.is_none();
        if matches!(self.role, Role::Error(_)) || stranger {
            // PITFALLS 9: failed but not gone yet; answered, not asserted.
            return refuse_unable(step, from, prepare);
        }
        if !self.is_ready() || self.fetching.is_some() {
            return;
        }
        if prepare.ballot < self.ballot {
            return self.refuse(step, from, prepare.learning);
        }
        if !self.follow(step, from, prepare.ballot, prepare.learning) {
            return;
        }
        self.take(step, from, prepare);
    }

    /// Makes sure that this replica follows `from` in `ballot`, in the part that the prepare gives it.
    fn follow(
        &mut self,
        step: &mut Step<'_>,
        from: NodeId,
        ballot: Ballot,
        learning: Option<Signature>,
    ) -> bool {
        if let Some(signature) = learning {
            // A learner only follows the learning that it is in; `AddLearner` begins one.
            return self.learns(step.now.time, ballot, signature);
        }
        if ballot > self.ballot {
            self.leave_primary(step);
            self.raise_ballot(
                step,
                Configuration { ballot, primary: Some(from), secondaries: vec![step.me] },
            );
            self.set_role(Role::Secondary);
            return true;
        }
        match self.role {
            Role::Secondary => self.believed_primary() == Some(from),
            // Restarted, and the primary is faster than the meta server (§7.4); but whoever was primary of
            // this ballot itself can't be anybody's secondary in it (S3).
            Role::Inactive if self.believed_primary().is_none_or(|primary| primary == from) => {
                self.configuration.primary = Some(from);
                self.set_role(Role::Secondary);
                true
            }
            _ => false,
        }
    }

    fn take(&mut self, step: &mut Step<'_>, from: NodeId, prepare: &Prepare) {
        let decree = prepare.mutation.id.decree;
        if decree == Decree::ZERO || prepare.mutation.id.ballot > prepare.ballot {
            return; // no primary makes such a thing
        }
        match self.list.offer(&prepare.mutation, prepare.ballot, Some(prepare.previous)) {
            offer @ (Offer::Appended | Offer::Raised | Offer::Replaced) => {
                let replaces = offer == Offer::Replaced;
                assert!(!replaces || decree > self.confirmed, "a primary contradicts itself within a ballot");
                self.log_prepare(step, &prepare.mutation, replaces, prepare.last_committed);
            }
            Offer::Repeated => {
                // Its record, or that of the risen ballot, may still be on its way; then that acknowledges.
                self.confirmed = self.confirmed.max(decree);
                if self.confirmed_durable >= decree {
                    self.acknowledge(step);
                }
            }
            Offer::Committed => self.acknowledge(step),
            Offer::Contradicts => {
                let reason = format!("{} contradicts what is committed here (S1)", prepare.mutation.id);
                return self.fail(step, reason);
            }
            Offer::Gap => return self.refuse(step, from, prepare.learning),
        }
        self.commit_known(step, prepare.last_committed);
    }

    /// Logs what the list took under the present ballot; it is confirmed by that, and counts once it is durable.
    pub(super) fn log_prepare(
        &mut self,
        step: &mut Step<'_>,
        mutation: &Arc<Mutation>,
        replaces: bool,
        last_committed: Decree,
    ) {
        let (gpid, ballot, id) = (self.gpid, self.ballot, mutation.id);
        self.confirmed = self.confirmed.max(id.decree);
        if replaces {
            self.durable_prepared = self.durable_prepared.min(id.decree.previous());
        }
        let mutation = Arc::clone(mutation);
        let sequence = step.append(Record::Prepare { gpid, ballot, mutation, replaces, last_committed });
        self.await_durable(step, sequence, ballot, PendingKind::Entry(id));
    }

    /// Commits what the primary has committed, never beyond what is confirmed (§3.4).
    pub(super) fn commit_known(&mut self, step: &mut Step<'_>, last_committed: Decree) {
        let limit = last_committed.min(self.confirmed);
        self.commit(step, limit);
    }

    fn refuse(&mut self, step: &mut Step<'_>, to: NodeId, learning: Option<Signature>) {
        let refused = refused(self.gpid, self.ballot, self.confirmed, learning);
        step.send(to, PeerMessage::PrepareRefused(refused));
    }

    /// A heartbeat says that the primary has committed what is not confirmed here: prepares were lost, or the
    /// ballot rose without anything in flight. Asks for them by the hint that a refusal is.
    pub(super) fn ask_for_missing(&mut self, step: &mut Step<'_>, primary: NodeId) {
        let learning = match &self.role {
            Role::Learner(learner) => Some(learner.signature),
            _ => None,
        };
        self.refuse(step, primary, learning);
    }
}

fn refused(gpid: Gpid, ballot: Ballot, confirmed: Decree, learning: Option<Signature>) -> PrepareRefused {
    PrepareRefused { gpid, ballot, confirmed, unable: false, learning }
}
