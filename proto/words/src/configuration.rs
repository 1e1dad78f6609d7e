//! Who replicates a partition, and which changes of that are legal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Ballot, NodeId};

/// The configuration of one partition, owned by the meta server. Printed `{3,r1,[r2,r3]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Its version.
    pub ballot: Ballot,
    /// Who orders writes and serves reads; `None` only before the first one was chosen (ballot 0).
    pub primary: Option<NodeId>,
    /// Who else must acknowledge each write.
    pub secondaries: Vec<NodeId>,
}

/// Why a change of configuration is refused (S5, S6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IllegalStep {
    /// The ballot does not follow the current one.
    Ballot,
    /// The new primary was not a member before (S6).
    PrimaryWasNoMember,
    /// A node stands twice in it.
    Twice,
    /// More than one thing changes at once, or a member would be added without having been proposed by
    /// the primary that goes on.
    MoreThanOneChange,
}

impl fmt::Display for IllegalStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ballot => "its ballot does not follow the current one",
            Self::PrimaryWasNoMember => "its primary was no member of the current configuration",
            Self::Twice => "a node stands in it twice",
            Self::MoreThanOneChange => "it changes more than one thing at once",
        })
    }
}

impl Configuration {
    /// Whether `node` is primary or secondary in it.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.primary == Some(node) || self.secondaries.contains(&node)
    }

    /// Primary first, then the secondaries.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.primary.into_iter().chain(self.secondaries.iter().copied())
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members().count()
    }

    /// Whether nobody was chosen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same members under the next ballot: what a restarted primary asks for (§7.4).
    #[must_use]
    pub fn bumped(&self) -> Self {
        Self { ballot: self.ballot.next(), ..self.clone() }
    }

    /// The next configuration, with `node` as one more secondary (§4.3).
    #[must_use]
    pub fn with_secondary(&self, node: NodeId) -> Self {
        let mut next = self.bumped();
        next.secondaries.push(node);
        next
    }

    /// The next configuration, without the secondary `node` (§4.2).
    #[must_use]
    pub fn without_secondary(&self, node: NodeId) -> Self {
        let mut next = self.bumped();
        next.secondaries.retain(|&other| other != node);
        next
    }

    /// The next configuration after a handover: `successor` leads, the old primary follows (§5.5).
    #[must_use]
    pub fn handed_over_to(&self, successor: NodeId) -> Self {
        let mut next = self.without_secondary(successor);
        next.secondaries.extend(self.primary);
        next.primary = Some(successor);
        next
    }

    /// The next configuration after the primary was lost: `successor`, a secondary, leads (§4.4).
    #[must_use]
    pub fn promoted(&self, successor: NodeId) -> Self {
        let mut next = self.without_secondary(successor);
        next.primary = Some(successor);
        next
    }

    /// The next configuration after all members were given up: `node` goes on alone (§4.8).
    #[must_use]
    pub fn after_loss(&self, node: NodeId) -> Self {
        Self { ballot: self.ballot.next(), primary: Some(node), secondaries: Vec::new() }
    }

    /// Whether `next` may follow this configuration because an admin gave its members up (§4.8).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_loss(&self, next: &Self) -> Result<(), IllegalStep> {
        if next.ballot != self.ballot.next() {
            return Err(IllegalStep::Ballot);
        }
        match next.primary {
            // A partition that never had a member lost none.
            Some(_) if next.secondaries.is_empty() && !self.is_empty() => Ok(()),
            Some(_) => Err(IllegalStep::MoreThanOneChange),
            None => Err(IllegalStep::PrimaryWasNoMember),
        }
    }

    /// Whether `next` may follow this configuration: one legal step (S5, S6).
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_step(&self, next: &Self) -> Result<(), IllegalStep> {
        if next.ballot != self.ballot.next() {
            return Err(IllegalStep::Ballot);
        }
        let mut members: Vec<NodeId> = next.members().collect();
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(IllegalStep::Twice);
        }
        let Some(primary) = next.primary else {
            return Err(IllegalStep::PrimaryWasNoMember);
        };
        if self.is_empty() {
            // A new partition begins as {1,P,[]} (§4.8).
            return if next.secondaries.is_empty() { Ok(()) } else { Err(IllegalStep::MoreThanOneChange) };
        }
        if !self.is_member(primary) {
            return Err(IllegalStep::PrimaryWasNoMember);
        }
        let added = next.members().filter(|&node| !self.is_member(node)).count();
        let removed = self.members().filter(|&node| !next.is_member(node)).count();
        let same_primary = self.primary == next.primary;
        match (same_primary, added, removed) {
            // Bump, one added, one or more removed; or a handover (nobody leaves), a promotion (others may).
            (true, 0, _) | (true, 1, 0) | (false, 0, _) => Ok(()),
            _ => Err(IllegalStep::MoreThanOneChange),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{},", self.ballot)?;
        match self.primary {
            Some(node) => write!(f, "{node},[")?,
            None => write!(f, "-,[")?,
        }
        for (index, node) in self.secondaries.iter().enumerate() {
            write!(f, "{}{node}", if index > 0 { "," } else { "" })?;
        }
        write!(f, "]}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ballot: u64, primary: u128, secondaries: &[u128]) -> Configuration {
        Configuration {
            ballot: Ballot(ballot),
            primary: Some(NodeId(primary)),
            secondaries: secondaries.iter().map(|&n| NodeId(n)).collect(),
        }
    }

    #[test]
    fn prints_as_the_protocol_writes_it() {
        assert_eq!(of(3, 1, &[2, 3]).to_string(), "{3,r1,[r2,r3]}");
        assert_eq!(Configuration::default().to_string(), "{0,-,[]}");
    }

    #[test]
    fn the_helpers_make_legal_steps() {
        let now = of(3, 1, &[2, 3]);
        for next in [
            now.bumped(),
            now.with_secondary(NodeId(4)),
            now.without_secondary(NodeId(2)),
            now.handed_over_to(NodeId(3)),
            now.promoted(NodeId(2)),
        ] {
            assert_eq!(now.check_step(&next), Ok(()), "{now} -> {next}");
        }
        assert_eq!(now.handed_over_to(NodeId(2)).to_string(), "{4,r2,[r3,r1]}");
        assert_eq!(now.promoted(NodeId(2)).to_string(), "{4,r2,[r3]}");
    }

    #[test]
    fn refuses_what_could_lose_data() {
        let now = of(3, 1, &[2]);
        assert_eq!(now.check_step(&of(3, 1, &[2])), Err(IllegalStep::Ballot));
        assert_eq!(now.check_step(&of(4, 9, &[1])), Err(IllegalStep::PrimaryWasNoMember));
        assert_eq!(now.check_step(&of(4, 1, &[2, 2])), Err(IllegalStep::Twice));
        assert_eq!(now.check_step(&of(4, 2, &[1, 3])), Err(IllegalStep::MoreThanOneChange));
        assert_eq!(now.check_step(&of(4, 1, &[2, 3, 4])), Err(IllegalStep::MoreThanOneChange));
        assert_eq!(Configuration::default().check_step(&of(1, 1, &[2])), Err(IllegalStep::MoreThanOneChange));
        assert_eq!(Configuration::default().check_step(&of(1, 1, &[])), Ok(()));
    }

    #[test]
    fn a_declared_loss_leaves_one_member() {
        let now = of(3, 1, &[2]);
        assert_eq!(now.after_loss(NodeId(9)).to_string(), "{4,r9,[]}");
        assert_eq!(now.check_loss(&now.after_loss(NodeId(9))), Ok(()));
        assert_eq!(now.check_loss(&of(3, 9, &[])), Err(IllegalStep::Ballot));
        assert_eq!(now.check_loss(&of(4, 9, &[1])), Err(IllegalStep::MoreThanOneChange));
        assert_eq!(Configuration::default().check_loss(&of(1, 9, &[])), Err(IllegalStep::MoreThanOneChange));
    }
}
