//! What a client asks, as bytes. Numbers are little-endian; a *block* is a length (`u32`) and as many bytes.
//!
//! | write | bytes |
//! | --- | --- |
//! | put | `1`, a condition, a time to live in µs (`u64`, 0: for ever), the key (block), the value |
//! | delete | `2`, a condition, the key |
//! | multi-put | `3`, then for each pair the key and the value (blocks) |
//! | set a time to live | `4`, µs (`u64`, 0: for ever), the key |
//! | set once | `5`, a version (`u64`), the key (block), the value |
//!
//! | read | bytes |
//! | --- | --- |
//! | get | `16`, the key |
//! | scan | `17`, how many at most (`u32`), the first key (block), then nothing or `1` and the first key not wanted |
//! | time to live | `18`, the key |
//! | get at | `19`, a version (`u64`), the key |
//!
//! | condition | bytes |
//! | --- | --- |
//! | none | `0` |
//! | the key has this version | `1`, the version (`u64`); a key that never was has version 0 |
//! | the key has this value | `2`, the value (block) |
//! | the key has no value | `3` |
//!
//! A key has 1 to [`MAX_KEY_BYTES`] bytes, a value up to [`MAX_VALUE_BYTES`]. Answers: [`State`](crate::State) and
//! its neighbours.

use bytes::Bytes;
use replicated_app::Rejection;

use crate::fields::{Reader, Writer};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 16 << 10;

/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// Rejection code: the bytes are no request of ours.
pub const MALFORMED: u32 = 1;

/// Rejection code: a key or a value is too long.
pub const TOO_LONG: u32 = 2;

/// Rejection code: the replica's files are damaged. The framework takes such a replica away.
pub const BROKEN: u32 = 3;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const MULTI_PUT: u8 = 3;
const SET_TTL: u8 = 4;
const SET_ONCE: u8 = 5;
const GET: u8 = 16;
const SCAN: u8 = 17;
const TTL: u8 = 18;
const GET_AT: u8 = 19;

/// What must be so for a write to take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing.
    #[default]
    None,
    /// The key has this version.
    Version(u64),
    /// The key has this value.
    Value(&'a [u8]),
    /// The key has no value.
    Absent,
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Store a value. Answered with a [`Change`](crate::Change).
    Put {
        /// Where.
        key: &'a [u8],
        /// What.
        value: &'a [u8],
        /// If.
        condition: Condition<'a>,
        /// For how long, in microseconds; 0: for ever.
        ttl_us: u64,
    },
    /// Take a value away; its version stays, one higher. Answered with a [`Change`](crate::Change).
    Delete {
        /// Which.
        key: &'a [u8],
        /// If.
        condition: Condition<'a>,
    },
    /// Store several values at once. Answered with their versions.
    MultiPut {
        /// Keys and values.
        pairs: Vec<(&'a [u8], &'a [u8])>,
    },
    /// Give a value another time to live. Answered with a [`Change`](crate::Change), refused if there is no value.
    SetTtl {
        /// Which.
        key: &'a [u8],
        /// From now on, in microseconds; 0: for ever.
        ttl_us: u64,
    },
    /// Decide the value of a (key, version), unless it is decided. Answered with a [`Decided`](crate::Decided).
    SetOnce {
        /// Which; these keys are apart from those of the other requests.
        key: &'a [u8],
        /// Which of the key's.
        version: u64,
        /// What.
        value: &'a [u8],
    },
}

/// A request that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A key's [`State`](crate::State).
    Get {
        /// Which.
        key: &'a [u8],
    },
    /// A [`Page`](crate::Page) of what is stored from a key on, in order.
    Scan {
        /// How many at most.
        limit: u32,
        /// The first key.
        from: &'a [u8],
        /// The first key that is not wanted any more.
        to: Option<&'a [u8]>,
    },
    /// How long a value will be there: a [`Remaining`](crate::Remaining).
    Ttl {
        /// Which.
        key: &'a [u8],
    },
    /// The value that was decided for a (key, version), if one was.
    GetAt {
        /// Which.
        key: &'a [u8],
        /// Which of the key's.
        version: u64,
    },
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Something that changes the state.
    Write(Write<'a>),
    /// Something that does not.
    Read(Read<'a>),
}

impl Write<'_> {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let out = Writer::default();
        let out = match *self {
            Self::Put { key, value, condition, ttl_us } => {
                // Those of the key and the value are most of the bytes; without a condition that is all.
                let out = Writer::with_room(1 + 1 + 8 + 4 + key.len() + value.len());
                condition.encode(out.byte(PUT)).u64(ttl_us).block(key).rest(value)
            }
            Self::Delete { key, condition } => condition.encode(out.byte(DELETE)).rest(key),
            Self::MultiPut { ref pairs } => {
                pairs.iter().fold(out.byte(MULTI_PUT), |out, (key, value)| out.block(key).block(value))
            }
            Self::SetTtl { key, ttl_us } => out.byte(SET_TTL).u64(ttl_us).rest(key),
            Self::SetOnce { key, version, value } => out.byte(SET_ONCE).u64(version).block(key).rest(value),
        };
        out.0.into()
    }
}

impl Read<'_> {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let out = Writer::default();
        let out = match *self {
            Self::Get { key } => out.byte(GET).rest(key),
            Self::Scan { limit, from, to } => {
                let out = out.byte(SCAN).u32(limit).block(from);
                match to {
                    Some(to) => out.byte(1).rest(to),
                    None => out,
                }
            }
            Self::Ttl { key } => out.byte(TTL).rest(key),
            Self::GetAt { key, version } => out.byte(GET_AT).u64(version).rest(key),
        };
        out.0.into()
    }
}

impl<'a> Condition<'a> {
    fn encode(self, out: Writer) -> Writer {
        match self {
            Self::None => out.byte(0),
            Self::Version(version) => out.byte(1).u64(version),
            Self::Value(value) => out.byte(2).block(value),
            Self::Absent => out.byte(3),
        }
    }

    fn decode(from: &mut Reader<'a>) -> Option<Self> {
        Some(match from.byte()? {
            0 => Self::None,
            1 => Self::Version(from.u64()?),
            2 => Self::Value(from.block()?),
            3 => Self::Absent,
            _ => return None,
        })
    }
}

impl<'a> Request<'a> {
    /// From bytes.
    ///
    /// # Errors
    /// A [`MALFORMED`] or [`TOO_LONG`] rejection that says what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut from = Reader(bytes);
        let request = Self::parse(&mut from).ok_or_else(|| malformed("this is no request of a kv app"))?;
        if !from.is_empty() {
            return Err(malformed("a request with something behind it"));
        }
        request.check()?;
        Ok(request)
    }

    fn parse(from: &mut Reader<'a>) -> Option<Self> {
        Some(match from.byte()? {
            PUT => Self::Write(Write::Put {
                condition: Condition::decode(from)?,
                ttl_us: from.u64()?,
                key: from.block()?,
                value: from.rest(),
            }),
            DELETE => Self::Write(Write::Delete { condition: Condition::decode(from)?, key: from.rest() }),
            MULTI_PUT => {
                let mut pairs = Vec::new();
                while !from.is_empty() {
                    pairs.push((from.block()?, from.block()?));
                }
                Self::Write(Write::MultiPut { pairs })
            }
            SET_TTL => Self::Write(Write::SetTtl { ttl_us: from.u64()?, key: from.rest() }),
            SET_ONCE => {
                Self::Write(Write::SetOnce { version: from.u64()?, key: from.block()?, value: from.rest() })
            }
            GET => Self::Read(Read::Get { key: from.rest() }),
            SCAN => Self::Read(Read::Scan {
                limit: from.u32()?,
                from: from.block()?,
                to: match from.byte() {
                    None => None,
                    Some(1) => Some(from.rest()),
                    Some(_) => return None,
                },
            }),
            TTL => Self::Read(Read::Ttl { key: from.rest() }),
            GET_AT => Self::Read(Read::GetAt { version: from.u64()?, key: from.rest() }),
            _ => return None,
        })
    }

    fn check(&self) -> Result<(), Rejection> {
        match self {
            Self::Write(Write::Put { key, value, .. } | Write::SetOnce { key, value, .. }) => {
                check_key(key).and_then(|()| check_value(value))
            }
            Self::Write(Write::MultiPut { pairs }) => {
                pairs.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(value)))
            }
            Self::Write(Write::Delete { key, .. } | Write::SetTtl { key, .. })
            | Self::Read(Read::Get { key } | Read::Ttl { key } | Read::GetAt { key, .. }) => check_key(key),
            // Where a scan begins or ends need not be a key.
            Self::Read(Read::Scan { .. }) => Ok(()),
        }
    }
}

/// Whether these bytes can be a key.
///
/// # Errors
/// What is wrong with them.
pub fn check_key(key: &[u8]) -> Result<(), Rejection> {
    match key.len() {
        0 => Err(malformed("a key can't be empty")),
        1..=MAX_KEY_BYTES => Ok(()),
        long => {
            Err(too_long(format!("a key can't be longer than {MAX_KEY_BYTES} bytes, this one has {long}")))
        }
    }
}

/// Whether these bytes can be a value.
///
/// # Errors
/// What is wrong with them.
pub fn check_value(value: &[u8]) -> Result<(), Rejection> {
    if value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    let long = value.len();
    Err(too_long(format!("a value can't be longer than {MAX_VALUE_BYTES} bytes, this one has {long}")))
}

fn too_long(message: String) -> Rejection {
    Rejection { code: TOO_LONG, message }
}

fn malformed(message: &str) -> Rejection {
    Rejection { code: MALFORMED, message: message.into() }
}
