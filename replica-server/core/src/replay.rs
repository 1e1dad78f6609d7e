//! From the records of the prepare log to replicas, by the rules that memory followed (§4.6, §7).

use std::collections::BTreeMap;

use words::{AppInfo, Ballot, Decree, Gpid, MutationId, Record};

use crate::logged::{Logged, Top};
use crate::prepare_list::{Entry, PrepareList, TailBounds};
use crate::{RecoveredApp, Settings};

/// Folds a log's records, in log order, into what each partition's memory was. It keeps no more mutations than memory
/// does.
#[derive(Debug)]
pub struct Replay {
    bounds: TailBounds,
    partitions: BTreeMap<Gpid, Partition>,
    removed: BTreeMap<Gpid, Ballot>,
    all_damaged: bool,
}

#[derive(Debug, Default)]
struct Partition {
    /// Known once the note of its creation was read.
    app: Option<AppInfo>,
    ballot: Ballot,
    /// What the log has of the prepare list.
    logged: Logged,
    committed: Decree,
    confirmed: Decree,
    damage: Option<String>,
}

/// What was found at start; the node takes it over with [`NodeCore::new`](crate::NodeCore::new).
#[derive(Debug, Default)]
pub struct Recovered {
    pub(crate) replicas: Vec<RecoveredReplica>,
    /// Replicas that were here once, each with the ballot that it had.
    pub(crate) removed: BTreeMap<Gpid, Ballot>,
}

/// Committed mutations that an app lacks and memory does not keep. They are read from the log and applied before the
/// node takes part in anything; a replica that can't have them is given up.
#[derive(Clone, Copy, Debug)]
pub struct Lacking {
    /// The partition.
    pub gpid: Gpid,
    /// The first decree.
    pub from: Decree,
    /// The last mutation.
    pub upto: MutationId,
}

impl Recovered {
    /// What the apps lack.
    #[must_use]
    pub fn lacking(&self) -> Vec<Lacking> {
        let trusted = self.replicas.iter().filter(|replica| replica.error.is_none());
        let lacking = trusted.filter_map(|RecoveredReplica { gpid, list, durable, .. }| {
            let upto = list.identity_at(list.floor()).filter(|upto| upto.decree > durable.decree)?;
            Some(Lacking { gpid: *gpid, from: durable.decree.next(), upto })
        });
        lacking.collect()
    }

    /// A replica's app can't have what it lacks.
    pub fn give_up(&mut self, gpid: Gpid, reason: String) {
        let replica = self.replicas.iter_mut().find(|replica| replica.gpid == gpid);
        if let Some(replica) = replica {
            replica.error.get_or_insert(reason);
        }
    }
}

/// A replica as it was found at start.
#[derive(Debug)]
pub(crate) struct RecoveredReplica {
    pub(crate) gpid: Gpid,
    pub(crate) app: AppInfo,
    pub(crate) ballot: Ballot,
    pub(crate) list: PrepareList,
    pub(crate) confirmed: Decree,
    pub(crate) durable: MutationId,
    /// The app has a checkpoint that the log does not know of.
    pub(crate) installed: bool,
    pub(crate) error: Option<String>,
}

impl Replay {
    /// Nothing read yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let bounds = TailBounds::of(settings);
        Self { bounds, partitions: BTreeMap::new(), removed: BTreeMap::new(), all_damaged: false }
    }

    /// The next record.
    pub fn on_record(&mut self, record: &Record) {
        if let Record::Removed { gpid, ballot } = record {
            self.partitions.remove(gpid);
            self.removed.insert(*gpid, *ballot);
            return;
        }
        let partition = self.partitions.entry(record.gpid()).or_default();
        match record {
            Record::Created { app, .. } => partition.app = Some(app.clone()),
            Record::Ballot { ballot, .. } => partition.raise(*ballot),
            Record::Prepare { ballot, mutation, replaces, last_committed, .. } => {
                partition.raise(*ballot);
                let entry = Entry::new(mutation, *ballot);
                partition.on_prepare(entry, *replaces, *last_committed);
                partition.logged.trim(partition.committed, &self.bounds);
            }
            Record::Installed { checkpoint, suffix_kept, .. } => {
                partition.on_installed(*checkpoint, *suffix_kept);
            }
            Record::Broken { reason, .. } => partition.damage = Some(reason.clone()),
            Record::Removed { .. } => unreachable!("handled above"),
        }
    }

    /// What the log has of this partition can't be trusted (§7.2).
    pub fn damaged(&mut self, gpid: Gpid, reason: &str) {
        self.partitions.entry(gpid).or_default().damage = Some(reason.to_owned());
    }

    /// A record that may have been any partition's is damaged.
    pub fn damaged_all(&mut self) {
        self.all_damaged = true;
    }

    /// The apps to open.
    pub fn replicas(&self) -> impl Iterator<Item = (Gpid, &AppInfo)> {
        self.partitions.iter().filter_map(|(&gpid, partition)| Some((gpid, partition.app.as_ref()?)))
    }

    /// Brings log and apps together. A replica that was noted, and whose app is missing, damaged, or older
    /// than the log reaches back to, is in `Error`: it is never taken for an empty or a shorter one (§4.8).
    #[must_use]
    pub fn finish(self, apps: Vec<RecoveredApp>) -> Recovered {
        let mut apps: BTreeMap<Gpid, RecoveredApp> = apps.into_iter().map(|app| (app.gpid, app)).collect();
        let all_damaged = self.all_damaged;
        let replicas = self.partitions.into_iter().map(|(gpid, mut partition)| {
            if all_damaged {
                partition.damage.get_or_insert_with(|| "the prepare log is damaged".to_owned());
            }
            // With records and without its note, the note was damaged: that is a lost replica, not a new one.
            let app = partition.app.take().unwrap_or_else(|| {
                partition.damage.get_or_insert_with(|| "the note of its creation is damaged".to_owned());
                AppInfo { id: gpid.app, ..AppInfo::default() }
            });
            let opened = apps.remove(&gpid).map_or_else(
                || Err("it is missing".to_owned()),
                |app| app.durable.map_err(|error| error.to_string()),
            );
            let (ballot, confirmed) = (partition.ballot, partition.confirmed);
            let joined = opened
                .map_err(|reason| format!("its app can't be opened: {reason}"))
                .and_then(|durable| Ok((durable, partition.join(durable)?)));
            let (durable, Joined { list, installed }, error) = match joined {
                Ok((durable, joined)) => (durable, joined, None),
                Err(reason) => (MutationId::ZERO, Joined::default(), Some(reason)),
            };
            let confirmed = confirmed.clamp(list.last_committed(), list.last_prepared());
            RecoveredReplica { gpid, app, ballot, list, confirmed, durable, installed, error }
        });
        Recovered { replicas: replicas.collect(), removed: self.removed }
    }
}

/// What log and app come to.
#[derive(Default)]
struct Joined {
    list: PrepareList,
    /// The app has a checkpoint that the log does not know of.
    installed: bool,
}

impl Partition {
    fn raise(&mut self, ballot: Ballot) {
        if ballot > self.ballot {
            self.ballot = ballot;
            self.confirmed = self.committed;
        }
    }

    fn on_prepare(&mut self, entry: Entry, replaces: bool, last_committed: Decree) {
        let id = entry.id;
        let same = self.logged.identity_at(id.decree).is_none_or(|here| here == id);
        if replaces && id.decree > self.committed {
            self.logged.truncate_from(id.decree);
        } else if replaces || !same {
            self.damage = Some(format!("its log contradicts itself at {}", id.decree));
            return;
        }
        self.logged.insert(entry);
        self.confirmed = self.confirmed.max(id.decree);
        self.committed = self.committed.max(last_committed.min(self.confirmed));
    }

    fn on_installed(&mut self, checkpoint: MutationId, suffix_kept: bool) {
        if !suffix_kept {
            self.logged.clear();
        }
        self.committed = self.committed.max(checkpoint.decree);
        self.confirmed = self.confirmed.max(checkpoint.decree);
    }

    /// What the app has durably and what the log has must meet.
    fn join(mut self, durable: MutationId) -> Result<Joined, String> {
        if let Some(reason) = self.damage.take() {
            return Err(reason);
        }
        let decree = durable.decree;
        let at_start = (decree == Decree::ZERO).then_some(MutationId::ZERO);
        let known = self.logged.identity_at(decree).or(at_start);
        match known {
            Some(known) if known == durable => self.joined_at(durable),
            Some(known) if decree <= self.committed => {
                Err(format!("its app is at {durable}, where the log has {known}"))
            }
            None if self.logged.has_any_from(decree) => self.joined_at(durable),
            None if decree < self.committed => {
                Err(format!("its app is durable up to {decree}, and {} was committed", self.committed))
            }
            // A checkpoint was installed, and the log did not get to say so; or all that it says is cut.
            _ => Ok(Joined { list: PrepareList::after(durable), installed: true }),
        }
    }

    /// The log has what follows the app's last durable decree, and perhaps some of what is before it.
    fn joined_at(self, durable: MutationId) -> Result<Joined, String> {
        let (decree, last_committed) = (durable.decree, self.committed.max(durable.decree));
        let Top { floor, kept_after, entries } = self.logged.into_top(decree);
        if floor > decree {
            return Err(format!("its app is durable up to {decree}, and the log begins after {floor}"));
        }
        let (floor, floor_id) = match kept_after {
            Some(id) => (id.decree, Some(id)),
            None => (floor, (floor == decree).then_some(durable)),
        };
        if Decree(floor.0 + entries.len() as u64) < last_committed {
            return Err(format!("{last_committed} was committed, and the log ends before it"));
        }
        let list = PrepareList::recovered(floor, floor_id, last_committed, entries);
        Ok(Joined { list, installed: false })
    }
}
