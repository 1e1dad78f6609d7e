//! Following the meta server's configurations, and asking for others (§4, §5.5).

use std::collections::BTreeMap;

use words::{AppInfo, AppTerms, Command, Configuration, NodeId, NodeToMeta, Proposal, Signature, Time};

use super::primary::Primary;
use super::progress::Progress;
use super::{Replica, Role};
use crate::step::Step;

/// A change that the meta server was asked for.
#[derive(Debug)]
pub(super) struct PendingProposal {
    pub(super) proposed: Configuration,
    pub(super) resend_at: Time,
    since: Time,
}

/// The role is being handed over.
#[derive(Debug)]
pub(super) struct Handover {
    to: NodeId,
    /// Given up then, if it was not proposed by that time.
    pub(super) deadline: Time,
}

impl Replica {
    /// The meta server says what the configuration is: now, or some time ago.
    pub(crate) fn on_configuration(&mut self, step: &mut Step<'_>, configuration: &Configuration) {
        let known = self.deferred.as_ref().map_or(self.ballot, |deferred| deferred.ballot);
        if configuration.ballot < known || matches!(self.role, Role::Error(_)) {
            return;
        }
        if !self.is_ready() || self.fetching.is_some() {
            self.deferred = Some(configuration.clone());
            return;
        }
        if self.knows_nothing && configuration.is_member(step.me) {
            let reason = "the configuration names this node, whose data is gone".to_owned();
            return self.fail(step, reason);
        }
        if configuration.ballot == self.ballot {
            self.on_same_ballot(step, configuration);
        } else {
            self.adopt(step, configuration.clone());
        }
    }

    /// The app as the meta server describes it now: its number of replicas can change (§3.6), and its terms.
    /// Returns whether there is a part to play in it. What is older than what is known, say from a meta server that
    /// was deposed, says nothing about the app; its configuration is judged by its ballot.
    pub(crate) fn on_app(&mut self, step: &mut Step<'_>, app: AppInfo, terms: AppTerms) -> bool {
        if terms.revision >= self.terms.revision {
            self.app = app;
            self.take_terms(terms);
            if self.terms.dropped {
                self.rest(step);
            }
        }
        !self.terms.dropped
    }

    pub(crate) fn take_terms(&mut self, terms: AppTerms) {
        self.throttling.set(terms.envs.rules(), self.app.partition_count);
        self.terms = terms;
    }

    /// The app was dropped: nobody is served, and all that is here stays as it is, its ballot too. If it is recalled
    /// this replica goes on like one that was restarted (§7.4).
    fn rest(&mut self, step: &mut Step<'_>) {
        self.deferred = None;
        if matches!(self.role, Role::Primary(_) | Role::Secondary) && self.is_ready() {
            self.leave_primary(step);
            self.set_role(Role::Inactive);
        }
    }

    /// What could not be acted on can be now.
    pub(super) fn on_undeferred(&mut self, step: &mut Step<'_>) {
        if let Some(configuration) = self.deferred.take() {
            self.on_configuration(step, &configuration);
        }
    }

    fn on_same_ballot(&mut self, step: &mut Step<'_>, configuration: &Configuration) {
        if !matches!(self.role, Role::Inactive) {
            return; // no news; a proposal that is under way goes on being asked about
        }
        self.configuration = configuration.clone();
        if configuration.secondaries.contains(&step.me) {
            self.set_role(Role::Secondary);
        } else if configuration.primary == Some(step.me) {
            self.ask(step, configuration.bumped());
        }
    }

    fn ask(&self, step: &mut Step<'_>, proposed: Configuration) {
        step.meta(NodeToMeta::Propose(Proposal { gpid: self.gpid, node: step.me, proposed }));
    }

    fn adopt(&mut self, step: &mut Step<'_>, configuration: Configuration) {
        let leads = configuration.primary == Some(step.me);
        if leads && matches!(self.role, Role::Primary(_)) {
            return self.lead_on(step, configuration);
        }
        self.leave_primary(step);
        let follows = configuration.secondaries.contains(&step.me);
        let succeeds = self.succeeds(step, &configuration);
        self.raise_ballot(step, configuration);
        if leads && succeeds {
            self.lead(step);
        } else if leads {
            self.boot_grant = step.now.time + step.settings.grant();
            self.set_role(Role::Inactive);
            self.ask(step, self.configuration.bumped());
        } else if follows {
            self.set_role(Role::Secondary);
        } else {
            // Its data stays until the meta server says that it may be collected (§4.7).
            self.set_role(Role::Inactive);
        }
    }

    /// Whether this replica was a member of the configuration before, or the partition is new: then it may lead at
    /// once. Who was restarted may have sent what it did not log (§7.4); and around a declared loss (§4.8), who was
    /// given up can hear of the configuration that named it from a meta server that was deposed, and who leads instead
    /// knows nothing of the leases that were granted. They wait for a full lease and ask for a higher ballot, which
    /// only a meta server that is in office can give.
    fn succeeds(&self, step: &Step<'_>, next: &Configuration) -> bool {
        let was_member = matches!(self.role, Role::Secondary) || self.configuration.is_member(step.me);
        let is_first = self.ballot == words::Ballot(0);
        is_first || (was_member && self.ballot.next() == next.ballot)
    }

    /// Becomes primary: reconciliation (§4.5).
    fn lead(&mut self, step: &mut Step<'_>) {
        let base = self.last_committed();
        let members =
            self.configuration.secondaries.iter().map(|&node| (node, Progress::from(base))).collect();
        let wait_until = self.granted_until(step);
        self.set_role(Role::Primary(Box::new(Primary::new(self.ballot, members, wait_until))));
        // All that is prepared and not committed goes out again, then an empty mutation; nothing leaves
        // before the ballot is durable, nothing commits before `wait_until`.
        let reconcile = self.prepare(step, Vec::new());
        let Role::Primary(primary) = &mut self.role else { unreachable!("it just became primary") };
        primary.reconcile = reconcile;
    }

    /// Goes on as primary under a higher ballot: what is in flight is proposed again, reads go on (§4.5).
    fn lead_on(&mut self, step: &mut Step<'_>, configuration: Configuration) {
        self.raise_ballot(step, configuration);
        self.confirmed = self.last_prepared();
        let base = self.last_committed();
        let Role::Primary(primary) = &mut self.role else { unreachable!("the caller checked") };
        let secondaries = &self.configuration.secondaries;
        let mut before = std::mem::take(&mut primary.members);
        let mut learners = std::mem::take(&mut primary.learners);
        for &node in secondaries {
            let mut progress = before.remove(&node).unwrap_or_else(|| Progress::from(base));
            progress.rebase(base);
            primary.members.insert(node, progress);
            learners.remove(&node);
        }
        primary.proposal = None;
        primary.joining = BTreeMap::new();
        primary.suspects.retain(|node| secondaries.contains(node));
        // A successor that the outcome did not make primary can be handed over to by a new command.
        primary.handover = None;
        self.partners_changed = true;
        // Learning is of a ballot (§6.3): those under way begin anew, each from where it has come.
        for node in learners.into_keys() {
            self.start_teaching(step, node);
        }
    }

    /// From here on this primary may say something under its ballot (§4.5), and does.
    pub(super) fn on_ballot_durable(&mut self, step: &mut Step<'_>) {
        self.heartbeat_due = true;
        self.pump_all(step);
        self.invite_all(step);
        self.decide(step);
    }

    /// The guardian, the balancer or an operator wants something.
    pub(crate) fn on_command(&mut self, step: &mut Step<'_>, ballot: words::Ballot, command: Command) {
        let Role::Primary(primary) = &mut self.role else { return };
        if ballot != self.ballot {
            return; // decided on another configuration (PITFALLS 24, 30)
        }
        match command {
            Command::AddSecondary(node) => {
                if node != step.me && !primary.members.contains_key(&node) && primary.ready {
                    let known = primary.learners.contains_key(&node);
                    if !known {
                        self.start_teaching(step, node);
                    }
                }
            }
            Command::Remove(node) => {
                if primary.learners.remove(&node).is_some() {
                    self.partners_changed = true;
                    self.report_due = true;
                }
                self.suspect(step, node);
            }
            Command::HandOver(to) => self.hand_over(step, to),
        }
    }

    /// A member is to leave: it is silent, failed, gone or unwanted (§4.2).
    pub(crate) fn suspect(&mut self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.members.contains_key(&node) {
            primary.suspects.insert(node);
            self.decide(step);
        } else if primary.learners.remove(&node).is_some() {
            self.partners_changed = true;
            self.report_due = true;
        }
    }

    /// Begins to hand the role over (§5.5): no more writes are taken, those taken are finished.
    fn hand_over(&mut self, step: &mut Step<'_>, to: NodeId) {
        let Role::Primary(primary) = &mut self.role else { return };
        let can = primary.ready
            && primary.handover.is_none()
            && primary.proposal.is_none()
            && self.configuration.secondaries.contains(&to)
            && !primary.suspects.contains(&to);
        if can {
            let deadline = step.now.time + step.settings.prepare_timeout;
            primary.handover = Some(Handover { to, deadline });
            self.decide(step);
        }
    }

    /// The node stops: hands over to the member that has come furthest. Returns whether there is still
    /// something to wait for.
    pub(crate) fn hand_over_to_anyone(&mut self, step: &mut Step<'_>) -> bool {
        let Role::Primary(primary) = &self.role else { return false };
        let candidates = primary.members.iter().filter(|(node, _)| {
            self.configuration.secondaries.contains(node) && !primary.suspects.contains(node)
        });
        let best = candidates.max_by_key(|(_, progress)| progress.acked).map(|(&node, _)| node);
        let Some(to) = best else { return false };
        self.hand_over(step, to);
        true
    }

    /// Asks for the change that is most needed, one at a time.
    pub(super) fn decide(&mut self, step: &mut Step<'_>) {
        let successor = self.whose_log_works(step);
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.proposal.is_some() || self.durable_ballot < self.ballot {
            return;
        }
        let gone = primary.suspects.iter().find(|node| self.configuration.secondaries.contains(node));
        let proposed = if let Some(node) = successor {
            self.configuration.promoted(node)
        } else if let Some(&node) = gone {
            self.configuration.without_secondary(node)
        } else if let Some(handover) = &primary.handover {
            if !primary.is_drained() || self.list.last_prepared() > self.applied {
                return; // what is in flight is finished first
            }
            self.configuration.handed_over_to(handover.to)
        } else if let Some((node, signature)) = self.caught_up() {
            return self.propose_addition(step, node, signature);
        } else {
            return;
        };
        self.propose(step, proposed);
    }

    /// A learner that is contiguous and durable at least up to the present commit point (§6.3).
    fn caught_up(&self) -> Option<(NodeId, Signature)> {
        let Role::Primary(primary) = &self.role else { return None };
        if !primary.ready {
            return None; // §4.5: it would be outside of the lease set of the primary before
        }
        let committed = self.list.last_committed();
        let caught_up = primary.learners.iter().find(|(_, teaching)| teaching.has_all(committed));
        caught_up.map(|(&node, teaching)| (node, teaching.signature))
    }

    /// From the moment of proposing it counts, for commits and for leases (§4.3).
    fn propose_addition(&mut self, step: &mut Step<'_>, node: NodeId, signature: Signature) {
        let Role::Primary(primary) = &mut self.role else { return };
        let teaching = primary.learners.remove(&node).expect("it has caught up");
        let progress = teaching.into_progress().expect("only who gets prepares catches up");
        primary.members.insert(node, progress);
        primary.joining.insert(node, signature);
        self.partners_changed = true;
        let proposed = self.configuration.with_secondary(node);
        self.propose(step, proposed);
    }

    fn propose(&mut self, step: &mut Step<'_>, proposed: Configuration) {
        let Role::Primary(primary) = &mut self.role else { return };
        let resend_at = step.now.time + step.settings.resend;
        self.report_due = true;
        let since = step.now.time;
        primary.proposal = Some(PendingProposal { proposed: proposed.clone(), resend_at, since });
        self.ask(step, proposed);
    }

    /// The outcome of a proposal is asked about until it is known: a configuration with a higher ballot (§4.2).
    pub(super) fn proposals_on_time(&mut self, step: &mut Step<'_>) {
        let now = step.now.time;
        let log_is_stuck = self.log_is_stuck(step);
        let Role::Primary(primary) = &mut self.role else { return };
        if let Some(handover) = &mut primary.handover
            && handover.deadline <= now
        {
            handover.deadline = Time::NEVER;
            if primary.proposal.is_none() {
                primary.handover = None; // its writes did not finish in time; it goes on as before
            }
        }
        let Some(proposal) = &mut primary.proposal else { return };
        if proposal.resend_at > now {
            return;
        }
        proposal.resend_at = now + step.settings.resend;
        // What was proposed may rest on a node that the meta server takes for dead, and then it will not have
        // it. Another change of the same ballot settles it: one of the two wins, and whoever was proposed
        // counts until that is known. Not while the log would not take that ballot: there would be no more reads (§7.6).
        if proposal.since + step.settings.prepare_timeout <= now && !log_is_stuck {
            primary.handover = None;
            proposal.proposed = self.configuration.bumped();
        }
        let proposed = proposal.proposed.clone();
        self.ask(step, proposed);
    }

    /// The session with the meta server is new: what was asked for may be lost.
    pub(crate) fn on_meta_connected(&mut self, step: &mut Step<'_>) {
        if let Role::Primary(primary) = &self.role
            && let Some(proposal) = &primary.proposal
        {
            let proposed = proposal.proposed.clone();
            self.ask(step, proposed);
        }
    }
}
