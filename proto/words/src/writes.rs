//! The writes of a mutation, packed.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use crate::{HIGHEST_COUNT, SessionStamp, Write, WriteKind};

/// What clients asked for in one mutation, in the order in which it is applied: one behind the other in one buffer.
///
/// The primary packs them once. What is sent to others, written to the log and kept in the prepare list is that buffer,
/// so none of these has to do anything for each write, nor has letting go of it when it is in no processor's cache any
/// more. Only who applies a mutation looks at its writes, and who takes it from elsewhere, to check it.
///
/// ```
/// # use words::{Write, WriteKind, Writes};
/// let write = Write { session: None, kind: WriteKind::Update, payload: "add 5".into() };
/// let writes = Writes::from(vec![write.clone(), write.clone()]);
/// assert!(writes.iter().eq([write.clone(), write]));
/// assert_eq!(Writes::unpack(writes.packed().clone()), Ok(writes));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Writes {
    count: usize,
    /// Each as postcard encodes a [`Write`].
    packed: Bytes,
}

/// A buffer that no writes were packed into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedWrites;

impl fmt::Display for DamagedWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the writes of a mutation are damaged")
    }
}

impl std::error::Error for DamagedWrites {}

/// A [`Write`] where it was packed.
#[derive(Deserialize)]
struct Packed<'a> {
    session: Option<SessionStamp>,
    kind: WriteKind,
    payload: &'a [u8],
}

impl Writes {
    /// Of one mutation: a session's number has as many bits for the place of the write that opens it.
    pub const MOST: usize = 1 << 16;

    /// Takes a buffer from elsewhere: the wire, the disk.
    ///
    /// # Errors
    /// If it is not what [`packed`](Self::packed) gives, of [`MOST`](Self::MOST) writes at most.
    pub fn unpack(packed: Bytes) -> Result<Self, DamagedWrites> {
        let (mut rest, mut count) = (&packed[..], 0);
        while !rest.is_empty() {
            let (write, behind) = Packed::first(rest).ok_or(DamagedWrites)?;
            let counts = write.session.map_or([0; 2], |stamp| [stamp.sequence, stamp.first_incomplete]);
            count += 1;
            if count > Self::MOST || counts.into_iter().any(|count| count > HIGHEST_COUNT) {
                return Err(DamagedWrites);
            }
            rest = behind;
        }
        Ok(Self { count, packed })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, in one buffer.
    #[must_use]
    pub fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// One after the other; their payloads share the buffer.
    ///
    /// # Panics
    /// Never: what is in the buffer was packed by this type, or checked.
    pub fn iter(&self) -> impl Iterator<Item = Write> {
        let mut rest = &self.packed[..];
        (0..self.count).map(move |_| {
            let (Packed { session, kind, payload }, behind) = Packed::first(rest).expect("packed or checked");
            rest = behind;
            Write { session, kind, payload: self.packed.slice_ref(payload) }
        })
    }
}

impl<'a> Packed<'a> {
    /// The first of a buffer, and what is behind it.
    fn first(buffer: &'a [u8]) -> Option<(Self, &'a [u8])> {
        postcard::take_from_bytes(buffer).ok()
    }
}

impl From<Vec<Write>> for Writes {
    /// # Panics
    /// If they are more than [`MOST`](Self::MOST).
    fn from(writes: Vec<Write>) -> Self {
        /// Kind, stamp and length are rarely more.
        const OVERHEAD: usize = 24;
        assert!(writes.len() <= Self::MOST, "{} writes are too many for a mutation", writes.len());
        let size = writes.iter().map(|write| OVERHEAD + write.payload.len()).sum();
        let packed = writes.iter().fold(Vec::with_capacity(size), |buffer, write| {
            postcard::to_extend(write, buffer).expect("plain data can be encoded")
        });
        Self { count: writes.len(), packed: packed.into() }
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Writes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.packed.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Writes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let packed = Bytes::deserialize(deserializer)?;
        Self::unpack(packed).map_err(de::Error::custom)
    }
}
