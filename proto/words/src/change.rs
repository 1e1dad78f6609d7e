//! What apps publish of their changes, and what clients watch.

use bytes::Bytes;

use crate::{Decree, Gpid};

/// One change that an app publishes. What key and value mean, the app says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What watchers choose by.
    pub key: Bytes,
    /// What became of it.
    pub value: Bytes,
}

/// Which changes somebody watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFilter {
    /// Those of one key.
    Key(Bytes),
    /// Those of all keys that begin so; with no bytes, all.
    Prefix(Bytes),
}

impl KeyFilter {
    /// Those of all keys.
    pub const ALL: Self = Self::Prefix(Bytes::new());

    /// Whether it lets changes of `key` through.
    #[must_use]
    pub fn takes(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(only) => key == only,
            Self::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// What a watcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The partition.
    pub gpid: Gpid,
    /// Which of its changes.
    pub filter: KeyFilter,
    /// From which decree on; `None`: from what is applied next.
    pub from: Option<Decree>,
}

/// What a watcher is told at once: whole decrees, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangePage {
    /// All that was asked for, up to and with this decree, is in this page or was in those before it.
    pub through: Decree,
    /// The changes, each with its decree.
    pub changes: Vec<(Decree, Change)>,
}
