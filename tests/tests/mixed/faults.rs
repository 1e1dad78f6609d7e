//! Which faults there are, when they begin and when they end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Cluster, Dice, Harm, Network, Pace, Part, SlowLink, SmallDisk, Wound, flip_a_bit};

use crate::disks::{CROWDED, ForgetfulDisks, POWERED};
use crate::{APP, HOSTS, META, REPLICAS};

/// Faults at once at most.
const AT_ONCE: usize = 3;

/// Between the beginnings of two faults, in milliseconds.
const BETWEEN_MS: std::ops::Range<u64> = 100..2000;

/// How long one lasts, in milliseconds: from shorter than a lease to longer than any of the protocol's time-outs.
const LASTS_MS: std::ops::Range<u64> = 200..5000;

/// How long the cluster may take to be whole before a fault that costs a copy.
const TO_BE_WHOLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    PowerCut,
    Terminate,
    Freeze,
    CutOff,
    NotHeard,
    Deaf,
    LinkCut,
    Split,
    Loss,
    Resets,
    Refusals,
    SlowLink,
    FitsAndStarts,
    FullDisk,
    LostDisk,
    DamagedSegment,
    DamagedCurrent,
    DamagedFramework,
    MetaKilled,
    MetaFrozen,
    MetaCutOff,
}

/// More than once: more often.
const KINDS: [Kind; 27] = [
    Kind::Kill,
    Kind::Kill,
    Kind::PowerCut,
    Kind::PowerCut,
    Kind::Terminate,
    Kind::Freeze,
    Kind::Freeze,
    Kind::CutOff,
    Kind::CutOff,
    Kind::NotHeard,
    Kind::Deaf,
    Kind::LinkCut,
    Kind::LinkCut,
    Kind::Split,
    Kind::Loss,
    Kind::Resets,
    Kind::Refusals,
    Kind::SlowLink,
    Kind::FitsAndStarts,
    Kind::FullDisk,
    Kind::LostDisk,
    Kind::DamagedSegment,
    Kind::DamagedCurrent,
    Kind::DamagedFramework,
    Kind::MetaKilled,
    Kind::MetaFrozen,
    Kind::MetaCutOff,
];

impl Kind {
    /// A copy of what was acknowledged is lost. With two of them at once all could be, so before each the cluster
    /// is whole.
    fn costs_a_copy(self) -> bool {
        use Kind::{DamagedCurrent, DamagedFramework, DamagedSegment, LostDisk};
        matches!(self, LostDisk | DamagedSegment | DamagedCurrent | DamagedFramework)
    }
}

/// How a fault is ended.
enum Cure {
    Heal(Vec<Wound>),
    Restart(&'static str),
    Continue(&'static str),
    Free(&'static str),
    Speed(SlowLink),
}

struct Fault {
    kind: Kind,
    /// The server that can't have another fault meanwhile.
    victim: Option<&'static str>,
    end: Instant,
    cure: Cure,
}

/// All faults of a run.
pub(crate) struct Faults<'a> {
    cluster: &'a mut Cluster,
    network: Arc<Network>,
    small: &'a BTreeMap<&'static str, SmallDisk>,
    forgetful: &'a ForgetfulDisks,
    dice: Dice,
    active: Vec<Fault>,
    counts: BTreeMap<Kind, u32>,
    began: Instant,
    log: File,
}

/// How often each fault was.
pub(crate) struct Counts(BTreeMap<Kind, u32>);

impl<'a> Faults<'a> {
    pub(crate) fn new(
        cluster: &'a mut Cluster,
        small: &'a BTreeMap<&'static str, SmallDisk>,
        forgetful: &'a ForgetfulDisks,
        dice: Dice,
    ) -> Self {
        let network = Arc::clone(cluster.network());
        let log = File::create(cluster.folder().join("faults.log")).expect("a file");
        let (active, counts) = (Vec::new(), BTreeMap::new());
        Self { cluster, network, small, forgetful, dice, active, counts, began: Instant::now(), log }
    }

    pub(crate) fn run_until(&mut self, end: Instant) {
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_millis(self.dice.within(BETWEEN_MS));
            self.end_what_is_due(next.min(end));
            let kind = *self.dice.one_of(&KINDS);
            if kind.costs_a_copy() {
                self.cost_a_copy(kind);
            } else if self.active.len() < AT_ONCE {
                self.begin(kind);
            }
        }
    }

    /// Ends what is left.
    pub(crate) fn end_all(mut self) -> Counts {
        self.end_what_lasts();
        Counts(self.counts)
    }

    /// Waits until then, and ends the faults that end meanwhile.
    fn end_what_is_due(&mut self, until: Instant) {
        loop {
            let due = self.active.iter().map(|fault| fault.end).min().unwrap_or(until).min(until);
            sleep(due.saturating_duration_since(Instant::now()));
            if due >= until {
                return;
            }
            let (over, active) = std::mem::take(&mut self.active).into_iter().partition(|f| f.end <= due);
            self.active = active;
            let over: Vec<Fault> = over;
            over.into_iter().for_each(|fault| self.end(fault));
        }
    }

    fn end_what_lasts(&mut self) {
        for fault in std::mem::take(&mut self.active) {
            self.end(fault);
        }
    }

    /// A server that the fault can strike, and that nothing else is done to.
    fn any_victim(&mut self, kind: Kind) -> Option<&'static str> {
        let servers = match kind {
            Kind::MetaKilled | Kind::MetaFrozen | Kind::MetaCutOff => &[META][..],
            Kind::PowerCut => &POWERED,
            Kind::FullDisk => &CROWDED,
            _ => &REPLICAS,
        };
        let busy: BTreeSet<_> = self.active.iter().filter_map(|fault| fault.victim).collect();
        let free: Vec<_> = servers.iter().copied().filter(|name| !busy.contains(name)).collect();
        (!free.is_empty()).then(|| *self.dice.one_of(&free))
    }

    fn begin(&mut self, kind: Kind) {
        let Some(victim) = self.any_victim(kind) else { return };
        let lasts = Duration::from_millis(self.dice.within(LASTS_MS));
        let others: Vec<_> = HOSTS.into_iter().filter(|host| *host != victim).collect();
        let note = format!("{kind:?} {victim} for {} ms", lasts.as_millis());
        self.note(&note);
        let cure = match kind {
            Kind::Kill | Kind::MetaKilled => {
                self.cluster.kill(victim);
                Cure::Restart(victim)
            }
            Kind::PowerCut => {
                self.cluster.kill(victim);
                let outcome = self.forgetful.cut_power(victim, &mut self.dice);
                self.note(&format!("... {outcome:?}"));
                Cure::Restart(victim)
            }
            Kind::Terminate => {
                let status = self.cluster.terminate(victim);
                assert!(status.success(), "{victim} ended with {status}");
                Cure::Restart(victim)
            }
            Kind::Freeze | Kind::MetaFrozen => {
                self.cluster.signal(victim, Signal::STOP);
                Cure::Continue(victim)
            }
            Kind::FullDisk => {
                self.small[victim].fill();
                Cure::Free(victim)
            }
            Kind::SlowLink => self.slow(victim, Pace { delay_ms: 1..80, stall: Duration::ZERO }),
            Kind::FitsAndStarts => self.slow(victim, Pace { delay_ms: 0..20, stall: Duration::from_secs(2) }),
            _ => Cure::Heal(self.hurt(kind, victim, &others)),
        };
        *self.counts.entry(kind).or_default() += 1;
        let victim = (!matches!(cure, Cure::Heal(_))).then_some(victim);
        self.active.push(Fault { kind, victim, end: Instant::now() + lasts, cure });
    }

    fn slow(&mut self, victim: &'static str, pace: Pace) -> Cure {
        Cure::Speed(SlowLink::new(&self.network, victim, pace, &mut self.dice))
    }

    /// What happens to the network.
    fn hurt(&mut self, kind: Kind, victim: &'static str, others: &[&str]) -> Vec<Wound> {
        let network = &self.network;
        let another = *self.dice.one_of(others);
        let servers: Vec<_> = others.iter().copied().filter(|host| host.starts_with("replica")).collect();
        match kind {
            Kind::CutOff | Kind::MetaCutOff => network.hurt_both_ways(victim, others, Harm::Silent).into(),
            Kind::NotHeard => vec![network.hurt(&[victim], others, Harm::Silent)],
            Kind::Deaf => vec![network.hurt(others, &[victim], Harm::Silent)],
            Kind::LinkCut => network.hurt_both_ways(victim, &[another], Harm::Silent).into(),
            Kind::Split => {
                let (few, many) = servers.split_at(1);
                let few: Vec<_> = few.iter().copied().chain([victim]).collect();
                let many: Vec<_> = many.iter().copied().chain([META]).collect();
                vec![network.hurt(&few, &many, Harm::Silent), network.hurt(&many, &few, Harm::Silent)]
            }
            Kind::Loss => {
                let percent = self.dice.within(5..40) as u8;
                network.hurt_both_ways(victim, others, Harm::Lossy(percent)).into()
            }
            Kind::Resets => vec![network.hurt(&HOSTS, &HOSTS, Harm::Reset)],
            Kind::Refusals => network.hurt_both_ways(victim, others, Harm::Refused).into(),
            _ => unreachable!("{kind:?} does not concern the network"),
        }
    }

    /// A server is down and loses its disk, or finds a file of it damaged when it starts again. What lasts ends
    /// before, and the cluster is whole; the next such fault waits until it is again.
    fn cost_a_copy(&mut self, kind: Kind) {
        self.end_what_lasts();
        let deadline = Instant::now() + TO_BE_WHOLE;
        while !is_whole(self.cluster) {
            assert!(Instant::now() < deadline, "not whole within {TO_BE_WHOLE:?} without a fault");
            sleep(Duration::from_millis(100));
        }
        let victim = *self.dice.one_of(&REPLICAS);
        self.note(&format!("{kind:?} {victim}"));
        self.cluster.kill(victim);
        let data = self.cluster.data(victim);
        let damaged = match kind {
            Kind::DamagedSegment => flip_a_bit(&data, Part::Segment),
            Kind::DamagedCurrent => flip_a_bit(&data, Part::Current),
            Kind::DamagedFramework => flip_a_bit(&data, Part::Framework),
            _ => {
                erase(&data);
                Some(data)
            }
        };
        if damaged.is_some() {
            *self.counts.entry(kind).or_default() += 1;
        }
        self.note(&format!("{kind:?} {victim}: {damaged:?}"));
        let end = Instant::now() + Duration::from_millis(self.dice.within(0..2000));
        self.active.push(Fault { kind, victim: Some(victim), end, cure: Cure::Restart(victim) });
    }

    fn end(&mut self, fault: Fault) {
        let victim = fault.victim.unwrap_or_default();
        self.note(&format!("{:?} {victim} ends", fault.kind));
        match fault.cure {
            Cure::Heal(wounds) => self.network.heal(wounds),
            Cure::Restart(name) => self.cluster.restart(name),
            Cure::Continue(name) => self.cluster.signal(name, Signal::CONT),
            Cure::Free(name) => self.small[name].free(),
            Cure::Speed(slow) => drop(slow),
        }
    }

    fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        writeln!(self.log, "{at:9.3} {what}").expect("a log of faults");
    }
}

/// Removes all that is in a folder, which may be a mounted disk, for good: a power cut does not bring it back.
fn erase(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("a file or a folder that can be removed");
    }
    File::open(folder).and_then(|folder| folder.sync_all()).expect("a folder");
}

/// All partitions have all their members, and the meta server says so.
fn is_whole(cluster: &Cluster) -> bool {
    let partitions = cluster.partitions(APP).unwrap_or_default();
    !partitions.is_empty() && partitions.iter().all(|p| p.primary.is_some() && p.secondaries.len() == 2)
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        for (kind, count) in &self.0 {
            let _ = write!(line, ", {count} {kind:?}");
        }
        write!(f, "{} faults{line}", self.0.values().sum::<u32>())
    }
}
