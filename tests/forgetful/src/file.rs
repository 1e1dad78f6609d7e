//! One file's content: as it is, as the disk has it, and what was done between the two.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::Outcome;
use crate::disk::Pick;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { size: usize },
}

impl File {
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(crate) fn resize(&mut self, size: usize) {
        self.change(Change::Resize { size });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.content);
        self.unsynced.push(change);
    }

    pub(crate) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(crate) fn cut(&mut self, outcome: Outcome, pick: &mut Pick) {
        match outcome {
            Outcome::Lost => self.content.clone_from(&self.durable),
            Outcome::Kept => {}
            Outcome::Torn(_) => {
                let length_after = pick.up_to(self.unsynced.len());
                self.tear(&Moment { length_after, all_from: usize::MAX }, pick);
            }
            Outcome::Journaled(_) => {
                let all_from = self.durable.len() / SECTOR * SECTOR;
                let length_after = split_one(&mut self.unsynced, all_from, pick);
                self.tear(&Moment { length_after, all_from }, pick);
            }
        }
        self.unsynced.clear();
        self.durable.clone_from(&self.content);
    }

    fn tear(&mut self, moment: &Moment, pick: &mut Pick) {
        self.content = torn(std::mem::take(&mut self.durable), &self.unsynced, moment, pick);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Resize { size } => content.resize(*size, 0),
        }
    }
}

/// What is as it was at one moment between two changes.
struct Moment {
    /// The length: as after so many changes.
    length_after: usize,
    /// And each sector from here on.
    all_from: usize,
}

/// Picks a moment between two changes, or in the middle of a write, which is two from then on: one with all of it below
/// `all_from`, where sectors are not divided, and one with the rest. Answers how many changes came before it.
fn split_one(changes: &mut Vec<Change>, all_from: usize, pick: &mut Pick) -> usize {
    let moment = pick.up_to(changes.len());
    if pick.coin() {
        return moment;
    }
    if let Some(Change::Write { offset, bytes }) = changes.get_mut(moment) {
        let whole = all_from.saturating_sub(*offset).min(bytes.len());
        let first = whole + pick.up_to(bytes.len() - whole);
        let rest = Change::Write { offset: *offset + first, bytes: bytes.split_off(first) };
        changes.insert(moment + 1, rest);
        return moment + 1;
    }
    moment
}

/// Each sector holds what it held after any of the changes, but for what is as it was at one moment.
fn torn(mut content: Vec<u8>, changes: &[Change], moment: &Moment, pick: &mut Pick) -> Vec<u8> {
    let &Moment { length_after, all_from } = moment;
    let mut length = content.len();
    let mut now = content.len();
    // Sectors whose later changes did not reach the disk.
    let mut frozen = BTreeSet::new();
    for (number, change) in (1..).zip(changes) {
        match change {
            Change::Write { offset, bytes } => {
                now = now.max(offset + bytes.len());
                content.resize(content.len().max(now), 0);
                for sector in sectors(*offset..offset + bytes.len()) {
                    let at = sector.start.max(*offset)..sector.end.min(offset + bytes.len());
                    let survives = if sector.start < all_from { pick.coin() } else { number <= length_after };
                    if survives && !frozen.contains(&sector.start) {
                        content[at.clone()].copy_from_slice(&bytes[at.start - offset..at.end - offset]);
                    } else {
                        frozen.insert(sector.start);
                    }
                }
            }
            Change::Resize { size } => {
                now = *size;
                content.resize(content.len().max(now), 0);
                // It is one change with that of the length: it survives if that does.
                for sector in sectors(now..content.len()) {
                    if number <= length_after && !frozen.contains(&sector.start) {
                        let at = sector.start.max(now)..sector.end.min(content.len());
                        content[at].fill(0);
                    }
                }
            }
        }
        if number == length_after {
            length = now;
        }
    }
    content.resize(length, 0);
    content
}

/// The sectors that a range of bytes touches.
fn sectors(bytes: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    (bytes.start / SECTOR..bytes.end.div_ceil(SECTOR)).map(|at| at * SECTOR..(at + 1) * SECTOR)
}
