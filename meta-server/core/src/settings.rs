//! What the meta server can be tuned by.

use std::time::Duration;

/// The meta server's settings; `config.ini` says what each means to an operator.
#[derive(Clone, Debug)]
pub struct MetaSettings {
    /// A node that has been silent for this long is dead.
    pub failure_timeout: Duration,
    /// A node whose session closed has this long to open another one before it is dead (§5.6).
    pub reconnect_grace: Duration,
    /// What was asked of a primary is asked again after this long at most, until it is done.
    pub ask_again: Duration,
    /// A node that is being added and makes no progress for this long is given up for another.
    pub learn_timeout: Duration,
    /// How long a member that left is waited for before a node without its data replaces it (rDSN's
    /// `replica_assign_delay_ms_for_dropouts`).
    pub replica_assign_delay: Duration,
    /// With fewer members than this (or than the app's replicas, if that is less) writes are refused, so nothing
    /// is waited for.
    pub mutation_2pc_min_replica_count: usize,
    /// Between two slices of the slow sweep over all partitions.
    pub sweep: Duration,
    /// How long a dropped app can be recalled, in seconds, unless an operator says otherwise (rDSN's
    /// `hold_seconds_for_dropped_app`).
    pub hold_seconds_for_dropped_app: u64,
    /// How many moves the balancer, or a drain, has under way at most; with 0 nothing moves by itself.
    pub balancer_moves_in_flight: usize,
    /// How long everything must have been healthy before something is balanced, and how often it is looked at.
    pub balancer_pause: Duration,
    /// A node that started again [`Self::max_successive_unstable_restart`] times, each time before it had run for
    /// this long, is given nothing new until it has.
    pub stable_rs_min_running: Duration,
    /// How often in a row.
    pub max_successive_unstable_restart: u32,
    /// The nodes that may take part, by name or id; empty: all.
    pub replica_white_list: Vec<String>,
    /// The app types that replica servers have registered.
    pub app_types: Vec<String>,
}

impl Default for MetaSettings {
    fn default() -> Self {
        Self {
            failure_timeout: Duration::from_millis(1500),
            reconnect_grace: Duration::from_millis(100),
            ask_again: Duration::from_secs(1),
            learn_timeout: Duration::from_secs(30),
            replica_assign_delay: Duration::from_secs(10),
            mutation_2pc_min_replica_count: 2,
            sweep: Duration::from_millis(500),
            hold_seconds_for_dropped_app: 604_800,
            balancer_moves_in_flight: 4,
            balancer_pause: Duration::from_secs(5),
            stable_rs_min_running: Duration::from_secs(60),
            max_successive_unstable_restart: 5,
            replica_white_list: vec![],
            app_types: ["counter", "kv", "card", "echo", "election"].map(str::to_owned).into(),
        }
    }
}
