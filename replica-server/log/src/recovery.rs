//! Opening the log: what it holds, what of it is damaged, and where its torn tail begins.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU64;

use thiserror::Error;
use words::{Gpid, Record};

use crate::frame::{self, Frame, Place};
use crate::index::Index;
use crate::log::State;
use crate::segment::{self, Draft, Name, Segment, SegmentHeader, VERSION};
use crate::{File, FileSystem};

/// What the log held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// All records, in the order in which they were appended. What a partition's `Removed` overtook is left
    /// out.
    pub records: Vec<Record>,
    /// What could not be read.
    pub damage: Damage,
}

/// Whose records may be lost, to something else than a crash (§7.2), or were given up ([`Record::Broken`]). What is
/// left of them is among the records all the same, maybe with gaps.
///
/// Damage is told again at each start until the replica was removed, or created, later in the log than the
/// damage: whoever learns a partition afresh appends `Removed` first. It is told also when the segments that it
/// was found in have been collected, or a start would take a replica for whole that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Nothing is lost.
    None,
    /// These partitions' records may be, each with the reason, for people.
    Partitions(BTreeMap<Gpid, String>),
    /// Any partition's records may be, one of which nothing is left included.
    All,
}

/// The log can't be opened.
#[derive(Debug, Error)]
pub enum LogError {
    /// The operating system refused.
    #[error("can't {what} of the prepare log: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// The log was written by another version of this software.
    #[error(
        "{file} has version {found} of the log's format, this program reads {VERSION}: run the version that wrote it"
    )]
    Version {
        /// The segment's file.
        file: String,
        /// The version that it names.
        found: u32,
    },
}

impl LogError {
    /// For `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// All that an open log is made of.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) active: Box<dyn File>,
    pub(crate) index: Index,
    pub(crate) damage: Damage,
    /// Whether nothing at all is bad, not even what has healed.
    pub(crate) is_whole: bool,
}

/// Reads the log; each record is told in its turn.
pub(crate) fn recover(files: &dyn FileSystem, tell: &mut dyn FnMut(Record)) -> Result<Recovered, LogError> {
    let numbers = find_segments(files)?;
    let mut reading =
        Reading { state: State::default(), index: Index::default(), tell, wounds: Wounds::default() };
    let mut active = None;
    for (at, &number) in numbers.iter().enumerate() {
        let next = numbers.get(at + 1);
        active = Some(read_segment(files, number, next.copied(), &mut reading)?);
    }
    let active = match active {
        Some(file) => file,
        None => {
            let draft =
                Draft::write(files, None, &reading.state.restatement).map_err(LogError::io("write log.1"))?;
            let (first, file, _) = draft.publish(files).map_err(LogError::io("write log.1"))?;
            reading.state.segments.push_back(first);
            file
        }
    };
    Ok(reading.finish(active))
}

/// The segments that are there, in order; what a crash left of an unfinished one is removed.
fn find_segments(files: &dyn FileSystem) -> Result<Vec<u64>, LogError> {
    let mut numbers = Vec::new();
    for file in files.list().map_err(LogError::io("list the files"))? {
        match segment::parse_name(&file) {
            Name::Segment(number) => numbers.push(number),
            Name::Draft => files.remove(&file).map_err(LogError::io(format!("remove {file}")))?,
            Name::Other => {}
        }
    }
    // The process may have ended between a rename and its sync: what is seen now must still be there after
    // the next power cut.
    files.sync_folder().map_err(LogError::io("sync the folder"))?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads one segment; the torn tail of the last one, which has no `next`, is cut.
fn read_segment(
    files: &dyn FileSystem,
    number: u64,
    next: Option<u64>,
    reading: &mut Reading<'_>,
) -> Result<Box<dyn File>, LogError> {
    let name = segment::name(number);
    let failed = |what: &str| LogError::io(format!("{what} {name}"));
    let file = files.open(&name).map_err(failed("open"))?;
    let size = file.size().map_err(failed("measure"))?;
    let mut bytes = vec![0; position(size)];
    file.read_at(0, &mut bytes).map_err(failed("read"))?;
    // The disk reads it while this one is looked through.
    if let Some(next) = next {
        announce(files, next);
    }
    let start = match segment::decode_header(number, &bytes) {
        SegmentHeader::Valid { start, previous } => {
            reading.check_previous(number, previous);
            start
        }
        SegmentHeader::Bad => u64::MAX,
        SegmentHeader::Version(found) => return Err(LogError::Version { file: name, found }),
    };
    let Tail { synced, end } = reading.on_segment(number, start, &bytes, next.is_none());
    if synced < size {
        // What is answered, and acted upon, must survive the next power cut. A sync that failed in an earlier
        // life may have left in the system's cache, as if it were on disk, what is not.
        return segment::write_again(files, number, &bytes[..position(end)]).map_err(failed("write again"));
    }
    if next.is_none() {
        file.sync().map_err(failed("sync"))?;
    }
    Ok(file)
}

/// Says that a segment will be read. If that can't be said, why not will be found out when it is read.
fn announce(files: &dyn FileSystem, number: u64) {
    let Ok(file) = files.open(&segment::name(number)) else { return };
    if let Some(size) = file.size().ok().and_then(NonZeroU64::new) {
        file.will_read(0, size);
    }
}

/// What was read so far.
struct Reading<'a> {
    state: State,
    index: Index,
    tell: &'a mut dyn FnMut(Record),
    wounds: Wounds,
}

impl Reading<'_> {
    /// Notices whether the segment before `number` is not there, or not as long as it was.
    fn check_previous(&mut self, number: u64, length: u64) {
        match self.state.segments.back() {
            Some(previous) if (previous.number + 1, previous.length) != (number, length) => {
                self.wounds.hurt(None);
            }
            _ => {}
        }
    }

    /// Reads a segment whose header and restatement end at `start`; never, if its header is bad.
    fn on_segment(&mut self, number: u64, start: u64, bytes: &[u8], is_last: bool) -> Tail {
        let length = bytes.len() as u64;
        if start > length {
            self.wounds.hurt(None);
        }
        let frames = walk(number, bytes);
        // Header and restatement were durable before the segment had its name. What else was, the frames that
        // were written later say; a segment that another one follows was synced to its end.
        let headers = frames.iter().filter_map(|(_, frame)| frame.header());
        let synced = if is_last { headers.map(|header| header.synced).fold(start, u64::max) } else { length };
        let synced = synced.min(length);
        let torn = frames.iter().find(|(at, frame)| *at >= synced && frame.is_bad());
        let end = torn.map_or(length, |&(at, _)| at);
        self.state.segments.push_back(Segment { number, start, length: end, highest: BTreeMap::new() });
        for (at, frame) in frames.into_iter().take_while(|&(at, _)| at < end) {
            match frame {
                Frame::Valid(header, record) => {
                    let place = Place { segment: number, offset: at };
                    self.on_record(record, place, header.length, at < start);
                }
                Frame::NoRecord(header) | Frame::BadPayload(header) => self.wounds.hurt(Some(header.gpid)),
                Frame::BadHeader => self.wounds.hurt(None),
            }
        }
        Tail { synced, end }
    }

    fn on_record(&mut self, record: Record, place: Place, length: u32, restated: bool) {
        if !(restated && matches!(record, Record::Removed { .. })) {
            self.wounds.known.insert(record.gpid());
        }
        match &record {
            Record::Removed { gpid, .. } | Record::Created { gpid, .. } if !restated => {
                self.wounds.heal(*gpid);
            }
            Record::Broken { gpid, reason } => self.wounds.reopen(*gpid, reason),
            _ => {}
        }
        let nothing_new = restated && self.says_nothing_new(&record);
        self.state.on_record(&record);
        self.index.on_record(&record, place, length);
        // What is broken is told as damage, whether the log found it or whoever wrote to it.
        if !nothing_new && !matches!(record, Record::Broken { .. }) {
            (self.tell)(record);
        }
    }

    /// Whether a restated record is known from the segments before: then replay had better not see it, as
    /// memory did not.
    fn says_nothing_new(&self, record: &Record) -> bool {
        if let Record::Removed { gpid, .. } = record {
            return self.state.restatement.removed.contains_key(gpid);
        }
        self.state.restatement.live.get(&record.gpid()).is_some_and(|noted| match record {
            Record::Created { app, .. } => noted.app == *app,
            Record::Ballot { ballot, .. } => noted.ballot >= *ballot,
            _ => false,
        })
    }

    fn finish(mut self, active: Box<dyn File>) -> Recovered {
        let is_whole = !self.wounds.any;
        let (damage, broken) = self.wounds.finish();
        self.state.restatement.broken = broken;
        Recovered { state: self.state, active, index: self.index, damage, is_whole }
    }
}

/// How a segment ends.
struct Tail {
    /// All before this was durable for sure.
    synced: u64,
    /// Where it ends, or where its torn tail begins.
    end: u64,
}

/// All frames of a segment, each with its offset; what is between a bad header and the next frame is one.
fn walk(number: u64, bytes: &[u8]) -> Vec<(u64, Frame)> {
    let mut frames = Vec::new();
    let mut at = segment::HEADER;
    while at < bytes.len() {
        let place = Place { segment: number, offset: at as u64 };
        let frame = frame::decode(place, &bytes[at..]);
        at = match frame.header() {
            Some(header) => at + header.length as usize,
            None => next_whole_frame(number, bytes, at + 1),
        };
        frames.push((place.offset, frame));
    }
    frames
}

/// The next place at or after `from` where a whole frame is, or the end.
fn next_whole_frame(number: u64, bytes: &[u8], from: usize) -> usize {
    (from..bytes.len())
        .find(|&at| frame::is_whole(Place { segment: number, offset: at as u64 }, &bytes[at..]))
        .unwrap_or(bytes.len())
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).expect("a file that fits in memory")
}

/// Leaves out what came before a partition's last `Removed`.
pub(crate) fn forget_removed(records: &mut Vec<Record>) {
    let mut removed: BTreeMap<Gpid, usize> = BTreeMap::new();
    for (position, record) in records.iter().enumerate() {
        if let Record::Removed { gpid, .. } = record {
            removed.insert(*gpid, position);
        }
    }
    let mut position = 0;
    records.retain(|record| {
        position += 1;
        removed.get(&record.gpid()).is_none_or(|&at| position > at)
    });
}

/// Why a partition can't be trusted whose records are bad.
const ROTTEN: &str = "its prepare log is damaged";

/// Damage, in log order.
#[derive(Default)]
struct Wounds {
    /// Whether anything is bad, healed or not.
    any: bool,
    /// Partitions whose records are bad or were given up, and why.
    partitions: BTreeMap<Gpid, String>,
    /// Whether something is bad that may have been anybody's ...
    all: bool,
    /// ... and who was removed or created after that.
    healed: BTreeSet<Gpid>,
    /// Every partition that the log says something about.
    known: BTreeSet<Gpid>,
}

impl Wounds {
    fn hurt(&mut self, whose: Option<Gpid>) {
        self.any = true;
        match whose {
            Some(gpid) => {
                self.known.insert(gpid);
                self.reopen(gpid, ROTTEN);
            }
            None => {
                self.all = true;
                self.healed.clear();
            }
        }
    }

    /// A partition can't be trusted, whatever healed before; the first reason is the one to tell.
    fn reopen(&mut self, gpid: Gpid, reason: &str) {
        self.partitions.entry(gpid).or_insert_with(|| reason.to_owned());
    }

    fn heal(&mut self, gpid: Gpid) {
        self.partitions.remove(&gpid);
        if self.all {
            self.healed.insert(gpid);
        }
    }

    /// The damage that is left, and the partitions that have to heal before it is forgotten.
    fn finish(mut self) -> (Damage, BTreeMap<Gpid, String>) {
        if self.all {
            for &gpid in self.known.difference(&self.healed) {
                self.partitions.entry(gpid).or_insert_with(|| ROTTEN.to_owned());
            }
        }
        let hurt = self.partitions;
        let damage = if self.all && self.healed.is_empty() {
            Damage::All
        } else if hurt.is_empty() {
            Damage::None
        } else {
            Damage::Partitions(hurt.clone())
        };
        (damage, hurt)
    }
}
