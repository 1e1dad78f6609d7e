//! What makes a message unusable, and the checks that every conversion shares.

use std::convert::Infallible;

use ::words::HIGHEST_COUNT;

/// A message that breaks the wire's rules. Whoever sent it speaks another version or is damaged: the message
/// is dropped or answered with `malformed`, and sending it again can't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field} {problem}")]
pub struct Malformed {
    /// The message and its field, as in the `.proto` files: `Prepare.gpid`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl From<Infallible> for Malformed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A counting number (ballot, decree, life, sequence) in its type.
pub(crate) fn count<T>(make: fn(u64) -> T, value: u64, field: &'static str) -> Result<T, Malformed> {
    if value <= HIGHEST_COUNT {
        Ok(make(value))
    } else {
        Err(Malformed { field, problem: "is out of range" })
    }
}

/// A field that must be there, converted.
pub(crate) fn required<P, W>(value: Option<P>, field: &'static str) -> Result<W, Malformed>
where
    W: TryFrom<P>,
    Malformed: From<W::Error>,
{
    let value = value.ok_or(Malformed { field, problem: "is missing" })?;
    Ok(W::try_from(value)?)
}

/// A repeated field, converted.
pub(crate) fn each<P, W>(values: Vec<P>) -> Result<Vec<W>, Malformed>
where
    W: TryFrom<P>,
    Malformed: From<W::Error>,
{
    values.into_iter().map(|value| Ok(W::try_from(value)?)).collect()
}

/// A repeated field, turned into messages.
pub(crate) fn all<W, P: From<W>>(values: Vec<W>) -> Vec<P> {
    values.into_iter().map(P::from).collect()
}
