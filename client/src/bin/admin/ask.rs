//! How a command asks the meta server.

use std::time::Duration;

use client::meta::{MetaError, MetaServers, Repeat};
use proto::pb::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// A description of an app with many partitions, in bytes.
const LARGEST_REPLY: usize = 64 << 20;

pub(crate) type Client = AdminClient<Channel>;

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

    /// A request that may change something: `admin.ask(async |mut admin| admin.drop_app(request.clone()).await)`. It
    /// goes to one meta server after the other until one has surely got it.
    pub(crate) async fn ask<R>(
        &self,
        request: impl AsyncFn(Client) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        self.send(self.timeout, Repeat::IfNotDone, request).await
    }

    /// The same for what takes long.
    pub(crate) async fn ask_for<R>(
        &self,
        at_least: Duration,
        request: impl AsyncFn(Client) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        self.send(self.timeout.max(at_least), Repeat::IfNotDone, request).await
    }

    /// A request that only reads: it goes on until a meta server answers.
    pub(crate) async fn look<R>(
        &self,
        request: impl AsyncFn(Client) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        self.send(self.timeout, Repeat::Always, request).await
    }

    async fn send<R>(
        &self,
        timeout: Duration,
        repeat: Repeat,
        request: impl AsyncFn(Client) -> Result<Response<R>, Status>,
    ) -> Result<R, MetaError> {
        let ask = |channel| request(AdminClient::new(channel).max_decoding_message_size(LARGEST_REPLY));
        self.meta.ask(timeout, repeat, ask).await
    }
}
