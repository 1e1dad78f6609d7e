//! What the checkers make of a declared loss (§4.8): exactly what its new primary does not have is given up, and
//! nothing more.

use replica_core::Replica;
use words::{Configuration, Decree, Gpid, MutationId, RoleName};

use crate::invariants::Truth;
use crate::violation::Violation;

impl Truth {
    /// The loss became durable. What it costs is known once the new primary leads.
    pub(crate) fn on_loss(&mut self, gpid: Gpid, before: &Configuration, after: &Configuration) {
        if let Err(why) = before.check_loss(after) {
            self.accuse(Violation { rule: "S5", what: format!("{gpid}: {before} -> {after}: {why}") });
        }
        let partition = self.partition(gpid);
        partition.configurations.insert(after.ballot, after.clone());
        (partition.loss, partition.lost_at) = (Some(after.ballot), after.ballot);
    }

    /// Who leads first after a loss: what it does not have, from the first decree on where it differs from what was
    /// committed, is given up. What it `inherited` may not be durable yet, so that a restart can cost more of it: the
    /// question is open until all of that is committed once more.
    pub(super) fn on_first_after_loss(&mut self, gpid: Gpid, replica: &Replica, inherited: Decree) {
        let partition = self.partition(gpid);
        let leads = replica.role() == RoleName::Primary;
        if !partition.loss.is_some_and(|ballot| leads && replica.ballot() >= ballot) {
            return;
        }
        if replica.last_committed() >= inherited {
            partition.loss = None;
        }
        let has = |decree: Decree, id: MutationId| match replica.identity_at(decree) {
            Some(here) => here == id,
            None => decree <= replica.last_committed(),
        };
        let lost = partition.committed.iter().find(|&(&decree, &id)| !has(decree, id));
        let Some(from) = lost.map(|(&decree, _)| decree) else { return };
        let given_up = partition.committed.split_off(&from);
        partition.given_up.extend(given_up.into_values());
        self.lost.push((gpid, from));
    }

    /// Partitions that lost what was committed from this decree on, since somebody looked.
    pub(crate) fn take_lost(&mut self) -> Vec<(Gpid, Decree)> {
        std::mem::take(&mut self.lost)
    }

    /// Whether a mutation was committed once and given up.
    pub(crate) fn is_given_up(&mut self, gpid: Gpid, id: MutationId) -> bool {
        self.partition(gpid).given_up.contains(&id)
    }

    /// Whether what a replica commits was given up and it may not know: it has no part to play since.
    pub(super) fn knows_no_better(&mut self, gpid: Gpid, replica: &Replica, id: MutationId) -> bool {
        let partition = self.partition(gpid);
        let takes_part = matches!(replica.role(), RoleName::Primary | RoleName::Secondary);
        partition.given_up.contains(&id) && (!takes_part || replica.ballot() < partition.lost_at)
    }
}
