//! One replica of one partition: its state, and what all its roles have in common.
//!
//! | file | what |
//! | --- | --- |
//! | `secondary.rs` | taking prepares: identity check, raise or replace, acknowledging (§3.2, §4.6) |
//! | `requests.rs` | what becomes of a client's request (§3.5, §5.3) |
//! | `primary.rs` | ordering writes, commits (§3) |
//! | `configuration.rs` | changing roles, reconciliation, proposals, handover (§4, §5.5) |
//! | `teaching.rs`, `learning.rs` | the two sides of learning (§6) |
//! | `progress.rs`, `portion.rs` | how far a peer has come, and how much it is sent at once |
//! | `throttle.rs`, `held.rs` | slowing writers down and turning requests away, by the app's environment |
//! | `lease.rs` | granting leases and holding them, for one partition (§5) |
//! | `storage.rs` | creation, removal, checkpoints (§4.8, §7.5) |
//! | `load.rs` | how much of all that is in memory (L2) |

mod configuration;
mod held;
mod learning;
mod lease;
mod load;
mod portion;
mod primary;
mod progress;
mod requests;
mod secondary;
mod storage;
mod stuck;
mod teaching;
mod throttle;

pub use load::Load;
pub(crate) use secondary::refuse_unable;
pub(crate) use storage::is_long;

use std::collections::{BTreeMap, VecDeque};

use words::{
    AppInfo, AppTerms, Ballot, Configuration, CopyProgress, Decree, Gpid, MutationId, NodeId, PeerMessage,
    PrepareAck, Record, ReplicaDescription, ReplicaReport, RoleName, Signature, Time,
};

use crate::LogSequence;
use crate::prepare_list::PrepareList;
use crate::replay::RecoveredReplica;
use crate::step::Step;

use learning::Learner;
use lease::Grant;
use primary::Primary;
use throttle::Throttling;

/// One replica of one partition.
#[derive(Debug)]
pub struct Replica {
    gpid: Gpid,
    app: AppInfo,
    terms: AppTerms,
    throttling: Throttling,
    presence: Presence,
    role: Role,
    /// The highest ballot that this replica has seen.
    ballot: Ballot,
    /// The highest ballot that the log has durably.
    durable_ballot: Ballot,
    /// The configuration of `ballot`. One that came with a prepare names the primary only.
    configuration: Configuration,
    /// A configuration that can't be acted on yet: the app is being opened, or a checkpoint fetched.
    deferred: Option<Configuration>,
    list: PrepareList,
    /// Known to equal the primary's log of `ballot` (§1); never below the commit point.
    confirmed: Decree,
    /// As far as that is durable in this ballot: what acknowledgements say.
    confirmed_durable: Decree,
    /// All of the list up to here is durable.
    durable_prepared: Decree,
    /// Appended records that are not durable yet, oldest first.
    pending: VecDeque<Pending>,
    /// The last decree handed to the app.
    handed: Decree,
    /// The last decree that the app has applied.
    applied: Decree,
    /// What the app has made durable.
    durable: MutationId,
    checkpoint: storage::Checkpoint,
    /// Leases granted on this partition, by the node that holds them (§5.2).
    grants: BTreeMap<NodeId, Grant>,
    /// A restarted node takes it that it had granted a full lease to every other node (§5.4); so does one that leads
    /// and was no member before.
    boot_grant: Time,
    /// Made to learn, and not begun to: it has promised and acknowledged nothing, so nobody who takes it for a
    /// member is right, and it follows nobody but the primary that teaches it.
    knows_nothing: bool,
    /// In `Error`, and the log says so durably.
    broken_noted: bool,
    /// The learning whose checkpoint is being fetched. It replaces the app when it is done, so until then this
    /// replica takes no part in anything else.
    fetching: Option<Signature>,
    /// How much of it is here.
    copied: Option<CopyProgress>,
    /// Something that the meta server should know changed.
    pub(crate) report_due: bool,
    /// The nodes with which leases are needed changed.
    pub(crate) partners_changed: bool,
    /// It may claim leases from now on, and should at once.
    pub(crate) heartbeat_due: bool,
    /// Something happened to it, and the node has not taken it over.
    pub(crate) touched: bool,
    /// When the node calls it: at its deadline, or before.
    pub(crate) call_at: Time,
}

/// Whether there is an app behind the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It is being made. Only when it is there is its existence noted in the log: a note without an app means
    /// that data was lost (§4.8).
    Opening,
    /// The note is on its way to the disk.
    Noting,
    Ready,
    /// It is being deleted.
    Removing,
}

#[derive(Debug)]
enum Role {
    Primary(Box<Primary>),
    Secondary,
    Learner(Learner),
    Inactive,
    /// With the reason, for people.
    Error(String),
}

/// A record on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// When it was appended.
    since: Time,
    sequence: LogSequence,
    ballot: Ballot,
    what: PendingKind,
}

#[derive(Clone, Copy, Debug)]
enum PendingKind {
    Created,
    Ballot,
    Entry(MutationId),
    Installed,
    Broken,
}

impl Replica {
    fn blank(gpid: Gpid, app: AppInfo, role: Role, presence: Presence) -> Self {
        Self {
            gpid,
            app,
            terms: AppTerms::default(),
            throttling: Throttling::default(),
            presence,
            role,
            ballot: Ballot::default(),
            durable_ballot: Ballot::default(),
            configuration: Configuration::default(),
            deferred: None,
            list: PrepareList::default(),
            confirmed: Decree::ZERO,
            confirmed_durable: Decree::ZERO,
            durable_prepared: Decree::ZERO,
            pending: VecDeque::new(),
            handed: Decree::ZERO,
            applied: Decree::ZERO,
            durable: MutationId::ZERO,
            checkpoint: storage::Checkpoint::default(),
            grants: BTreeMap::new(),
            boot_grant: Time::default(),
            knows_nothing: false,
            broken_noted: false,
            fetching: None,
            copied: None,
            report_due: true,
            partners_changed: false,
            heartbeat_due: false,
            touched: false,
            call_at: Time::NEVER,
        }
    }

    /// A replica that has no data here although it should: never created empty in its place (§4.8).
    pub(crate) fn lost(gpid: Gpid, app: AppInfo, configuration: Configuration) -> Self {
        let reason = "the configuration names this node, which has no data of the partition".to_owned();
        let mut replica = Self::blank(gpid, app, Role::Error(reason), Presence::Ready);
        replica.ballot = configuration.ballot;
        replica.configuration = configuration;
        replica
    }

    /// As found at start. It takes no part until it knows the configuration (§7.4), but applies what it knows
    /// to be committed.
    pub(crate) fn recovered(step: &mut Step<'_>, recovered: RecoveredReplica) -> Self {
        let RecoveredReplica { gpid, app, ballot, list, confirmed, durable, installed, error } = recovered;
        let mut replica = Self::blank(gpid, app, Role::Inactive, Presence::Ready);
        replica.ballot = ballot;
        replica.durable_ballot = ballot;
        replica.configuration.ballot = ballot;
        replica.boot_grant = step.now.time + step.settings.grant();
        if let Some(reason) = error {
            replica.fail(step, reason);
        } else {
            replica.durable_prepared = list.last_prepared();
            replica.confirmed = confirmed;
            replica.confirmed_durable = confirmed;
            // What memory does not keep was applied before (`Recovered::lacking`).
            replica.applied = durable.decree.max(list.floor());
            replica.durable = durable;
            replica.checkpoint.replays(step, durable.decree, list.last_committed());
            let known: Vec<_> = (replica.applied.0 + 1..=list.last_committed().0)
                .filter_map(|d| list.entry(Decree(d)).map(|entry| entry.mutation.clone()))
                .collect();
            if installed {
                // The app has a checkpoint that the log does not know of; what follows in the log must not be
                // read as following on what was there before (§6.2).
                step.append(Record::Installed { gpid, checkpoint: durable, suffix_kept: false });
            }
            replica.list = list;
            replica.handed = replica.list.last_committed();
            // The log may reach much further back than memory should.
            replica.trim_list(step.settings);
            step.apply(gpid, known);
        }
        replica
    }

    /// The partition.
    #[must_use]
    pub fn gpid(&self) -> Gpid {
        self.gpid
    }

    /// Its role.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match self.role {
            Role::Primary(_) => RoleName::Primary,
            Role::Secondary => RoleName::Secondary,
            Role::Learner(_) => RoleName::Learner,
            Role::Inactive => RoleName::Inactive,
            Role::Error(_) => RoleName::Error,
        }
    }

    /// The highest ballot that it has seen.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The configuration of that ballot; one that came with a prepare names the primary only.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// c(r): its last committed decree.
    #[must_use]
    pub fn last_committed(&self) -> Decree {
        self.list.last_committed()
    }

    /// Its last prepared decree.
    #[must_use]
    pub fn last_prepared(&self) -> Decree {
        self.list.last_prepared()
    }

    /// p(r): its last confirmed decree.
    #[must_use]
    pub fn confirmed(&self) -> Decree {
        self.confirmed
    }

    /// What its app has applied.
    #[must_use]
    pub fn applied(&self) -> Decree {
        self.applied
    }

    /// What its app has made durable.
    #[must_use]
    pub fn durable(&self) -> MutationId {
        self.durable
    }

    /// The identity of a decree, while it is in the prepare list.
    #[must_use]
    pub fn identity_at(&self, decree: Decree) -> Option<MutationId> {
        self.list.identity_at(decree)
    }

    /// Whether it is a primary with learners: its log holds what they need, for a bounded time (§6.1).
    #[must_use]
    pub fn teaches(&self) -> bool {
        matches!(&self.role, Role::Primary(primary) if !primary.learners.is_empty())
    }

    /// Why it is in `Error`.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.role {
            Role::Error(reason) => Some(reason),
            _ => None,
        }
    }

    /// `None` while its app is being made or deleted: nobody may count on it.
    pub(crate) fn report(&self) -> Option<ReplicaReport> {
        (self.presence == Presence::Ready).then(|| ReplicaReport {
            gpid: self.gpid,
            role: self.role(),
            ballot: self.ballot,
            last_committed: self.last_committed(),
            last_prepared: self.last_prepared(),
            last_durable: self.durable.decree,
            learners: match &self.role {
                Role::Primary(primary) => primary.learners.keys().copied().collect(),
                _ => Vec::new(),
            },
            copying: self.copied,
        })
    }

    /// All that it knows of itself (§4.9).
    pub(crate) fn description(&self) -> Option<ReplicaDescription> {
        let mut configuration = self.configuration.clone();
        if let Role::Primary(primary) = &self.role {
            configuration.secondaries.extend(primary.joining.keys().copied());
        }
        Some(ReplicaDescription {
            report: self.report()?,
            app: self.app.clone(),
            terms: self.terms.clone(),
            configuration,
            confirmed: self.confirmed,
        })
    }

    /// Whether it holds data and does not know its part.
    pub(crate) fn waits_for_configuration(&self) -> bool {
        matches!(self.role, Role::Inactive) && self.presence == Presence::Ready
    }

    /// The primary of the present ballot, as far as this replica knows.
    fn believed_primary(&self) -> Option<NodeId> {
        self.configuration.primary
    }

    fn set_role(&mut self, role: Role) {
        self.role = role;
        self.report_due = true;
        self.partners_changed = true;
    }

    /// Its state can't be trusted any more. Whoever waits is told; the node goes on with its other replicas.
    pub(crate) fn fail(&mut self, step: &mut Step<'_>, reason: String) {
        if matches!(self.role, Role::Error(_)) {
            return;
        }
        self.leave_primary(step);
        // Or its teacher would go on counting it as a learner, and the meta server would not have it collected.
        self.give_up_learning(step);
        // Its part of the log is let go soon: without a note the next start would find an old replica, or an empty
        // one, that seems whole, and that may be a member of the latest configuration.
        let sequence = step.append(Record::Broken { gpid: self.gpid, reason: reason.clone() });
        self.await_durable(step, sequence, Ballot(0), PendingKind::Broken);
        self.set_role(Role::Error(reason));
    }

    /// The ballot rises: durably, and with nothing confirmed under it but what is committed.
    fn raise_ballot(&mut self, step: &mut Step<'_>, configuration: Configuration) {
        let ballot = configuration.ballot;
        assert!(ballot > self.ballot, "{}: ballot {} -> {ballot}", self.gpid, self.ballot);
        self.ballot = ballot;
        self.configuration = configuration;
        self.confirmed = self.last_committed();
        // A learner may have committed what is not durable yet (§6.3).
        self.confirmed_durable = self.last_committed().min(self.durable_prepared);
        self.report_due = true;
        let sequence = step.append(Record::Ballot { gpid: self.gpid, ballot });
        self.await_durable(step, sequence, ballot, PendingKind::Ballot);
    }

    /// Notes that a record is on its way to the disk.
    fn await_durable(&mut self, step: &Step<'_>, sequence: LogSequence, ballot: Ballot, what: PendingKind) {
        self.pending.push_back(Pending { since: step.now.time, sequence, ballot, what });
    }

    /// All records up to `sequence` are durable: acknowledge, commit, go on.
    pub(crate) fn on_log_durable(&mut self, step: &mut Step<'_>, sequence: LogSequence) {
        let ballot_before = self.durable_ballot;
        let mut noted = false;
        let mut news = false;
        while let Some(&pending) = self.pending.front()
            && pending.sequence <= sequence
        {
            self.pending.pop_front();
            news = true;
            self.durable_ballot = self.durable_ballot.max(pending.ballot);
            match pending.what {
                PendingKind::Created => noted = true,
                PendingKind::Broken => self.broken_noted = true,
                PendingKind::Ballot | PendingKind::Installed => {}
                PendingKind::Entry(id) => self.on_entry_durable(pending.ballot, id),
            }
        }
        if noted {
            self.on_noted(step);
        }
        if !news {
            return;
        }
        match self.role {
            Role::Secondary => self.acknowledge(step),
            Role::Learner(_) => {
                self.acknowledge(step);
                self.learn_on(step, sequence);
            }
            Role::Primary(_) => {
                self.log_goes_on();
                if ballot_before < self.ballot && self.durable_ballot == self.ballot {
                    self.on_ballot_durable(step);
                }
                self.advance_commit(step);
            }
            Role::Inactive | Role::Error(_) => {}
        }
    }

    fn on_entry_durable(&mut self, ballot: Ballot, id: MutationId) {
        // It may have been replaced since it was appended; then its successor's record is on its way.
        let still_here = id.decree <= self.list.floor() || self.list.identity_at(id.decree) == Some(id);
        if !still_here {
            return;
        }
        self.durable_prepared = self.durable_prepared.max(id.decree);
        if ballot == self.ballot {
            self.confirmed_durable = self.confirmed_durable.max(id.decree.min(self.confirmed));
        }
    }

    /// Says how far this replica is confirmed, durably and in this ballot (§3.2).
    fn acknowledge(&mut self, step: &mut Step<'_>) {
        let Some(primary) = self.believed_primary() else { return };
        if self.durable_ballot < self.ballot || primary == step.me {
            return;
        }
        let learning = match &self.role {
            Role::Secondary => None,
            // Before, nobody has compared what it has with the primary's: it may be another history (§6.4, S8).
            Role::Learner(learner) if learner.following() => Some(learner.signature),
            _ => return,
        };
        assert!(self.confirmed_durable <= self.confirmed && self.confirmed <= self.last_prepared());
        let ack =
            PrepareAck { gpid: self.gpid, ballot: self.ballot, confirmed: self.confirmed_durable, learning };
        step.send(primary, PeerMessage::PrepareAck(ack));
    }

    /// Commits up to `decree` and hands it to the app.
    fn commit(&mut self, step: &mut Step<'_>, decree: Decree) {
        assert!(
            decree <= self.confirmed || matches!(self.role, Role::Primary(_)),
            "commit beyond what is confirmed"
        );
        if decree <= self.last_committed() {
            return;
        }
        let mutations = self.list.commit_to(decree);
        self.handed = decree;
        self.confirmed = self.confirmed.max(decree);
        step.apply(self.gpid, mutations);
    }

    /// When this replica wants to be called again.
    pub(crate) fn deadline(&self, step_settings: &crate::Settings) -> Time {
        let role = match &self.role {
            Role::Primary(primary) => self.primary_deadline(primary, step_settings),
            Role::Learner(learner) => learner.deadline(step_settings),
            _ => Time::NEVER,
        };
        role.min(self.checkpoint.deadline(step_settings))
    }

    /// Time is due.
    pub(crate) fn on_time(&mut self, step: &mut Step<'_>) {
        match self.role {
            Role::Primary(_) => self.primary_on_time(step),
            Role::Learner(_) => self.learner_on_time(step),
            _ => {}
        }
        self.checkpoint_if_due(step);
    }
}
