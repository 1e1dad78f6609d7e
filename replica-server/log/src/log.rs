//! Writing the log.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};

use words::{Ballot, Decree, Gpid, Record};

use crate::frame::{self, Place};
use crate::index::Index;
use crate::recovery::{self, Damage, LogError, Opened};
use crate::segment::{Draft, Noted, Restatement, Segment};
use crate::{BLOCK, File, FileSystem, LogReader};

/// How the log is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that holds this many bytes of records is followed by a new one.
    pub segment_bytes: u64,
    /// An append that makes a segment's file longer makes it longer by this many bytes more, which are zeros until
    /// records go over them, unless it is large itself; then only to the end of a block. 0: by nothing more. A sync of
    /// what went over zeros has no new length and no new blocks to write: it takes about half the time
    /// (`docs/performance.md`).
    pub ahead_bytes: u64,
}

/// An append of more than this part of `ahead_bytes` goes without: what it saves is less than what the zeros cost.
const AHEAD_SHARE: usize = 8;

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20, ahead_bytes: 256 << 10 }
    }
}

/// The log of one data directory, open for writing. One process at a time may have it open; to see to that
/// is the caller's (it locks the data directory).
#[derive(Debug)]
pub struct PrepareLog {
    files: Arc<dyn FileSystem>,
    options: Options,
    state: State,
    /// The last segment's file.
    active: Box<dyn File>,
    index: Arc<Mutex<Index>>,
    /// How much of the last segment is durable.
    synced: u64,
    /// How long its file is: what is behind the segment's records are zeros. Only the last one has any.
    file_length: u64,
    /// What its records fill of the block that the next one begins in. It is written once more with a large append, as
    /// any system does below us: whole blocks need not be read before, nor kept in its cache.
    tail: Vec<u8>,
    /// The last append was large.
    is_behind_large: bool,
    /// Whether what is on disk is unknown, because a sync failed or a failed write could not be undone.
    failed: bool,
    /// The tail and frames on their way to the file; kept for its capacity.
    buffer: Vec<u8>,
    /// Their lengths.
    lengths: Vec<u32>,
}

/// What the log knows about what it holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Oldest first; the last one is written to. Empty only while the log is being opened.
    pub(crate) segments: VecDeque<Segment>,
    /// What the next segment will say again, so that these can be removed.
    pub(crate) restatement: Restatement,
}

impl State {
    /// Takes notice of a record in the last segment.
    pub(crate) fn on_record(&mut self, record: &Record) {
        if !matches!(record, Record::Removed { .. }) {
            self.restatement.removed.remove(&record.gpid()); // it is here again
        }
        match record {
            Record::Created { gpid, app } => {
                let noted = || Noted { app: app.clone(), ballot: Ballot(0) };
                self.restatement.live.entry(*gpid).or_insert_with(noted).app = app.clone();
            }
            Record::Ballot { gpid, ballot } => self.raise(*gpid, *ballot),
            Record::Prepare { gpid, ballot, mutation, .. } => {
                self.raise(*gpid, *ballot);
                let segment = self.segments.back_mut().expect("a record is in a segment");
                let highest = segment.highest.entry(*gpid).or_default();
                *highest = mutation.id.decree.max(*highest);
            }
            Record::Installed { .. } => {}
            Record::Broken { gpid, reason } => {
                self.restatement.broken.insert(*gpid, reason.clone());
            }
            Record::Removed { gpid, ballot } => {
                self.restatement.live.remove(gpid);
                self.restatement.removed.insert(*gpid, *ballot);
                for segment in &mut self.segments {
                    segment.highest.remove(gpid);
                }
            }
        }
    }

    fn raise(&mut self, gpid: Gpid, ballot: Ballot) {
        if let Some(noted) = self.restatement.live.get_mut(&gpid) {
            noted.ballot = noted.ballot.max(ballot);
        }
    }
}

/// Whether a write that needs less room may work.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl PrepareLog {
    /// Opens a log that fits in memory: with all that [`replay`](Self::replay) tells, but for what a partition's
    /// `Removed` overtook.
    ///
    /// # Errors
    /// As `replay`'s.
    pub fn open(files: Arc<dyn FileSystem>, options: Options) -> Result<(Self, Opened), LogError> {
        let mut records = Vec::new();
        let (log, damage) = Self::replay(files, options, &mut |record| records.push(record))?;
        recovery::forget_removed(&mut records);
        Ok((log, Opened { records, damage }))
    }

    /// Opens the log, or begins one if there is none, and tells all records in the order in which they were appended,
    /// with one segment in memory at a time. What it has told is durable once it returns.
    ///
    /// # Errors
    /// Those of the file system, and a log of another version; damage is none.
    pub fn replay(
        files: Arc<dyn FileSystem>,
        options: Options,
        tell: &mut dyn FnMut(Record),
    ) -> Result<(Self, Damage), LogError> {
        let recovered = recovery::recover(&*files, tell)?;
        let synced = recovered.state.segments.back().expect("there is always one").length;
        let mut log = Self {
            files,
            options,
            state: recovered.state,
            active: recovered.active,
            index: Arc::new(Mutex::new(recovered.index)),
            synced,
            file_length: synced,
            tail: Vec::new(),
            is_behind_large: false,
            failed: false,
            buffer: Vec::new(),
            lengths: Vec::new(),
        };
        // In the new one the damage is told again, so that the segments that it is in can be collected; and a
        // segment whose own header is bad is never written to.
        if recovered.is_whole {
            log.read_tail().map_err(LogError::io("read the end of the last segment"))?;
        } else {
            log.roll().map_err(LogError::io("begin a new segment after a damaged one"))?;
        }
        Ok((log, recovered.damage))
    }

    /// Writes all of `records`, in order, by one write. They are not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// Those of the file system. Then none of `records` is in the log; it can be tried again (a disk that was
    /// full may not be any more, §7.6), unless the log has [failed](Self::has_failed).
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        self.check()?;
        if records.is_empty() {
            return Ok(());
        }
        let segment = self.active_segment();
        if segment.length - segment.start >= self.options.segment_bytes.max(1) {
            self.roll()?;
        }
        self.encode(records)?;
        self.write()?;
        self.on_written(records);
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// Those of the file system. The log has then [failed](Self::has_failed): what is durable is unknown, and
    /// to sync again would say nothing about it (§7.1).
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        let length = self.active_segment().length;
        if self.synced < length {
            let result = self.active.sync();
            self.poison_unless(result)?;
            self.synced = length;
        }
        Ok(())
    }

    /// Removes the oldest segments as long as all that they prepare is at or below what `durable` says for
    /// its partition (§7.5); partitions that are not named hold nothing back. Answers how many it removed. The
    /// newest segment stays.
    ///
    /// # Errors
    /// Those of the file system. What was to be removed may come back; it does no harm.
    pub fn collect(&mut self, durable: &[(Gpid, Decree)]) -> io::Result<usize> {
        self.collect_some(durable, usize::MAX)
    }

    /// The same with one segment at most; answers whether it removed one. To free a large file takes a disk a while.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_one(&mut self, durable: &[(Gpid, Decree)]) -> io::Result<bool> {
        Ok(self.collect_some(durable, 1)? > 0)
    }

    fn collect_some(&mut self, durable: &[(Gpid, Decree)], most: usize) -> io::Result<usize> {
        self.check()?;
        let durable: BTreeMap<Gpid, Decree> = durable.iter().copied().collect();
        let count = self.collectable(&durable).min(most);
        if count == 0 {
            return Ok(0);
        }
        // A partition may hold nothing back just because its removal was noted: that must be durable first.
        self.sync()?;
        let first = self.state.segments[count].number;
        self.index.lock().expect("no holder panics").collect(first);
        for _ in 0..count {
            self.files.remove(&crate::segment::name(self.state.segments[0].number))?;
            // One at a time: a crash must not keep a segment and lose a later one, or there is a hole.
            let result = self.files.sync_folder();
            self.poison_unless(result)?;
            self.state.segments.pop_front();
        }
        Ok(count)
    }

    fn collectable(&self, durable: &BTreeMap<Gpid, Decree>) -> usize {
        let needed = |segment: &Segment| {
            segment.highest.iter().any(|(gpid, &highest)| durable.get(gpid).is_some_and(|&d| highest > d))
        };
        let older = self.state.segments.len() - 1;
        self.state.segments.iter().take(older).take_while(|segment| !needed(segment)).count()
    }

    /// To read mutations back, from another thread if need be.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.files.clone(), self.index.clone())
    }

    /// Length of all segments together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.segments.iter().map(|segment| segment.length).sum()
    }

    /// Whether what is on disk is unknown. Every call that writes then fails, and the process must end: the
    /// next start reads what is there.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    fn active_segment(&self) -> &Segment {
        self.state.segments.back().expect("there is always one")
    }

    fn check(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other(
                "the prepare log failed earlier, what is on disk is unknown; restart the node",
            ));
        }
        Ok(())
    }

    fn poison_unless<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.failed |= result.is_err();
        result
    }

    fn encode(&mut self, records: &[Record]) -> io::Result<()> {
        let segment = self.state.segments.back().expect("there is always one");
        self.buffer.clone_from(&self.tail);
        self.lengths.clear();
        for record in records {
            let offset = segment.length + (self.buffer.len() - self.tail.len()) as u64;
            let place = Place { segment: segment.number, offset };
            self.lengths.push(frame::encode(&mut self.buffer, place, self.synced, record)?);
        }
        Ok(())
    }

    fn on_written(&mut self, records: &[Record]) {
        let mut index = self.index.lock().expect("no holder panics");
        for (record, &length) in records.iter().zip(&self.lengths) {
            self.state.on_record(record);
            if let Record::Created { gpid, .. } | Record::Removed { gpid, .. } = record {
                self.state.restatement.broken.remove(gpid);
            }
            let segment = self.state.segments.back_mut().expect("there is always one");
            index.on_record(record, Place { segment: segment.number, offset: segment.length }, length);
            segment.length += u64::from(length);
        }
    }

    /// Writes the frames that are in the buffer. Small ones go to where the records end, with zeros behind them if
    /// the file grows; large ones as whole blocks, as do small ones right behind them: a block that went past the
    /// cache would have to be read before it is written to. Zeros are for as far as there is room.
    fn write(&mut self) -> io::Result<()> {
        let (begin, end, ahead) = (self.tail.len(), self.buffer.len(), self.options.ahead_bytes as usize);
        let is_large = end - begin > ahead / AHEAD_SHARE;
        let skipped = if is_large || self.is_behind_large { 0 } else { begin };
        let grows = self.tail_begin() + end as u64 > self.file_length;
        let further =
            [(grows && !is_large).then_some(end + ahead), (skipped == 0 && ahead > 0).then_some(end)];
        let written = 'written: {
            for length in further.into_iter().flatten() {
                self.buffer.resize(length.next_multiple_of(BLOCK), 0);
                match self.write_buffer(skipped) {
                    Err(error) if is_full(&error) && !self.failed => self.buffer.truncate(end),
                    result => break 'written result,
                }
            }
            self.write_buffer(skipped)
        };
        if written.is_ok() {
            self.is_behind_large = is_large;
            self.tail.clear();
            self.tail.extend_from_slice(&self.buffer[end - end % BLOCK..end]);
        }
        written
    }

    /// Where in the last segment its tail begins.
    fn tail_begin(&self) -> u64 {
        self.active_segment().length - self.tail.len() as u64
    }

    /// Writes the buffer but for its first bytes, which are in the file.
    fn write_buffer(&mut self, skipped: usize) -> io::Result<()> {
        let offset = self.tail_begin() + skipped as u64;
        let bytes = &self.buffer[skipped..];
        if let Err(error) = self.active.write_at(offset, bytes) {
            // A later record could end just where a whole one of these begins, and replay would take it for its
            // successor.
            let _ = self.cut();
            return Err(error);
        }
        self.file_length = self.file_length.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Cuts off what is behind the last segment's records, durably. If that fails, so has the log.
    fn cut(&mut self) -> io::Result<()> {
        let length = self.active_segment().length;
        let cut = self.active.truncate(length).and_then(|()| self.active.sync());
        self.poison_unless(cut)?;
        (self.synced, self.file_length) = (length, length);
        Ok(())
    }

    /// Goes on in a new segment. All of the old one is durable, and nothing is behind it, before the new one is
    /// there: only the last segment can have a torn tail (§7.2).
    fn roll(&mut self) -> io::Result<()> {
        let length = self.active_segment().length;
        if self.synced < length || self.file_length > length {
            self.cut()?;
        }
        let draft = Draft::write(&*self.files, Some(self.active_segment()), &self.state.restatement)?;
        let published = draft.publish(&*self.files);
        let (segment, file, tail) = self.poison_unless(published)?;
        (self.synced, self.file_length) = (segment.length, segment.length);
        self.state.segments.push_back(segment);
        (self.active, self.tail, self.is_behind_large) = (file, tail, false);
        Ok(())
    }

    fn read_tail(&mut self) -> io::Result<()> {
        let length = self.active_segment().length;
        self.tail.resize((length % BLOCK as u64) as usize, 0);
        self.active.read_at(length - self.tail.len() as u64, &mut self.tail)
    }
}
