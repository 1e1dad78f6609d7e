//! How much the meta server does by itself: rDSN's function levels.
//!
//! Each level leaves out one thing more than the one above it. What is never left out, whatever the level: nodes are
//! heard, and clients and operators are told what is so.
//!
//! | level | balances | cures | takes primaries' proposals | does what operators ask |
//! | --- | --- | --- | --- | --- |
//! | lively | yes | yes | yes | yes |
//! | steady | | yes | yes | yes |
//! | freezed | | | yes | yes |
//! | blind | | | | yes, where no primary is needed |
//! | stopped | | | | only the next level |
//!
//! rDSN refuses primaries' proposals when it is freezed, too. But a primary that may not leave a dead secondary out
//! can commit nothing, so a freeze would stop writes; here it stops only what the meta server begins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use words::Time;

use crate::admin::{UnknownKind, by_name};
use crate::{AdminRequest, MetaCore};

/// For how long nodes that died together are taken to be cut off, perhaps.
const FREEZES_FOR_NS: u64 = 3600 * 1_000_000_000;

/// How much the meta server does by itself; a higher level does more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing is changed, also not by operators; they can only set another level.
    Stopped,
    /// Nobody's configuration changes, whoever proposes it.
    Blind,
    /// No cures and no balancing; primaries still leave dead secondaries out.
    Freezed,
    /// Cures, no balancing.
    Steady,
    /// Cures and balancing.
    #[default]
    Lively,
}

const LEVELS: [(&str, Level); 5] = [
    ("stopped", Level::Stopped),
    ("blind", Level::Blind),
    ("freezed", Level::Freezed),
    ("steady", Level::Steady),
    ("lively", Level::Lively),
];

impl Level {
    /// What does not happen at this level, for people.
    #[must_use]
    pub fn leaves_out(self) -> &'static str {
        match self {
            Self::Stopped => "nothing is changed, whoever asks",
            Self::Blind => "no configuration changes: no cures, no balancing, and proposals are ignored",
            Self::Freezed => "no cures and no balancing",
            Self::Steady => "no balancing",
            Self::Lively => "nothing is left out",
        }
    }

    /// Whether an operator's request can be carried out at this level.
    pub(crate) fn allows(self, request: &AdminRequest) -> bool {
        match request {
            AdminRequest::ListNodes
            | AdminRequest::ListApps { .. }
            | AdminRequest::DescribeApp { .. }
            | AdminRequest::Why { .. }
            | AdminRequest::History { .. }
            | AdminRequest::Diagnose
            | AdminRequest::PlanRecovery { .. }
            | AdminRequest::GetLevel
            | AdminRequest::BalancePlan
            | AdminRequest::BalancerStatus
            | AdminRequest::SetLevel { .. } => true,
            // A primary would be asked, and what it then proposes is ignored.
            AdminRequest::Propose { .. } | AdminRequest::Balance { .. } => self >= Self::Freezed,
            _ => self > Self::Stopped,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = LEVELS.iter().find(|(_, level)| level == self).expect("every level has a name");
        f.write_str(name)
    }
}

impl FromStr for Level {
    type Err = UnknownKind;

    fn from_str(given: &str) -> Result<Self, UnknownKind> {
        by_name(&LEVELS, given)
    }
}

/// The level that holds now, as every status says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelStatus {
    /// What holds now.
    pub level: Level,
    /// What operators set; it can be higher.
    pub set: Level,
    /// Why it is so, for people.
    pub why: String,
}

impl MetaCore {
    /// The level that holds now.
    #[must_use]
    pub fn level(&self) -> Level {
        let freezes = self.too_few_alive().is_some();
        if freezes { self.state.level().min(Level::Freezed) } else { self.state.level() }
    }

    /// Why the meta server freezes by itself, if it does: it hears fewer than half of the nodes that keep something.
    ///
    /// More likely than that so many died is that the network failed, and they still serve each other's partitions
    /// and their clients'. If they were taken for lost, the few that are heard would have to take in a copy of all
    /// that there is: their disks and the network would be full of what nobody needs. So no copies are made. All else
    /// goes on: leases make it safe that another node becomes primary (§5.4), and it costs nothing if it was wrong.
    ///
    /// - A share of the nodes, not a number of them. Who held nothing when it died, or was replaced, has left.
    /// - An hour ([`FREEZES_FOR_NS`]) is time to mend a switch, or for an operator to look. Who is dead for longer has
    ///   left, too, so a cluster that nobody looks after heals, and one that shrinks node by node never freezes.
    /// - With fewer than two nodes heard there is nobody to copy to, so nothing to freeze: clusters of one and two
    ///   nodes, and one of three or four of which one is left, are as they would be.
    /// - A node that comes back ends it; and so does an operator who sets the level, and by that says that those who
    ///   died before are dead. If more die it begins again.
    pub(crate) fn too_few_alive(&self) -> Option<String> {
        let an_hour_ago = Time(self.stepped.0.saturating_sub(FREEZES_FOR_NS));
        let (alive, unheard) = self.nodes.heard_of(self.level_set.max(an_hour_ago));
        let all = alive + unheard;
        (alive >= 2 && alive * 2 < all)
            .then(|| format!("no copies are made: {alive} of {all} nodes are alive"))
    }

    /// ... and why.
    #[must_use]
    pub fn level_status(&self) -> LevelStatus {
        let (level, set) = (self.level(), self.state.level());
        let why = match self.too_few_alive().filter(|_| set > Level::Freezed) {
            Some(why) => format!(
                "no balancing, and {why}; likelier than that the others died is that the network failed. If they \
                 did, `admin level {set}` says so"
            ),
            None if set == Level::default() => set.leaves_out().to_owned(),
            None => format!("{}: as set by an operator", set.leaves_out()),
        };
        LevelStatus { level, set, why }
    }
}
