//! The prepare list: the window `last_committed < d <= last_prepared` and a bounded tail of committed
//! mutations behind it. Memory and log replay follow the same rule here: raise or replace (§4.6).

use std::collections::VecDeque;
use std::sync::Arc;

use words::{Ballot, Decree, Mutation, MutationId};

use crate::Settings;

/// One prepared mutation. What the list asks for most is here: a mutation is in no processor's cache any more when its
/// neighbour comes, or when its time to go has come.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Which.
    pub(crate) id: MutationId,
    /// The ballot under which it was last proposed; at least `id.ballot`.
    pub(crate) ballot: Ballot,
    size: usize,
    /// What.
    pub(crate) mutation: Arc<Mutation>,
}

/// What became of a mutation that was offered to the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It follows on and is the last one now.
    Appended,
    /// It was here already; its ballot rose, what follows it stays: that may be committed.
    Raised,
    /// It was here already, under this very ballot.
    Repeated,
    /// It took the place of a different one, and all that followed that one is gone.
    Replaced,
    /// At or below the commit point, and the same as what was committed, or no longer known.
    Committed,
    /// At or below the commit point, and different from what was committed, or following on something
    /// different: S1 is broken.
    Contradicts,
    /// The decree before it is missing here, or is another mutation.
    Gap,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrepareList {
    /// The identity of the last decree before the entries; the ballot is unknown after a restart whose log
    /// begins in the middle.
    floor: Decree,
    floor_id: Option<MutationId>,
    /// Decrees `floor + 1 ..= last_prepared`.
    entries: VecDeque<Entry>,
    /// Payload bytes in `entries`, for the tail's bound.
    bytes: usize,
    last_committed: Decree,
}

/// How long the tail of committed mutations may be.
#[derive(Debug)]
pub(crate) struct TailBounds {
    /// Mutations.
    pub(crate) count: usize,
    /// Payload bytes, of the whole list.
    pub(crate) bytes: usize,
    /// What follows this decree stays, however many mutations that are.
    pub(crate) wanted_after: Option<Decree>,
}

impl TailBounds {
    /// Without a learner.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self { count: settings.list_tail, bytes: settings.list_tail_bytes, wanted_after: None }
    }
}

impl Entry {
    pub(crate) fn new(mutation: &Arc<Mutation>, ballot: Ballot) -> Self {
        let size = 64 + mutation.writes.packed().len();
        Self { id: mutation.id, ballot, size, mutation: Arc::clone(mutation) }
    }

    /// Its bytes, as the bound counts them.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

impl PrepareList {
    /// A list that begins after `floor`, which is committed.
    pub(crate) fn after(floor: MutationId) -> Self {
        Self { floor: floor.decree, floor_id: Some(floor), last_committed: floor.decree, ..Self::default() }
    }

    pub(crate) fn last_committed(&self) -> Decree {
        self.last_committed
    }

    /// Known: it is the app's, or one that followed on it.
    pub(crate) fn last_committed_id(&self) -> MutationId {
        self.identity_at(self.last_committed).expect("the last committed decree is known")
    }

    pub(crate) fn last_prepared(&self) -> Decree {
        Decree(self.floor.0 + self.entries.len() as u64)
    }

    /// The decree before the first that is still here.
    pub(crate) fn floor(&self) -> Decree {
        self.floor
    }

    pub(crate) fn entry(&self, decree: Decree) -> Option<&Entry> {
        let index = decree.0.checked_sub(self.floor.0 + 1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// Bytes of all that is here, as its bound counts them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of what is above `decree`.
    pub(crate) fn bytes_above(&self, decree: Decree) -> usize {
        let count = usize::try_from(self.last_prepared().0.saturating_sub(decree.0)).unwrap_or(usize::MAX);
        self.entries.iter().rev().take(count).map(Entry::size).sum()
    }

    /// The last decree of a batch that begins after `after`: of at most so many mutations and bytes, and of one
    /// mutation at least, if there is any.
    pub(crate) fn batch_after(&self, after: Decree, mutations: usize, bytes: usize) -> Decree {
        let gone = usize::try_from(after.0.saturating_sub(self.floor.0)).unwrap_or(usize::MAX);
        let mut size = 0;
        let fits = |entry: &&Entry| {
            let is_first = size == 0;
            size += entry.size();
            is_first || size <= bytes
        };
        let last = self.entries.iter().skip(gone).take(mutations).take_while(fits).last();
        last.map_or(after, |entry| entry.id.decree)
    }

    /// The identity of a decree, if the list knows it.
    pub(crate) fn identity_at(&self, decree: Decree) -> Option<MutationId> {
        if decree == self.floor {
            return if decree == Decree::ZERO { Some(MutationId::ZERO) } else { self.floor_id };
        }
        self.entry(decree).map(|entry| entry.id)
    }

    /// Offers a mutation that was proposed under `ballot`; raise or replace (§4.6). `previous` is the identity
    /// of the decree before it (§3.2); replay has none to check, acceptance was decided before logging.
    pub(crate) fn offer(
        &mut self,
        mutation: &Arc<Mutation>,
        ballot: Ballot,
        previous: Option<MutationId>,
    ) -> Offer {
        let decree = mutation.id.decree;
        assert!(decree > Decree::ZERO, "decree 0 is before the first mutation");
        assert!(mutation.id.ballot <= ballot, "{} proposed under {ballot}, before it was made", mutation.id);
        if decree <= self.last_committed {
            return match self.identity_at(decree) {
                Some(known) if known != mutation.id => Offer::Contradicts,
                _ => Offer::Committed,
            };
        }
        if decree > self.last_prepared().next() {
            return Offer::Gap;
        }
        let before = decree.previous();
        let here = self.identity_at(before);
        if let Some(previous) = previous
            && here != Some(previous)
        {
            if before > self.last_committed {
                return Offer::Gap;
            } else if here.is_some() {
                return Offer::Contradicts;
            }
        }
        let index = usize::try_from(decree.0 - self.floor.0 - 1).expect("a list fits in memory");
        if let Some(entry) = self.entries.get_mut(index) {
            if entry.id == mutation.id {
                if entry.ballot >= ballot {
                    return Offer::Repeated;
                }
                entry.ballot = ballot;
                return Offer::Raised;
            }
            self.truncate_from(decree);
            self.push(Entry::new(mutation, ballot));
            return Offer::Replaced;
        }
        self.push(Entry::new(mutation, ballot));
        Offer::Appended
    }

    /// Moves the commit point up to `decree` and returns what is committed by that, in order.
    pub(crate) fn commit_to(&mut self, decree: Decree) -> Vec<Arc<Mutation>> {
        assert!(decree <= self.last_prepared(), "commit of {decree} beyond what is prepared");
        let from = self.last_committed.next();
        self.last_committed = self.last_committed.max(decree);
        (from.0..=decree.0)
            .map(|d| Arc::clone(&self.entry(Decree(d)).expect("prepared decrees have no gaps").mutation))
            .collect()
    }

    /// A checkpoint took the app's place (§6.2): what follows it is kept only if the list has that very
    /// identity there. Returns whether it was kept.
    pub(crate) fn install(&mut self, checkpoint: MutationId) -> bool {
        assert!(checkpoint.decree >= self.last_committed, "a checkpoint must not shorten what is committed");
        let follows = self.identity_at(checkpoint.decree) == Some(checkpoint);
        if follows {
            self.last_committed = checkpoint.decree;
        } else {
            *self = Self::after(checkpoint);
        }
        follows
    }

    /// A list as replay found it: consecutive entries, or none after a floor that is known.
    pub(crate) fn recovered(
        floor: Decree,
        floor_id: Option<MutationId>,
        last_committed: Decree,
        entries: Vec<Entry>,
    ) -> Self {
        assert!(floor_id.is_none_or(|id| id.decree == floor), "the floor's identity");
        let mut list = Self { floor, floor_id, last_committed, ..Self::default() };
        entries.into_iter().for_each(|entry| list.push(entry));
        assert!((floor..=list.last_prepared()).contains(&last_committed), "what is committed is here");
        list
    }

    /// Drops committed mutations from the front until the tail is within its bounds; never one above `keep`.
    pub(crate) fn trim(&mut self, keep: Decree, bounds: &TailBounds) {
        let keep = keep.min(self.last_committed);
        while self.floor < keep {
            let committed = usize::try_from(self.last_committed.0 - self.floor.0).unwrap_or(usize::MAX);
            let wanted = bounds.wanted_after.is_some_and(|after| self.floor >= after);
            if (committed <= bounds.count || wanted) && self.bytes <= bounds.bytes {
                break;
            }
            let Some(entry) = self.entries.pop_front() else { break };
            self.bytes -= entry.size();
            self.floor = entry.id.decree;
            self.floor_id = Some(entry.id);
        }
    }

    fn push(&mut self, entry: Entry) {
        assert_eq!(entry.id.decree, self.last_prepared().next(), "decrees have no gaps");
        self.bytes += entry.size();
        self.entries.push_back(entry);
    }

    fn truncate_from(&mut self, decree: Decree) {
        assert!(decree > self.last_committed, "nothing committed is ever removed (S10)");
        while self.last_prepared() >= decree {
            let entry = self.entries.pop_back().expect("decree is above the floor");
            self.bytes -= entry.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use words::Writes;

    use super::*;

    fn mutation(ballot: u64, decree: u64) -> Arc<Mutation> {
        let id = MutationId { ballot: Ballot(ballot), decree: Decree(decree) };
        Arc::new(Mutation { id, timestamp_us: 0, writes: Writes::default() })
    }

    fn bounds(count: usize, bytes: usize) -> TailBounds {
        TailBounds { count, bytes, wanted_after: None }
    }

    #[test]
    fn what_a_learner_wants_stays_within_the_bound_in_bytes() {
        let mut list = filled();
        list.commit_to(Decree(5));
        let wanted = |bytes| TailBounds { count: 0, bytes, wanted_after: Some(Decree(3)) };
        list.trim(Decree(5), &wanted(usize::MAX));
        assert_eq!(list.floor(), Decree(3));
        list.trim(Decree(5), &wanted(64));
        assert_eq!(list.floor(), Decree(4));
    }

    fn filled() -> PrepareList {
        let mut list = PrepareList::default();
        for decree in 1..=5 {
            assert_eq!(list.offer(&mutation(1, decree), Ballot(1), None), Offer::Appended);
        }
        list.commit_to(Decree(2));
        list
    }

    #[test]
    fn the_same_mutation_raises_and_keeps_what_follows() {
        let mut list = filled();
        assert_eq!(list.offer(&mutation(1, 3), Ballot(2), None), Offer::Raised);
        assert_eq!(list.offer(&mutation(1, 3), Ballot(2), None), Offer::Repeated);
        assert_eq!(list.last_prepared(), Decree(5));
    }

    #[test]
    fn a_different_mutation_replaces_and_removes_what_follows() {
        let mut list = filled();
        assert_eq!(list.offer(&mutation(2, 3), Ballot(2), None), Offer::Replaced);
        assert_eq!(list.last_prepared(), Decree(3));
    }

    #[test]
    fn nothing_committed_changes() {
        let mut list = filled();
        assert_eq!(list.offer(&mutation(1, 2), Ballot(9), None), Offer::Committed);
        assert_eq!(list.offer(&mutation(2, 2), Ballot(9), None), Offer::Contradicts);
        list.trim(Decree(2), &bounds(0, 0));
        assert_eq!(list.offer(&mutation(2, 1), Ballot(9), None), Offer::Committed, "no longer known");
    }

    #[test]
    fn a_prepare_must_follow_on_the_same_mutation() {
        let mut list = filled();
        let previous = |ballot, decree| Some(mutation(ballot, decree).id);
        assert_eq!(list.offer(&mutation(2, 7), Ballot(2), None), Offer::Gap);
        assert_eq!(list.offer(&mutation(2, 6), Ballot(2), previous(2, 5)), Offer::Gap);
        assert_eq!(list.offer(&mutation(2, 6), Ballot(2), previous(1, 5)), Offer::Appended);
        assert_eq!(
            list.offer(&mutation(2, 3), Ballot(2), previous(9, 2)),
            Offer::Contradicts,
            "2 is committed"
        );
        assert_eq!(list.offer(&mutation(2, 3), Ballot(2), previous(1, 2)), Offer::Replaced);
    }

    #[test]
    fn a_checkpoint_keeps_a_suffix_only_behind_its_own_identity() {
        let mut list = filled();
        list.install(mutation(1, 4).id);
        assert_eq!((list.last_committed(), list.last_prepared()), (Decree(4), Decree(5)));
        let mut list = filled();
        list.install(mutation(2, 4).id);
        assert_eq!((list.last_committed(), list.last_prepared()), (Decree(4), Decree(4)));
    }

    #[test]
    fn trimming_keeps_the_identity_of_the_floor() {
        let mut list = filled();
        list.trim(Decree(5), &bounds(0, usize::MAX));
        assert_eq!(list.floor(), Decree(2));
        assert_eq!(list.identity_at(Decree(2)), Some(mutation(1, 2).id));
        assert_eq!(list.identity_at(Decree(1)), None);
    }

    /// What §4.6 says, on a plain map.
    #[derive(Default)]
    struct Model {
        entries: std::collections::BTreeMap<u64, u64>,
        committed: u64,
    }

    impl Model {
        fn offer(&mut self, made: u64, decree: u64) {
            let last = self.entries.len() as u64;
            if decree <= self.committed || decree > last + 1 || self.entries.get(&decree) == Some(&made) {
                return;
            }
            self.entries.retain(|&at, _| at < decree);
            self.entries.insert(decree, made);
        }
    }

    proptest::proptest! {
        /// Whatever is offered and committed: the list is what the rule says, and nothing committed changes.
        #[test]
        fn raise_or_replace_as_the_rule_says(
            steps in proptest::collection::vec((1_u64..4, 1_u64..12, 0_u64..12), 1..60),
        ) {
            let (mut list, mut model, mut ballot) = (PrepareList::default(), Model::default(), 1);
            for (made, decree, commit) in steps {
                ballot = ballot.max(made);
                list.offer(&mutation(made, decree), Ballot(ballot), None);
                model.offer(made, decree);
                let commit = commit.min(list.last_prepared().0).max(model.committed);
                list.commit_to(Decree(commit));
                model.committed = commit;
                proptest::prop_assert_eq!(list.last_prepared().0, model.entries.len() as u64);
                proptest::prop_assert_eq!(list.last_committed().0, model.committed);
                for (&decree, &made) in &model.entries {
                    proptest::prop_assert_eq!(list.identity_at(Decree(decree)), Some(mutation(made, decree).id));
                }
            }
        }
    }
}
