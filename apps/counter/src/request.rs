//! The counter's requests and answers as bytes.
//!
//! | request | bytes |
//! | --- | --- |
//! | add | `1`, the operand as `i64` little-endian, the name |
//! | read | `2`, the name |
//!
//! A name is UTF-8, 1 to [`MAX_NAME_BYTES`] bytes. The answer to both is the counter's value as `i64`
//! little-endian. Refusals are [`Rejection`]s with the codes [`MALFORMED`] and [`OVERFLOW`].

use bytes::Bytes;
use replicated_app::Rejection;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// Rejection code: the bytes are no request of the counter.
pub const MALFORMED: u32 = 1;

/// Rejection code: the sum would not fit into an `i64`.
pub const OVERFLOW: u32 = 2;

const ADD: u8 = 1;
const READ: u8 = 2;

/// What a client asks a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Add `operand` to the counter `name`, which is 0 if it is new; answers with the sum.
    Add {
        /// Which counter.
        name: &'a str,
        /// How much.
        operand: i64,
    },
    /// The value of the counter `name`, 0 if there is none.
    Read {
        /// Which counter.
        name: &'a str,
    },
}

impl<'a> Request<'a> {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Add { name, operand } => {
                [&[ADD][..], &operand.to_le_bytes(), name.as_bytes()].concat().into()
            }
            Self::Read { name } => [&[READ][..], name.as_bytes()].concat().into(),
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// A [`MALFORMED`] rejection that says what is wrong.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Rejection> {
        match bytes.split_first() {
            Some((&ADD, rest)) => {
                let (operand, name) =
                    rest.split_first_chunk().ok_or_else(|| malformed("an add without an operand"))?;
                Ok(Self::Add { name: check_name(name)?, operand: i64::from_le_bytes(*operand) })
            }
            Some((&READ, name)) => Ok(Self::Read { name: check_name(name)? }),
            Some((other, _)) => Err(malformed(&format!("{other} is neither add (1) nor read (2)"))),
            None => Err(malformed("an empty request")),
        }
    }
}

/// An answer as bytes.
#[must_use]
pub fn encode_value(value: i64) -> Bytes {
    Bytes::copy_from_slice(&value.to_le_bytes())
}

/// An answer from bytes; `None` if they are not one.
#[must_use]
pub fn decode_value(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_le_bytes)
}

/// Whether `name` can name a counter.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &[u8]) -> Result<&str, Rejection> {
    if name.is_empty() {
        return Err(malformed("a counter's name can't be empty"));
    }
    if name.len() > MAX_NAME_BYTES {
        let long = name.len();
        return Err(malformed(&format!(
            "a counter's name can't be longer than {MAX_NAME_BYTES} bytes, this one has {long}"
        )));
    }
    std::str::from_utf8(name).map_err(|_| malformed("a counter's name must be UTF-8"))
}

fn malformed(message: &str) -> Rejection {
    Rejection { code: MALFORMED, message: message.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_wire() {
        for request in [
            Request::Add { name: "a", operand: -7 },
            Request::Read { name: "ä" },
            Request::Read { name: "a" },
        ] {
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        assert_eq!(&Request::Add { name: "xy", operand: 258 }.encode()[..], b"\x01\x02\x01\0\0\0\0\0\0xy");
        assert_eq!(decode_value(&encode_value(-3)), Some(-3));
        assert_eq!(decode_value(b"short"), None);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let long = [&[READ][..], &[b'x'; MAX_NAME_BYTES + 1]].concat();
        for bytes in [&b""[..], b"\x01short", b"\x02", b"\x03name", b"\x02\xff", &long] {
            assert_eq!(Request::decode(bytes).unwrap_err().code, MALFORMED, "{bytes:?}");
        }
        let longest = [&[READ][..], &[b'x'; MAX_NAME_BYTES]].concat();
        assert!(Request::decode(&longest).is_ok());
    }
}
