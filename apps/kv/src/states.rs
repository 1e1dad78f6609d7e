//! What is stored of a key, in rows: a small value is in its key's row, a large one in a row of its own. A change needs
//! the version of what was there, hardly ever the value, and reads no large one then, from the disk perhaps, while
//! others wait.

use std::io;

use bytes::Bytes;

use crate::answer::{Head, State, expires};
use crate::fields::{Reader, Writer};
use crate::files::invalid;
use crate::layers::Rows;
use crate::rows;
use crate::view::View;

/// Values that long, which is the size of a block, have rows of their own, and those rows are in files of their own:
/// to merge their keys does not mean to write them again.
pub(crate) const LARGE_VALUE_BYTES: usize = 4 << 10;

/// The first byte of a key's row whose value is in a row of its own. The others are those of a
/// [state](crate::answer).
const APART: u8 = 2;

/// What is stored of a key.
pub(crate) struct Stored<'a> {
    /// All of it but the value.
    pub(crate) head: Head,
    value: Place<'a>,
    /// The key has a row with a large value, which goes when another state takes this one's place.
    value_row: bool,
}

/// Where a value is.
enum Place<'a> {
    /// Empty if there is none.
    Here(&'a [u8]),
    Apart {
        view: &'a View<'a>,
        key: &'a [u8],
    },
}

impl<'a> Stored<'a> {
    /// What a key's row says; without a row, what is known of a key that never was.
    ///
    /// # Errors
    /// `InvalidData` if that is no state.
    pub(crate) fn in_row(view: &'a View<'a>, key: &'a [u8], row: Option<&'a [u8]>) -> io::Result<Self> {
        let here = |(head, value)| Self { head, value: Place::Here(value), value_row: false };
        let Some(row) = row else { return Ok(here((Head::default(), &[]))) };
        let stored = match row.split_first() {
            Some((&APART, head)) => decode_apart(head).map(|head| Self {
                head,
                value: Place::Apart { view, key },
                value_row: true,
            }),
            _ => Head::decode(row).map(here),
        };
        stored.ok_or_else(|| invalid("a row that is no state".into()))
    }

    /// What `see` makes of the value, which it sees where it is.
    ///
    /// # Errors
    /// `InvalidData` if it should be there and is not; otherwise what the file system says.
    pub(crate) fn with_value<T>(&self, see: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        match self.value {
            Place::Here(value) => Ok(see(value)),
            Place::Apart { view, key } => view.with(&rows::value_row(key), |row| {
                row.map(see).ok_or_else(|| invalid("a large value is not where it should be".into()))
            })?,
        }
    }

    /// What `see` makes of what is to be seen at a time. A value that has expired is not looked at.
    pub(crate) fn seen_at<T>(&self, now_us: u64, see: impl FnOnce(Head, &[u8]) -> T) -> io::Result<T> {
        let seen = self.head.visible(now_us);
        if seen.value.is_none() {
            return Ok(see(seen, &[]));
        }
        self.with_value(|value| see(seen, value))
    }

    /// The whole state, as it is to be seen at a time.
    pub(crate) fn visible(&self, now_us: u64) -> io::Result<State> {
        self.seen_at(now_us, Head::with)
    }
}

impl View<'_> {
    /// What `see` makes of what is stored of a key, in its row of this name.
    pub(crate) fn stored<T>(
        &self,
        key: &[u8],
        name: &[u8],
        see: impl FnOnce(&Stored<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.with(name, |row| see(&Stored::in_row(self, key, row)?))?
    }
}

/// The new state of a key.
pub(crate) struct NewState {
    head: Head,
    /// All of it, as watchers and readers get it.
    bytes: Bytes,
    /// The state before it has left a row with a large value.
    value_row: bool,
}

impl NewState {
    /// The state that comes after `before`.
    pub(crate) fn after(before: &Stored<'_>, head: Head, value: &[u8]) -> Self {
        Self { head, bytes: head.encode_with(value), value_row: before.value_row }
    }

    /// All of it but the value.
    pub(crate) fn head(&self) -> Head {
        self.head
    }

    /// To the other requests of its mutation it is stored already.
    pub(crate) fn as_stored(&self) -> Stored<'_> {
        let value = Place::Here(&self.bytes[self.head.length()..]);
        Stored { head: self.head, value, value_row: self.value_row }
    }

    /// Adds the rows to be written or deleted for it, the key's with its name, and returns it as bytes.
    pub(crate) fn into_rows(self, key: &[u8], name: Bytes, rows: &mut Rows) -> Bytes {
        let value = self.bytes.slice(self.head.length()..);
        if value.len() >= LARGE_VALUE_BYTES {
            rows.push((name, Some(encode_apart(self.head))));
            rows.push((rows::value_row(key), Some(value)));
        } else {
            rows.push((name, Some(self.bytes.clone())));
            if self.value_row {
                rows.push((rows::value_row(key), None));
            }
        }
        self.bytes
    }
}

fn encode_apart(head: Head) -> Bytes {
    let expires_us = head.value.flatten().unwrap_or(0);
    Writer::with_room(1 + 8 + 8).byte(APART).u64(head.version).u64(expires_us).0.into()
}

fn decode_apart(bytes: &[u8]) -> Option<Head> {
    let mut from = Reader(bytes);
    let (version, expires_us) = (from.u64()?, from.u64()?);
    from.is_empty().then_some(Head { version, value: Some(expires(expires_us)) })
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
