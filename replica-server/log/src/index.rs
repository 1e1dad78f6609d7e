//! Where each partition's mutations are in the log.

use std::collections::{BTreeMap, VecDeque};

use words::{Ballot, Decree, Gpid, MutationId, Record};

use crate::frame::Place;

/// Where a mutation's newest record is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Location {
    /// The ballot of the mutation's identity.
    pub(crate) ballot: Ballot,
    /// Where the frame begins.
    pub(crate) place: Place,
    /// Length of the frame.
    pub(crate) length: u32,
}

/// For each partition, where to read the mutations that its log holds. It follows the rule of raise or
/// replace (§4.6), so what it names is one sequence of mutations, the one that replay would give.
#[derive(Debug, Default)]
pub(crate) struct Index {
    partitions: BTreeMap<Gpid, Run>,
}

/// Mutations of consecutive decrees.
#[derive(Debug)]
struct Run {
    first: Decree,
    locations: VecDeque<Location>,
}

impl Index {
    /// Takes notice of a record, in log order.
    pub(crate) fn on_record(&mut self, record: &Record, place: Place, length: u32) {
        match record {
            Record::Prepare { gpid, mutation, .. } => {
                let location = Location { ballot: mutation.id.ballot, place, length };
                self.on_prepare(*gpid, mutation.id, location);
            }
            Record::Installed { gpid, checkpoint, suffix_kept: true } => {
                self.forget_to(*gpid, checkpoint.decree);
            }
            // What was logged before a checkpoint may be another history than the checkpoint's.
            Record::Installed { gpid, .. } | Record::Removed { gpid, .. } => {
                self.partitions.remove(gpid);
            }
            Record::Created { .. } | Record::Ballot { .. } | Record::Broken { .. } => {}
        }
    }

    fn on_prepare(&mut self, gpid: Gpid, id: MutationId, location: Location) {
        let run = self
            .partitions
            .entry(gpid)
            .or_insert_with(|| Run { first: id.decree, locations: VecDeque::new() });
        let position = run.position(id.decree).filter(|&position| position <= run.locations.len());
        let Some(position) = position else {
            // It does not follow on: what is known about others says nothing about it, nor it about them.
            *run = Run { first: id.decree, locations: VecDeque::from([location]) };
            return;
        };
        match run.locations.get_mut(position) {
            Some(known) if known.ballot == id.ballot => *known = location,
            _ => {
                run.locations.truncate(position);
                run.locations.push_back(location);
            }
        }
    }

    fn forget_to(&mut self, gpid: Gpid, decree: Decree) {
        let Some(run) = self.partitions.get_mut(&gpid) else { return };
        match run.position(decree) {
            Some(last) if last < run.locations.len() => {
                run.locations.drain(..=last);
                run.first = decree.next();
            }
            // It is before all of them, or ...
            None if run.first == decree.next() => {}
            _ => drop(self.partitions.remove(&gpid)),
        }
    }

    /// Where the mutations from `from` to `to` are, without a gap, as many as fit in `max_bytes` and at least
    /// one if there is one.
    pub(crate) fn find(&self, gpid: Gpid, from: Decree, to: Decree, max_bytes: usize) -> Vec<Location> {
        let Some(run) = self.partitions.get(&gpid) else {
            return Vec::new();
        };
        let (Some(position), Some(span)) = (run.position(from), to.0.checked_sub(from.0)) else {
            return Vec::new();
        };
        let count = usize::try_from(span).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = 0_usize;
        let fits = |location: &&Location| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(location.length as usize);
            first || bytes <= max_bytes
        };
        run.locations.iter().skip(position).take(count).take_while(fits).copied().collect()
    }

    /// Forgets what is in segments before `first`.
    pub(crate) fn collect(&mut self, first: u64) {
        self.partitions.retain(|_, run| {
            let gone = run.locations.iter().rposition(|location| location.place.segment < first);
            if let Some(last) = gone {
                run.locations.drain(..=last);
                run.first = Decree(run.first.0 + last as u64 + 1);
            }
            !run.locations.is_empty()
        });
    }
}

impl Run {
    fn position(&self, decree: Decree) -> Option<usize> {
        usize::try_from(decree.0.checked_sub(self.first.0)?).ok()
    }
}
