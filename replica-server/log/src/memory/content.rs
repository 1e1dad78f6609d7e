//! One file in memory: what a reader sees, and the way back to what is durable.

use std::ops::Range;

use super::Crash;

/// What a disk writes as a whole, or not.
const SECTOR: usize = 512;

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// As a reader sees it.
    bytes: Vec<u8>,
    /// What was done since the last sync, and how to undo it: a sync costs nothing, a crash pays.
    unsynced: Vec<Change>,
    /// How many of these a failed sync was about: the system takes them for clean and never writes them (§7.1).
    forgotten: usize,
}

#[derive(Debug)]
struct Change {
    offset: usize,
    /// How many bytes were written at `offset`; 0 if the file was cut there.
    written: usize,
    /// What stood from `offset` on, as far as it was overwritten or cut.
    before: Vec<u8>,
    /// The file's length before.
    length: usize,
}

impl Change {
    fn end(&self) -> usize {
        self.offset + self.written
    }

    /// Leaves what it wrote before `start`, or else what it wrote from `end` on: the rest was written again.
    fn leave_out(&mut self, start: usize, end: usize) {
        if self.offset < start {
            self.written = self.written.min(start - self.offset);
        } else if self.offset < end {
            let gone = self.written.min(end - self.offset);
            self.before.drain(..gone.min(self.before.len()));
            self.offset += gone;
            self.written -= gone;
        }
        self.before.truncate(self.written);
    }
}

impl Content {
    /// Durable content.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let length = self.bytes.len();
        let end = length.min(offset + bytes.len());
        let before = self.bytes.get(offset..end).map(<[u8]>::to_vec).unwrap_or_default();
        self.unsynced.push(Change { offset, written: bytes.len(), before, length });
        self.put(offset, bytes);
    }

    pub(super) fn truncate(&mut self, size: usize) {
        let length = self.bytes.len();
        let before = self.bytes.split_off(size.min(length));
        self.bytes.resize(size, 0);
        self.unsynced.push(Change { offset: size, written: 0, before, length });
    }

    pub(super) fn sync(&mut self) {
        // What was written again, or cut, is on disk all the same; and so is the length that goes with it.
        let news = self.unsynced.len() > self.forgotten;
        let mut forgotten: Vec<Change> = Vec::new();
        for (position, change) in self.unsynced.drain(..).enumerate() {
            let is_cut = change.written == 0;
            let end = if is_cut { usize::MAX } else { change.end() };
            if is_cut || position >= self.forgotten {
                forgotten.iter_mut().for_each(|earlier| earlier.leave_out(change.offset, end));
            } else {
                forgotten.push(change);
            }
        }
        forgotten.retain(|change| change.written > 0);
        if news {
            forgotten.iter_mut().for_each(|change| change.length = self.bytes.len());
        }
        self.forgotten = forgotten.len();
        self.unsynced = forgotten;
    }

    pub(super) fn fail_sync(&mut self) {
        self.forgotten = self.unsynced.len();
    }

    /// A power cut: what survives of the unsynced bytes is the outcome's to say.
    pub(super) fn crash(&mut self, outcome: Crash, pick: &mut Pick) {
        let cached = self.bytes.clone();
        let mut redo = Vec::new();
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            redo.push((change.offset, self.undo(&change)));
        }
        if std::mem::take(&mut self.forgotten) > 0 {
            return;
        }
        match outcome {
            Crash::Lose => {}
            Crash::Keep => self.bytes = cached,
            Crash::Torn(_) => self.tear(redo, pick),
            Crash::Scattered(_) => self.scatter(&cached, pick),
        }
    }

    /// Of what was written some part from the oldest on survives (a cut counts as one byte).
    fn tear(&mut self, redo: Vec<(usize, Vec<u8>)>, pick: &mut Pick) {
        let durable = self.bytes.len();
        let total: usize = redo.iter().map(|(_, written)| written.len().max(1)).sum();
        let mut left = pick.below(total + 1);
        let mut last = 0..0;
        for (offset, written) in redo.into_iter().rev() {
            if left == 0 {
                break;
            }
            if written.is_empty() {
                self.bytes.resize(offset, 0);
                left -= 1;
            } else {
                let surviving = left.min(written.len());
                self.put(offset, &written[..surviving]);
                left -= surviving;
                last = offset..offset + surviving;
            }
        }
        // Not what was durable: to write the same there again changes nothing, as in a sector that two appends share.
        self.spoil(last.start.max(durable)..last.end, pick);
    }

    /// Each piece is as it was before, or as the cache had it. Pieces of less than a sector, so that small
    /// writes fall apart too.
    fn scatter(&mut self, cached: &[u8], pick: &mut Pick) {
        let piece = SECTOR >> pick.below(5);
        let (shorter, longer) = (self.bytes.len().min(cached.len()), self.bytes.len().max(cached.len()));
        self.bytes.resize(longer, 0);
        for (place, cached) in self.bytes.chunks_mut(piece).zip(cached.chunks(piece)) {
            if pick.below(2) == 0 {
                place[..cached.len()].copy_from_slice(cached);
            }
        }
        let length = pick.below(longer - shorter + 1) + shorter;
        self.bytes.truncate(if pick.below(2) == 0 { cached.len() } else { length });
    }

    /// Makes zeros or rubbish of the last sector of `written`, or leaves it.
    fn spoil(&mut self, written: Range<usize>, pick: &mut Pick) {
        let end = written.end.min(self.bytes.len());
        let sector = written.start.max(end.saturating_sub(1) / SECTOR * SECTOR);
        let Some(bytes) = self.bytes.get_mut(sector..end) else {
            return;
        };
        match pick.below(3) {
            0 => bytes.fill(0),
            1 => bytes.iter_mut().for_each(|byte| *byte = pick.next().to_le_bytes()[0]),
            _ => {}
        }
    }

    /// Answers what the change had written.
    fn undo(&mut self, change: &Change) -> Vec<u8> {
        let end = self.bytes.len().min(change.offset + change.written);
        let written = self.bytes.get(change.offset..end).map(<[u8]>::to_vec).unwrap_or_default();
        self.bytes.resize(change.length, 0);
        if let Some(place) = self.bytes.get_mut(change.offset..end.min(change.length)) {
            place.fill(0);
        }
        if !change.before.is_empty() {
            self.bytes[change.offset..][..change.before.len()].copy_from_slice(&change.before);
        }
        written
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if offset == self.bytes.len() {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }
}

/// A small generator (splitmix64), so that one number decides all about a crash.
pub(super) struct Pick(pub(super) u64);

impl Pick {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("less than a usize")
    }
}
