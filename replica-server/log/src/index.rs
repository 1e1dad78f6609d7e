//! Where each partition's mutations are in the log.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use words::{Ballot, Decree, Gpid, MutationId, Record};

use crate::frame::Place;

/// Where a mutation's newest record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The ballot of the mutation's identity.
    pub(crate) ballot: Ballot,
    /// Where the frame begins.
    pub(crate) place: Place,
    /// Length of the frame.
    pub(crate) length: NonZeroU32,
}

/// Decrees without a record between two that have one, at most. A prepare list is no longer than that.
const LARGEST_GAP: usize = 1 << 20;

/// For each partition, where to read the mutations that its log holds. It follows the rule of raise or
/// replace (§4.6), so what it names is one sequence of mutations, the one that replay would give.
#[derive(Debug, Default)]
pub(crate) struct Index {
    partitions: BTreeMap<Gpid, Run>,
}

/// Mutations of consecutive decrees. The log is cut at its beginning, so what is left can begin with mutations whose
/// neighbours are cut, and were written again under a higher ballot later on: in whatever order those arrived. There
/// are gaps until they are read.
#[derive(Debug)]
struct Run {
    first: Decree,
    locations: VecDeque<Option<Location>>,
}

impl Index {
    /// Takes notice of a record, in log order.
    pub(crate) fn on_record(&mut self, record: &Record, place: Place, length: u32) {
        match record {
            Record::Prepare { gpid, mutation, replaces, .. } => {
                let length = NonZeroU32::new(length).expect("a frame has a header");
                let location = Location { ballot: mutation.id.ballot, place, length };
                self.on_prepare(*gpid, mutation.id, *replaces, location);
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

    fn on_prepare(&mut self, gpid: Gpid, id: MutationId, replaces: bool, location: Location) {
        let run = self
            .partitions
            .entry(gpid)
            .or_insert_with(|| Run { first: id.decree, locations: VecDeque::new() });
        let Some(position) = run.make_room(id.decree) else {
            // Far from all others: what is known about those says nothing about it, nor it about them.
            *run = Run { first: id.decree, locations: VecDeque::from([Some(location)]) };
            return;
        };
        let known = &mut run.locations[position];
        let is_another = known.is_some_and(|known| known.ballot != id.ballot);
        *known = Some(location);
        if replaces || is_another {
            run.locations.truncate(position + 1);
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

    /// Where the mutations from `from` to `to` are, without a gap: the first, and as many after it as fit in
    /// `max_bytes`, at least one if there is one.
    pub(crate) fn find(&self, gpid: Gpid, from: Decree, to: Decree, max_bytes: usize) -> Vec<Location> {
        let Some(run) = self.partitions.get(&gpid) else {
            return Vec::new();
        };
        let (Some(position), Some(span)) = (run.position(from), to.0.checked_sub(from.0)) else {
            return Vec::new();
        };
        let count = usize::try_from(span).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = 0_usize;
        let fits = |&(index, location): &(usize, &Location)| {
            bytes += if index == 0 { 0 } else { location.length.get() as usize };
            index <= 1 || bytes <= max_bytes
        };
        let wanted = run.locations.iter().skip(position).take(count).map_while(Option::as_ref);
        wanted.enumerate().take_while(fits).map(|(_, location)| *location).collect()
    }

    /// Forgets what is in segments before `first`.
    pub(crate) fn collect(&mut self, first: u64) {
        self.partitions.retain(|_, run| {
            let is_gone = |known: &Option<Location>| known.is_some_and(|it| it.place.segment < first);
            let gone = run.locations.iter().rposition(is_gone);
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

    /// Where the location of that decree is to be, with gaps up to there if need be; `None` if it is too far off.
    fn make_room(&mut self, decree: Decree) -> Option<usize> {
        let end = self.first.0.saturating_add(self.locations.len() as u64);
        let before = self.first.0.saturating_sub(decree.0);
        let gap = usize::try_from(before.max(decree.0.saturating_sub(end))).ok()?;
        if gap > LARGEST_GAP {
            return None;
        }
        if before > 0 {
            for _ in 0..gap {
                self.locations.push_front(None);
            }
            self.first = decree;
        }
        let position = self.position(decree)?;
        if position >= self.locations.len() {
            self.locations.resize(position + 1, None);
        }
        Some(position)
    }
}
