//! How a command asks the meta server.

use std::time::Duration;

use client::meta::{MetaError, MetaServers};
use proto::pb::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// A description of an app with many partitions, in bytes.
const LARGEST_REPLY: usize = 64 << 20;

/// The meta server's administration.
#[derive(Debug)]
pub(crate) struct Admin {
    meta: MetaServers,
    timeout: Duration,
}

impl Admin {
    pub(crate) fn new(meta: MetaServers, timeout: Duration) -> Self {
        Self { meta, timeout }
    }

    /// One request: `admin.ask(async |mut admin| admin.list_nodes(request.clone()).await)`. It may be made more than
    /// once, of one meta server after the other.
    pub(crate) async fn ask<R>(
        &self,
        request: impl AsyncFn(AdminClient<Channel>) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        let ask = |channel| request(AdminClient::new(channel).max_decoding_message_size(LARGEST_REPLY));
        self.meta.ask(self.timeout, ask).await
    }
}
