//! One record on disk: header, payload, checksum.

use std::io;

use crc32c::{crc32c, crc32c_append};
use words::{Gpid, Record};

/// Length of a frame's header.
pub(crate) const HEADER: usize = 20;
/// Where the checksum of the header is in it.
const SEAL: usize = HEADER - 4;
/// Length of the checksum that ends a frame.
const TRAILER: usize = 4;
/// What a frame has beyond its payload.
const OVERHEAD: u32 = (HEADER + TRAILER) as u32;
/// The longest frame: far above any mutation, and far below what a length field can say.
const MAX_LENGTH: usize = 1 << 30;

/// Where a frame was written: a frame is valid nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Offset in it.
    pub(crate) offset: u64,
}

impl Place {
    /// How many bytes before it were not synced when only those before `synced` were.
    fn unsynced(self, synced: u64) -> io::Result<u32> {
        u32::try_from(self.offset.saturating_sub(synced))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too much was appended without a sync"))
    }
}

/// An intact header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The partition that the record belongs to.
    pub(crate) gpid: Gpid,
    /// Length of the whole frame.
    pub(crate) length: u32,
    /// All before this offset was durable when the frame was written.
    pub(crate) synced: u64,
}

/// What stands at a place.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A record.
    Valid(Header, Record),
    /// Written whole, and no record: a damage that is told again, or what another program wrote.
    NoRecord(Header),
    /// The header is intact, what it announces is not.
    BadPayload(Header),
    /// Not a header.
    BadHeader,
}

impl Frame {
    /// The header, if it is intact.
    pub(crate) fn header(&self) -> Option<&Header> {
        match self {
            Self::Valid(header, _) | Self::NoRecord(header) | Self::BadPayload(header) => Some(header),
            Self::BadHeader => None,
        }
    }

    /// Whether a checksum is wrong.
    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Self::BadPayload(_) | Self::BadHeader)
    }
}

/// Appends the frame of `record` to `buffer`, to be written at `place` when all before `synced` is durable;
/// answers its length.
///
/// # Errors
/// `InvalidInput` if the record is larger than a frame may be.
pub(crate) fn encode(buffer: &mut Vec<u8>, place: Place, synced: u64, record: &Record) -> io::Result<u32> {
    let unsynced = place.unsynced(synced)?;
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    postcard::to_io(record, &mut *buffer).map_err(io::Error::other)?;
    let length = buffer.len() - start + TRAILER;
    if length > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record is larger than the log takes"));
    }
    let length = u32::try_from(length).expect("checked above");
    let payload = length - OVERHEAD;
    seal(&mut buffer[start..], place, record.gpid(), [payload, unsynced]);
    let checksum = crc32c(&buffer[start..]);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    Ok(length)
}

/// Writes a header over the first bytes of `frame`.
fn seal(frame: &mut [u8], place: Place, gpid: Gpid, [payload, unsynced]: [u32; 2]) {
    frame[0..4].copy_from_slice(&payload.to_le_bytes());
    frame[4..8].copy_from_slice(&gpid.app.0.to_le_bytes());
    frame[8..12].copy_from_slice(&gpid.partition.to_le_bytes());
    frame[12..16].copy_from_slice(&unsynced.to_le_bytes());
    let checksum = header_checksum(place, &frame[..SEAL]);
    frame[SEAL..HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// What stands at the beginning of `bytes`, which were read from `place`.
pub(crate) fn decode(place: Place, bytes: &[u8]) -> Frame {
    let Some(header) = decode_header(place, bytes) else {
        return Frame::BadHeader;
    };
    let Some(frame) = bytes.get(..header.length as usize) else {
        return Frame::BadPayload(header);
    };
    let (checked, trailer) = frame.split_at(frame.len() - TRAILER);
    if crc32c(checked) != number(trailer) {
        return Frame::BadPayload(header);
    }
    match postcard::take_from_bytes::<Record>(&checked[HEADER..]) {
        Ok((record, [])) if record.gpid() == header.gpid => Frame::Valid(header, record),
        _ => Frame::NoRecord(header),
    }
}

/// Whether a whole frame with right checksums begins here.
pub(crate) fn is_whole(place: Place, bytes: &[u8]) -> bool {
    // The cheap test first: this is asked of every byte behind a bad place.
    decode_header(place, bytes).is_some() && !decode(place, bytes).is_bad()
}

fn decode_header(place: Place, bytes: &[u8]) -> Option<Header> {
    let header = bytes.get(..HEADER)?;
    if header_checksum(place, &header[..SEAL]) != number(&header[SEAL..]) {
        return None;
    }
    let length =
        number(&header[0..4]).checked_add(OVERHEAD).filter(|&length| length as usize <= MAX_LENGTH)?;
    let gpid = Gpid::new(number(&header[4..8]), number(&header[8..12]));
    let synced = place.offset.checked_sub(u64::from(number(&header[12..16])))?;
    Some(Header { gpid, length, synced })
}

fn header_checksum(place: Place, fields: &[u8]) -> u32 {
    let mut salt = [0; 16];
    salt[..8].copy_from_slice(&place.segment.to_le_bytes());
    salt[8..].copy_from_slice(&place.offset.to_le_bytes());
    crc32c_append(crc32c(&salt), fields)
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("the caller cut four bytes"))
}
