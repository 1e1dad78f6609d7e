//! The whole cluster, and the loop that drives it: take what comes next, let it happen, check everything.

use std::collections::{BTreeMap, VecDeque};

use replica_core::{Event, Output};
use words::{AppId, Envelope, Gpid, MetaToNode, NodeId, NodeToMeta, Reply};

use crate::agenda::Agenda;
use crate::apps::WantedApp;
use crate::clients::{Client, Running, Sent};
use crate::clock::{Clock, Moment};
use crate::dice::Dice;
use crate::ending::Ending;
use crate::faults::{Count, Disaster};
use crate::history::History;
use crate::ills::Ills;
use crate::invariants::Truth;
use crate::machine::{Disk, Machine, Presence};
use crate::mask::{Mask, Struck};
use crate::meta_server::MetaServer;
use crate::network::Network;
use crate::plan::{Fault, Plan};
use crate::scenario::Script;
use crate::sometimes::Tally;
use crate::subject::AnySubject;
use crate::trace::Trace;
use crate::violation::Checked;
use crate::watching::Watching;
use crate::witness::OpId;
use crate::work::Job;

/// Everything there is.
pub(crate) struct World<'a> {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    /// What of it is left out.
    pub(crate) mask: Mask,
    pub(crate) now: Moment,
    pub(crate) agenda: Agenda<Happening>,
    pub(crate) dice: Dice,
    pub(crate) network: Network,
    pub(crate) machines: Vec<Machine>,
    /// On which machine each node's data directory is, or was.
    pub(crate) places: BTreeMap<NodeId, usize>,
    pub(crate) meta: MetaServer,
    /// Partitions of apps that are there; those of the first app from the beginning.
    pub(crate) gpids: Vec<Gpid>,
    /// Partitions of apps that were dropped.
    pub(crate) dropped: Vec<Gpid>,
    pub(crate) apps: Vec<WantedApp>,
    pub(crate) disaster: Option<Disaster>,
    pub(crate) clients: Vec<Client>,
    pub(crate) running: BTreeMap<OpId, Running>,
    pub(crate) subject: &'a dyn AnySubject,
    pub(crate) history: History<'a>,
    pub(crate) watching: Watching,
    pub(crate) truth: Truth,
    pub(crate) ending: Ending,
    pub(crate) trace: &'a mut Trace,
    pub(crate) tally: Tally,
    pub(crate) events: u64,
    /// The troubles that happened.
    pub(crate) struck: Vec<Struck>,
    pub(crate) count: Count,
    /// What a scenario has in store; nothing in a seed's run.
    pub(crate) script: Script,
    /// Kept for its capacity.
    pub(crate) output: Output,
}

/// What can come next.
pub(crate) enum Happening {
    /// A node looks at what arrived and at what is due.
    Wake { machine: usize, epoch: u64 },
    /// A message arrives.
    Arrive { machine: usize, left: Moment, envelope: Envelope },
    /// A node notices that another one's process is gone.
    Refused { machine: usize, epoch: u64, peer: NodeId },
    /// What was appended to a log is durable.
    Synced { machine: usize, epoch: u64 },
    /// A log that had no room is tried again.
    LogAgain { machine: usize, epoch: u64 },
    /// A shortage of room or of handles may have ended.
    Eased { machine: usize },
    /// Long work is done.
    Finish { machine: usize, epoch: u64, job: Job },
    /// A node tries to reach the meta server.
    Connect { machine: usize, epoch: u64 },
    /// A node's message reaches the meta server.
    ToMeta { session: u64, message: NodeToMeta },
    /// The meta server's message reaches a node.
    FromMeta { machine: usize, session: u64, message: MetaToNode },
    /// A node notices that its session broke.
    SessionLost { machine: usize, session: u64 },
    /// The meta server notices that a session broke.
    SessionClosed { session: u64 },
    /// The meta server has something due.
    MetaWake { epoch: u64 },
    /// A meta server that was deposed notices it.
    MetaStepsDown { epoch: u64 },
    /// The meta server's oldest command is durable.
    MetaDurable { epoch: u64 },
    /// A node's process starts.
    Start { machine: usize },
    /// A node that was asked to stop and did not is killed.
    Kill { machine: usize, epoch: u64 },
    /// The meta server starts.
    StartMeta,
    /// An operator wants an app to exist.
    WantApp { app: usize },
    /// An operator wants an app to be dropped.
    DropApp { app: usize },
    /// An operator wants a dropped app back.
    RecallApp { app: usize, id: AppId },
    /// An operator wants nothing to be set for an app.
    ClearEnvs { app: usize },
    /// A disk that was almost full has room again.
    DiskFreed { machine: usize },
    /// How a disaster goes on.
    Disaster,
    /// Whatever an operator stopped is started.
    StartStopped,
    /// An operator empties a machine, and then takes it away for good.
    Empty { machine: usize, until: Moment },
    /// An operator looks at a node that is being drained.
    Drain { node: NodeId, until: Moment },
    /// An operator wants a node that is gone to be forgotten.
    Forget { node: NodeId, tries: u32 },
    /// A client wants to do something.
    Think { client: usize },
    /// A client tries its operation (again).
    Try { op: OpId },
    /// A client's request reaches a machine.
    Request { machine: usize, op: OpId, attempt: u32, request: Sent },
    /// An answer reaches a client.
    Answer { op: OpId, attempt: u32, machine: usize, answer: Answer },
    /// A client has waited long enough for an answer.
    Patience { op: OpId, attempt: u32 },
    /// Something goes wrong.
    Trouble(Fault),
    /// Nothing goes wrong any more.
    Calm,
    /// Is everybody well?
    Visit,
}

/// What a client hears of a request.
pub(crate) enum Answer {
    /// The node's reply.
    Reply(Reply),
    /// There was no process to take it: surely not done.
    NoProcess,
    /// The connection broke: anything may have happened.
    Broken,
}

impl<'a> World<'a> {
    /// A cluster that is about to start, and to host this app.
    pub(crate) fn new(subject: &'a dyn AnySubject, seed: u64, mask: Mask, trace: &'a mut Trace) -> Self {
        let mut plan = Plan::draw(seed);
        if mask.fair {
            plan.weather.clear_up();
        }
        plan.trouble = mask.calm.map_or(plan.trouble, |calm| calm.min(plan.trouble));
        if mask.searchable {
            plan.make_searchable();
        }
        if !subject.keys_are_apart() {
            plan.habits.keys = 1;
        }
        let mut world = Self::with(subject, plan, Dice::new(seed, 2), trace);
        (world.seed, world.mask) = (seed, mask);
        world.begin();
        world
    }

    /// A cluster in which nothing is due yet.
    pub(crate) fn with(
        subject: &'a dyn AnySubject,
        plan: Plan,
        mut dice: Dice,
        trace: &'a mut Trace,
    ) -> Self {
        let mut places = BTreeMap::new();
        let mut machines = Vec::new();
        let all = plan.machines + plan.spares;
        for index in 0..all {
            let node = NodeId(index as u128 + 1);
            places.insert(node, index);
            machines.push(Machine {
                clock: draw_clock(&mut dice, plan.settings.clock_ratio_permille),
                disk: Disk::empty(node),
                process: None,
                epoch: 0,
                frozen_until: Moment::default(),
                busy_until: Moment::default(),
                slow_until: Moment::default(),
                cuts: VecDeque::new(),
                strike: None,
                dies_starting: None,
                presence: if index < plan.machines { Presence::Here } else { Presence::Spare },
                ills: Ills::default(),
            });
        }
        let gpids: Vec<Gpid> = (0..plan.partitions).map(|partition| Gpid::new(1, partition)).collect();
        let meta_clock = draw_clock(&mut dice, plan.settings.clock_ratio_permille);
        Self {
            now: Moment::default(),
            agenda: Agenda::default(),
            network: Network::new(all, plan.weather.clone()),
            meta: MetaServer::new(meta_clock),
            clients: Vec::new(),
            running: BTreeMap::new(),
            subject,
            history: History::new(subject),
            watching: Watching::default(),
            truth: Truth::new(&gpids),
            ending: Ending::new(&gpids),
            tally: Tally::default(),
            events: 0,
            struck: Vec::new(),
            count: Count::default(),
            script: Script::default(),
            output: Output::default(),
            seed: 0,
            plan,
            mask: Mask::default(),
            dice,
            machines,
            places,
            gpids,
            dropped: Vec::new(),
            apps: Vec::new(),
            disaster: None,
            trace,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.put(Moment::default(), Happening::StartMeta);
        for machine in 0..self.plan.machines {
            let at = Moment(self.dice.between(0, 50_000_000));
            self.put(at, Happening::Start { machine });
        }
        self.begin_apps();
        let clients = self.plan.clients.max(self.gpids.len());
        self.begin_clients(&self.gpids.clone(), clients);
        for (fault, mean) in self.plan.faults.clone() {
            let first = Moment(300_000_000) + self.dice.around(mean);
            self.put(first, Happening::Trouble(fault));
        }
        self.put(Moment::default() + self.plan.trouble, Happening::Calm);
    }

    /// Lets everything happen until all is well again, or something is wrong.
    pub(crate) fn run(&mut self) -> Checked {
        while !self.ending.is_over() {
            self.happen_next()?;
        }
        Ok(())
    }

    /// Lets what comes next happen.
    pub(crate) fn happen_next(&mut self) -> Checked {
        let (at, happening) = self.agenda.take().expect("somebody always visits");
        assert!(at >= self.now, "time went back");
        self.now = at;
        self.events += 1;
        self.happen(happening)
    }

    pub(crate) fn put(&mut self, at: Moment, happening: Happening) {
        self.agenda.put(at, happening);
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Wake { machine, epoch } => self.on_wake(machine, epoch),
            Happening::Arrive { machine, left, envelope } => self.on_arrive(machine, left, envelope),
            Happening::Refused { machine, epoch, peer } => {
                if self.machines[machine].epoch == epoch {
                    self.hand_in(machine, Event::PeerUnreachable(peer));
                }
                Ok(())
            }
            Happening::Synced { machine, epoch } => self.on_synced(machine, epoch),
            Happening::LogAgain { machine, epoch } => self.on_log_again(machine, epoch),
            Happening::Eased { machine } => self.ease(machine),
            Happening::Finish { machine, epoch, job } => self.on_finish(machine, epoch, job),
            Happening::Connect { machine, epoch } => self.on_connect(machine, epoch),
            Happening::ToMeta { session, message } => self.on_to_meta(session, message),
            Happening::FromMeta { machine, session, message } => self.on_from_meta(machine, session, message),
            Happening::SessionLost { machine, session } => self.on_session_lost(machine, session),
            Happening::SessionClosed { session } => self.on_session_closed(session),
            Happening::MetaWake { epoch } => self.on_meta_wake(epoch),
            Happening::MetaStepsDown { epoch } => self.on_meta_steps_down(epoch),
            Happening::MetaDurable { epoch } => self.on_meta_durable(epoch),
            Happening::Start { machine } => self.start(machine),
            Happening::Kill { machine, epoch } => self.on_kill(machine, epoch),
            Happening::StartMeta => self.start_meta(),
            Happening::WantApp { app } => self.on_want_app(app),
            Happening::DropApp { app } => self.on_drop_app(app),
            Happening::RecallApp { app, id } => self.on_recall_app(app, id),
            Happening::ClearEnvs { app } => self.on_clear_envs(app),
            Happening::DiskFreed { machine } => self.on_disk_freed(machine),
            Happening::Disaster => self.on_disaster(),
            Happening::StartStopped => self.start_stopped(),
            Happening::Empty { machine, until } => self.on_empty(machine, until),
            Happening::Drain { node, until } => self.on_drain(node, until),
            Happening::Forget { node, tries } => self.on_forget(node, tries),
            Happening::Think { client } => self.on_think(client),
            Happening::Try { op } => self.on_try(op),
            Happening::Request { machine, op, attempt, request } => {
                self.on_request(machine, op, attempt, request)
            }
            Happening::Answer { op, attempt, machine, answer } => {
                self.on_answer(op, attempt, machine, answer)
            }
            Happening::Patience { op, attempt } => self.on_patience(op, attempt),
            Happening::Trouble(fault) => self.on_trouble(fault),
            Happening::Calm => self.on_calm(),
            Happening::Visit => self.on_visit(),
        }
    }

    /// Whether faults may still strike.
    pub(crate) fn is_troubled(&self) -> bool {
        self.now < Moment::default() + self.plan.trouble
    }
}

/// A clock within the bound on which leases rely: no two differ in rate by more.
fn draw_clock(dice: &mut Dice, ratio_permille: u32) -> Clock {
    Clock {
        since: Moment::default(),
        offset_ns: dice.between(0, 1 << 40),
        rate_ppm: draw_rate(dice, ratio_permille),
        wall_offset_us: 1_700_000_000_000_000 + dice.between(0, 10_000_000),
    }
}

/// The slowest clock runs at 1, the fastest at that times the ratio.
pub(crate) fn draw_rate(dice: &mut Dice, ratio_permille: u32) -> u64 {
    let spread = u64::from(ratio_permille) * 1000;
    1_000_000 + dice.pick(&[0, spread / 2, spread])
}

/// Writes a line of the trace: who, and what. Costs a comparison if no trace is kept.
macro_rules! trace {
    ($world:expr, $who:expr, $($what:tt)*) => {
        if $world.trace.is_on() {
            $world.trace.line($world.now, format_args!("{}", $who), format_args!($($what)*));
        }
    };
}
pub(crate) use trace;
