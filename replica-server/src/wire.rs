//! Connections: the limits and time-outs that all of this server's streams share.

use std::time::Duration;

use settings::Settings;
use tonic::transport::{Channel, Endpoint};

/// A frame is closed once it has this much payload, in bytes.
pub(crate) const FRAME_TARGET: usize = 2 << 20;
/// The largest message about a checkpoint, in bytes: the first one carries the sessions of a whole partition.
pub(crate) const CHECKPOINT_LIMIT: usize = 1 << 30;
/// The largest message of the meta server, in bytes.
pub(crate) const META_LIMIT: usize = 64 << 20;

/// The largest frame of peers and clients, in bytes: a frame that is almost full, and one more mutation with the
/// largest write.
pub(crate) fn frame_limit(settings: &Settings) -> usize {
    let settings = &settings.replication;
    FRAME_TARGET + 2 * (settings.max_write_bytes + settings.mutation_batch_bytes) + (8 << 20)
}

/// Calls that one connection may have under way: as many watches as there may be, which last, and some others.
pub(crate) fn concurrent_streams(settings: &Settings) -> u32 {
    const OTHERS: usize = 256;
    u32::try_from(settings.replication.max_watchers + OTHERS).unwrap_or(u32::MAX)
}

/// What may be under way before the receiver says that it took it; HTTP/2's own 64 KiB would stall every
/// large frame for a round trip.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
/// The same for a whole connection.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// A connection that is silent for this long is asked for a sign of life...
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(1);
/// ... and given up this much later. A new connection is soon made, while one that was cut for some seconds and is
/// whole again stays silent for as long once more.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to `host:port`, now.
///
/// # Errors
/// What tonic says; [`is_refusal`] tells whether nobody listens there.
pub(crate) async fn connect(address: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect()
        .await
}

/// Whether the other side's system said that nobody listens there: the process is gone (§5.6). Silence is no
/// refusal.
pub(crate) fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
            return matches!(error.kind(), ConnectionRefused | ConnectionReset);
        }
        cause = error.source();
    }
    false
}
