//! From the records of the prepare log to replicas, by the rules that memory followed (§4.6, §7).

use std::collections::BTreeMap;

use words::{AppInfo, Ballot, Decree, Gpid, MutationId, Record};

use crate::RecoveredApp;
use crate::prepare_list::{Entry, Offer, PrepareList};

/// Folds a log's records, in log order, into what each partition's memory was.
#[derive(Debug, Default)]
pub struct Replay {
    partitions: BTreeMap<Gpid, Partition>,
    all_damaged: bool,
}

#[derive(Debug, Default)]
struct Partition {
    /// Known once the note of its creation was read.
    app: Option<AppInfo>,
    ballot: Ballot,
    list: PrepareList,
    confirmed: Decree,
    damage: Option<String>,
}

/// A replica as it was found at start; the node takes it over with [`NodeCore::new`](crate::NodeCore::new).
#[derive(Debug)]
pub struct RecoveredReplica {
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
    pub fn new() -> Self {
        Self::default()
    }

    /// The next record.
    pub fn on_record(&mut self, record: &Record) {
        if let Record::Removed { gpid } = record {
            self.partitions.remove(gpid);
            return;
        }
        let partition = self.partitions.entry(record.gpid()).or_default();
        match record {
            Record::Created { app, .. } => partition.app = Some(app.clone()),
            Record::Ballot { ballot, .. } => partition.raise(*ballot),
            Record::Prepare { ballot, mutation, last_committed, .. } => {
                partition.raise(*ballot);
                let entry = Entry { mutation: mutation.clone(), ballot: *ballot };
                partition.on_prepare(entry, *last_committed);
            }
            Record::Installed { checkpoint, .. } => partition.on_installed(*checkpoint),
            Record::Removed { .. } => unreachable!("handled above"),
        }
    }

    /// A record that may have been this partition's is damaged: it can't be trusted (§7.2).
    pub fn damaged(&mut self, gpid: Gpid) {
        self.partitions.entry(gpid).or_default().damage = Some("its prepare log is damaged".to_owned());
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
    pub fn finish(self, apps: Vec<RecoveredApp>) -> Vec<RecoveredReplica> {
        let mut apps: BTreeMap<Gpid, RecoveredApp> = apps.into_iter().map(|app| (app.gpid, app)).collect();
        let all_damaged = self.all_damaged;
        let recovered = self.partitions.into_iter().map(|(gpid, mut partition)| {
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
            let outcome = opened
                .map_err(|reason| format!("its app can't be opened: {reason}"))
                .and_then(|durable| partition.join(durable).map(|installed| (durable, installed)));
            let (durable, installed, error) = match outcome {
                Ok((durable, installed)) => (durable, installed, None),
                Err(reason) => (MutationId::ZERO, false, Some(reason)),
            };
            let Partition { ballot, list, confirmed, .. } = partition;
            RecoveredReplica { gpid, app, ballot, list, confirmed, durable, installed, error }
        });
        recovered.collect()
    }
}

impl Partition {
    fn raise(&mut self, ballot: Ballot) {
        if ballot > self.ballot {
            self.ballot = ballot;
            self.confirmed = self.list.last_committed();
        }
    }

    fn on_prepare(&mut self, entry: Entry, last_committed: Decree) {
        let decree = entry.mutation.id.decree;
        match self.list.offer(&entry.mutation, entry.ballot, None) {
            Offer::Appended | Offer::Raised | Offer::Repeated | Offer::Replaced | Offer::Committed => {}
            Offer::Gap => self.list.restart_at(entry),
            Offer::Contradicts => {
                self.damage = Some(format!("its log contradicts itself at {decree}"));
                return;
            }
        }
        self.confirmed = self.confirmed.max(decree.min(self.list.last_prepared()));
        self.list.commit_to(last_committed.min(self.confirmed).max(self.list.last_committed()));
    }

    fn on_installed(&mut self, checkpoint: MutationId) {
        if checkpoint.decree >= self.list.last_committed() {
            self.list.install(checkpoint);
            self.confirmed = self.confirmed.max(checkpoint.decree).min(self.list.last_prepared());
        }
    }

    /// What the app has durably and what the log has must meet. Returns whether the app has a checkpoint that
    /// the log does not know of.
    fn join(&mut self, durable: MutationId) -> Result<bool, String> {
        if let Some(reason) = self.damage.take() {
            return Err(reason);
        }
        let decree = durable.decree;
        if decree < self.list.floor() {
            return Err(format!(
                "its app is durable up to {decree}, and the log begins after {}",
                self.list.floor()
            ));
        }
        let mut installed = false;
        match self.list.identity_at(decree) {
            Some(known) if known == durable => {
                if decree > self.list.last_committed() {
                    self.list.install(durable);
                }
            }
            Some(known) if decree <= self.list.last_committed() => {
                return Err(format!("its app is at {durable}, where the log has {known}"));
            }
            // The floor's identity is not in the log, and this is it.
            _ if decree == self.list.floor() => self.list.know_floor(durable),
            // A checkpoint was installed, and the log did not get to say so.
            _ => {
                self.list.install(durable);
                installed = true;
            }
        }
        let (committed, prepared) = (self.list.last_committed(), self.list.last_prepared());
        self.confirmed = self.confirmed.clamp(committed, prepared);
        Ok(installed)
    }
}
