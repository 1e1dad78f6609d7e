//! What is in the database, by the first byte of a row's key.
//!
//! | first byte | rest of the key | value |
//! | --- | --- | --- |
//! | `0` | | the last decree and its time: which state this is |
//! | `1` | a key | its [`State`], also of one that was deleted: versions never start anew; or `2`, its version and when it expires (`u64` each), and a row of its own has the value |
//! | `2` | a key and a version (`u64`, big-endian) | the value that was decided |
//! | `3` | a time (`u64` µs, big-endian) and a key | nothing: the key's value expires then |
//! | `4` | a key | its value, if that is a large one |
//!
//! The order of rows with the same first byte is the order of what they say.

use std::io;

use bytes::Bytes;
use replicated_app::Decree;

use crate::fields::{Reader, Writer};

const STATE: u8 = 1;
const DECIDED: u8 = 2;
const EXPIRY: u8 = 3;
const VALUE: u8 = 4;

/// The row that says which state this is.
pub(crate) const POSITION: &[u8] = &[0];

/// From which row on, and before which one, all others are.
pub(crate) fn all_but_the_position() -> (&'static [u8], &'static [u8]) {
    (&[STATE], &[VALUE + 1])
}

/// Where the state is in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last decree whose effect is in it.
    pub(crate) decree: Decree,
    /// That one's time.
    pub(crate) now_us: u64,
}

impl Position {
    pub(crate) fn encode(self) -> Vec<u8> {
        Writer::default().u64(self.decree.0).u64(self.now_us).0
    }

    /// # Errors
    /// `InvalidData` if it is no position.
    pub(crate) fn decode(row: &[u8]) -> io::Result<Self> {
        let mut from = Reader(row);
        match (from.u64(), from.u64()) {
            (Some(decree), Some(now_us)) if from.is_empty() => Ok(Self { decree: Decree(decree), now_us }),
            _ => Err(nonsense("position")),
        }
    }
}

/// The row of a key.
pub(crate) fn state_row(key: &[u8]) -> Bytes {
    [&[STATE], key].concat().into()
}

/// The key that a row is about; `None` if it is a row of another kind.
pub(crate) fn key_of(row: &[u8]) -> Option<&[u8]> {
    row.strip_prefix(&[STATE])
}

/// The key in the name of such a row.
pub(crate) fn key_in(name: &Bytes) -> Bytes {
    name.slice(1..)
}

/// Behind the rows of all keys.
pub(crate) fn state_rows_end() -> Bytes {
    Bytes::from_static(&[STATE + 1])
}

/// The row of a decided value.
pub(crate) fn decided_row(key: &[u8], version: u64) -> Bytes {
    [&[DECIDED], key, &version.to_be_bytes()].concat().into()
}

/// The row that says when a key's value expires.
pub(crate) fn expiry_row(at_us: u64, key: &[u8]) -> Bytes {
    [&[EXPIRY], &at_us.to_be_bytes()[..], key].concat().into()
}

/// Before and behind all of those.
pub(crate) fn expiry_rows() -> (&'static [u8], &'static [u8]) {
    (&[EXPIRY], &[EXPIRY + 1])
}

/// What such a row says.
///
/// # Errors
/// `InvalidData` if it is no such row.
pub(crate) fn decode_expiry(row: &[u8]) -> io::Result<(u64, &[u8])> {
    let rest = row.strip_prefix(&[EXPIRY]).and_then(|rest| rest.split_first_chunk());
    let (at_us, key) = rest.ok_or_else(|| nonsense("expiry"))?;
    Ok((u64::from_be_bytes(*at_us), key))
}

/// The row of a key's large value.
pub(crate) fn value_row(key: &[u8]) -> Bytes {
    [&[VALUE], key].concat().into()
}

/// Whether it is such a row.
pub(crate) fn is_value(row: &[u8]) -> bool {
    row.first() == Some(&VALUE)
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a row that is no {what}"))
}
