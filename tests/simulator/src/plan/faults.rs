//! What can go wrong, and which of it a seed chooses, how often.

use std::time::Duration;

use crate::dice::Dice;
use crate::ills::Ill;

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
    /// A machine hears everybody, and nobody hears it.
    Mute,
    /// Everybody hears a machine, and it hears nobody.
    Deaf,
    /// Two machines can't reach each other.
    Part,
    /// A link takes long.
    SlowLink,
    /// A link loses half of what it gets.
    BurstLoss,
    /// A machine whose process lives refuses connections.
    Refuse,
    /// Connections are reset.
    Reset,
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
    /// A write of a log fails.
    WriteFails,
    /// A disk has no more room, or a process no more handles, or an app is ill, for a while.
    Ail(Ill),
    /// A bit of a checkpoint changes, or of what is beside it.
    RotCheckpoint,
    /// A node dies, and the files that say whose its data directory is are damaged.
    RotIdentity,
    /// The meta server dies.
    MetaCrash,
    /// The meta server cannot be reached by some.
    MetaCut,
    /// Another meta server leads; the one before goes on without knowing.
    MetaDeposed,
    /// The meta server becomes slow.
    MetaSlow,
    /// The meta server stands still.
    MetaFreeze,
    /// A node's session with the meta server breaks.
    SessionBreak,
    /// An operator moves a primary.
    Move,
    /// Several machines lose power together.
    PowerCut,
    /// A machine loses power between two operations of its disk.
    CutWriting,
    /// A node dies while it starts.
    CrashAtStart,
    /// A node that is stopped by its operator is killed at it.
    KillStopping,
    /// An operator asks for anything, sensible or not.
    Order,
    /// A machine joins that was not there before.
    Join,
    /// An operator moves all replicas away from a machine and then takes it away.
    Empty,
    /// An operator drains a node, and then takes its machine away or changes his mind.
    Drain,
    /// A machine is lost for good, with its disk.
    Leave,
    /// All members of a partition are lost but one that was away, and an operator declares the loss.
    Disaster,
    /// Every disk of the cluster is lost.
    LoseAll,
    /// An operator sets what the meta server does by itself.
    Level,
    /// An operator puts a node on the black list, or takes it off.
    BlackList,
    /// Many strangers come at once, and each opens a session.
    Crowd,
    /// An operator drops an app, and recalls it or creates it anew later.
    DropApp,
    /// An operator wants another number of replicas.
    Resize,
    /// A wall clock jumps.
    WallJump,
    /// A clock's rate changes, within the bound.
    Drift,
    /// An operator sets something for an app.
    Env,
    /// A node finds its disk almost full.
    DiskLow,
}

/// A kind of trouble, and the mean time between two in milliseconds: from, to.
pub(super) type Kind = (Fault, u64, u64);

const NETWORK: &[Kind] = &[
    (Fault::Cut, 1_500, 8_000),
    (Fault::CutOne, 700, 5_000),
    (Fault::Mute, 2_000, 10_000),
    (Fault::Deaf, 2_000, 10_000),
    (Fault::Part, 1_500, 8_000),
    (Fault::SlowLink, 1_500, 8_000),
    (Fault::BurstLoss, 1_500, 8_000),
    (Fault::Refuse, 2_000, 10_000),
    (Fault::Reset, 700, 5_000),
];

const NODES: &[Kind] = &[
    (Fault::Crash, 700, 6_000),
    (Fault::Blackout, 8_000, 20_000),
    (Fault::Stop, 2_000, 10_000),
    (Fault::Freeze, 700, 5_000),
    (Fault::PowerCut, 4_000, 15_000),
    (Fault::CutWriting, 2_000, 10_000),
    (Fault::CrashAtStart, 2_000, 10_000),
    (Fault::KillStopping, 3_000, 12_000),
    (Fault::WallJump, 2_000, 8_000),
    (Fault::Drift, 700, 4_000),
];

const DISKS: &[Kind] = &[
    (Fault::SlowDisk, 1_000, 6_000),
    (Fault::Wipe, 4_000, 12_000),
    (Fault::LoseApp, 4_000, 15_000),
    (Fault::Rot, 4_000, 15_000),
    (Fault::SyncFails, 3_000, 12_000),
    (Fault::WriteFails, 3_000, 12_000),
    (Fault::Ail(Ill::DiskFull), 1_500, 8_000),
    (Fault::Ail(Ill::NoHandles), 1_500, 8_000),
    (Fault::RotCheckpoint, 2_000, 10_000),
    (Fault::RotIdentity, 6_000, 20_000),
];

const APPS: &[Kind] = &[
    (Fault::Ail(Ill::CheckpointFails), 1_500, 8_000),
    (Fault::Ail(Ill::CheckpointSlow), 1_500, 8_000),
    (Fault::Ail(Ill::CheckpointRefused), 1_500, 8_000),
    (Fault::Ail(Ill::CheckpointWithheld), 1_500, 8_000),
    (Fault::Ail(Ill::TakeOverFails), 1_500, 8_000),
    (Fault::Ail(Ill::ApplySlow), 1_500, 8_000),
    (Fault::Ail(Ill::ApplyPanics), 2_000, 10_000),
    (Fault::Ail(Ill::InstallFails), 1_500, 8_000),
];

const META: &[Kind] = &[
    (Fault::MetaCrash, 3_000, 12_000),
    (Fault::MetaCut, 2_000, 8_000),
    (Fault::MetaDeposed, 1_500, 8_000),
    (Fault::MetaSlow, 2_000, 8_000),
    (Fault::MetaFreeze, 2_000, 8_000),
    (Fault::SessionBreak, 300, 3_000),
];

const OPERATORS: &[Kind] = &[
    (Fault::Move, 1_000, 6_000),
    (Fault::Order, 150, 3_000),
    (Fault::Join, 1_000, 6_000),
    (Fault::Empty, 3_000, 10_000),
    (Fault::Leave, 5_000, 20_000),
    (Fault::Disaster, 3_000, 15_000),
    (Fault::DropApp, 5_000, 20_000),
    (Fault::Resize, 2_000, 8_000),
];

/// About half of all kinds of trouble, each at a rate of its own; some seeds have none at all.
pub(super) fn draw(dice: &mut Dice) -> Vec<(Fault, Duration)> {
    let likely = dice.pick(&[0, 350, 350, 600, 600, 900]);
    [NETWORK, NODES, DISKS, APPS, META, OPERATORS]
        .iter()
        .flat_map(|kinds| draw_from(dice, kinds, likely))
        .collect()
}

/// Kinds that came later, drawn after all else, so that what a seed decided before stays.
const LATER: &[Kind] = &[(Fault::Env, 500, 4_000), (Fault::DiskLow, 1_500, 8_000)];

pub(super) fn draw_later(dice: &mut Dice) -> Vec<(Fault, Duration)> {
    let likely = dice.pick(&[0, 200, 500]);
    draw_from(dice, LATER, likely)
}

/// So many in a thousand of these kinds.
pub(super) fn draw_from(dice: &mut Dice, kinds: &[Kind], likely: u32) -> Vec<(Fault, Duration)> {
    let mut faults = Vec::new();
    for &(fault, low_ms, high_ms) in kinds {
        if dice.permille(likely) {
            faults.push((fault, Duration::from_millis(dice.between(low_ms, high_ms))));
        }
    }
    faults
}
