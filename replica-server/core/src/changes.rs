//! The recent changes of one partition, for clients that watch: what the app published, by decree.
//!
//! Every replica keeps them, so a watch goes on wherever the primary is. They are no part of the state: they
//! begin anew after the checkpoint that an app was opened with or has learned, and what is applied fills them.
//! A watcher is nothing but a decree from which it reads on; so one that is slow holds nothing back and costs
//! nothing, and is told when what it wants next is gone.

use std::collections::VecDeque;
use std::iter;

use bytes::{Buf, BufMut, Bytes};
use words::{Change, ChangePage, Decree, KeyFilter};

/// What a change costs in an answer beside its bytes.
const OVERHEAD: usize = 96;

/// What a change costs here beside its bytes: their lengths.
const LENGTHS: usize = 2 * size_of::<u64>();

/// Changes that one page looks at: whatever a watcher asks for, an answer is soon made.
const LOOKED_AT: usize = 4096;

/// The recent changes of one partition.
#[derive(Debug)]
pub struct Changes {
    /// All that was published after this decree is here ...
    after: Decree,
    /// ... up to this one, the last that was applied.
    last: Decree,
    published: VecDeque<Published>,
    /// Of all of these.
    bytes: usize,
    limit: usize,
}

/// What was published at one decree: its changes one behind the other, each with its lengths before it, in a buffer of
/// their own. As the app hands them over they may be slices of the frame in which the request came, and a frame is large.
/// And they are in no processor's cache any more when they have to go: so they are few bytes, which nobody looks at then.
#[derive(Debug)]
pub struct Published {
    decree: Decree,
    changes: Bytes,
}

/// What a watcher wants next is not here: its place in the order is gone, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The oldest decree that can be read from.
    pub oldest: Decree,
}

impl Changes {
    /// None yet, of an app that has applied up to `decree`. At most `limit` bytes are kept, or the changes of one
    /// decree if those are more.
    #[must_use]
    pub fn after(decree: Decree, limit: usize) -> Self {
        Self { after: decree, last: decree, published: VecDeque::new(), bytes: 0, limit }
    }

    /// The app applied `decree` and published this.
    ///
    /// # Panics
    /// If it is not the next one (S11).
    pub fn push(&mut self, decree: Decree, changes: Vec<Change>) {
        assert_eq!(decree, self.last.next(), "decrees are published in order (S11)");
        self.last = decree;
        if changes.is_empty() {
            return;
        }
        let published = Published::new(decree, &changes);
        self.bytes += published.cost();
        self.published.push_back(published);
        while self.bytes > self.limit && self.published.len() > 1 {
            let oldest = self.published.pop_front().expect("there are some");
            self.bytes -= oldest.cost();
            self.after = oldest.decree;
        }
    }

    /// The oldest decree that can be read from.
    #[must_use]
    pub fn oldest(&self) -> Decree {
        self.after.next()
    }

    /// The last decree that was applied.
    #[must_use]
    pub fn last(&self) -> Decree {
        self.last
    }

    /// Bytes that are kept, with what each change and each decree cost beside their own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was published at the last decree, if anything was.
    #[must_use]
    pub fn newest(&self) -> Option<&Published> {
        self.published.back().filter(|newest| newest.decree == self.last)
    }

    /// The changes from a decree on: whole decrees, about `room` bytes of them, and at least one decree if there is
    /// one. A page that ends before the last decree may hold nothing; the rest follows on it.
    ///
    /// # Errors
    /// If not all of them are here any more; or if that decree is still far off, so that whoever asks for it has
    /// seen another history.
    pub fn read(&self, from: Decree, filter: &KeyFilter, room: usize) -> Result<ChangePage, Compacted> {
        if from < self.oldest() || from > self.last.next() {
            return Err(Compacted { oldest: self.oldest() });
        }
        let mut page = ChangePage { through: self.last, changes: Vec::new() };
        let (mut bytes, mut looked_at) = (0, 0);
        let room = room.max(1);
        let begin = self.published.partition_point(|published| published.decree < from);
        for published in self.published.range(begin..) {
            if bytes >= room || looked_at >= LOOKED_AT {
                break;
            }
            for (key, value) in published.each() {
                looked_at += 1;
                if filter.takes(key) {
                    bytes += key.len() + value.len() + OVERHEAD;
                    let [key, value] = [key, value].map(|part| published.changes.slice_ref(part));
                    page.changes.push((published.decree, Change { key, value }));
                }
            }
            page.through = published.decree;
        }
        if self.published.back().is_none_or(|newest| newest.decree <= page.through) {
            page.through = self.last;
        }
        Ok(page)
    }
}

impl Published {
    fn new(decree: Decree, changes: &[Change]) -> Self {
        let size = changes.iter().map(|change| LENGTHS + change.key.len() + change.value.len()).sum();
        let mut buffer = Vec::with_capacity(size);
        for Change { key, value } in changes {
            buffer.put_u64_le(key.len() as u64);
            buffer.put_u64_le(value.len() as u64);
            buffer.put_slice(key);
            buffer.put_slice(value);
        }
        Self { decree, changes: buffer.into() }
    }

    fn cost(&self) -> usize {
        size_of::<Self>() + self.changes.len()
    }

    /// At which it was published.
    #[must_use]
    pub fn decree(&self) -> Decree {
        self.decree
    }

    /// What watchers choose by.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.each().map(|(key, _)| key)
    }

    /// Keys and values.
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.changes[..];
        iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let lengths = [rest.get_u64_le(), rest.get_u64_le()];
            let mut next = |length| rest.split_off(..length as usize).expect("as long as it was written");
            Some((next(lengths[0]), next(lengths[1])))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn change(key: u8, value: usize) -> Change {
        Change { key: Bytes::from(vec![key; 1]), value: Bytes::from(vec![0; value]) }
    }

    fn cost_of(change: &Change) -> usize {
        Published::new(Decree(1), std::slice::from_ref(change)).cost()
    }

    fn key(key: u8) -> KeyFilter {
        KeyFilter::Key(Bytes::from(vec![key]))
    }

    #[test]
    fn what_is_gone_is_said_with_what_is_left() {
        let mut changes = Changes::after(Decree(10), 2 * cost_of(&change(1, 1)));
        assert_eq!(changes.read(Decree(10), &KeyFilter::ALL, 1), Err(Compacted { oldest: Decree(11) }));
        assert_eq!(changes.read(Decree(12), &KeyFilter::ALL, 1), Err(Compacted { oldest: Decree(11) }));
        let nothing = ChangePage { through: Decree(10), changes: vec![] };
        assert_eq!(changes.read(Decree(11), &KeyFilter::ALL, 1), Ok(nothing));
        for decree in 11..=14 {
            changes.push(Decree(decree), vec![change(1, 1)]);
        }
        assert_eq!(changes.oldest(), Decree(13), "two of four have room");
        assert_eq!(changes.read(Decree(12), &key(2), 1), Err(Compacted { oldest: Decree(13) }));
    }

    #[test]
    fn decrees_that_publish_nothing_cost_nothing() {
        let mut changes = Changes::after(Decree(0), 0);
        changes.push(Decree(1), vec![change(1, 0)]);
        for decree in 2..100 {
            changes.push(Decree(decree), vec![]);
        }
        assert_eq!((changes.oldest(), changes.newest().is_none()), (Decree(1), true));
        let page = changes.read(Decree(1), &KeyFilter::ALL, 1).expect("all is there");
        assert_eq!((page.through, page.changes), (Decree(99), vec![(Decree(1), change(1, 0))]));
    }

    #[test]
    fn changes_of_one_decree_that_have_no_room_are_kept_until_the_next() {
        let mut changes = Changes::after(Decree(0), 10);
        changes.push(Decree(1), vec![change(1, 1000), change(2, 1000)]);
        let page = changes.read(Decree(1), &KeyFilter::ALL, 1).expect("it is there");
        assert_eq!((page.through, page.changes.len()), (Decree(1), 2), "decrees are never divided");
        changes.push(Decree(2), vec![change(3, 1)]);
        assert_eq!(changes.oldest(), Decree(2));
    }

    #[test]
    fn what_is_kept_holds_no_frame() {
        let frame = Bytes::from(vec![7; 1 << 20]);
        let kept = Published::new(Decree(1), &[Change { key: frame.slice(5..6), value: frame.slice(6..9) }]);
        assert_eq!(kept.each().collect::<Vec<_>>(), [(&frame[5..6], &frame[6..9])]);
        assert!(frame.is_unique());
    }

    fn filter() -> impl Strategy<Value = KeyFilter> {
        prop_oneof![Just(KeyFilter::ALL), (0..3_u8).prop_map(key)]
    }

    proptest! {
        /// A watcher that reads page after page sees what a list of everything holds, or is told what it missed.
        #[test]
        fn pages_are_all_there_is(
            published in vec(vec((0..3_u8, 0..50_usize), 0..4), 1..40),
            limit in 0..6000_usize,
            room in 1..400_usize,
            filter in filter(),
            pushes_between in 1..5_usize,
        ) {
            let mut changes = Changes::after(Decree::ZERO, limit);
            let mut all: Vec<(Decree, Change)> = Vec::new();
            let (mut seen, mut from) = (Vec::new(), Decree(1));
            for (decree, now) in (1..).map(Decree).zip(&published) {
                let now: Vec<Change> = now.iter().map(|&(key, value)| change(key, value)).collect();
                all.extend(now.iter().map(|change| (decree, change.clone())));
                changes.push(decree, now);
                prop_assert!(changes.bytes() <= limit || changes.published.len() == 1);
                if !decree.0.is_multiple_of(pushes_between as u64) {
                    continue;
                }
                while from <= decree {
                    match changes.read(from, &filter, room) {
                        Ok(page) => {
                            prop_assert!(page.through >= from);
                            seen.extend(page.changes);
                            from = page.through.next();
                        }
                        Err(Compacted { oldest }) => {
                            prop_assert!(oldest > from);
                            let missed = |(decree, _): &(Decree, Change)| *decree >= from && *decree < oldest;
                            prop_assert!(all.iter().any(missed), "nothing was lost between {from} and {oldest}");
                            all.retain(|change| !missed(change));
                            from = oldest;
                        }
                    }
                }
            }
            all.retain(|(decree, change)| *decree < from && filter.takes(&change.key));
            prop_assert_eq!(seen, all);
        }
    }
}
