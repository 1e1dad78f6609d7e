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
