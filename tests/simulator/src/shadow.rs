//! What the checker knows to be durable in a machine's prepare log, record by record as each is synced.
//!
//! Kept apart from the code under test on purpose: it is what acknowledgements are held against (S7, S8) and
//! what a restart must find again (S5, S10).

use std::collections::BTreeMap;

use words::{Ballot, Decree, Gpid, MutationId, Record};

/// One partition in one machine's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadow {
    /// The highest ballot.
    pub(crate) ballot: Ballot,
    /// The last decree of the newest checkpoint that was installed.
    pub(crate) installed: Decree,
    /// The identities, by the raise-or-replace rule (§4.6).
    list: BTreeMap<Decree, MutationId>,
}

/// Takes notice of records that are durable, in log order.
pub(crate) fn fold<'a>(shadows: &mut BTreeMap<Gpid, Shadow>, records: impl IntoIterator<Item = &'a Record>) {
    for record in records {
        let gpid = record.gpid();
        if !shadows.entry(gpid).or_default().on_record(record) {
            shadows.remove(&gpid);
        }
    }
}

impl Shadow {
    /// A record of the partition is durable now. False if the partition is gone by it.
    pub(crate) fn on_record(&mut self, record: &Record) -> bool {
        match record {
            Record::Created { .. } => {}
            Record::Ballot { ballot, .. } => self.ballot = self.ballot.max(*ballot),
            Record::Prepare { ballot, mutation, .. } => {
                self.ballot = self.ballot.max(*ballot);
                self.prepare(mutation.id);
            }
            Record::Installed { checkpoint, .. } => self.install(*checkpoint),
            Record::Removed { .. } => return false,
        }
        true
    }

    fn prepare(&mut self, id: MutationId) {
        if self.list.get(&id.decree).is_some_and(|&here| here != id) {
            self.list.split_off(&id.decree.next());
        }
        self.list.insert(id.decree, id);
    }

    fn install(&mut self, checkpoint: MutationId) {
        // What follows is kept only if the log has that very identity there (§6.2).
        let follows = self.list.get(&checkpoint.decree) == Some(&checkpoint);
        if !follows {
            self.list.clear();
        }
        self.installed = self.installed.max(checkpoint.decree);
    }

    /// The identity of a decree, as far as the log has it.
    pub(crate) fn identity_at(&self, decree: Decree) -> Option<MutationId> {
        self.list.get(&decree).copied()
    }

    /// What is above `decree`, in order.
    pub(crate) fn above(&self, decree: Decree) -> impl Iterator<Item = MutationId> + '_ {
        self.list.range(decree.next()..).map(|(_, &id)| id)
    }
}
