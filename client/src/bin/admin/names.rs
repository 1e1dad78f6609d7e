//! What nodes are called: people know them by name, messages name them by id.

use std::collections::HashMap;

use proto::pb;
use serde_json::Value;

/// Names by node id.
#[derive(Debug)]
pub(crate) struct Names(HashMap<Vec<u8>, String>);

impl Names {
    /// What a reply says about the nodes that it names.
    pub(crate) fn of(nodes: &[pb::NodeAddress]) -> Self {
        Self(nodes.iter().map(|node| (node.node.to_vec(), node.name.clone())).collect())
    }

    /// A node's name, or the beginning of its id if the meta server has not said it.
    pub(crate) fn get(&self, node: &[u8]) -> Value {
        if node.is_empty() {
            return Value::Null;
        }
        self.0.get(node).cloned().unwrap_or_else(|| hex(node)[..8.min(node.len() * 2)].to_owned()).into()
    }

    /// The names of several.
    pub(crate) fn all<'a>(&self, nodes: impl IntoIterator<Item = &'a bytes::Bytes>) -> Value {
        nodes.into_iter().map(|node| self.get(node)).collect()
    }
}

/// A node's id as people write it.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A partition as people write it: `1.0`.
pub(crate) fn gpid(gpid: Option<pb::Gpid>) -> String {
    words::Gpid::from(gpid.unwrap_or_default()).to_string()
}

/// Milliseconds since 1970 as people write a time of day, in UTC.
pub(crate) fn time(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (mut year, mut days) = (1970, seconds / 86_400);
    let is_leap =
        |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |year: u64| if is_leap(year) { 366 } else { 365 };
    // A clock that is far in the future is wrong, and shown as it is, but not searched for ever.
    while days >= length(year) && year < 9999 {
        days -= length(year);
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}.{millis:03}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn a_time_is_as_the_calendar_has_it() {
        assert_eq!(time(0), "1970-01-01 00:00:00.000");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00.000");
        assert_eq!(time(1_767_225_599_999), "2025-12-31 23:59:59.999");
        assert_eq!(time(1_772_323_200_007), "2026-03-01 00:00:00.007");
    }
}
