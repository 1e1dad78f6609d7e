//! What is to happen, in order of time: the one queue that drives a simulation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Moment;

/// A heap of (time, sequence, happening). Of two that are due at once the one that was put in first comes
/// first, so that the order never depends on the heap.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    heap: BinaryHeap<Reverse<(Moment, u64, usize)>>,
    /// The happenings themselves; the heap moves only their places in here.
    slots: Vec<Option<T>>,
    free: Vec<usize>,
    sequence: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts something in that is to happen then.
    pub(crate) fn put(&mut self, at: Moment, happening: T) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(happening);
        self.heap.push(Reverse((at, self.sequence, slot)));
        self.sequence += 1;
    }

    /// When the next thing is to happen.
    pub(crate) fn next_at(&self) -> Option<Moment> {
        self.heap.peek().map(|&Reverse((at, ..))| at)
    }

    /// Takes out what comes next, and when.
    pub(crate) fn take(&mut self) -> Option<(Moment, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        let happening = self.slots[slot].take().expect("every entry of the heap has its slot filled");
        Some((at, happening))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_by_time_then_by_order_of_arrival() {
        let mut agenda = Agenda::default();
        for (at, what) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (1, 'e')] {
            agenda.put(Moment(at), what);
        }
        let order: String = std::iter::from_fn(|| agenda.take()).map(|(_, what)| what).collect();
        assert_eq!(order, "ebdac");
    }
}
