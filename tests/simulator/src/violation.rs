//! What a run can be found guilty of.

use std::fmt;

/// A rule of PROTOCOL.md §2 that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: `S1`, `V4`, `L1`, ...; `panic` for an assertion of the code under test.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    /// Whether it is the same rule that was broken; for a panic, at the same place.
    #[must_use]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let place = |violation: &Self| violation.what.split(": ").next().map(str::to_owned);
        self.rule == other.rule && (self.rule != "panic" || place(self) == place(other))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Nothing was wrong, or this was.
pub(crate) type Checked = Result<(), Violation>;

/// `Ok` if the condition holds, else the violation of `rule` that `what` describes.
///
/// # Errors
/// If the condition does not hold.
pub(crate) fn check(holds: bool, rule: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { rule, what: what() }) }
}
