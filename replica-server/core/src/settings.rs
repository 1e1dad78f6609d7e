//! What the protocol can be tuned by.

use std::time::Duration;

/// The node's settings; `config.ini`'s `[replication]` section (crate `settings`) says what each means to an
/// operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Between two heartbeats to a peer (§5.1).
    pub heartbeat: Duration,
    /// What an acknowledged heartbeat grants, on the grantee's clock, from when it was sent (§5.2).
    pub lease: Duration,
    /// The largest ratio between any two nodes' clock rates, in thousandths above one: 10 means 1.010.
    pub clock_ratio_permille: u32,
    /// A secondary that has not acknowledged for this long is proposed out (§4.2).
    pub prepare_timeout: Duration,
    /// A peer that has been silent for this long is suspected (§5.6).
    pub failure_timeout: Duration,
    /// A learner that makes no progress for this long is dropped.
    pub learn_timeout: Duration,
    /// A lost prepare, learn message or proposal is sent again after this long.
    pub resend: Duration,
    /// Between two beacons to the meta server.
    pub beacon: Duration,
    /// Between two full reports to the meta server.
    pub report: Duration,
    /// Mutations in flight at once (§3.5).
    pub window: usize,
    /// Writes that wait for a place in the window, a partition; more are `Busy`.
    pub queue: usize,
    /// Writes in one mutation at most.
    pub batch: usize,
    /// Bytes of payload in one mutation at most (a single larger write still goes alone).
    pub batch_bytes: usize,
    /// Committed mutations kept in memory behind the commit point, to re-send and to learn from.
    pub list_tail: usize,
    /// Bytes of payload of that tail at most.
    pub list_tail_bytes: usize,
    /// Mutations in one batch of re-sends, which has a quarter of the largest mutation's bytes at most, too; both are
    /// doubled where that is little (§6.3).
    pub resend_batch: usize,
    /// Fewer members than this, and writes are refused (§3.6); an app with fewer replicas needs no more than it has.
    pub mutation_2pc_min_replica_count: usize,
    /// A checkpoint is asked for once this many decrees were applied since the last one.
    pub checkpoint_decrees: u64,
    /// ... and once this long has passed since something was applied that is not durable (§7.5).
    pub checkpoint_interval: Duration,
    /// The largest write, in bytes.
    pub max_write_bytes: usize,
    /// With less than this many percent of its disk available the node refuses writes and new replicas ...
    pub disk_min_available_space_ratio: u32,
    /// ... unless this many bytes are available.
    pub disk_enough_space_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            lease: Duration::from_millis(500),
            clock_ratio_permille: 10,
            prepare_timeout: Duration::from_millis(1000),
            failure_timeout: Duration::from_millis(1500),
            learn_timeout: Duration::from_secs(30),
            resend: Duration::from_millis(200),
            beacon: Duration::from_millis(300),
            report: Duration::from_secs(5),
            window: 64,
            queue: 8192,
            batch: 1024,
            batch_bytes: 1 << 20,
            list_tail: 128,
            list_tail_bytes: 16 << 20,
            resend_batch: 128,
            mutation_2pc_min_replica_count: 2,
            checkpoint_decrees: 100_000,
            checkpoint_interval: Duration::from_secs(60),
            max_write_bytes: (1 << 20) + (64 << 10),
            disk_min_available_space_ratio: 10,
            disk_enough_space_bytes: 10 << 30,
        }
    }
}

impl Settings {
    /// How long a granter holds to a grant that it gave, on its own clock: the lease times the largest ratio
    /// between two clocks (§5.2).
    #[must_use]
    pub fn grant(&self) -> Duration {
        self.lease * (1000 + self.clock_ratio_permille) / 1000
    }
}
