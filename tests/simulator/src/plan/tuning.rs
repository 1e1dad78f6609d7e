//! How a seed's cluster is tuned: its clients' habits, the nodes' settings, the weather, the machines' speed.

use std::time::Duration;

use replica_core::Settings;

use crate::dice::{Dice, Spans};
use crate::network::Weather;

/// How clients behave.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Between two operations of a client.
    pub(crate) think: Duration,
    /// Operations in flight a client.
    pub(crate) depth: usize,
    /// How many in a thousand are reads.
    pub(crate) read_permille: u32,
    /// How many in a thousand additions go without a session.
    pub(crate) stray_permille: u32,
    /// How many in a thousand writes are larger than is allowed.
    pub(crate) bulky_permille: u32,
    /// How many in a thousand requests go to a node by chance.
    pub(crate) astray_permille: u32,
    /// Different sums.
    pub(crate) keys: u8,
    /// After this long without an answer a request is tried elsewhere.
    pub(crate) patience: Duration,
    /// After this long an operation is given up.
    pub(crate) limit: Duration,
}

/// How long the machines' work takes.
#[derive(Clone, Debug)]
pub(crate) struct Speed {
    /// From an arrival until the node looks at it, together with what arrived meanwhile.
    pub(crate) wake: Spans,
    /// A sync of the log.
    pub(crate) sync: Spans,
    /// A sync while the disk is slow.
    pub(crate) slow_sync: Spans,
    /// A checkpoint, the reading of a log, the creation and removal of a replica.
    pub(crate) work: Spans,
    /// The transfer of a checkpoint.
    pub(crate) transfer: Spans,
    /// A checkpoint while its app is slow at it.
    pub(crate) slow_work: Spans,
    /// How many in a thousand transfers arrive with a bit changed.
    pub(crate) rotten_permille: u32,
    /// How many in a thousand transfers break.
    pub(crate) broken_permille: u32,
    /// A command made durable by the meta server.
    pub(crate) meta_commit: Spans,
}

pub(super) fn habits(dice: &mut Dice) -> Habits {
    Habits {
        think: Duration::from_millis(dice.pick(&[20, 60, 150])),
        depth: dice.pick(&[1, 1, 3, 8]),
        read_permille: dice.pick(&[100, 400, 700]),
        stray_permille: dice.pick(&[0, 200]),
        bulky_permille: 0,
        astray_permille: dice.pick(&[20, 100, 300]),
        keys: dice.pick(&[1, 4]),
        patience: Duration::from_millis(dice.pick(&[150, 400, 1_000])),
        limit: Duration::from_millis(dice.pick(&[1_000, 3_000, 8_000])),
    }
}

pub(super) fn settings(dice: &mut Dice) -> Settings {
    let lease_ms = dice.pick(&[200, 500, 500, 1_000]);
    let window = dice.pick(&[1, 4, 64]);
    // With the smaller ones what a learner gets at once is bounded in bytes, too.
    let usual = Settings::default();
    let (batch_bytes, max_write_bytes) =
        dice.pick(&[(2_000, 8_000), (usual.batch_bytes, usual.max_write_bytes)]);
    Settings {
        heartbeat: Duration::from_millis(lease_ms / 5),
        lease: Duration::from_millis(lease_ms),
        prepare_timeout: Duration::from_millis(dice.pick(&[300, 1_000])),
        failure_timeout: Duration::from_millis(dice.pick(&[600, 1_500])),
        learn_timeout: Duration::from_millis(dice.pick(&[1_500, 5_000])),
        window,
        queue: dice.pick(&[2, 8_192]),
        batch: dice.pick(&[4, 64, 1_024]),
        batch_bytes,
        max_write_bytes,
        // A learner comes nearer only if what it gets at once is no less than what is written meanwhile.
        list_tail: 2 * window + dice.pick(&[0, 8, 32, 1_024]),
        resend_batch: 2 * window + dice.pick(&[16, 32, 128]),
        checkpoint_decrees: dice.pick(&[5, 30, 100, 200_000]),
        checkpoint_interval: Duration::from_millis(dice.pick(&[700, 5_000, 60_000])),
        mutation_2pc_min_replica_count: dice.pick(&[1, 2, 2]),
        ..usual
    }
}

pub(super) fn weather(dice: &mut Dice) -> Weather {
    Weather {
        delay: dice.pick(&[Spans::us(50, 500), Spans::us(100, 5_000), Spans::ms(1, 30)]),
        stray_permille: dice.pick(&[0, 0, 50, 1_000]),
        late_permille: dice.pick(&[0, 5, 30]),
        late: dice.pick(&[Spans::ms(10, 300), Spans::ms(100, 3_000)]),
        loss_permille: dice.pick(&[0, 0, 5, 50]),
        twice_permille: dice.pick(&[0, 0, 10, 50]),
    }
}

pub(super) fn speed(dice: &mut Dice) -> Speed {
    Speed {
        wake: dice.pick(&[Spans::us(1, 20), Spans::us(10, 1_000)]),
        sync: dice.pick(&[Spans::us(50, 300), Spans::us(200, 6_000), Spans::ms(1, 40)]),
        slow_sync: dice.pick(&[Spans::ms(50, 400), Spans::ms(300, 2_000)]),
        work: dice.pick(&[Spans::us(100, 3_000), Spans::ms(2, 60)]),
        slow_work: dice.pick(&[Spans::ms(300, 2_000), Spans::ms(1_000, 8_000)]),
        rotten_permille: dice.pick(&[0, 50, 300]),
        transfer: dice.pick(&[Spans::ms(1, 20), Spans::ms(20, 800)]),
        broken_permille: dice.pick(&[0, 100, 400]),
        meta_commit: dice.pick(&[Spans::us(100, 2_000), Spans::ms(1, 80)]),
    }
}
