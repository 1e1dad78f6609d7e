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
    list: BTreeMap<Decree, (MutationId, Ballot)>,
}

/// Takes notice of a record that is durable; those of a log come in log order.
pub(crate) fn on_durable(shadows: &mut BTreeMap<Gpid, Shadow>, record: &Record) -> Effect {
    let gpid = record.gpid();
    let shadow = shadows.entry(gpid).or_default();
    match record {
        Record::Created { .. } | Record::Broken { .. } => {}
        Record::Ballot { ballot, .. } => shadow.ballot = shadow.ballot.max(*ballot),
        Record::Prepare { ballot, mutation, replaces, .. } => {
            return shadow.prepare(*ballot, mutation.id, *replaces);
        }
        Record::Installed { checkpoint, suffix_kept, .. } => shadow.install(*checkpoint, *suffix_kept),
        Record::Removed { .. } => {
            shadows.remove(&gpid);
        }
    }
    Effect::Plain
}

/// What a record did to what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing remarkable.
    Plain,
    /// The mutation was there and was proposed under a higher ballot (§4.6).
    Raised,
    /// Another mutation was there.
    Replaced,
}

impl Shadow {
    fn prepare(&mut self, ballot: Ballot, id: MutationId, replaces: bool) -> Effect {
        self.ballot = self.ballot.max(ballot);
        match self.list.insert(id.decree, (id, ballot)) {
            here if replaces || here.is_some_and(|(here, _)| here != id) => {
                // What was replaced may be cut from the log that this is made of.
                self.list.split_off(&id.decree.next());
                Effect::Replaced
            }
            Some((_, before)) if before < ballot => Effect::Raised,
            _ => Effect::Plain,
        }
    }

    fn install(&mut self, checkpoint: MutationId, suffix_kept: bool) {
        // What follows is kept only if the log has that very identity there (§6.2), or had it before it was cut.
        let known = self.identity_at(checkpoint.decree);
        let cut = suffix_kept && known.is_none();
        if known != Some(checkpoint) && !cut {
            self.list.clear();
        }
        self.installed = self.installed.max(checkpoint.decree);
    }

    /// The identity of a decree, as far as the log has it.
    pub(crate) fn identity_at(&self, decree: Decree) -> Option<MutationId> {
        self.list.get(&decree).map(|&(id, _)| id)
    }

    /// What is above `decree`, in order.
    pub(crate) fn above(&self, decree: Decree) -> impl Iterator<Item = MutationId> + '_ {
        self.list.range(decree.next()..).map(|(_, &(id, _))| id)
    }
}
