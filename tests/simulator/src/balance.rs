//! Whether everything is spread evenly in the end, where the balancer is on.

use std::collections::BTreeMap;

use meta_core::Level;
use words::{AppId, NodeId};

use crate::machine::Presence;
use crate::world::World;

/// How much each node has of one app, or of all.
type Load = BTreeMap<NodeId, usize>;

impl World<'_> {
    /// What is not spread evenly, if something should be: no two nodes may differ by more than one, in the replicas
    /// of an app, in the partitions of it that they lead, nor in either over all apps.
    pub(crate) fn complaint_about_balance(&self) -> Option<String> {
        let is_on = self.plan.meta.balancer_moves_in_flight > 0
            && self.meta.durable.level() == Level::Lively
            && self.gpids.iter().all(|&gpid| self.can_live(gpid));
        if !is_on {
            return None;
        }
        let here = self.machines.iter().filter(|machine| machine.presence == Presence::Here);
        let nodes: Vec<NodeId> = here.map(|machine| machine.disk.node).collect();
        if nodes.iter().any(|&node| self.meta.durable.is_black_listed(node)) {
            return None;
        }
        if let Some(node) = nodes.iter().find(|&&node| self.meta.durable.is_drained(node)) {
            return Some(format!("{node} is drained still"));
        }
        let nobody: Load = nodes.iter().map(|&node| (node, 0)).collect();
        let mut replicas: BTreeMap<Option<AppId>, Load> = BTreeMap::new();
        let mut primaries = replicas.clone();
        for &gpid in &self.gpids {
            let Some(configuration) = self.meta.configuration(gpid) else { continue };
            for scope in [Some(gpid.app), None] {
                let count = |of: &mut BTreeMap<_, Load>, node: NodeId| {
                    let load = of.entry(scope).or_insert_with(|| nobody.clone());
                    *load.entry(node).or_default() += 1;
                };
                configuration.members().for_each(|node| count(&mut replicas, node));
                configuration.primary.iter().for_each(|&node| count(&mut primaries, node));
            }
        }
        uneven(&replicas, "replicas").or_else(|| uneven(&primaries, "primaries"))
    }
}

fn uneven(loads: &BTreeMap<Option<AppId>, Load>, what: &str) -> Option<String> {
    loads.iter().find_map(|(app, load)| {
        let (most, least) = (load.values().max()?, load.values().min()?);
        let of = app.map_or("all apps".to_owned(), |app| format!("app {app}"));
        (most - least > 1).then(|| format!("{what} of {of} are not spread evenly: {load:?}"))
    })
}
