//! One file of the log: its name, its header, and how it comes into being.

use std::collections::BTreeMap;
use std::io;

use crc32c::crc32c;
use words::{AppInfo, Ballot, Decree, Gpid, Record};

use crate::frame::{self, Place};
use crate::{BLOCK, File, FileSystem};

const MAGIC: [u8; 8] = *b"holdflog";
/// The version of the format that this code writes and reads.
pub(crate) const VERSION: u32 = 3;
/// Length of a segment's header.
pub(crate) const HEADER: usize = 36;

/// What a partition's `Created` and `Ballot` records add up to.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// The app that the partition is a part of.
    pub(crate) app: AppInfo,
    /// The replica's highest ballot.
    pub(crate) ballot: Ballot,
}

/// What a new segment restates.
#[derive(Debug, Default)]
pub(crate) struct Restatement {
    /// All partitions that were created and not removed.
    pub(crate) live: BTreeMap<Gpid, Noted>,
    /// All that were removed and not created again, with the ballot that they had.
    pub(crate) removed: BTreeMap<Gpid, Ballot>,
    /// Partitions that can't be trusted, each with the reason, and were not removed or created since.
    pub(crate) broken: BTreeMap<Gpid, String>,
}

/// What is known of a segment while the log is open.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its number; one more than that of the segment before.
    pub(crate) number: u64,
    /// Length of header and restatement.
    pub(crate) start: u64,
    /// Length of the file.
    pub(crate) length: u64,
    /// The highest decree prepared in it, for each partition that was not removed since.
    pub(crate) highest: BTreeMap<Gpid, Decree>,
}

/// The name of the segment's file.
pub(crate) fn name(number: u64) -> String {
    format!("log.{number}")
}

/// The name while the segment is being made.
pub(crate) fn draft_name(number: u64) -> String {
    format!("log.{number}.new")
}

/// What a file name means to the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A segment.
    Segment(u64),
    /// A segment that was being made when the process ended.
    Draft,
    /// Not a file of the log.
    Other,
}

/// What the file of this name is.
pub(crate) fn parse_name(file: &str) -> Name {
    let Some(rest) = file.strip_prefix("log.") else {
        return Name::Other;
    };
    let (digits, draft) = match rest.strip_suffix(".new") {
        Some(digits) => (digits, true),
        None => (rest, false),
    };
    match digits.parse() {
        // Only the one way in which the log writes a number; the last one has no successor.
        Ok(number) if number < u64::MAX && digits == u64::to_string(&number) => {
            if draft {
                Name::Draft
            } else {
                Name::Segment(number)
            }
        }
        _ => Name::Other,
    }
}

/// What stands at the beginning of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// A header of this version.
    Valid {
        /// Length of header and restatement together.
        start: u64,
        /// Length of the segment before, 0 if there was none.
        previous: u64,
    },
    /// Another version of the format.
    Version(u32),
    /// Not a header of this segment.
    Bad,
}

/// Reads the header of segment `number`.
pub(crate) fn decode_header(number: u64, bytes: &[u8]) -> SegmentHeader {
    let Some(header) = bytes.get(..HEADER) else {
        return SegmentHeader::Bad;
    };
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    if header[..8] != MAGIC || u32_at(HEADER - 4) != crc32c(&header[..HEADER - 4]) {
        return SegmentHeader::Bad;
    }
    if u32_at(8) != VERSION {
        return SegmentHeader::Version(u32_at(8));
    }
    if u64_at(12) != number {
        return SegmentHeader::Bad;
    }
    SegmentHeader::Valid { start: HEADER as u64 + u64::from(u32_at(28)), previous: u64_at(20) }
}

fn encode_header(number: u64, previous: u64, restated: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&number.to_le_bytes());
    header[20..28].copy_from_slice(&previous.to_le_bytes());
    header[28..32].copy_from_slice(&restated.to_le_bytes());
    let checksum = crc32c(&header[..HEADER - 4]);
    header[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Writes all of a segment anew, durably, and puts it in the old one's place by one step: what is written over may be
/// rubbish after a power cut, and some of it was acknowledged.
///
/// # Errors
/// Those of the file system; the log is as it was, unless the folder could not be synced.
pub(crate) fn write_again(files: &dyn FileSystem, number: u64, bytes: &[u8]) -> io::Result<Box<dyn File>> {
    let draft = draft_name(number);
    let file = files.create(&draft)?;
    if let Err(error) = file.write_at(0, bytes) {
        let _ = files.remove(&draft);
        return Err(error);
    }
    file.sync()?;
    files.rename(&draft, &name(number))?;
    files.sync_folder()?;
    Ok(file)
}

/// A segment that is written and not yet a part of the log.
#[derive(Debug)]
pub(crate) struct Draft {
    segment: Segment,
    file: Box<dyn File>,
    /// What it fills of its last block.
    tail: Vec<u8>,
}

impl Draft {
    /// Writes the segment that follows `last` (the first one if there is none), with a restatement, under a name that recovery takes no notice of.
    ///
    /// # Errors
    /// Those of the file system; the log is as it was.
    pub(crate) fn write(
        files: &dyn FileSystem,
        last: Option<&Segment>,
        restated: &Restatement,
    ) -> io::Result<Self> {
        let (number, previous) = last.map_or((1, 0), |last| (last.number + 1, last.length));
        let mut bytes = vec![0; HEADER];
        let place = |bytes: &Vec<u8>| Place { segment: number, offset: bytes.len() as u64 };
        for (&gpid, &ballot) in &restated.removed {
            let place = place(&bytes);
            frame::encode(&mut bytes, place, place.offset, &Record::Removed { gpid, ballot })?;
        }
        for (&gpid, noted) in &restated.live {
            let created = Record::Created { gpid, app: noted.app.clone() };
            let ballot = Record::Ballot { gpid, ballot: noted.ballot };
            for record in [created, ballot] {
                let place = place(&bytes);
                frame::encode(&mut bytes, place, place.offset, &record)?;
            }
        }
        for (&gpid, reason) in &restated.broken {
            let place = place(&bytes);
            frame::encode(&mut bytes, place, place.offset, &Record::Broken { gpid, reason: reason.clone() })?;
        }
        let restated = u32::try_from(bytes.len() - HEADER).map_err(io::Error::other)?;
        bytes[..HEADER].copy_from_slice(&encode_header(number, previous, restated));
        let length = bytes.len() as u64;
        let name = draft_name(number);
        let file = files.create(&name)?;
        if let Err(error) = file.write_at(0, &bytes) {
            // It would be removed at the next start as well; a disk that is full is grateful now.
            let _ = files.remove(&name);
            return Err(error);
        }
        let segment = Segment { number, start: length, length, highest: BTreeMap::new() };
        let tail = bytes.split_off(bytes.len() - bytes.len() % BLOCK);
        Ok(Self { segment, file, tail })
    }

    /// Makes it durable, and then a part of the log: a segment has its right name only once its header and
    /// its restatement are on disk, so neither can ever be torn. Answers the segment, its file, and what it fills of
    /// its last block.
    ///
    /// # Errors
    /// Those of the file system; what is durable is then unknown.
    pub(crate) fn publish(self, files: &dyn FileSystem) -> io::Result<(Segment, Box<dyn File>, Vec<u8>)> {
        self.file.sync()?;
        files.rename(&draft_name(self.segment.number), &name(self.segment.number))?;
        files.sync_folder()?;
        Ok((self.segment, self.file, self.tail))
    }
}
