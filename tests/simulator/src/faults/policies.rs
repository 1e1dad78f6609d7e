//! What operators keep the meta server from doing, and forget to allow again until all is over.

use meta_core::{AdminRequest, Level};
use words::{Gpid, NodeId};

use crate::sometimes::Sometimes;
use crate::world::{World, trace};

const LEVELS: [Level; 5] = [Level::Stopped, Level::Blind, Level::Freezed, Level::Steady, Level::Lively];

impl World<'_> {
    /// An operator sets what the meta server does by itself.
    pub(super) fn set_level(&mut self) {
        let level = self.dice.pick(&LEVELS);
        trace!(self, "operator", "the level is to be {level}");
        self.tally.note(Sometimes::LevelSet);
        self.ask_meta(AdminRequest::SetLevel { level });
    }

    /// An operator wants a node to get no new replicas, or to have them again.
    pub(super) fn black_list(&mut self, victim: usize) {
        let node = self.machines[victim].disk.node;
        let listed = !self.meta.durable.is_black_listed(node);
        trace!(self, "operator", "{node} is to be on the black list: {listed}");
        self.tally.note(Sometimes::BlackListed);
        self.ask_meta(AdminRequest::BlackList { node: node.to_string(), listed });
    }

    /// An operator asks what is so, also of what never was.
    pub(super) fn ask_what_is_so(&mut self, gpid: Gpid) {
        let limit = self.dice.pick(&[0, 1, 1_000]);
        for request in [
            AdminRequest::Why { gpid },
            AdminRequest::History { gpid: Some(gpid), limit },
            AdminRequest::History { gpid: None, limit },
            AdminRequest::GetLevel,
            AdminRequest::Diagnose,
            AdminRequest::BalancePlan,
            AdminRequest::BalancerStatus,
            // It is not empty, so it refuses.
            AdminRequest::PlanRecovery { leave_out: vec![] },
            AdminRequest::Recover { leave_out: vec![], others_are_stopped: true },
        ] {
            self.ask_meta(request);
        }
        self.look_up_apps();
    }

    /// Nothing is kept from the meta server any more; asked for until it is so.
    pub(crate) fn lift_policies(&mut self) {
        // Also if the meta server froze by itself: whoever is not heard is dead by now.
        if self.meta.level().is_some_and(|level| level != Level::Lively) {
            self.ask_meta(AdminRequest::SetLevel { level: Level::Lively });
        }
        let listed = |node: &NodeId| self.meta.durable.is_black_listed(*node);
        let listed: Vec<NodeId> = self.places.keys().copied().filter(listed).collect();
        for node in listed {
            self.ask_meta(AdminRequest::BlackList { node: node.to_string(), listed: false });
        }
        let drained = |node: &NodeId| self.meta.durable.is_drained(*node);
        let drained: Vec<NodeId> = self.places.keys().copied().filter(drained).collect();
        for node in drained {
            self.ask_meta(AdminRequest::Drain { node: node.to_string(), drained: false });
        }
    }
}
