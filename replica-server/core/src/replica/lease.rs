//! Leases on one partition: granted to others, and held (§5).

use words::{Ballot, Claim, NodeId, StepDown, Time};

use super::{Replica, Role};
use crate::Settings;
use crate::step::Step;

/// A lease that this node granted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// The ballot in which the holder was primary.
    ballot: Ballot,
    /// On this node's clock.
    until: Time,
}

impl Replica {
    /// A heartbeat claims this partition for its sender. Returns whether the acknowledgement covers it: not
    /// where this replica knows a higher ballot, or takes another node for the primary (§5.2).
    pub(crate) fn grant(&mut self, now: Time, settings: &Settings, from: NodeId, claim: &Claim) -> bool {
        let covered = !matches!(self.role, Role::Error(_))
            && self.is_ready()
            && claim.ballot >= self.ballot
            && self.believed_primary() == Some(from);
        if covered {
            self.grants.insert(from, Grant { ballot: claim.ballot, until: now + settings.grant() });
        }
        covered
    }

    /// Whether a claim says more than that its sender is there. Mostly it does not, and a node takes thousands of
    /// them ten times a second.
    pub(crate) fn is_news(&self, claim: &Claim) -> bool {
        let known = self.list.last_committed().min(self.confirmed);
        claim.ballot > self.ballot || claim.ballot == self.ballot && claim.last_committed > known
    }

    /// What a claim says beside that its sender is there: a ballot, or up to where is committed (§3.4).
    pub(crate) fn on_news(&mut self, step: &mut Step<'_>, from: NodeId, claim: &Claim) {
        if matches!(self.role, Role::Error(_)) || !self.is_ready() {
            return;
        }
        if claim.ballot > self.ballot {
            // The news got lost on the way here.
            return step.meta(words::NodeToMeta::Query { gpid: self.gpid });
        }
        let follows = matches!(self.role, Role::Secondary | Role::Learner(_)) && self.fetching.is_none();
        if claim.ballot == self.ballot && self.believed_primary() == Some(from) && follows {
            self.commit_known(step, claim.last_committed);
            let streaming = !matches!(&self.role, Role::Learner(learner) if !learner.following());
            if claim.last_committed > self.confirmed && streaming {
                self.ask_for_missing(step, from);
            }
        }
    }

    /// What a heartbeat asks a lease for. Nothing is said under a ballot that is not durable (§4.5).
    pub(crate) fn claim(&self) -> Option<Claim> {
        let claims = matches!(self.role, Role::Primary(_)) && self.durable_ballot == self.ballot;
        let last_committed = self.list.last_committed();
        claims.then_some(Claim { gpid: self.gpid, ballot: self.ballot, last_committed })
    }

    /// The node's newest heartbeat was acknowledged: its lease covers this partition until `until`, or it is an
    /// exception. `ballot` is what that heartbeat claimed.
    pub(crate) fn on_lease(&mut self, granter: NodeId, ballot: Ballot, until: Option<Time>) {
        let Role::Primary(primary) = &mut self.role else { return };
        if ballot < primary.tenure {
            return; // granted to an earlier tenure
        }
        if let Some(progress) = primary.progress_mut(granter) {
            progress.lease_until = until.unwrap_or_default();
        }
    }

    /// An old primary gave up its leases (§5.5): only for that ballot and lower ones.
    pub(crate) fn on_step_down(&mut self, step: &mut Step<'_>, from: NodeId, message: &StepDown) {
        if self.grants.get(&from).is_some_and(|grant| grant.ballot <= message.ballot) {
            self.grants.remove(&from);
        }
        let until = self.granted_until(step);
        if let Role::Primary(primary) = &mut self.role {
            primary.wait_until = primary.wait_until.min(until);
            self.advance_commit(step);
        }
    }

    /// Until when another node may hold a lease from this one on the partition (§5.4).
    pub(super) fn granted_until(&self, step: &Step<'_>) -> Time {
        let others = self.grants.iter().filter(|&(&node, _)| node != step.me);
        others.map(|(_, grant)| grant.until).max().unwrap_or_default().max(self.boot_grant)
    }

    /// Whether this replica may serve a read at `now` (§5.3).
    #[must_use]
    pub fn can_read(&self, now: Time) -> bool {
        match &self.role {
            Role::Primary(primary) => primary.ready && primary.leases_cover(now),
            _ => false,
        }
    }
}
