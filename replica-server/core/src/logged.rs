//! What the log has of one partition's prepare list, while it is replayed: the identities of all, and of the mutations
//! as many as memory keeps. A log can be much larger than memory.

use std::collections::BTreeMap;

use words::{Decree, MutationId};

use crate::prepare_list::{Entry, TailBounds};

/// The log is cut at its beginning, by segments, each as soon as all in it is durable in the app; so what is left can
/// begin with mutations whose predecessors are cut, and that were themselves replaced later. There are gaps until their
/// successors are read.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    /// Each with its mutation, if that is kept.
    known: BTreeMap<Decree, (MutationId, Option<Entry>)>,
    /// Nothing before it is kept.
    kept_from: Decree,
    /// Bytes of what is kept.
    bytes: usize,
}

/// The end of it that has no gap.
#[derive(Debug)]
pub(crate) struct Top {
    /// The decree before its first one.
    pub(crate) floor: Decree,
    /// The last one that is not kept.
    pub(crate) kept_after: Option<MutationId>,
    /// What follows that.
    pub(crate) entries: Vec<Entry>,
}

impl Logged {
    pub(crate) fn identity_at(&self, decree: Decree) -> Option<MutationId> {
        self.known.get(&decree).map(|(id, _)| *id)
    }

    pub(crate) fn has_any_from(&self, decree: Decree) -> bool {
        self.known.range(decree..).next().is_some()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Removes this decree and all that follow.
    pub(crate) fn truncate_from(&mut self, decree: Decree) {
        for (_, entry) in self.known.split_off(&decree).into_values() {
            self.bytes -= entry.as_ref().map_or(0, Entry::size);
        }
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let id = entry.id;
        let kept = (id.decree >= self.kept_from).then_some(entry);
        self.bytes += kept.as_ref().map_or(0, Entry::size);
        if let Some((_, Some(before))) = self.known.insert(id.decree, (id, kept)) {
            self.bytes -= before.size();
        }
    }

    /// Lets go of what is committed beyond the bounds; it can be read again.
    pub(crate) fn trim(&mut self, committed: Decree, bounds: &TailBounds) {
        while let Some((&decree, (_, entry))) = self.known.range_mut(self.kept_from..).next()
            && decree <= committed
            && (self.bytes > bounds.bytes || decree.0.saturating_add(bounds.count as u64) <= committed.0)
        {
            self.bytes -= entry.take().as_ref().map_or(0, Entry::size);
            self.kept_from = decree.next();
        }
    }

    /// `durable` is what the app has, should the log have nothing.
    pub(crate) fn into_top(self, durable: Decree) -> Top {
        let mut top = Top { floor: durable, kept_after: None, entries: Vec::new() };
        let mut below = None;
        for (decree, (id, entry)) in self.known.into_iter().rev() {
            if below.is_some_and(|below| below != decree) {
                break;
            }
            below = Some(decree.previous());
            match entry {
                Some(entry) => top.entries.push(entry),
                None => top.kept_after = top.kept_after.or(Some(id)),
            }
        }
        top.entries.reverse();
        top.floor = below.unwrap_or(durable);
        top
    }
}
