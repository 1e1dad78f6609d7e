//! A seed's own mix: how large the cluster is, how it is tuned, and what befalls it, how often.

use std::time::Duration;

use meta_core::MetaSettings;
use replica_core::Settings;

use crate::dice::{Dice, Spans};
use crate::network::Weather;

/// Everything about a run that its seed decides before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Machines, each with a replica server.
    pub(crate) machines: usize,
    /// Replicas that each partition should have.
    pub(crate) replicas: u32,
    /// Partitions of the one app.
    pub(crate) partitions: u32,
    /// Clients.
    pub(crate) clients: usize,
    /// How clients behave.
    pub(crate) habits: Habits,
    /// The nodes' settings.
    pub(crate) settings: Settings,
    /// The meta server's settings.
    pub(crate) meta: MetaSettings,
    /// Bytes in one segment of the prepare log.
    pub(crate) segment_bytes: u64,
    /// How messages fare.
    pub(crate) weather: Weather,
    /// How long the machines' work takes.
    pub(crate) speed: Speed,
    /// What goes wrong, how often.
    pub(crate) faults: Vec<(Fault, Duration)>,
    /// For how long things go wrong; then everything is healed and must recover.
    pub(crate) trouble: Duration,
    /// How many in a thousand delicate moments are made use of: something strikes whoever is in one.
    pub(crate) provoked_permille: u32,
    /// How many in a thousand connections to a dead process are noticed as refused at once (§5.6).
    pub(crate) refused_permille: u32,
}

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
    /// How many in a thousand transfers break.
    pub(crate) broken_permille: u32,
    /// A command made durable by the meta server.
    pub(crate) meta_commit: Spans,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A node's process or machine dies; what was not synced is lost, kept or torn.
    Crash,
    /// All nodes die at once, the meta server too.
    Blackout,
    /// A node is stopped by its operator.
    Stop,
    /// A process stands still, its clock does not.
    Freeze,
    /// Links are cut: some machines from the others, one way or both.
    Cut,
    /// One direction of one link is cut.
    CutOne,
    /// A disk becomes slow.
    SlowDisk,
    /// A node dies and its data directory is lost.
    Wipe,
    /// A node dies and the files of one of its apps are lost.
    LoseApp,
    /// A node dies and a byte of its log changes.
    Rot,
    /// A sync of a log fails.
    SyncFails,
    /// The meta server dies.
    MetaCrash,
    /// The meta server cannot be reached by some.
    MetaCut,
    /// An operator moves a primary.
    Move,
    /// A wall clock jumps.
    WallJump,
}

const ALL_FAULTS: [(Fault, u64, u64); 15] = [
    // Mean time between two, in milliseconds: from, to.
    (Fault::Crash, 700, 6_000),
    (Fault::Blackout, 8_000, 20_000),
    (Fault::Stop, 2_000, 10_000),
    (Fault::Freeze, 700, 5_000),
    (Fault::Cut, 1_500, 8_000),
    (Fault::CutOne, 700, 5_000),
    (Fault::SlowDisk, 1_000, 6_000),
    (Fault::Wipe, 4_000, 12_000),
    (Fault::LoseApp, 4_000, 15_000),
    (Fault::Rot, 4_000, 15_000),
    (Fault::SyncFails, 3_000, 12_000),
    (Fault::MetaCrash, 3_000, 12_000),
    (Fault::MetaCut, 2_000, 8_000),
    (Fault::Move, 1_000, 6_000),
    (Fault::WallJump, 2_000, 8_000),
];

impl Plan {
    /// What this seed decides.
    #[must_use]
    pub(crate) fn draw(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, 1);
        let mut plan = Self::draw_any(dice);
        if dice.permille(300) {
            plan.churn(dice);
        }
        plan
    }

    fn draw_any(dice: &mut Dice) -> Self {
        let machines = dice.pick(&[3, 3, 4, 5]);
        let settings = settings(dice);
        let delay = Duration::from_millis(dice.pick(&[300, 3_000]));
        Self {
            machines,
            replicas: dice.pick(&[1, 2, 3, 3, 3]),
            partitions: dice.pick(&[1, 1, 2, 3]),
            clients: dice.pick(&[2, 3, 5]),
            habits: habits(dice),
            meta: crate::meta_server::settings(&settings, delay),
            settings,
            segment_bytes: dice.pick(&[600, 4_000, 1 << 20]),
            weather: weather(dice),
            speed: speed(dice),
            faults: faults(dice),
            trouble: Duration::from_millis(dice.between(6_000, 16_000)),
            provoked_permille: dice.pick(&[0, 30, 200]),
            refused_permille: dice.pick(&[0, 500, 1000]),
        }
    }
}

impl Plan {
    /// A run in which members come and go all the time, checkpoints are taken and learned all the time, and
    /// somebody deposed goes on for long without hearing of it: what takes a chain of changes happens here.
    fn churn(&mut self, dice: &mut Dice) {
        self.machines = dice.pick(&[3, 4]);
        self.replicas = dice.pick(&[2, 2, 3]);
        self.partitions = 1;
        self.habits.think = Duration::from_millis(dice.pick(&[40, 120]));
        self.settings.window = dice.pick(&[4, 64]);
        self.settings.list_tail = self.settings.window * 2 + 1;
        self.settings.checkpoint_decrees = dice.pick(&[5, 30]);
        self.settings.failure_timeout = Duration::from_millis(600);
        self.settings.prepare_timeout = Duration::from_millis(300);
        self.settings.learn_timeout = Duration::from_millis(1_500);
        self.meta = crate::meta_server::settings(&self.settings, Duration::from_millis(300));
        self.segment_bytes = 600;
        self.provoked_permille = dice.pick(&[100, 400]);
        self.trouble = Duration::from_secs(16);
        let chosen = [
            (Fault::Move, 400, 1_500),
            (Fault::MetaCut, 1_500, 6_000),
            (Fault::Crash, 700, 4_000),
            (Fault::Freeze, 700, 4_000),
            (Fault::SlowDisk, 1_000, 6_000),
            (Fault::CutOne, 700, 4_000),
        ];
        self.faults = draw_faults(dice, &chosen, 800);
    }
}

fn habits(dice: &mut Dice) -> Habits {
    Habits {
        think: Duration::from_millis(dice.pick(&[20, 60, 150])),
        depth: dice.pick(&[1, 1, 3, 8]),
        read_permille: dice.pick(&[100, 400, 700]),
        stray_permille: dice.pick(&[0, 200]),
        astray_permille: dice.pick(&[20, 100, 300]),
        keys: dice.pick(&[1, 4]),
        patience: Duration::from_millis(dice.pick(&[150, 400, 1_000])),
        limit: Duration::from_millis(dice.pick(&[1_000, 3_000, 8_000])),
    }
}

fn settings(dice: &mut Dice) -> Settings {
    let lease_ms = dice.pick(&[200, 500, 500, 1_000]);
    let window = dice.pick(&[1, 4, 64]);
    Settings {
        heartbeat: Duration::from_millis(lease_ms / 5),
        lease: Duration::from_millis(lease_ms),
        prepare_timeout: Duration::from_millis(dice.pick(&[300, 1_000])),
        failure_timeout: Duration::from_millis(dice.pick(&[600, 1_500])),
        learn_timeout: Duration::from_millis(dice.pick(&[1_500, 5_000])),
        window,
        queue: dice.pick(&[2, 8_192]),
        batch: dice.pick(&[4, 64, 1_024]),
        // A learner comes nearer only if what it gets at once is more than what is written meanwhile.
        list_tail: 2 * window + dice.pick(&[1, 8, 32, 1_024]),
        resend_batch: 2 * window + dice.pick(&[16, 32, 128]),
        checkpoint_decrees: dice.pick(&[5, 30, 100, 200_000]),
        checkpoint_interval: Duration::from_millis(dice.pick(&[700, 5_000, 60_000])),
        mutation_2pc_min_replica_count: dice.pick(&[1, 2, 2]),
        ..Settings::default()
    }
}

fn weather(dice: &mut Dice) -> Weather {
    Weather {
        delay: dice.pick(&[Spans::us(50, 500), Spans::us(100, 5_000), Spans::ms(1, 30)]),
        stray_permille: dice.pick(&[0, 0, 50, 1_000]),
        late_permille: dice.pick(&[0, 5, 30]),
        late: dice.pick(&[Spans::ms(10, 300), Spans::ms(100, 3_000)]),
        loss_permille: dice.pick(&[0, 0, 5, 50]),
        twice_permille: dice.pick(&[0, 0, 10, 50]),
    }
}

fn speed(dice: &mut Dice) -> Speed {
    Speed {
        wake: dice.pick(&[Spans::us(1, 20), Spans::us(10, 1_000)]),
        sync: dice.pick(&[Spans::us(50, 300), Spans::us(200, 6_000), Spans::ms(1, 40)]),
        slow_sync: dice.pick(&[Spans::ms(50, 400), Spans::ms(300, 2_000)]),
        work: dice.pick(&[Spans::us(100, 3_000), Spans::ms(2, 60)]),
        transfer: dice.pick(&[Spans::ms(1, 20), Spans::ms(20, 800)]),
        broken_permille: dice.pick(&[0, 100, 400]),
        meta_commit: dice.pick(&[Spans::us(100, 2_000), Spans::ms(1, 80)]),
    }
}

/// About half of all kinds of trouble, each at a rate of its own; some seeds have none at all.
fn faults(dice: &mut Dice) -> Vec<(Fault, Duration)> {
    let likely = dice.pick(&[0, 350, 350, 600, 600, 900]);
    draw_faults(dice, &ALL_FAULTS, likely)
}

fn draw_faults(dice: &mut Dice, kinds: &[(Fault, u64, u64)], likely: u32) -> Vec<(Fault, Duration)> {
    let mut faults = Vec::new();
    for &(fault, low_ms, high_ms) in kinds {
        if dice.permille(likely) {
            faults.push((fault, Duration::from_millis(dice.between(low_ms, high_ms))));
        }
    }
    faults
}
