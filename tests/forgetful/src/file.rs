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
                self.content = torn(std::mem::take(&mut self.durable), &self.unsynced, None, pick);
            }
            Outcome::Journaled(_) => {
                let in_order_from = self.durable.len() / SECTOR * SECTOR;
                let moment = split_one(&mut self.unsynced, in_order_from, pick);
                let in_order = Some(InOrder { from: in_order_from, moment });
                self.content = torn(std::mem::take(&mut self.durable), &self.unsynced, in_order, pick);
            }
        }
        self.unsynced.clear();
        self.durable.clone_from(&self.content);
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

/// Where the order of changes is kept: with the file's length, all from a place on is as it was at one moment.
struct InOrder {
    from: usize,
    /// How many changes there were by then.
    moment: usize,
}

/// Picks a moment between any two changes or in the middle of a write, which is then two. Answers how many there were.
fn split_one(changes: &mut Vec<Change>, from: usize, pick: &mut Pick) -> usize {
    let moment = pick.up_to(changes.len());
    if pick.coin() {
        return moment;
    }
    if let Some(Change::Write { offset, bytes }) = changes.get_mut(moment) {
        let whole = from.saturating_sub(*offset).min(bytes.len());
        let first = whole + pick.up_to(bytes.len() - whole);
        let rest = Change::Write { offset: *offset + first, bytes: bytes.split_off(first) };
        changes.insert(moment + 1, rest);
        return moment + 1;
    }
    moment
}

/// The length is what it was after any of the changes; each sector holds what it held after any of them.
fn torn(mut content: Vec<u8>, changes: &[Change], in_order: Option<InOrder>, pick: &mut Pick) -> Vec<u8> {
    let InOrder { from, moment: length_after } =
        in_order.unwrap_or_else(|| InOrder { from: usize::MAX, moment: pick.up_to(changes.len()) });
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
                    let survives = if sector.start < from { pick.coin() } else { number <= length_after };
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
