//! Requests, answers and records as bytes. Numbers are little-endian.
//!
//! | request | bytes |
//! | --- | --- |
//! | take | `1`, version `u64`, nonce `u64`, lease in milliseconds `u32`, length of the candidate's name `u8`, that name, the election's name |
//! | resign | `2`, version `u64`, nonce `u64`, the election's name |
//! | revoke | `3`, version `u64`, the election's name |
//! | read | `4`, the election's name |
//!
//! A read is answered with the [`Record`]; the others with a byte, 1 if it was done and 0 if not, and the record as
//! it is then. A record is its version `u64` and, if there is a master, nonce `u64`, token `u64`, lease `u32`, when it
//! was elected `u64`, whether it was revoked `u8`, and its name. What an election publishes for watchers has its name
//! as the key and its record as the value.

use std::time::Duration;

use bytes::Bytes;
use replicated_app::Rejection;
use serde::{Deserialize, Serialize};

/// The longest name of an election, in bytes.
pub const MAX_ELECTION_BYTES: usize = 1024;
/// The longest name of a candidate, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The shortest and the longest lease, in milliseconds.
pub const LEASE_MS: std::ops::RangeInclusive<u32> = 100..=3_600_000;

/// Rejection code: the bytes are no request of an election.
pub const MALFORMED: u32 = 1;

const TAKE: u8 = 1;
const RESIGN: u8 = 2;
const REVOKE: u8 = 3;
const READ: u8 = 4;

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Make this candidate master, or renew its lease, if the record's version is still this one.
    Take {
        /// The record's version as the candidate knows it.
        version: u64,
        /// Who it is, beside its name: drawn anew for each campaign.
        nonce: u64,
        /// How long it is master without renewing.
        lease_ms: u32,
        /// Its name, for people.
        name: &'a str,
        /// Of which election.
        election: &'a str,
    },
    /// The master with this nonce is none any more, if the record's version is still this one.
    Resign {
        /// The record's version as it knows it.
        version: u64,
        /// Its nonce.
        nonce: u64,
        /// Of which election.
        election: &'a str,
    },
    /// The master may not renew its lease any more, if the record's version is still this one.
    Revoke {
        /// The record's version as the caller knows it.
        version: u64,
        /// Of which election.
        election: &'a str,
    },
    /// The record as it is.
    Read {
        /// Of which election.
        election: &'a str,
    },
}

/// What is known of an election.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Grows by one with each change, renewals included; 0 before the first.
    pub version: u64,
    /// Whoever was elected last, unless it resigned. Its lease may be over.
    pub master: Option<Master>,
}

/// A master.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Master {
    /// Tells it from all others, also from those of its name.
    pub nonce: u64,
    /// The version with which it became master: the fencing token. Larger than any master's before it.
    pub token: u64,
    /// How long it is master without renewing, in milliseconds, from before it asked for that.
    pub lease_ms: u32,
    /// When it was elected, in microseconds since 1970 by the clock of who led the partition. For people.
    pub since_us: u64,
    /// It may not renew.
    pub revoked: bool,
    /// Its name.
    pub name: String,
}

impl Master {
    /// Its lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }
}

/// The answer to what should change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it did.
    pub accepted: bool,
    /// The record after that.
    pub record: Record,
}

impl<'a> Request<'a> {
    /// Which election it is about: the key that names its partition.
    #[must_use]
    pub fn election(&self) -> &'a str {
        match self {
            Self::Take { election, .. }
            | Self::Resign { election, .. }
            | Self::Revoke { election, .. }
            | Self::Read { election } => election,
        }
    }

    /// As bytes. What is too long to be written is cut, and refused where it arrives.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        match self {
            Self::Take { version, nonce, lease_ms, name, .. } => {
                bytes.push(TAKE);
                bytes.extend(version.to_le_bytes());
                bytes.extend(nonce.to_le_bytes());
                bytes.extend(lease_ms.to_le_bytes());
                bytes.push(u8::try_from(name.len()).unwrap_or(0));
                bytes.extend(name.as_bytes());
            }
            Self::Resign { version, nonce, .. } => {
                bytes.push(RESIGN);
                bytes.extend(version.to_le_bytes());
                bytes.extend(nonce.to_le_bytes());
            }
            Self::Revoke { version, .. } => {
                bytes.push(REVOKE);
                bytes.extend(version.to_le_bytes());
            }
            Self::Read { .. } => bytes.push(READ),
        }
        bytes.extend(self.election().as_bytes());
        bytes.into()
    }

    /// From bytes.
    ///
    /// # Errors
    /// A [`MALFORMED`] rejection that says what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let (&kind, rest) = bytes.split_first().ok_or_else(|| malformed("an empty request"))?;
        let short = || malformed("a request that ends too early");
        let mut rest = Reader(rest);
        match kind {
            TAKE => {
                let (version, nonce) = rest.u64().zip(rest.u64()).ok_or_else(short)?;
                let (lease_ms, length) = rest.u32().zip(rest.u8()).ok_or_else(short)?;
                let name = check_name(rest.take(length.into()).ok_or_else(short)?)?;
                if !LEASE_MS.contains(&lease_ms) {
                    let (least, most) = LEASE_MS.into_inner();
                    return Err(malformed(&format!("a lease has {least} to {most} ms, not {lease_ms}")));
                }
                Ok(Self::Take { version, nonce, lease_ms, name, election: check_election(rest.0)? })
            }
            RESIGN => {
                let (version, nonce) = rest.u64().zip(rest.u64()).ok_or_else(short)?;
                Ok(Self::Resign { version, nonce, election: check_election(rest.0)? })
            }
            REVOKE => {
                let version = rest.u64().ok_or_else(short)?;
                Ok(Self::Revoke { version, election: check_election(rest.0)? })
            }
            READ => Ok(Self::Read { election: check_election(rest.0)? }),
            other => Err(malformed(&format!("{other} is no request of an election"))),
        }
    }
}

impl Record {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = self.version.to_le_bytes().to_vec();
        if let Some(Master { nonce, token, lease_ms, since_us, revoked, name }) = &self.master {
            bytes.extend(nonce.to_le_bytes());
            bytes.extend(token.to_le_bytes());
            bytes.extend(lease_ms.to_le_bytes());
            bytes.extend(since_us.to_le_bytes());
            bytes.push(u8::from(*revoked));
            bytes.extend(name.as_bytes());
        }
        bytes.into()
    }

    /// From bytes; `None` if they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        let version = rest.u64()?;
        if rest.0.is_empty() {
            return Some(Self { version, master: None });
        }
        let (nonce, token, lease_ms, since_us) = (rest.u64()?, rest.u64()?, rest.u32()?, rest.u64()?);
        let revoked = match rest.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let name = check_name(rest.0).ok()?.to_owned();
        Some(Self { version, master: Some(Master { nonce, token, lease_ms, since_us, revoked, name }) })
    }
}

impl Answer {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        [&[u8::from(self.accepted)][..], &self.record.encode()].concat().into()
    }

    /// From bytes; `None` if they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (accepted, record) = bytes.split_first()?;
        Some(Self { accepted: *accepted == 1, record: Record::decode(record)? })
    }
}

/// Whether `name` can name an election.
///
/// # Errors
/// What is wrong with it.
pub fn check_election(name: &[u8]) -> Result<&str, Rejection> {
    check("an election's name", name, MAX_ELECTION_BYTES)
}

/// Whether `name` can name a candidate.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &[u8]) -> Result<&str, Rejection> {
    check("a candidate's name", name, MAX_NAME_BYTES)
}

fn check<'a>(what: &str, name: &'a [u8], most: usize) -> Result<&'a str, Rejection> {
    if name.is_empty() {
        return Err(malformed(&format!("{what} can't be empty")));
    }
    if name.len() > most {
        let long = name.len();
        return Err(malformed(&format!("{what} can't be longer than {most} bytes, this one has {long}")));
    }
    let text = std::str::from_utf8(name).map_err(|_| malformed(&format!("{what} must be UTF-8")))?;
    if text.chars().any(char::is_control) {
        return Err(malformed(&format!("{what} can't have control characters")));
    }
    Ok(text)
}

fn malformed(message: &str) -> Rejection {
    Rejection { code: MALFORMED, message: message.into() }
}

/// What is left of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.chunk().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        let (version, nonce, election) = (7, u64::MAX, "ä");
        for request in [
            Request::Take { version, nonce, lease_ms: 100, name: "n", election },
            Request::Resign { version, nonce, election },
            Request::Revoke { version, election },
            Request::Read { election },
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn an_answer_survives_the_wire() {
        let name = "n".to_owned();
        let master = Master { nonce: 1, token: 2, lease_ms: 300, since_us: 4, revoked: true, name };
        for master in [None, Some(master)] {
            let answer = Answer { accepted: true, record: Record { version: 9, master } };
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let take = |lease_ms, name, election| {
            Request::Take { version: 0, nonce: 0, lease_ms, name, election }.encode()
        };
        let (long_name, long) = ("x".repeat(256), "x".repeat(1025));
        for bytes in [
            &b""[..],
            b"\x05e",
            b"\x04",
            b"\x04\xff",
            b"\x04a\nb",
            b"\x02short",
            &take(99, "n", "e"),
            &take(100, "", "e"),
            &take(100, "n", ""),
            &take(100, &long_name, "e"),
            &take(100, "n", &long),
        ] {
            assert_eq!(Request::decode(bytes).unwrap_err().code, MALFORMED, "{bytes:?}");
        }
    }
}
