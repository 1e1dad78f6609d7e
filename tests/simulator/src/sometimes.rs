//! What must have happened at least once in a long run, so that the run can claim to have tested it.

macro_rules! sometimes {
    ($($name:ident: $what:literal,)*) => {
        /// Something rare that a good mix of faults makes happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sometimes {
            $(#[doc = $what] $name,)*
        }

        const NAMES: &[&str] = &[$($what,)*];
    };
}

sometimes! {
    Promotion: "a secondary became primary",
    PromotionWithSuffix: "promoted with an uncommitted suffix",
    Raised: "a prepare raised the ballot of one that was here",
    Replaced: "a prepare replaced a different mutation",
    DeposedPrimary: "a primary was deposed while it ran",
    DeposedSlowDisk: "a primary was deposed while its disk was slow",
    Handover: "a primary handed over",
    GaveWay: "a primary whose log was stuck gave way to another",
    GracefulStop: "a node stopped gracefully",
    Bumped: "a restarted primary asked for a higher ballot",
    SecondaryRejoined: "a secondary restarted and went on without learning",
    MemberAdded: "a learner became a secondary",
    MemberRemoved: "a secondary was proposed out",
    LearnByList: "learned from the prepare list",
    LearnByLog: "learned from the prepare log",
    LearnByCheckpoint: "learned by checkpoint",
    FetchFailed: "a checkpoint transfer broke",
    ReadNoLease: "a read was refused for its lease",
    ReadDone: "a read was answered",
    WriteDone: "a write was answered",
    RetryAnswered: "a retry was answered from its session",
    Busy: "a client was told Busy",
    NotReady: "a client was told NotReady",
    NotEnoughReplicas: "a write was refused for too few replicas",
    StorageUnavailable: "a write was refused for a log that does not get further",
    TooLarge: "a write was refused for its size",
    SessionExpired: "a write was refused since its session had expired",
    OutOfWindow: "a late duplicate of an answered write was refused",
    UnknownOutcome: "an operation ended unknown",
    TornTail: "a crash left a torn or lost tail",
    ScatteredTail: "a crash left any pieces of the tail, whichever were written first",
    CrashMidway: "a crash struck between two outputs",
    FreezeMidway: "a freeze struck between two outputs",
    FrozenPastLease: "a frozen primary woke after its lease",
    LogCollected: "the log was cut",
    CheckpointDone: "an app made a checkpoint",
    Collected: "a replica was collected",
    ErrorReplica: "a replica was in error",
    Wiped: "a data directory was lost",
    AppLost: "an app's files were lost",
    BitRot: "a bit of an older segment changed on its disk",
    RotInHeader: "a bit of a segment's header changed on its disk",
    RotInLastSegment: "a bit of the last segment changed on its disk",
    RotWhileOpen: "a bit of a log changed while it was open",
    RottenCheckpoint: "a bit of a checkpoint changed on its disk",
    RottenBeside: "a bit of the sessions beside a checkpoint changed on its disk",
    RotNoticed: "a damaged checkpoint was noticed where it was to be used",
    RottenTransfer: "a bit of a checkpoint changed on its way to a learner",
    IdentityLost: "a node whose identity was damaged did not start",
    WriteFailed: "a write of the log failed and the process died of it",
    LogWaited: "a log waited for room or for a handle",
    LogReadToCatchUp: "a start read from the log what memory does not keep",
    LogUnreadable: "a log could not be read for a learner",
    NoRoomToStart: "a node did not start for lack of room",
    NoRoomToOpen: "a log was not opened for lack of room or of handles",
    NoRoomToCreate: "a replica was not made for lack of room",
    CheckpointNoRoom: "a checkpoint failed for lack of room",
    FetchNoRoom: "a checkpoint was not installed for lack of room",
    CheckpointFailed: "a checkpoint failed half made",
    ReadLate: "a read was answered by a job beside its app",
    CheckpointSlow: "a checkpoint took longer than anybody waits",
    CheckpointRefused: "an app began no checkpoint",
    CheckpointWithheld: "an app did not give its checkpoint",
    ApplySlow: "an app took long to apply, and its node waited for it",
    ApplyPanicked: "an app panicked while it applied, and its replica was in error",
    InstallFailed: "of an installed checkpoint nobody knew whether it counts",
    CutWriting: "the power went between two operations of a disk",
    TakeOverFailed: "an app did not take a checkpoint over",
    SyncFailed: "a sync failed and the process died of it",
    MetaCrash: "the meta server crashed",
    MetaCrashMidCommit: "the meta server crashed with a change half made",
    Provoked: "a delicate moment was made use of",
    OneWayCut: "a link was cut one way",
    Mute: "a node heard and was not heard",
    Deaf: "a node was heard and did not hear",
    PartialPartition: "two nodes were cut off from each other, and from nobody else",
    SlowLink: "a link was slow",
    BurstLoss: "a link lost half of what it got",
    RefusedAlive: "a node that lives refused a connection",
    LostByReset: "a message was lost when its connection was reset",
    SessionReset: "a session with the meta server was reset",
    PowerCut: "several nodes lost power together",
    CrashStarting: "a node died while it started",
    KilledStopping: "a node died while it stopped gracefully",
    Drifted: "a clock changed its rate",
    MetaDeposed: "a meta server was deposed and went on",
    DeposedLeaderCommits: "a deposed meta server tried to change something",
    AnswerLost: "a change was durable and whoever asked for it lost its session",
    SessionBroken: "a session with the meta server broke",
    MetaSlow: "the meta server was slow",
    MetaFrozen: "the meta server stood still",
    LossDeclared: "a loss was declared and accepted",
    LossCost: "a declared loss cost what had been committed",
    AllLost: "every disk was lost",
    NothingServed: "a partition that had lost all of its data served nothing",
    StoppedReturned: "a machine that was stopped for long returned",
    StartedOver: "a replica was told to set its state aside",
    AnotherApp: "another app was created while the cluster ran",
    AppDropped: "an app was dropped",
    AppRecalled: "a dropped app was recalled",
    AppGone: "a dropped app expired",
    EnvsChanged: "an app's environment changed",
    Throttled: "a write was refused for its app's environment",
    Denied: "a request was denied by its app's environment",
    DiskLow: "a disk was found almost full",
    WriteDiskFull: "a write was refused for a disk that is almost full",
    LevelSet: "an operator set what the meta server does by itself",
    BlackListed: "an operator changed the black list",
    ReplicaCountChanged: "an operator changed the number of replicas",
    Ordered: "an operator's order was taken up",
    OrderRefused: "an operator's order was refused",
    MachineJoined: "a machine joined",
    MachineEmptied: "a machine was emptied by an operator",
    NodeDrained: "a node was drained and ended empty",
    DrainTakenBack: "a drain was taken back",
    NodeForgotten: "a node that was gone was forgotten",
    Balanced: "a cluster was spread evenly at the end",
    MachineGone: "a machine was taken away for good",
    WatchMoved: "a watcher was told more by another primary",
    WatchCompacted: "a watcher had fallen behind what is kept",
    StaleLife: "a message for an earlier life was dropped",
}

/// How often each happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally([u64; NAMES.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; NAMES.len()])
    }
}

impl Tally {
    /// It happened.
    pub fn note(&mut self, what: Sometimes) {
        self.0[what as usize] += 1;
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, what: Sometimes) -> u64 {
        self.0[what as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// What it was and how often, in a fixed order.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().copied().zip(self.0)
    }
}
