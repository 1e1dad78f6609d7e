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

use crate::admin::{UnknownKind, by_name};
use crate::{AdminRequest, MetaCore};

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
        self.state.level()
    }

    /// ... and why.
    #[must_use]
    pub fn level_status(&self) -> LevelStatus {
        let (level, set) = (self.level(), self.state.level());
        let why = format!("{}: as set by an operator", level.leaves_out());
        let why = if set == Level::default() { level.leaves_out().to_owned() } else { why };
        LevelStatus { level, set, why }
    }
}
