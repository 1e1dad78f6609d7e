//! What can be read: for clients, operators and tests.

use std::collections::BTreeSet;

use words::{AppId, AppInfo, Configuration, Decree, Gpid, NodeAddress, NodeId, Time};

use crate::guardian::Standing;
use crate::{
    AppDescription, AppRecord, AppRoute, AppStatus, AppSummary, MetaCore, MetaState, NodeStatus,
    PartitionStatus,
};

impl MetaCore {
    /// What a client needs to find the partitions of an app: the one of that number if it knows it already, else
    /// the one of that name.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn query(&self, app_name: &str, id: AppId) -> Result<AppRoute, String> {
        self.state.route(app_name, id)
    }

    /// All nodes, but those that were replaced and hold nothing.
    #[must_use]
    pub fn list_nodes(&self, now: Time) -> Vec<NodeStatus> {
        let known = self.nodes.iter().filter(|(_, entry)| !entry.replaced || !entry.member_of.is_empty());
        let status = |(node, entry): (NodeId, &crate::nodes::Node)| {
            let count = |partitions: usize| u32::try_from(partitions).unwrap_or(u32::MAX);
            Some(NodeStatus {
                node: self.state.node(node)?.clone(),
                alive: entry.standing() == Standing::Alive,
                life: entry.life,
                primaries: count(entry.leads.len()),
                secondaries: count(entry.member_of.len() - entry.leads.len()),
                silent_ms: u64::try_from(now.since(entry.heard).as_millis()).unwrap_or(u64::MAX),
                disk: entry.disk,
                black_listed: self.state.is_black_listed(node),
                unknown: count(entry.holds.iter().filter(|gpid| self.strangers.contains_key(gpid)).count()),
                drained: self.state.is_drained(node),
            })
        };
        known.filter_map(status).collect()
    }

    /// All apps that are there, and if all are wanted, those that can be recalled.
    #[must_use]
    pub fn list_apps(&self, all: bool) -> Vec<AppSummary> {
        let listed = self.state.apps().filter(|app| match app.status {
            AppStatus::Available => true,
            AppStatus::Dropped { .. } => all,
            AppStatus::Gone => false,
        });
        let summary = |record: &AppRecord| {
            let app = &record.info;
            let expires = match record.status {
                AppStatus::Dropped { expires } => Some(expires),
                AppStatus::Available | AppStatus::Gone => None,
            };
            let mut summary = AppSummary { app: app.clone(), healthy: 0, readable: 0, expires };
            if expires.is_some() {
                return summary; // it serves nobody
            }
            for (_, configuration) in self.configurations_of(app) {
                summary.readable += u32::from(configuration.primary.is_some_and(|node| self.is_alive(node)));
                summary.healthy += u32::from(self.is_healthy(app, configuration));
            }
            summary
        };
        listed.map(summary).collect()
    }

    /// The app of that name with its partitions.
    #[must_use]
    pub fn describe_app(&self, name: &str) -> Option<AppDescription> {
        let AppRecord { info: app, envs, .. } = self.state.app_named(name)?.clone();
        let partitions: Vec<PartitionStatus> = self
            .configurations_of(&app)
            .map(|(gpid, configuration)| self.describe(gpid, configuration))
            .collect();
        let named = partitions
            .iter()
            .flat_map(|p| {
                let reported = p.replicas.iter().map(|&(node, _)| node);
                p.configuration.members().chain(p.learners.iter().copied()).chain(reported)
            })
            .collect();
        Some(AppDescription {
            nodes: self.addresses(&named),
            app,
            envs,
            partitions,
            level: self.level_status(),
        })
    }

    pub(crate) fn describe(&self, gpid: Gpid, configuration: &Configuration) -> PartitionStatus {
        let partition = &self.partitions[&gpid];
        let primary = configuration.primary.and_then(|node| partition.reports.get(&node));
        PartitionStatus {
            gpid,
            configuration: configuration.clone(),
            learners: partition.learners(configuration.primary, configuration.ballot).to_vec(),
            last_committed: primary.map_or(Decree::ZERO, |report| report.last_committed),
            replicas: partition.reports.iter().map(|(&node, report)| (node, report.clone())).collect(),
            decision: self.state.with_names(partition.reason()),
            healthy: self.state.app_of(gpid).is_some_and(|app| self.is_healthy(app, configuration)),
        }
    }

    fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.get(node).is_some_and(|entry| entry.standing() == Standing::Alive)
    }

    /// Whether a partition has all replicas that it should have, alive.
    fn is_healthy(&self, app: &AppInfo, configuration: &Configuration) -> bool {
        let live = configuration.members().filter(|&node| self.is_alive(node)).count();
        live >= app.replica_count as usize && live == configuration.len()
    }

    pub(crate) fn configurations_of(&self, app: &AppInfo) -> impl Iterator<Item = (Gpid, &Configuration)> {
        self.state.configurations_of(app)
    }

    pub(crate) fn addresses(&self, named: &BTreeSet<NodeId>) -> Vec<NodeAddress> {
        self.state.addresses(named)
    }
}

impl MetaState {
    /// What a client needs to find the partitions of an app: the one of that number if it knows it already, else
    /// the one of that name.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn route(&self, app_name: &str, id: AppId) -> Result<AppRoute, String> {
        let app = match id {
            AppId(0) => self.app_named(app_name),
            id => self.app(id).filter(|app| app.status == AppStatus::Available),
        };
        let app = app.ok_or_else(|| self.why_not_there(app_name))?.info.clone();
        let partitions: Vec<Configuration> = self.configurations_of(&app).map(|(_, c)| c.clone()).collect();
        let named = partitions.iter().flat_map(Configuration::members).collect();
        Ok(AppRoute { nodes: self.addresses(&named), app, partitions })
    }

    fn configurations_of(&self, app: &AppInfo) -> impl Iterator<Item = (Gpid, &Configuration)> {
        app.gpids().filter_map(|gpid| self.configuration(gpid).map(|configuration| (gpid, configuration)))
    }

    fn addresses(&self, named: &BTreeSet<NodeId>) -> Vec<NodeAddress> {
        named.iter().filter_map(|&node| self.node(node).cloned()).collect()
    }
}
