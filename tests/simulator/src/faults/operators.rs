//! What befalls the meta server, and what operators do.

use std::time::Duration;

use meta_core::BalanceKind;

use crate::sometimes::Sometimes;
use crate::world::{Happening, World, trace};

impl World<'_> {
    pub(super) fn kill_meta(&mut self) {
        self.crash_meta();
        self.tally.note(Sometimes::MetaCrash);
        let at = self.now + Duration::from_millis(self.dice.between(10, 3_000));
        self.put(at, Happening::StartMeta);
    }

    pub(super) fn move_something(&mut self) {
        let gpid = self.dice.pick(&self.gpids);
        let kind = self.dice.pick(&[
            BalanceKind::MovePrimary,
            BalanceKind::MovePrimary,
            BalanceKind::CopyPrimary,
            BalanceKind::CopySecondary,
        ]);
        let Some(configuration) = self.meta.configuration(gpid).cloned() else { return };
        let from = match kind {
            BalanceKind::CopySecondary => configuration.secondaries.first().copied(),
            _ => configuration.primary,
        };
        let from = from.and_then(|node| self.places.get(&node).copied());
        let Some(from) = from else { return };
        let to = self.dice.index(self.machines.len());
        trace!(self, "operator", "{kind:?} of {gpid} from machine {from} to {to}");
        self.balance(gpid, kind, from, to);
    }
}
