//! Values that several services share (`words.proto`).

use ::words::{
    AppId, AppInfo, AppTerms, Ballot, Configuration, DamagedWrites, Decree, Gpid, Mutation, MutationId,
    NodeAddress, NodeId, SessionStamp, Write, WriteKind, Writes,
};
use bytes::Bytes;

use crate::malformed::{count, required};
use crate::{Malformed, pb};

/// A node id as the wire carries it: 16 bytes, big-endian.
#[must_use]
pub fn node_bytes(node: NodeId) -> Bytes {
    Bytes::copy_from_slice(&node.0.to_be_bytes())
}

/// A node id from the wire.
///
/// # Errors
/// Names `field` if it is not 16 bytes long.
pub fn node_id(bytes: &[u8], field: &'static str) -> Result<NodeId, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed { field, problem: "is not 16 bytes long" })?;
    Ok(NodeId(u128::from_be_bytes(bytes)))
}

/// A node id that may be none.
pub(crate) fn optional_node_id(bytes: &[u8], field: &'static str) -> Result<Option<NodeId>, Malformed> {
    if bytes.is_empty() { Ok(None) } else { node_id(bytes, field).map(Some) }
}

/// A list of node ids.
pub(crate) fn node_ids(nodes: &[Bytes], field: &'static str) -> Result<Vec<NodeId>, Malformed> {
    nodes.iter().map(|bytes| node_id(bytes, field)).collect()
}

impl From<Gpid> for pb::Gpid {
    fn from(gpid: Gpid) -> Self {
        Self { app_id: gpid.app.0, partition_index: gpid.partition }
    }
}

impl From<pb::Gpid> for Gpid {
    fn from(gpid: pb::Gpid) -> Self {
        Self::new(gpid.app_id, gpid.partition_index)
    }
}

impl From<Configuration> for pb::Configuration {
    fn from(configuration: Configuration) -> Self {
        Self {
            ballot: configuration.ballot.0,
            primary: configuration.primary.map(node_bytes).unwrap_or_default(),
            secondaries: configuration.secondaries.into_iter().map(node_bytes).collect(),
        }
    }
}

impl TryFrom<pb::Configuration> for Configuration {
    type Error = Malformed;

    fn try_from(message: pb::Configuration) -> Result<Self, Malformed> {
        Ok(Self {
            ballot: count(Ballot, message.ballot, "Configuration.ballot")?,
            primary: optional_node_id(&message.primary, "Configuration.primary")?,
            secondaries: node_ids(&message.secondaries, "Configuration.secondaries")?,
        })
    }
}

impl From<AppInfo> for pb::AppInfo {
    fn from(app: AppInfo) -> Self {
        Self {
            app_id: app.id.0,
            name: app.name,
            app_type: app.app_type,
            partition_count: app.partition_count,
            replica_count: app.replica_count,
        }
    }
}

impl From<pb::AppInfo> for AppInfo {
    fn from(message: pb::AppInfo) -> Self {
        Self {
            id: AppId(message.app_id),
            name: message.name,
            app_type: message.app_type,
            partition_count: message.partition_count,
            replica_count: message.replica_count,
        }
    }
}

impl From<AppTerms> for pb::AppTerms {
    fn from(terms: AppTerms) -> Self {
        let envs = terms.envs.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Self { revision: terms.revision, dropped: terms.dropped, envs }
    }
}

impl From<pb::AppTerms> for AppTerms {
    fn from(message: pb::AppTerms) -> Self {
        let envs = message.envs.into_iter().collect();
        Self { revision: message.revision, dropped: message.dropped, envs }
    }
}

impl From<NodeAddress> for pb::NodeAddress {
    fn from(address: NodeAddress) -> Self {
        Self { node: node_bytes(address.node), name: address.name, address: address.address }
    }
}

impl TryFrom<pb::NodeAddress> for NodeAddress {
    type Error = Malformed;

    fn try_from(message: pb::NodeAddress) -> Result<Self, Malformed> {
        let node = node_id(&message.node, "NodeAddress.node")?;
        Ok(Self { node, name: message.name, address: message.address })
    }
}

impl From<MutationId> for pb::MutationId {
    fn from(id: MutationId) -> Self {
        Self { ballot: id.ballot.0, decree: id.decree.0 }
    }
}

impl TryFrom<pb::MutationId> for MutationId {
    type Error = Malformed;

    fn try_from(message: pb::MutationId) -> Result<Self, Malformed> {
        Ok(Self {
            ballot: count(Ballot, message.ballot, "MutationId.ballot")?,
            decree: count(Decree, message.decree, "MutationId.decree")?,
        })
    }
}

impl From<SessionStamp> for pb::SessionStamp {
    fn from(stamp: SessionStamp) -> Self {
        Self { session: stamp.session, sequence: stamp.sequence, first_incomplete: stamp.first_incomplete }
    }
}

impl TryFrom<pb::SessionStamp> for SessionStamp {
    type Error = Malformed;

    fn try_from(message: pb::SessionStamp) -> Result<Self, Malformed> {
        Ok(Self {
            session: message.session,
            sequence: count(|n| n, message.sequence, "SessionStamp.sequence")?,
            first_incomplete: count(|n| n, message.first_incomplete, "SessionStamp.first_incomplete")?,
        })
    }
}

impl From<WriteKind> for pb::WriteKind {
    fn from(kind: WriteKind) -> Self {
        match kind {
            WriteKind::Update => Self::Update,
            WriteKind::Read => Self::Read,
            WriteKind::OpenSession => Self::OpenSession,
        }
    }
}

impl From<pb::WriteKind> for WriteKind {
    fn from(kind: pb::WriteKind) -> Self {
        match kind {
            pb::WriteKind::Update => Self::Update,
            pb::WriteKind::Read => Self::Read,
            pb::WriteKind::OpenSession => Self::OpenSession,
        }
    }
}

impl From<Write> for pb::WriteOp {
    fn from(write: Write) -> Self {
        Self {
            session: write.session.map(Into::into),
            kind: pb::WriteKind::from(write.kind).into(),
            payload: write.payload,
        }
    }
}

impl TryFrom<pb::WriteOp> for Write {
    type Error = Malformed;

    fn try_from(message: pb::WriteOp) -> Result<Self, Malformed> {
        let kind = pb::WriteKind::try_from(message.kind)
            .map_err(|_| Malformed { field: "WriteOp.kind", problem: "is no kind of write" })?;
        Ok(Self {
            session: message.session.map(TryInto::try_into).transpose()?,
            kind: kind.into(),
            payload: message.payload,
        })
    }
}

impl From<&Mutation> for pb::Mutation {
    fn from(mutation: &Mutation) -> Self {
        Self {
            id: Some(mutation.id.into()),
            timestamp_us: mutation.timestamp_us,
            writes: mutation.writes.packed().clone(),
        }
    }
}

impl TryFrom<pb::Mutation> for Mutation {
    type Error = Malformed;

    fn try_from(message: pb::Mutation) -> Result<Self, Malformed> {
        Ok(Self {
            id: required(message.id, "Mutation.id")?,
            timestamp_us: count(|n| n, message.timestamp_us, "Mutation.timestamp_us")?,
            writes: Writes::unpack(message.writes).map_err(|DamagedWrites| Malformed {
                field: "Mutation.writes",
                problem: "is not what writes are packed into",
            })?,
        })
    }
}
