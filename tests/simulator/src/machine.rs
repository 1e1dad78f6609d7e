//! One machine: its clock, its disk, and the replica server's process, if one runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use replica_core::{ApplyTask, Changes, Event, LogSequence, NodeCore, ReadTask, Sessions, Token, Work};
use replica_log::{Crash, MemoryFolder, PrepareLog};
use replicated_app::ReplicatedApp;
use tempfile::TempDir;
use words::{AppInfo, Ballot, Decree, Envelope, Gpid, MutationId, NodeId, NodeToMeta, Record, Reply};

use crate::bounds::Kept;
use crate::checksum::{checksum, flip};
use crate::clock::{Clock, Moment};
use crate::home::Home;
use crate::ills::Ills;
use crate::log_bounds::Ledger;
use crate::shadow::{self, Effect, Shadow};
use crate::sometimes::{Sometimes, Tally};
use crate::subject::AnySubject;
use crate::violation::{Checked, Violation, check};
use crate::watching::HISTORY;
use crate::witness::{OpId, Witness};

/// A machine of the cluster.
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Grows when a process starts or ends: what was on its way to another one is dropped.
    pub(crate) epoch: u64,
    /// The process stands still.
    pub(crate) frozen_until: Moment,
    /// The thread that owns core and apps waits for an app; log and workers go on.
    pub(crate) busy_until: Moment,
    pub(crate) slow_until: Moment,
    /// The power goes after so many operations of the disk, again and again: each with what it does.
    pub(crate) cuts: VecDeque<(u64, Crash)>,
    /// Something is to strike after so many more duties.
    pub(crate) strike: Option<(Strike, u32)>,
    /// The next start ends after so many changes of the log's files.
    pub(crate) dies_starting: Option<(u64, Loss)>,
    pub(crate) presence: Presence,
    pub(crate) ills: Ills,
}

/// Whether a machine belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not yet.
    Spare,
    /// It does.
    Here,
    /// It does, and stays down until somebody starts it.
    Stopped,
    /// Not any more; it never comes back.
    Gone,
}

impl Machine {
    /// Until then its node takes no step.
    pub(crate) fn stands_until(&self) -> Moment {
        self.frozen_until.max(self.busy_until)
    }
}

/// What can strike in the middle of the carrying out of an output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strike {
    /// The process dies.
    Crash(Loss),
    /// The process stands still for so long.
    Freeze(Duration),
}

/// What a crash does to what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// `kill -9`: nothing is lost, the machine's cache survives.
    Kept,
    /// A power cut: all, some or none of it is lost; the last write may be torn.
    Power,
    /// A power cut of which it is known what it does.
    Cut(Crash),
    /// The data directory is gone.
    Everything,
    /// The files of one app are gone.
    App(Gpid),
    /// A bit of the log is another one.
    Rot,
    /// A bit of an app's checkpoint is another one.
    RottenCheckpoint(Gpid),
    /// A bit of what the framework keeps beside an app's checkpoint is another one.
    RottenBeside(Gpid),
    /// A bit of the files that say whose the data directory is is another one.
    RottenIdentity,
}

/// What outlives a process.
pub(crate) struct Disk {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    pub(crate) log: Arc<MemoryFolder>,
    pub(crate) apps: BTreeMap<Gpid, Folder>,
    /// What the checker knows to be durable in the log.
    pub(crate) shadow: BTreeMap<Gpid, Shadow>,
    /// Whether that is surely all: nothing was on its way to the disk when the process ended, or it was lost.
    pub(crate) settled: bool,
    /// Partitions whose data here were removed, or damaged by a fault; until the log says durably that they
    /// were removed or created anew.
    pub(crate) doubtful: BTreeSet<Gpid>,
    /// Partitions that their replica here noted as broken, durably or not; until it is created anew.
    pub(crate) given_up: BTreeSet<Gpid>,
    /// Partitions whose checkpoint here is damaged; until there is another.
    pub(crate) rotten: BTreeSet<Gpid>,
    /// What the largest write to the log had: only in the last one can rot be taken for a torn tail.
    pub(crate) largest_write: u64,
    /// Nobody can tell any more whose data directory this is.
    pub(crate) is_nobodys: bool,
}

/// One app's folder: what the app keeps, and what the framework keeps beside it for each checkpoint.
pub(crate) struct Folder {
    pub(crate) home: Home,
    /// What the app last said that it has made durable.
    pub(crate) durable: Decree,
    pub(crate) beside: BTreeMap<Decree, Beside>,
}

/// Belongs to one checkpoint of an app.
#[derive(Clone)]
pub(crate) struct Beside {
    pub(crate) id: MutationId,
    sessions: Vec<u8>,
    checksum: u64,
}

impl Beside {
    pub(crate) fn new(id: MutationId, sessions: Vec<u8>) -> Self {
        Self { id, checksum: checksum(&sessions), sessions }
    }

    /// The sessions in it.
    ///
    /// # Errors
    /// `InvalidData` if they are not what was written.
    pub(crate) fn sessions(&self) -> std::io::Result<Sessions> {
        let damaged = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        if checksum(&self.sessions) != self.checksum {
            return Err(damaged());
        }
        Sessions::decode(&self.sessions).map_err(|_| damaged())
    }

    /// One bit is another; false if there is none.
    pub(crate) fn rot(&mut self, number: u64) -> bool {
        flip(&mut self.sessions, number)
    }
}

/// A checkpoint that a learner may fetch.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) gpid: Gpid,
    pub(crate) state: replicated_app::LearnState,
    pub(crate) beside: Beside,
    /// Of what of `state` is no file: the manifest has it (§6.2).
    pub(crate) checksum: u64,
    /// Where the files of `state` are, if it has any; gone with the last copy of the offer.
    pub(crate) _files: Option<Arc<TempDir>>,
}

impl Offer {
    /// On its way over the network one bit of it becomes another.
    pub(crate) fn rot(&mut self, number: u64) {
        let mut blob = self.state.blob.to_vec();
        if number.is_multiple_of(3) || !flip(&mut blob, number / 3) {
            self.beside.rot(number / 3);
        }
        self.state.blob = blob.into();
    }
}

/// A replica server's process: the real core and the real log, and a shell that is simulated.
pub(crate) struct Process {
    pub(crate) core: NodeCore,
    pub(crate) log: PrepareLog,
    /// What the log should hold at most.
    pub(crate) ledger: Ledger,
    /// What waits while the log is being synced.
    pub(crate) to_log: Vec<(LogSequence, Record)>,
    /// What waits could not be written for lack of room; it is tried again at a time that is set.
    pub(crate) log_waits: bool,
    /// What is appended and being synced.
    pub(crate) syncing: Vec<(LogSequence, Record)>,
    /// The log is to be cut as soon as it is not being synced.
    pub(crate) to_collect: Option<Vec<(Gpid, Decree)>>,
    pub(crate) apps: BTreeMap<Gpid, Hosted>,
    /// Partitions whose app failed in this life.
    pub(crate) failed: BTreeSet<Gpid>,
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) todo: VecDeque<Duty>,
    /// When the node looks at its inbox next.
    pub(crate) wake_at: Moment,
    pub(crate) waiting: BTreeMap<Token, Waiting>,
    pub(crate) last_token: Token,
    pub(crate) session: Option<u64>,
    /// When the last message of the session arrives at the meta server: a stream keeps its order.
    pub(crate) to_meta_at: Moment,
    pub(crate) offers: BTreeMap<u64, Offer>,
    pub(crate) last_offer: u64,
    pub(crate) last_incarnation: u64,
    /// What the checker saw of each replica after the last step.
    pub(crate) seen: BTreeMap<Gpid, Seen>,
    /// Additions that were proposed, and on which ballot.
    pub(crate) adding: BTreeMap<Gpid, (Ballot, NodeId)>,
}

/// An app that is open.
pub(crate) struct Hosted {
    pub(crate) app: Witness,
    pub(crate) sessions: Sessions,
    pub(crate) applied: MutationId,
    /// What its app published since it was opened.
    pub(crate) changes: Changes,
    /// Tells it from an earlier app of the same partition: work that was begun for that one is void.
    pub(crate) incarnation: u64,
}

/// A client's request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) op: OpId,
    pub(crate) attempt: u32,
}

/// A replica as it was after a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) role: words::RoleName,
    pub(crate) ballot: Ballot,
    pub(crate) committed: Decree,
    /// For a primary: what it had prepared when it became one.
    pub(crate) inherited: Decree,
    /// Why its prepare list may be longer than as a rule (L2).
    pub(crate) kept: Kept,
}

/// One thing that the shell owes, in the contract's order. A crash can strike before any of them.
pub(crate) enum Duty {
    Append(Vec<(LogSequence, Record)>),
    Send(Envelope),
    Apply(ApplyTask),
    Read(ReadTask),
    Reply(Token, Reply),
    Meta(NodeToMeta),
    Start(Work),
}

impl Machine {
    /// The next of its power cuts is due after so many operations of its disk.
    pub(crate) fn arm(&mut self) {
        if let Some(&(operations, _)) = self.cuts.front() {
            self.disk.log.fail_after(operations);
        }
    }

    /// If it is for want of power that a start failed: the power is back, until the next cut. Whatever that cut lost,
    /// the start may have made durable before what was not.
    pub(crate) fn cut_again(&mut self) {
        if let Some((_, outcome)) = self.cuts.pop_front() {
            self.disk.log.crash(outcome);
            self.arm();
        }
    }
}

impl Process {
    /// Everything that the output owes, in the contract's order; the output is empty afterwards.
    pub(crate) fn owe(&mut self, output: &mut replica_core::Output) {
        let todo = &mut self.todo;
        if !output.append.is_empty() {
            todo.push_back(Duty::Append(std::mem::take(&mut output.append)));
        }
        todo.extend(output.send.drain(..).map(Duty::Send));
        todo.extend(output.apply.drain(..).map(Duty::Apply));
        todo.extend(output.reads.drain(..).map(Duty::Read));
        todo.extend(output.replies.drain(..).map(|(token, reply)| Duty::Reply(token, reply)));
        todo.extend(output.meta.drain(..).map(Duty::Meta));
        todo.extend(output.work.drain(..).map(Duty::Start));
    }

    /// Opens an app, with what is durable in its folder.
    pub(crate) fn host(&mut self, gpid: Gpid, hosted: (Witness, Sessions, MutationId)) {
        self.failed.remove(&gpid);
        self.last_incarnation += 1;
        let (app, sessions, applied) = hosted;
        let changes = Changes::after(applied.decree, HISTORY);
        let incarnation = self.last_incarnation;
        self.apps.insert(gpid, Hosted { app, sessions, applied, changes, incarnation });
    }

    /// A client's request came in: the number under which its answer will come.
    pub(crate) fn expect_answer(&mut self, waiting: Waiting) -> Token {
        self.last_token += 1;
        self.waiting.insert(self.last_token, waiting);
        self.last_token
    }
}

impl Folder {
    /// A new app's.
    pub(crate) fn new(gpid: Gpid, app: AppInfo) -> Self {
        Self { home: Home::new(gpid, app), durable: Decree::ZERO, beside: BTreeMap::new() }
    }

    /// The app with whatever is durable.
    pub(crate) fn open(&self, subject: &dyn AnySubject) -> std::io::Result<(Witness, Sessions, MutationId)> {
        let app = Witness::new(subject.open(&self.home)?);
        let durable = app.last_durable_decree();
        if durable < self.durable {
            let (before, now) = (self.durable, durable);
            let what =
                format!("its app had said that it is durable to decree {before}, and opens with {now}");
            return Err(std::io::Error::other(what));
        }
        if durable == Decree::ZERO {
            return Ok((app, Sessions::new(), MutationId::ZERO));
        }
        let beside = self.beside.get(&durable).ok_or(std::io::ErrorKind::NotFound)?;
        Ok((app, beside.sessions()?, beside.id))
    }

    /// Notes what belongs to a checkpoint before that becomes durable.
    pub(crate) fn put_beside(&mut self, beside: Beside) {
        self.beside.insert(beside.id.decree, beside);
    }

    /// The app may have made more durable: what belongs to older checkpoints is forgotten.
    pub(crate) fn tidy(&mut self, durable: Decree) {
        self.durable = durable;
        self.beside = self.beside.split_off(&durable);
    }
}

impl Disk {
    /// A new, empty data directory.
    pub(crate) fn empty(node: NodeId) -> Self {
        Self {
            node,
            life: 0,
            log: Arc::new(MemoryFolder::new()),
            apps: BTreeMap::new(),
            shadow: BTreeMap::new(),
            settled: true,
            doubtful: BTreeSet::new(),
            given_up: BTreeSet::new(),
            rotten: BTreeSet::new(),
            largest_write: 0,
            is_nobodys: false,
        }
    }

    /// What of a partition an app has made durable, with the name of its app.
    pub(crate) fn durable(&self, gpid: Gpid) -> Decree {
        self.apps.get(&gpid).map_or(Decree::ZERO, |folder| folder.durable)
    }

    /// Whether a crash now would leave `decree` of the partition here: in the app, or in the log, and there as
    /// this mutation.
    pub(crate) fn holds(&self, gpid: Gpid, id: MutationId) -> bool {
        let Some(shadow) = self.shadow.get(&gpid) else { return id.decree == Decree::ZERO };
        // What the app has is in the right order by S12, whatever the log may still say of it.
        id.decree <= self.durable(gpid)
            || match shadow.identity_at(id.decree) {
                Some(here) => here == id,
                None => id.decree <= shadow.installed,
            }
    }

    /// Records are in the log, and may survive whatever happens next.
    pub(crate) fn on_appended(&mut self, records: &[Record]) {
        let broken = records.iter().filter(|record| matches!(record, Record::Broken { .. }));
        self.given_up.extend(broken.map(Record::gpid));
    }

    /// Records are durable now.
    pub(crate) fn on_synced(&mut self, records: &[(LogSequence, Record)], tally: &mut Tally) {
        for (_, record) in records {
            // Not by `Removed`: whoever acknowledged before its disk was damaged still counts for its primary.
            if matches!(record, Record::Created { .. }) {
                self.doubtful.remove(&record.gpid());
                self.given_up.remove(&record.gpid());
            }
            match shadow::on_durable(&mut self.shadow, record) {
                Effect::Plain => {}
                Effect::Raised => tally.note(Sometimes::Raised),
                Effect::Replaced => tally.note(Sometimes::Replaced),
            }
        }
    }

    /// S10: what a log holds when it is opened is durable, and all that was durable is there, above what the
    /// apps have.
    pub(crate) fn on_opened(&mut self, records: &[Record]) -> Checked {
        let mut found = BTreeMap::new();
        for record in records {
            shadow::on_durable(&mut found, record);
        }
        let whole = self.shadow.iter().filter(|(gpid, _)| self.settled && !self.doubtful.contains(gpid));
        for (&gpid, before) in whole {
            let durable = self.durable(gpid);
            let lost = before.above(durable.max(before.installed));
            let lost =
                lost.filter(|id| found.get(&gpid).and_then(|now| now.identity_at(id.decree)) != Some(*id));
            if let Some(id) = lost.min() {
                let what = format!("{} lost {id} of {gpid}, which was durable in its log", self.node);
                return Err(Violation { rule: "S10", what });
            }
            let extra = found.get(&gpid).and_then(|now| {
                let mut above = now.above(durable.max(before.installed));
                above.find(|id| before.identity_at(id.decree) != Some(*id))
            });
            if let Some(id) = extra {
                let what = format!("{} finds {id} of {gpid}, which its log had no more", self.node);
                return Err(Violation { rule: "S10", what });
            }
            check(found.get(&gpid).is_some_and(|now| now.ballot >= before.ballot), "S5", || {
                format!("{} lost ballot {} of {gpid}, which was durable in its log", self.node, before.ballot)
            })?;
        }
        self.shadow = found;
        Ok(())
    }
}

/// The app that the simulation runs.
pub(crate) const APP_TYPE: &str = "tally";
/// Its first instance.
pub(crate) const APP_NAME: &str = "tally.instance0";

/// Whether an app's description is the one that was asked for.
pub(crate) fn is_ours(app: &AppInfo) -> bool {
    app.app_type == APP_TYPE && app.name.starts_with(APP_TYPE)
}
