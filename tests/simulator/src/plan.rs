//! A seed's own mix: how large the cluster is, how it is tuned, and what befalls it, how often.

use std::time::Duration;

use meta_core::MetaSettings;
use replica_core::Settings;
use replica_log::Options;

use crate::dice::Dice;
use crate::network::Weather;
use crate::search::MOST_AT_ONCE;

mod faults;
mod rarities;
mod tuning;

pub(crate) use self::faults::Fault;
pub(crate) use self::tuning::{Habits, Speed};

/// Everything about a run that its seed decides before it begins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Machines, each with a replica server.
    pub(crate) machines: usize,
    /// Replicas that each partition should have.
    pub(crate) replicas: u32,
    /// Partitions of the first app.
    pub(crate) partitions: u32,
    /// Apps that are created later.
    pub(crate) more_apps: Vec<AnotherApp>,
    /// Machines that may join later.
    pub(crate) spares: usize,
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
    /// Zeros that are written ahead in it.
    pub(crate) ahead_bytes: u64,
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
    /// How many in a thousand changes cost whoever asked for them its session, just when they are durable.
    pub(crate) lost_answer_permille: u32,
    /// How many in a thousand connections to a dead process are noticed as refused at once (§5.6).
    pub(crate) refused_permille: u32,
}

/// An app that is created while the cluster runs.
#[derive(Clone, Debug)]
pub(crate) struct AnotherApp {
    /// Its partitions.
    pub(crate) partitions: u32,
    /// Replicas that each of them should have.
    pub(crate) replicas: u32,
    /// When it is first asked for.
    pub(crate) at: Duration,
}

impl Plan {
    /// What this seed decides.
    #[must_use]
    pub(crate) fn draw(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, 1);
        let mut plan = Self::draw_any(dice);
        if dice.permille(300) {
            plan.churn(dice);
        }
        plan.add_rarities(&mut Dice::new(seed, 3));
        plan.faults.extend(faults::draw_later(dice));
        // Of a stream of its own, so that the other seeds stay what they are.
        plan.balance(&mut Dice::new(seed, 4));
        plan.ahead_bytes = Dice::new(seed, 5).pick(&[0, 800, 4_000]);
        plan
    }

    /// Nothing goes wrong, and everything takes the time that it takes at least.
    #[must_use]
    pub(crate) fn calm() -> Self {
        Self { faults: Vec::new(), trouble: Duration::ZERO, ..Self::draw_any(&mut Dice::loaded()) }
    }

    fn draw_any(dice: &mut Dice) -> Self {
        let machines = dice.pick(&[1, 2, 3, 3, 3, 3, 3, 4, 4, 5, 6, 7]);
        let mut settings = tuning::settings(dice);
        settings.mutation_2pc_min_replica_count = settings.mutation_2pc_min_replica_count.min(machines);
        let delay = Duration::from_millis(dice.pick(&[300, 3_000]));
        Self {
            machines,
            spares: dice.pick(&[0, 0, 0, 1, 2]),
            replicas: dice.pick(&[1, 2, 3, 3, 3, 3, 4, 5]),
            partitions: dice.pick(&[1, 1, 2, 3]),
            more_apps: more_apps(dice),
            clients: dice.pick(&[2, 3, 5]),
            habits: tuning::habits(dice),
            meta: crate::meta_server::settings(&settings, delay),
            settings,
            segment_bytes: dice.pick(&[600, 4_000, Options::default().segment_bytes]),
            ahead_bytes: 0,
            weather: tuning::weather(dice),
            speed: tuning::speed(dice),
            faults: faults::draw(dice),
            trouble: Duration::from_millis(dice.between(6_000, 16_000)),
            provoked_permille: dice.pick(&[0, 30, 200]),
            lost_answer_permille: dice.pick(&[0, 30, 200]),
            refused_permille: dice.pick(&[0, 500, 1000]),
        }
    }
}

/// None as a rule, or one or two.
fn more_apps(dice: &mut Dice) -> Vec<AnotherApp> {
    let count = dice.pick(&[0, 0, 0, 0, 1, 2]);
    let another = |dice: &mut Dice| AnotherApp {
        partitions: dice.pick(&[1, 1, 2, 3]),
        replicas: dice.pick(&[1, 2, 3, 3, 4]),
        at: Duration::from_millis(dice.between(500, 8_000)),
    };
    (0..count).map(|_| another(dice)).collect()
}

impl Plan {
    /// No more clients and operations at once than a search can judge.
    pub(crate) fn make_searchable(&mut self) {
        let partitions = self.partitions as usize;
        self.clients = self.clients.min(MOST_AT_ONCE * partitions);
        let most = self.clients.max(partitions).div_ceil(partitions);
        self.habits.depth = self.habits.depth.min(MOST_AT_ONCE / most);
        self.habits.think = self.habits.think.max(Duration::from_millis(60));
        // Outcomes that nobody knows make a search long, so they are to be few.
        self.habits.stray_permille = self.habits.stray_permille.min(10);
        self.habits.limit = self.habits.limit.max(Duration::from_secs(8));
    }

    /// A quarter of all runs: replicas and primaries are spread evenly, and operators drain nodes.
    fn balance(&mut self, dice: &mut Dice) {
        if !dice.permille(250) {
            return;
        }
        self.meta.balancer_moves_in_flight = dice.pick(&[1, 2, 4]);
        self.meta.balancer_pause = Duration::from_millis(dice.pick(&[100, 500, 2_000]));
        if dice.permille(500) {
            self.faults.push((Fault::Drain, Duration::from_millis(dice.between(2_000, 6_000))));
        }
    }

    /// A run in which members come and go all the time, checkpoints are taken and learned all the time, and
    /// somebody deposed goes on for long without hearing of it: what takes a chain of changes happens here.
    fn churn(&mut self, dice: &mut Dice) {
        self.machines = dice.pick(&[3, 4]);
        self.replicas = dice.pick(&[2, 2, 3]);
        self.partitions = 1;
        self.more_apps.clear();
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
        self.faults = faults::draw_from(dice, &chosen, 800);
    }
}
