//! What befalls the meta server, and what operators do.

use std::time::Duration;

use meta_core::{AdminRequest, BalanceKind, ProposalKind};
use words::Gpid;

use crate::machine::{APP_NAME, APP_TYPE};
use crate::power::name;
use crate::sometimes::Sometimes;
use crate::world::{Happening, World, trace};

const PROPOSALS: [&str; 7] = [
    "assign_primary",
    "upgrade_to_primary",
    "add_secondary",
    "upgrade_to_secondary",
    "downgrade_to_secondary",
    "downgrade_to_inactive",
    "remove",
];
const BALANCES: [&str; 3] = ["move_pri", "copy_pri", "copy_sec"];

impl World<'_> {
    pub(super) fn kill_meta(&mut self) {
        self.crash_meta();
        self.tally.note(Sometimes::MetaCrash);
        let at = self.now + Duration::from_millis(self.dice.between(10, 3_000));
        self.put(at, Happening::StartMeta);
    }

    pub(super) fn slow_meta(&mut self) {
        self.meta.slow_until = self.now + self.cut_span();
        self.tally.note(Sometimes::MetaSlow);
        trace!(self, "meta", "slow until {}", self.meta.slow_until);
    }

    /// Sometimes for so long that it would take everybody for dead (PITFALLS 12).
    pub(super) fn freeze_meta(&mut self) {
        let longest = self.plan.meta.failure_timeout.as_millis() as u64 * 3;
        let span = Duration::from_millis(self.dice.between(10, longest));
        self.meta.frozen_until = self.now + span;
        self.tally.note(Sometimes::MetaFrozen);
        trace!(self, "meta", "FROZEN until {}", self.meta.frozen_until);
    }

    pub(super) fn move_something(&mut self) {
        let Some(gpid) = self.some_partition() else { return };
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

    /// Any command of any kind, for any partition and node, also for some that never were.
    pub(super) fn order_anything(&mut self) {
        let gpid = self.some_partition().unwrap_or(Gpid::new(7, 0));
        let gpid = if self.dice.permille(50) { Gpid::new(1, 99) } else { gpid };
        let (node, other) = (self.any_name(), self.any_name());
        let kind: ProposalKind = self.dice.pick(&PROPOSALS).parse().expect("a type that there is");
        let action: BalanceKind = self.dice.pick(&BALANCES).parse().expect("a type that there is");
        let app = self.dice.pick(&[APP_NAME, "tally.instance1", "nobody"]).to_owned();
        let request = match self.dice.index(13) {
            0 => AdminRequest::ListNodes,
            1 => AdminRequest::ListApps { all: true },
            2 => AdminRequest::DescribeApp { name: app },
            // Of that name there is one already, or it can't be.
            3 => AdminRequest::CreateApp {
                name: match self.dice.pick(&[APP_NAME, "", "../tally", "Tally"]) {
                    APP_NAME if self.meta.durable.apps().next().is_none() => String::new(),
                    name => name.to_owned(),
                },
                app_type: self.dice.pick(&[APP_TYPE, "abacus"]).to_owned(),
                partition_count: self.dice.pick(&[0, 1, 1_000_000]),
                replica_count: self.dice.pick(&[0, 1, 3, 100]),
            },
            4 => AdminRequest::DropApp { name: "nobody".to_owned(), hold_seconds: None },
            // Without the statement that the others are stopped: always refused.
            5 => AdminRequest::AcceptLoss { gpid, node, others_are_stopped: false },
            12 => return self.ask_what_is_so(gpid),
            6 | 7 => AdminRequest::Balance { gpid, kind: action, from: node, to: other },
            _ => AdminRequest::Propose { gpid, kind, node },
        };
        trace!(self, "operator", "{request:?}");
        self.ask_meta(request);
    }

    /// A node by its name or its id, also one that never was.
    fn any_name(&mut self) -> String {
        let index = self.dice.index(self.machines.len());
        match self.dice.index(10) {
            0 => "replica99".to_owned(),
            1 => String::new(),
            2..5 => self.machines[index].disk.node.to_string(),
            _ => name(index),
        }
    }
}
