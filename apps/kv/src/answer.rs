//! What a client is answered, as bytes. The pieces are those of [requests](crate::request).
//!
//! | answer | bytes | to |
//! | --- | --- | --- |
//! | state | `0` no value or `1` a value, the version (`u64`); with a value also when it expires (µs since 1970, `u64`; 0: never) and the value | get |
//! | change | `0` and the new version (`u64`); or `1`, it was refused, and the key's state | put, delete, set a time to live |
//! | versions | a `u64` for each pair | multi-put |
//! | decided | `0`, by this request; or `1`, before, and the value | set once |
//! | decided value | `0`, none; or `1` and the value | get at |
//! | remaining | `0` no value, `1` for ever, or `2` and µs (`u64`) | time to live |
//! | page | `0`, or `1` and the key (block) to go on from; then for each entry the key (block), the version, when it expires (`u64` each), and the value (block) | scan |

use bytes::Bytes;

use crate::fields::{Reader, Writer};

/// What is known of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Grows by one with each change; 0: never changed.
    pub version: u64,
    /// Its value; `None` if it was deleted, has expired, or never was.
    pub value: Option<Value>,
}

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub bytes: Bytes,
    /// When it ceases to be there, in microseconds since 1970 on the partition's own clock.
    pub expires_us: Option<u64>,
}

/// What became of a conditional change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made; the key has this version now.
    Made(u64),
    /// The condition did not hold. This is how it is instead; nothing changed.
    Refused(State),
}

/// What became of a [`SetOnce`](crate::request::Write::SetOnce).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Its value is the one.
    Now,
    /// This value had been decided.
    Before(Bytes),
}

/// How long a value will be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// There is none.
    NoValue,
    /// Until somebody changes it.
    ForEver,
    /// So many microseconds.
    Micros(u64),
}

/// Some of what a scan finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where to go on; `None`: that was all.
    pub next: Option<Bytes>,
    /// In the order of their keys.
    pub entries: Vec<ScanEntry>,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanEntry {
    /// The key.
    pub key: Bytes,
    /// Its version.
    pub version: u64,
    /// Its value.
    pub value: Value,
}

/// A state but for the bytes of its value, which are most of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: u64,
    /// Whether it has a value; inside, when that expires.
    pub(crate) value: Option<Option<u64>>,
}

impl Head {
    /// How many of a state's bytes are before those of its value.
    pub(crate) fn length(self) -> usize {
        1 + 8 + if self.value.is_some() { 8 } else { 0 }
    }

    /// A state as bytes.
    pub(crate) fn encode_with(self, value: &[u8]) -> Bytes {
        self.encode_into(Writer::with_room(self.length() + value.len()), value).0.into()
    }

    fn encode_into(self, out: Writer, value: &[u8]) -> Writer {
        match self.value {
            None => out.byte(0).u64(self.version),
            Some(expires_us) => out.byte(1).u64(self.version).u64(expires_us.unwrap_or(0)).rest(value),
        }
    }

    /// The beginning of a state, and the rest; `None` if it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut from = Reader(bytes);
        let (kind, version) = (from.byte()?, from.u64()?);
        let value = match kind {
            0 if from.is_empty() => None,
            1 => Some(expires(from.u64()?)),
            _ => return None,
        };
        Some((Self { version, value }, from.rest()))
    }

    /// What is to be seen of it at a time. That a value expired is a change like any other.
    pub(crate) fn visible(self, now_us: u64) -> Self {
        match self.value {
            Some(Some(at_us)) if at_us <= now_us => Self { version: self.version + 1, value: None },
            _ => self,
        }
    }

    /// The whole state.
    pub(crate) fn with(self, value: &[u8]) -> State {
        let bytes = || Bytes::copy_from_slice(value);
        let value = self.value.map(|expires_us| Value { expires_us, bytes: bytes() });
        State { version: self.version, value }
    }
}

impl State {
    fn encode_into(&self, out: Writer) -> Writer {
        let bytes = self.value.as_ref().map_or(&[][..], |value| &value.bytes);
        let value = self.value.as_ref().map(|value| value.expires_us);
        Head { version: self.version, value }.encode_into(out, bytes)
    }

    /// From an answer; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let (head, rest) = Head::decode(bytes)?;
        let value = head.value.map(|expires_us| Value { expires_us, bytes: bytes.slice_ref(rest) });
        Some(Self { version: head.version, value })
    }
}

impl Change {
    pub(crate) fn encode(&self) -> Bytes {
        let out = match self {
            Self::Made(version) => Writer::with_room(1 + 8).byte(0).u64(*version),
            Self::Refused(state) => state.encode_into(Writer::default().byte(1)),
        };
        out.0.into()
    }

    /// From an answer; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        match bytes.split_first()? {
            (0, version) => Some(Self::Made(u64::from_le_bytes(version.try_into().ok()?))),
            (1, _) => Some(Self::Refused(State::decode(&bytes.slice(1..))?)),
            _ => None,
        }
    }
}

impl Decided {
    pub(crate) fn encode(&self) -> Bytes {
        match self {
            Self::Now => Bytes::from_static(&[0]),
            Self::Before(value) => Writer::default().byte(1).rest(value).0.into(),
        }
    }

    /// From an answer; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        decided_value(bytes).map(|value| value.map_or(Self::Now, Self::Before))
    }
}

/// The answer to a read of what was decided; the inner `None` is nothing.
pub(crate) fn decided_value(bytes: &Bytes) -> Option<Option<Bytes>> {
    match bytes.split_first()? {
        (0, []) => Some(None),
        (1, _) => Some(Some(bytes.slice(1..))),
        _ => None,
    }
}

pub(crate) fn encode_decided_value(value: Option<Bytes>) -> Bytes {
    value.map_or(Decided::Now, Decided::Before).encode()
}

impl Remaining {
    pub(crate) fn encode(self) -> Bytes {
        let out = Writer::default();
        let out = match self {
            Self::NoValue => out.byte(0),
            Self::ForEver => out.byte(1),
            Self::Micros(us) => out.byte(2).u64(us),
        };
        out.0.into()
    }

    /// From an answer; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, []) => Some(Self::NoValue),
            (1, []) => Some(Self::ForEver),
            (2, us) => Some(Self::Micros(u64::from_le_bytes(us.try_into().ok()?))),
            _ => None,
        }
    }
}

impl Page {
    pub(crate) fn encode(&self) -> Bytes {
        let out = Writer::default();
        let out = match &self.next {
            None => out.byte(0),
            Some(next) => out.byte(1).block(next),
        };
        let entries = self.entries.iter().fold(out, |out, entry| {
            let out = out.block(&entry.key).u64(entry.version);
            out.u64(entry.value.expires_us.unwrap_or(0)).block(&entry.value.bytes)
        });
        entries.0.into()
    }

    /// From an answer; `None` if it is not one.
    #[must_use]
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut from = Reader(bytes);
        let next = match from.byte()? {
            0 => None,
            1 => Some(bytes.slice_ref(from.block()?)),
            _ => return None,
        };
        let mut entries = Vec::new();
        while !from.is_empty() {
            entries.push(ScanEntry {
                key: bytes.slice_ref(from.block()?),
                version: from.u64()?,
                value: Value { expires_us: expires(from.u64()?), bytes: bytes.slice_ref(from.block()?) },
            });
        }
        Some(Self { next, entries })
    }
}

/// The versions after a multi-put; `None` if it is no such answer.
pub(crate) fn decode_versions(bytes: &[u8]) -> Option<Vec<u64>> {
    let (versions, []) = bytes.as_chunks() else { return None };
    Some(versions.iter().map(|version| u64::from_le_bytes(*version)).collect())
}

/// When a value expires, from how that is written.
pub(crate) fn expires(us: u64) -> Option<u64> {
    (us > 0).then_some(us)
}
