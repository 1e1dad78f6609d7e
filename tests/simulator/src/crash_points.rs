//! A small run of the whole cluster in which the power of one machine goes after its n-th disk operation: a write,
//! sync, rename, removal of its log, or a step of a checkpoint (what the framework keeps, the checkpoint itself, the
//! removal of older ones), or the creation or removal of a replica.

use std::time::Duration;

use replica_log::Crash;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::run::{Outcome, watch};
use crate::tally_app::TallySubject;
use crate::trace::Trace;
use crate::world::World;

/// Three nodes, one partition of three replicas, segments and checkpoints so small that the log is cut and learning
/// needs a checkpoint; nothing goes wrong but what the test wants.
fn plan() -> Plan {
    let mut plan = Plan::calm();
    (plan.machines, plan.replicas, plan.partitions, plan.clients) = (3, 3, 1, 2);
    plan.trouble = Duration::from_millis(1_500);
    (plan.segment_bytes, plan.ahead_bytes) = (600, 800);
    plan.habits.think = Duration::from_millis(60);
    plan.settings.checkpoint_decrees = 8;
    plan.settings.checkpoint_interval = Duration::from_millis(400);
    plan.settings.window = 4;
    plan.settings.list_tail = 9;
    plan.settings.failure_timeout = Duration::from_millis(600);
    plan.settings.prepare_timeout = Duration::from_millis(300);
    plan.meta = crate::meta_server::settings(&plan.settings, Duration::from_millis(300));
    plan
}

fn run(cuts: Option<(usize, &[(u64, Crash)])>, trace: &mut Trace) -> (Outcome, Vec<u64>) {
    let mut world = World::with(&TallySubject, plan(), Dice::new(0, 3), trace);
    world.begin();
    if let Some((machine, cuts)) = cuts {
        world.machines[machine].cuts = cuts.iter().copied().collect();
        world.machines[machine].arm();
    }
    let violation = watch(&mut world);
    let operations = world.machines.iter().map(|machine| machine.disk.log.operations()).collect();
    (Outcome::of(world, violation), operations)
}

/// How many disk operations each machine does when nothing goes wrong.
#[must_use]
pub fn disk_operations() -> Vec<u64> {
    run(None, &mut Trace::silent()).1
}

/// The same run with power cuts of one machine: each after so many operations since its start, or since the cut
/// before, with what becomes of what was not synced.
pub fn run_with_cuts(machine: usize, cuts: &[(u64, Crash)], trace: &mut Trace) -> Outcome {
    run(Some((machine, cuts)), trace).0
}
