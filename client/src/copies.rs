//! Who has a copy of a partition, for whoever waits until all are there.

use bytes::Bytes;
use proto::pb;
use proto::pb::admin_client::AdminClient;
use words::Gpid;

use crate::App;
use crate::meta::{MetaError, Repeat};

/// A description of an app with many partitions, in bytes.
const LARGEST_REPLY: usize = 64 << 20;

/// The copies of one partition, as the meta server sees them; nodes by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Which.
    pub partition: Gpid,
    /// How many there shall be.
    pub wanted: u32,
    /// Who leads, if somebody does.
    pub primary: Option<String>,
    /// Who else acknowledges each write.
    pub secondaries: Vec<String>,
    /// Who of these can't be reached, and may be replaced.
    pub down: Vec<String>,
    /// Who is making a copy.
    pub learners: Vec<String>,
    /// Whether all that there shall be are there, on nodes that are alive.
    pub whole: bool,
}

impl Copies {
    /// All that count and can be reached, the primary first.
    pub fn up(&self) -> impl Iterator<Item = &str> {
        let members = self.primary.iter().chain(&self.secondaries);
        members.filter(|name| !self.down.contains(name)).map(String::as_str)
    }
}

impl App {
    /// The copies of the partition that `key` is in.
    ///
    /// # Errors
    /// What the meta server says, or that none answers.
    pub async fn copies(&self, key: &[u8]) -> Result<Copies, MetaError> {
        let cluster = &self.shared().cluster;
        let ask = |channel| async {
            let mut admin = AdminClient::new(channel).max_decoding_message_size(LARGEST_REPLY);
            admin.describe_app(pb::DescribeAppRequest { name: self.info().name.clone() }).await
        };
        let timeout = cluster.options().timeout;
        let reply = cluster.meta().ask(timeout, Repeat::Always, ask).await?;
        let ask = async |channel| AdminClient::new(channel).list_nodes(pb::ListNodesRequest {}).await;
        let known = cluster.meta().ask(timeout, Repeat::Always, ask).await?.nodes;
        let is_up = |id: &Bytes| {
            known.iter().any(|node| node.alive && node.node.as_ref().is_some_and(|it| it.node == *id))
        };
        let wanted = reply.app.as_ref().map_or(0, |app| app.replica_count);
        let index = self.partition_of(key);
        let found = reply.partitions.into_iter().nth(index as usize);
        let found = found.ok_or_else(|| MetaError::Refused(format!("it knows no partition {index}")))?;
        let nodes = &reply.nodes;
        let name = |id: &Bytes| {
            let known = nodes.iter().find(|node| node.node == *id);
            known.map_or_else(|| "a node that is gone".to_owned(), |node| node.name.clone())
        };
        let configuration = found.configuration.unwrap_or_default();
        let primary = Some(&configuration.primary).filter(|id| !id.is_empty());
        let down = primary.into_iter().chain(&configuration.secondaries).filter(|id| !is_up(id));
        Ok(Copies {
            partition: Gpid { app: self.info().id, partition: index },
            wanted,
            primary: primary.map(name),
            down: down.map(name).collect(),
            secondaries: configuration.secondaries.iter().map(name).collect(),
            learners: found.learners.iter().map(name).collect(),
            whole: found.healthy,
        })
    }
}
