//! The card server's requests and answers as bytes. Numbers are little-endian.
//!
//! | request | bytes | answer |
//! | --- | --- | --- |
//! | insert | `1`, the card's id and its user's id and the balance, each as `u64`, the user's name | none |
//! | update | `2`, the id as `u64`, the delta as `i64` | the new balance as `u64` |
//! | delete | `3`, the id as `u64` | none |
//! | select | `4`, the id as `u64` | the user's id and the balance, each as `u64`, the name |
//!
//! A name is UTF-8, 1 to [`MAX_NAME_BYTES`] bytes, without control characters: it is printed on a line with other
//! things. Refusals have Certain's codes, and two of our own.
//!
//! A card's key, which decides on its partition, is its id as 8 bytes.

use bytes::Bytes;
use replicated_app::Rejection;
use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// Rejection code: the bytes are no request of the card server.
pub const MALFORMED: u32 = 1;
/// Rejection code: more would be taken from a card than there is on it.
pub const NOT_ENOUGH: u32 = 8000;
/// Rejection code: there is no card of that id.
pub const NO_CARD: u32 = 8001;
/// Rejection code: there is a card of that id already.
pub const CARD_EXISTS: u32 = 8002;
/// Rejection code: more would be on a card than fits into a `u64`. Certain counts on from 0 then.
pub const TOO_MUCH: u32 = 8003;

const INSERT: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const SELECT: u8 = 4;

/// What is on a card.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Card {
    /// The name of whom it belongs to.
    pub user_name: String,
    /// Their id.
    pub user_id: u64,
    /// What is left on it.
    pub balance: u64,
}

/// What a client asks of the card server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new card.
    Insert(u64, Card),
    /// So much more, or less, on the card of that id.
    Update(u64, i64),
    /// The card of that id is gone.
    Delete(u64),
    /// What is on the card of that id?
    Select(u64),
}

impl Request {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Insert(id, card) => [&[INSERT][..], &id.to_le_bytes(), &encode_card(card)].concat().into(),
            Self::Update(id, delta) => {
                [&[UPDATE][..], &id.to_le_bytes(), &delta.to_le_bytes()].concat().into()
            }
            Self::Delete(id) => [&[DELETE][..], &id.to_le_bytes()].concat().into(),
            Self::Select(id) => [&[SELECT][..], &id.to_le_bytes()].concat().into(),
        }
    }

    /// From bytes.
    ///
    /// # Errors
    /// A [`MALFORMED`] rejection that says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Rejection> {
        let (verb, rest) = bytes.split_first().ok_or_else(|| malformed("an empty request"))?;
        let (id, rest) =
            rest.split_first_chunk().ok_or_else(|| malformed("a request without a card's id"))?;
        let id = u64::from_le_bytes(*id);
        match (*verb, rest) {
            (INSERT, rest) => Ok(Self::Insert(id, decode_card(rest)?)),
            (UPDATE, rest) => {
                let delta = rest.try_into().map_err(|_| malformed("an update has a delta of 8 bytes"))?;
                Ok(Self::Update(id, i64::from_le_bytes(delta)))
            }
            (DELETE, []) => Ok(Self::Delete(id)),
            (SELECT, []) => Ok(Self::Select(id)),
            (DELETE | SELECT, _) => Err(malformed("more than a card's id")),
            (other, _) => Err(malformed(&format!(
                "{other} is none of insert (1), update (2), delete (3) and select (4)"
            ))),
        }
    }
}

/// What decides on a card's partition.
#[must_use]
pub fn key(id: u64) -> [u8; 8] {
    id.to_le_bytes()
}

/// What a select answers, and what an insert ends in.
#[must_use]
pub fn encode_card(card: &Card) -> Bytes {
    [&card.user_id.to_le_bytes()[..], &card.balance.to_le_bytes(), card.user_name.as_bytes()].concat().into()
}

/// A card from bytes.
///
/// # Errors
/// A [`MALFORMED`] rejection that says what is wrong.
pub fn decode_card(bytes: &[u8]) -> Result<Card, Rejection> {
    let numbers = bytes.split_first_chunk().and_then(|(user_id, rest)| {
        let (balance, name) = rest.split_first_chunk()?;
        Some((u64::from_le_bytes(*user_id), u64::from_le_bytes(*balance), name))
    });
    let (user_id, balance, name) =
        numbers.ok_or_else(|| malformed("a card without a user's id or a balance"))?;
    Ok(Card { user_name: check_name(name)?.to_owned(), user_id, balance })
}

/// What an update answers.
#[must_use]
pub fn encode_balance(balance: u64) -> Bytes {
    Bytes::copy_from_slice(&balance.to_le_bytes())
}

/// A balance from bytes; `None` if they are not one.
#[must_use]
pub fn decode_balance(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Whether somebody can be called that.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &[u8]) -> Result<&str, Rejection> {
    if name.is_empty() {
        return Err(malformed("a user's name can't be empty"));
    }
    if name.len() > MAX_NAME_BYTES {
        let long = name.len();
        let limit = format!("a user's name can't be longer than {MAX_NAME_BYTES} bytes, this one has {long}");
        return Err(malformed(&limit));
    }
    let name = std::str::from_utf8(name).map_err(|_| malformed("a user's name must be UTF-8"))?;
    if name.contains(char::is_control) {
        return Err(malformed("a user's name can't have control characters in it"));
    }
    Ok(name)
}

fn malformed(message: &str) -> Rejection {
    Rejection { code: MALFORMED, message: message.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card() -> impl Strategy<Value = Card> {
        let fields = ("[a-zäß ]{1,20}", any::<u64>(), any::<u64>());
        fields.prop_map(|(user_name, user_id, balance)| Card { user_name, user_id, balance })
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            (any::<u64>(), card()).prop_map(|(id, card)| Request::Insert(id, card)),
            (any::<u64>(), any::<i64>()).prop_map(|(id, delta)| Request::Update(id, delta)),
            any::<u64>().prop_map(Request::Delete),
            any::<u64>().prop_map(Request::Select),
        ]
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(request in request()) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn what_is_on_the_wire_stays_as_it_is() {
        let card = Card { user_name: "rock".into(), user_id: 258, balance: 3 };
        let insert = Request::Insert(7, card).encode();
        assert_eq!(&insert[..], b"\x01\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0rock");
        let update = Request::Update(7, -1).encode();
        assert_eq!(&update[..], b"\x02\x07\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
        assert_eq!(&Request::Delete(7).encode()[..], b"\x03\x07\0\0\0\0\0\0\0");
        assert_eq!(&Request::Select(7).encode()[..], b"\x04\x07\0\0\0\0\0\0\0");
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let id = 7_u64.to_le_bytes();
        let long = vec![b'x'; MAX_NAME_BYTES + 1];
        let insert = |name: &[u8]| [&[INSERT][..], &id, &id, &id, name].concat();
        for bytes in [
            vec![],
            vec![SELECT],
            [&[SELECT][..], &id, b"x"].concat(),
            [&[DELETE][..], &id, b"x"].concat(),
            [&[UPDATE][..], &id, b"short"].concat(),
            [&[5][..], &id].concat(),
            [&[INSERT][..], &id, &id].concat(),
            insert(b""),
            insert(b"a\nb"),
            insert(b"\xff"),
            insert(&long),
        ] {
            assert_eq!(Request::decode(&bytes).unwrap_err().code, MALFORMED, "{bytes:?}");
        }
        assert!(Request::decode(&insert(&long[1..])).is_ok());
    }
}
