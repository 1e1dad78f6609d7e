//! Numbers that must not be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Numbers that count up from 0 or 1, one at a time, never come near this. Refusing larger ones where they come in
/// means that no arithmetic behind that has to fear an overflow that a peer could cause.
pub const HIGHEST_COUNT: u64 = 1 << 62;

number! {
    /// A configuration's version; every change adds one. 0 is "no configuration yet".
    Ballot(u64)
}
number! {
    /// A mutation's position in its partition's order: 1, 2, 3, without gaps. 0 is "before the first".
    Decree(u64)
}
number! {
    /// A number that a node raises durably at each start. 0 is "not known".
    Life(u64)
}
number! {
    /// An app's number, given by the meta server, never used again.
    AppId(u32)
}
number! {
    /// Names one learning of one learner; messages of another one are ignored (§6.1).
    Signature(u64)
}

impl Ballot {
    /// The ballot of the configuration that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Decree {
    /// Before the first mutation.
    pub const ZERO: Self = Self(0);

    /// The decree after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The decree before this one.
    ///
    /// # Panics
    /// On decree 0, which has none before it.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.checked_sub(1).expect("decree 0 has no decree before it"))
    }
}

/// A partition: an app's number and the index of one of its shards, printed `1.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gpid {
    /// The app.
    pub app: AppId,
    /// The partition's index in it, from 0.
    pub partition: u32,
}

impl Gpid {
    /// The partition `app.partition`.
    #[must_use]
    pub const fn new(app: u32, partition: u32) -> Self {
        Self { app: AppId(app), partition }
    }
}

impl fmt::Display for Gpid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.app, self.partition)
    }
}

impl std::str::FromStr for Gpid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (app, partition) = text.split_once('.')?;
            Some(Self::new(app.parse().ok()?, partition.parse().ok()?))
        };
        parse().ok_or_else(|| format!("`{text}` is not a partition; write APP.INDEX, for example 1.0"))
    }
}

/// One replica-server *data directory*: a UUID written there once. Never an address (§7.3).
///
/// Numbers below 1000 are the simulator's nodes and print as `r1`; a UUID prints as its first eight
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 { write!(f, "r{}", self.0) } else { write!(f, "{:08x}", self.0 >> 96) }
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
