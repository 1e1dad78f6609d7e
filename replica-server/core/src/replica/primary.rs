//! What a primary does with prepares and acknowledgements (§3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use words::{
    AppAnswer, Ballot, Decree, Mutation, MutationId, NodeId, PeerMessage, Prepare, PrepareAck,
    PrepareRefused, Refusal, Reply, Signature, Time, Write,
};

use super::configuration::{Handover, PendingProposal};
use super::held::{Held, Queued};
use super::progress::Progress;
use super::teaching::Teaching;
use super::{Replica, Role};
use crate::prepare_list::Offer;
use crate::step::Step;
use crate::{Settings, Token, WriteAnswer};

/// What only a primary has.
#[derive(Debug)]
pub(super) struct Primary {
    /// The ballot in which this replica became primary; it goes on under higher ones.
    pub(super) tenure: Ballot,
    /// Everyone who must acknowledge: the secondaries of the configuration, and a node whose addition is
    /// proposed, from the moment of proposing (§4.3).
    pub(super) members: BTreeMap<NodeId, Progress>,
    pub(super) learners: BTreeMap<NodeId, Teaching>,
    /// The change that the meta server was asked for, until its outcome is known (§4.2).
    pub(super) proposal: Option<PendingProposal>,
    /// Members whose addition was proposed in this ballot, with the learning by which they got there.
    pub(super) joining: BTreeMap<NodeId, Signature>,
    /// Members that are to leave: silent, failed, or unwanted.
    pub(super) suspects: BTreeSet<NodeId>,
    /// Nothing is committed before all leases that were granted to earlier primaries have run out (§5.4).
    pub(super) wait_until: Time,
    /// The empty mutation whose commit ends reconciliation (§4.5).
    pub(super) reconcile: Decree,
    /// Reconciled: reads are served, members are added, the role can be handed over.
    pub(super) ready: bool,
    /// Writes that wait for a place in the window.
    pub(super) waiting: VecDeque<Queued>,
    /// Bytes of payload in them.
    pub(super) waiting_bytes: usize,
    /// What is not to go on yet.
    pub(super) held: Held,
    /// Who waits for the answers to which decree.
    pub(super) tokens: VecDeque<(Decree, Vec<Token>)>,
    /// Timestamps of one tenure never fall (§3.7).
    last_timestamp_us: u64,
    pub(super) handover: Option<Handover>,
    /// An empty mutation that was sent because the own log has stopped: whose log takes it can lead (§7.6).
    pub(super) probe: Option<Decree>,
}

impl Primary {
    pub(super) fn new(tenure: Ballot, members: BTreeMap<NodeId, Progress>, wait_until: Time) -> Self {
        Self {
            tenure,
            members,
            learners: BTreeMap::new(),
            proposal: None,
            joining: BTreeMap::new(),
            suspects: BTreeSet::new(),
            wait_until,
            reconcile: Decree::ZERO,
            ready: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: Held::default(),
            tokens: VecDeque::new(),
            last_timestamp_us: 0,
            handover: None,
            probe: None,
        }
    }

    pub(super) fn leases_cover(&self, now: Time) -> bool {
        self.members.values().all(|progress| progress.lease_until > now)
    }

    /// A member's progress, or that of a learner that gets prepares.
    pub(super) fn progress_mut(&mut self, node: NodeId) -> Option<&mut Progress> {
        match self.members.get_mut(&node) {
            Some(progress) => Some(progress),
            None => self.learners.get_mut(&node).and_then(Teaching::streaming),
        }
    }

    /// The learning that messages to and from a node belong to: none for a member, but one whose addition is
    /// only proposed is still the learner that it was.
    pub(super) fn learning_of(&self, node: NodeId) -> Option<Signature> {
        let added = self.joining.get(&node);
        added.or_else(|| self.learners.get(&node).map(|teaching| &teaching.signature)).copied()
    }

    /// Nothing waits and nothing is in flight, neither on its way to commit nor to the app.
    pub(super) fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.tokens.is_empty()
    }
}

impl Replica {
    /// All events that waited were taken: what clients wrote becomes mutations (§3.1).
    pub(crate) fn flush(&mut self, step: &mut Step<'_>) {
        // Whoever left, member or learner, nobody waits for any more.
        self.advance_commit(step);
        if self.is_too_small(step.settings) {
            self.refuse_waiting(step, &Refusal::NotEnoughReplicas);
        }
        while self.has_room(step.settings) {
            let Some((writes, tokens)) = self.next_batch(step) else { break };
            let decree = self.prepare(step, writes);
            let Role::Primary(primary) = &mut self.role else { unreachable!("only a primary has room") };
            primary.tokens.push_back((decree, tokens));
        }
    }

    /// What waits has no decree yet, so it surely is not done, and never will be.
    fn refuse_waiting(&mut self, step: &mut Step<'_>, refusal: &Refusal) {
        let Role::Primary(primary) = &mut self.role else { return };
        primary.waiting_bytes = 0;
        for Queued { token, .. } in primary.waiting.drain(..) {
            step.out.replies.push((token, Reply::Refused(refusal.clone())));
        }
    }

    fn has_room(&self, settings: &Settings) -> bool {
        matches!(self.role, Role::Primary(_)) && self.in_flight() < settings.window as u64
    }

    /// Mutations that are not committed.
    pub(super) fn in_flight(&self) -> u64 {
        self.last_prepared().0 - self.last_committed().0
    }

    fn next_batch(&mut self, step: &mut Step<'_>) -> Option<(Vec<Write>, Vec<Token>)> {
        let Role::Primary(primary) = &mut self.role else { return None };
        let (batch, batch_bytes) = (step.settings.batch, step.settings.batch_bytes);
        let (mut writes, mut tokens, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(Queued { write, until, .. }) = primary.waiting.front() {
            let is_late = *until < step.now.time;
            let full = writes.len() >= batch || bytes + write.payload.len() > batch_bytes;
            if full && !writes.is_empty() && !is_late {
                break;
            }
            let Queued { write, token, .. } = primary.waiting.pop_front().expect("there is a front");
            primary.waiting_bytes -= write.payload.len();
            if is_late {
                step.out.replies.push((token, Reply::Refused(Refusal::Busy)));
                continue;
            }
            bytes += write.payload.len();
            writes.push(write);
            tokens.push(token);
        }
        (!writes.is_empty()).then_some((writes, tokens))
    }

    /// Gives writes the next decree, logs and sends them, both at once (§3.1).
    pub(super) fn prepare(&mut self, step: &mut Step<'_>, writes: Vec<Write>) -> Decree {
        let Role::Primary(primary) = &mut self.role else { unreachable!("only a primary prepares") };
        let id = MutationId { ballot: self.ballot, decree: self.list.last_prepared().next() };
        let timestamp_us = step.now.wall_us.max(primary.last_timestamp_us);
        primary.last_timestamp_us = timestamp_us;
        let mutation = Arc::new(Mutation { id, timestamp_us, writes: writes.into() });
        let offer = self.list.offer(&mutation, self.ballot, None);
        assert_eq!(offer, Offer::Appended, "a primary prepares the next decree");
        self.log_prepare(step, &mutation, false, self.last_committed());
        self.pump_all(step);
        id.decree
    }

    /// Sends to every peer what is next for it, once the ballot is durable (§4.5).
    pub(super) fn pump_all(&mut self, step: &mut Step<'_>) {
        let Role::Primary(primary) = &self.role else { return };
        let peers: Vec<NodeId> = primary.members.keys().chain(primary.learners.keys()).copied().collect();
        for node in peers {
            self.pump(step, node);
        }
    }

    pub(super) fn pump(&mut self, step: &mut Step<'_>, node: NodeId) {
        if self.durable_ballot < self.ballot {
            return;
        }
        let Role::Primary(primary) = &mut self.role else { return };
        let learning = primary.learning_of(node);
        let Some(progress) = primary.progress_mut(node) else { return };
        let last_prepared = self.list.last_prepared();
        for decree in progress.next(step.now.time, last_prepared, step.settings.resend) {
            let (Some(entry), Some(previous)) =
                (self.list.entry(Decree(decree)), self.list.identity_at(Decree(decree - 1)))
            else {
                // It misses more than the list has: it must learn.
                return self.too_far_behind(step, node);
            };
            let prepare = Prepare {
                gpid: self.gpid,
                ballot: self.ballot,
                mutation: Arc::clone(&entry.mutation),
                previous,
                last_committed: self.list.last_committed(),
                learning,
            };
            step.send(node, PeerMessage::Prepare(prepare));
        }
    }

    fn too_far_behind(&mut self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &self.role else { return };
        if primary.members.contains_key(&node) {
            self.suspect(step, node);
        } else {
            self.start_teaching(step, node);
        }
    }

    pub(crate) fn on_prepare_ack(&mut self, step: &mut Step<'_>, from: NodeId, ack: &PrepareAck) {
        if ack.ballot != self.ballot {
            return;
        }
        let last_prepared = self.last_prepared();
        let Role::Primary(primary) = &mut self.role else { return };
        if primary.learning_of(from) != ack.learning {
            return; // of another learning
        }
        let Some(progress) = primary.progress_mut(from) else { return };
        if ack.confirmed > last_prepared {
            return; // it never got that from this primary
        }
        // Its first one in this ballot: by now it takes this node for the primary, and will grant a lease.
        self.heartbeat_due |= progress.acked == Decree::ZERO && progress.lease_until <= step.now.time;
        progress.on_ack(step.now.time, ack.confirmed, &self.list, step.settings);
        if let Some(teaching) = primary.learners.get_mut(&from) {
            let bytes_above = |decree| self.list.bytes_above(decree);
            teaching.progressed(step.now.time, self.list.last_committed(), bytes_above, step.settings);
        }
        if primary.proposal.is_none() {
            primary.suspects.remove(&from); // it is there after all
        }
        self.pump(step, from);
        self.advance_commit(step);
        self.decide(step);
    }

    pub(crate) fn on_prepare_refused(&mut self, step: &mut Step<'_>, from: NodeId, refused: &PrepareRefused) {
        let Role::Primary(primary) = &mut self.role else { return };
        if refused.ballot > self.ballot {
            return step.meta(words::NodeToMeta::Query { gpid: self.gpid });
        }
        if refused.unable {
            if refused.ballot == self.ballot && primary.learning_of(from) == refused.learning {
                self.suspect(step, from);
            }
            return;
        }
        if refused.ballot < self.ballot || primary.learning_of(from) != refused.learning {
            return; // it has not heard of this ballot, or learning; re-sends tell it
        }
        let Some(progress) = primary.progress_mut(from) else { return };
        if !progress.listens_to_refusal(step.now.time) {
            return;
        }
        // Only a hint: what it acknowledged stays acknowledged, and this acknowledges nothing (§3.2).
        progress.rewind(refused.confirmed, &self.list, step.settings);
        self.pump(step, from);
    }

    /// The life of a node became known: what was meant for it could not be addressed, or is lost.
    pub(crate) fn on_peer_met(&mut self, step: &mut Step<'_>, node: NodeId) {
        let Role::Primary(primary) = &mut self.role else { return self.ask_again(step, node) };
        if let Some(progress) = primary.progress_mut(node) {
            progress.restart(&self.list, step.settings);
            self.pump(step, node);
        }
        self.teach_anew(step, node);
    }

    /// Commits what every counted member and the own log have (§3.3), once nobody else can read (§5.4).
    pub(super) fn advance_commit(&mut self, step: &mut Step<'_>) {
        let Role::Primary(primary) = &self.role else { return };
        if self.durable_ballot < self.ballot || step.now.time < primary.wait_until {
            return;
        }
        let acked = primary.members.values().map(|progress| progress.acked);
        let committed = self.last_committed();
        let held = primary.learners.values().filter_map(|teaching| teaching.holds_commits_at(committed));
        let limit = acked.chain(held).min().map_or(self.durable_prepared, |it| it.min(self.durable_prepared));
        if limit > self.last_committed() {
            self.commit(step, limit);
        }
    }

    pub(crate) fn on_applied(&mut self, step: &mut Step<'_>, decree: Decree, answers: Vec<WriteAnswer>) {
        if decree <= self.applied {
            return; // applied before a checkpoint took the app's place
        }
        assert!(decree <= self.handed, "{}: {decree} was applied and never handed over", self.gpid);
        self.applied = decree;
        self.trim_list(step.settings);
        if let Role::Primary(primary) = &mut self.role {
            if let Some((of, _)) = primary.tokens.front()
                && *of == decree
            {
                let (_, tokens) = primary.tokens.pop_front().expect("there is a front");
                let replies = answers.into_iter().map(reply);
                step.out.replies.extend(tokens.into_iter().zip(replies));
            }
            if !primary.ready && primary.reconcile > Decree::ZERO && decree >= primary.reconcile {
                primary.ready = true;
                self.report_due = true;
            }
            self.decide(step);
        }
        self.checkpoint_if_due(step);
    }

    /// Stops being primary, if it is: nobody is left waiting. What is in flight may commit under another
    /// primary; what only waited never will.
    pub(super) fn leave_primary(&mut self, step: &mut Step<'_>) {
        if !matches!(self.role, Role::Primary(_)) {
            return;
        }
        let Role::Primary(primary) = std::mem::replace(&mut self.role, Role::Inactive) else { return };
        // Never again does this replica read under its leases: say so, nobody has to wait for them (§5.5).
        let ballot = self.ballot;
        let others = primary.members.keys().chain(primary.learners.keys());
        for &node in others {
            let message = words::StepDown { gpid: self.gpid, ballot };
            step.send(node, PeerMessage::StepDown(message));
        }
        let refusal = Reply::Refused(self.not_primary(step));
        let waiting = primary.waiting.into_iter().map(|queued| (queued.token, refusal.clone()));
        step.out.replies.extend(waiting);
        let held = primary.held.into_tokens().map(|token| (token, refusal.clone()));
        step.out.replies.extend(held);
        for token in primary.tokens.into_iter().flat_map(|(_, tokens)| tokens) {
            step.out.replies.push((token, Reply::Unknown));
        }
        self.report_due = true;
        self.partners_changed = true;
    }

    pub(super) fn primary_deadline(&self, primary: &Primary, settings: &Settings) -> Time {
        let retry = |progress: &Progress| progress.deadline(settings.prepare_timeout);
        let members = primary.members.values().map(retry).min().unwrap_or(Time::NEVER);
        let learners = primary.learners.values().map(|t| t.deadline(settings)).min().unwrap_or(Time::NEVER);
        let lease = if primary.wait_until > Time::default() { primary.wait_until } else { Time::NEVER };
        let proposal = primary.proposal.as_ref().map_or(Time::NEVER, |proposal| proposal.resend_at);
        let handover = primary.handover.as_ref().map_or(Time::NEVER, |handover| handover.deadline);
        let log = self.probes_at(primary, settings);
        members.min(learners).min(lease).min(proposal).min(handover).min(log).min(primary.held.deadline())
    }

    pub(super) fn primary_on_time(&mut self, step: &mut Step<'_>) {
        self.release_held(step);
        self.probe_if_stuck(step);
        self.retry_prepares(step);
        self.teaching_on_time(step);
        self.proposals_on_time(step);
        if let Role::Primary(primary) = &mut self.role
            && primary.wait_until <= step.now.time
        {
            primary.wait_until = Time::default();
            self.advance_commit(step);
        }
    }

    fn retry_prepares(&mut self, step: &mut Step<'_>) {
        let (now, settings) = (step.now.time, step.settings);
        // Then nobody is blamed: this log could not take the ballot without that member either, and until it does
        // there would be no more reads (§7.6).
        let own_log_waits = self.log_waits_for(now, settings.prepare_timeout / 2);
        let Role::Primary(primary) = &mut self.role else { return };
        let peers: Vec<NodeId> = primary.members.keys().chain(primary.learners.keys()).copied().collect();
        for node in peers {
            let Role::Primary(primary) = &mut self.role else { return };
            let is_member = primary.members.contains_key(&node);
            let Some(progress) = primary.progress_mut(node) else { continue };
            let stuck_for = progress.stuck_since.map(|since| now.since(since)).unwrap_or_default();
            if stuck_for >= settings.prepare_timeout {
                progress.stuck_since = Some(now);
                // Far beyond it, this node itself was away: what arrived meanwhile has not been taken yet.
                if stuck_for >= settings.prepare_timeout * 2 || is_member && own_log_waits {
                    continue;
                } else if is_member {
                    self.suspect(step, node);
                } else {
                    self.start_teaching(step, node);
                }
            } else if let Some(from) = progress.retry_from(now) {
                progress.rewind(from, &self.list, settings);
                self.pump(step, node);
            }
        }
    }
}

fn reply(answer: WriteAnswer) -> Reply {
    match answer {
        WriteAnswer::Applied { decree, answer } => {
            let answer: AppAnswer = answer;
            Reply::Done { decree, answer }
        }
        WriteAnswer::SessionExpired => Reply::Refused(Refusal::SessionExpired),
        WriteAnswer::SequenceOutOfWindow => Reply::Refused(Refusal::SequenceOutOfWindow),
    }
}
