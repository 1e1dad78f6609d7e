//! The durable part: what is replicated, and the one place where it changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use words::{AppEnvs, AppId, AppInfo, Configuration, Gpid, NodeAddress, NodeId};

use crate::history::History;
use crate::{AppRecord, AppStatus, Change, Command, EnvChange, Event, Level, Refused, Step, WallTime};

/// The most partitions that an app may have.
pub const MAX_PARTITIONS: u32 = 4096;

/// The most replicas that a partition may have.
pub const MAX_REPLICAS: u32 = 9;

/// The longest name of an app, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Apps, the configuration of each of their partitions, and the nodes ever seen.
///
/// Changed by [`MetaState::apply`] alone, deterministically, so that every meta server that applies the same
/// commands in the same order holds the same state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaState {
    /// The highest app number ever given; numbers are never used again.
    last_app: AppId,
    /// Every app ever created. One that is gone stays, so that what is left of its replicas can be collected.
    apps: BTreeMap<AppId, AppRecord>,
    /// One for each partition of each app.
    configurations: BTreeMap<Gpid, Configuration>,
    /// Where each node was last reached.
    nodes: BTreeMap<NodeId, NodeAddress>,
    /// How much the meta server shall do by itself.
    level: Level,
    /// Nodes that get no new replicas.
    black_list: BTreeSet<NodeId>,
    /// What has changed, when and why.
    history: History,
    /// Nodes from which everything shall go.
    drained: BTreeSet<NodeId>,
}

impl MetaState {
    /// Carries out one command, or refuses it and changes nothing. `at` is the time that the leader gave it.
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn apply(&mut self, command: &Command, at: WallTime) -> Result<Vec<Change>, Refused> {
        let mut changes = match command {
            Command::CreateApp { name, app_type, partition_count, replica_count } => {
                self.create_app(name, app_type, *partition_count, *replica_count)?
            }
            Command::DropApp { name, hold_seconds } => self.drop_app(name, *hold_seconds, at)?,
            Command::SetConfiguration { gpid, configuration, cause: _ } => {
                vec![self.set_configuration(*gpid, configuration)?]
            }
            Command::RegisterNode(address) => vec![Change::Node(address.clone())],
            Command::SetReplicaCount { name, count } => self.set_replica_count(name, *count)?,
            Command::AcceptLoss { gpid, configuration, cause: _ } => {
                vec![self.accept_loss(*gpid, configuration)?]
            }
            Command::SetLevel(level) => vec![Change::Level(*level)],
            Command::RecallApp { id, new_name } => self.recall_app(*id, new_name.as_deref())?,
            Command::ExpireApp { id, expires } => self.expire_app(*id, *expires, at)?,
            Command::RenameApp { name, new_name } => self.rename_app(name, new_name)?,
            Command::ChangeEnvs { name, change } => self.change_envs(name, change)?,
            Command::BlackList { node, listed } => vec![self.set_black_listed(*node, *listed)?],
            Command::Recover { apps, configurations } => self.recover(apps, configurations, at)?,
            Command::Drain { node, drained } => vec![self.set_drained(*node, *drained)?],
            Command::RemoveNode(node) => self.remove_node(*node)?,
        };
        changes.push(self.history.record(command, at));
        for change in &changes {
            self.put(change.clone());
        }
        Ok(changes)
    }

    /// Takes a stored value as it is: how a state is read back from storage, change by change.
    pub fn put(&mut self, change: Change) {
        match change {
            Change::App(app) => {
                self.last_app = self.last_app.max(app.info.id);
                self.apps.insert(app.info.id, app);
            }
            Change::Configuration { gpid, configuration } => {
                self.configurations.insert(gpid, configuration);
            }
            Change::Node(address) => {
                self.nodes.insert(address.node, address);
            }
            Change::Level(level) => self.level = level,
            Change::BlackList(nodes) => self.black_list = nodes,
            Change::Step { gpid, step } => self.history.put_step(gpid, step),
            Change::Event(event) => self.history.put_event(event),
            Change::Drained(nodes) => self.drained = nodes,
            Change::NodeRemoved(node) => {
                self.nodes.remove(&node);
            }
        }
    }

    /// Every value, as [`MetaState::put`] takes it.
    pub fn values(&self) -> impl Iterator<Item = Change> + '_ {
        let apps = self.apps.values().cloned().map(Change::App);
        let configurations = self.configurations.iter().map(|(&gpid, configuration)| Change::Configuration {
            gpid,
            configuration: configuration.clone(),
        });
        let nodes = self.nodes.values().cloned().map(Change::Node);
        let level = (self.level != Level::default()).then_some(Change::Level(self.level));
        let black_list = (!self.black_list.is_empty()).then(|| Change::BlackList(self.black_list.clone()));
        let drained = (!self.drained.is_empty()).then(|| Change::Drained(self.drained.clone()));
        let lists = level.into_iter().chain(black_list).chain(drained);
        apps.chain(configurations).chain(nodes).chain(lists).chain(self.history.values())
    }

    /// Every app ever created, by number.
    pub fn apps(&self) -> impl Iterator<Item = &AppRecord> {
        self.apps.values()
    }

    /// The app of that number, dropped or not.
    #[must_use]
    pub fn app(&self, id: AppId) -> Option<&AppRecord> {
        self.apps.get(&id)
    }

    /// The app of that name that is there now.
    #[must_use]
    pub fn app_named(&self, name: &str) -> Option<&AppRecord> {
        self.apps.values().find(|app| app.info.name == name && app.status == AppStatus::Available)
    }

    /// Why there is no app of that name, and where it may be.
    #[must_use]
    pub fn why_not_there(&self, name: &str) -> String {
        let renamed = self.apps.values().find(|app| {
            app.status == AppStatus::Available && app.former_names.iter().any(|former| former == name)
        });
        if let Some(app) = renamed {
            return format!("app `{name}` is called `{}` now", app.info.name);
        }
        let is_dropped =
            |app: &&AppRecord| app.info.name == name && matches!(app.status, AppStatus::Dropped { .. });
        match self.apps.values().rfind(is_dropped) {
            Some(app) => format!("app `{name}` was dropped; `admin recall {}` brings it back", app.info.id),
            None => Refused::NoSuchApp(name.to_owned()).to_string(),
        }
    }

    /// A partition's configuration; a dropped app's too.
    #[must_use]
    pub fn configuration(&self, gpid: Gpid) -> Option<&Configuration> {
        self.configurations.get(&gpid)
    }

    /// All configurations, by partition.
    pub fn configurations(&self) -> impl Iterator<Item = (Gpid, &Configuration)> {
        self.configurations.iter().map(|(&gpid, configuration)| (gpid, configuration))
    }

    /// Where a node was last reached.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeAddress> {
        self.nodes.get(&node)
    }

    /// Every node ever seen.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeAddress> {
        self.nodes.values()
    }

    /// How much the meta server shall do by itself, as operators set it.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether operators want no new replicas on a node.
    #[must_use]
    pub fn is_black_listed(&self, node: NodeId) -> bool {
        self.black_list.contains(&node)
    }

    /// The changes of a partition's configuration that are kept, the newest last.
    pub fn steps(&self, gpid: Gpid) -> impl DoubleEndedIterator<Item = &Step> {
        self.history.steps(gpid)
    }

    /// The other changes that are kept, the newest last.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.history.events()
    }

    /// Whether everything on a node shall go elsewhere.
    #[must_use]
    pub fn is_drained(&self, node: NodeId) -> bool {
        self.drained.contains(&node)
    }

    /// A text for people in which nodes stand by their ids, with their names instead. A name that several nodes
    /// had, one after the other, does not say enough and goes before the id. The simulator's nodes keep theirs.
    #[must_use]
    pub fn with_names(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for address in self.nodes.values().filter(|address| address.node.0 >= 1000) {
            let NodeAddress { node, name, .. } = address;
            let is_unique = self.nodes.values().filter(|other| other.name == *name).count() == 1;
            let shown = if is_unique { name.clone() } else { format!("{name}/{node}") };
            text = text.replace(&node.to_string(), &shown);
        }
        text
    }

    /// The app that a partition belongs to, if it is there now.
    #[must_use]
    pub fn app_of(&self, gpid: Gpid) -> Option<&AppInfo> {
        self.apps.get(&gpid.app).filter(|app| app.status == AppStatus::Available).map(|app| &app.info)
    }

    fn create_app(
        &self,
        name: &str,
        app_type: &str,
        partition_count: u32,
        replica_count: u32,
    ) -> Result<Vec<Change>, Refused> {
        self.check_new_name(name)?;
        check_name("an app's type", app_type, "_")?;
        if !(1..=MAX_PARTITIONS).contains(&partition_count) {
            return Err(Refused::PartitionCount(partition_count));
        }
        check_replica_count(replica_count)?;
        let id = AppId(self.last_app.0 + 1);
        let info = AppInfo {
            id,
            name: name.to_owned(),
            app_type: app_type.to_owned(),
            partition_count,
            replica_count,
        };
        let app = Change::App(AppRecord::new(info));
        let empty = |partition| Change::Configuration {
            gpid: Gpid { app: id, partition },
            configuration: Configuration::default(),
        };
        Ok(std::iter::once(app).chain((0..partition_count).map(empty)).collect())
    }

    fn drop_app(&self, name: &str, hold_seconds: u64, at: WallTime) -> Result<Vec<Change>, Refused> {
        let expires = WallTime(at.0.saturating_add(hold_seconds.saturating_mul(1000)));
        let dropped = AppStatus::Dropped { expires };
        Ok(vec![Change::App(self.existing(name)?.with(|app| app.status = dropped))])
    }

    /// Its configurations are as they were: nothing changed them meanwhile.
    fn recall_app(&self, id: AppId, new_name: Option<&str>) -> Result<Vec<Change>, Refused> {
        let app = self.apps.get(&id).ok_or(Refused::NotDropped(id))?;
        match app.status {
            AppStatus::Available => return Err(Refused::NotDropped(id)),
            AppStatus::Gone => return Err(Refused::Expired { id, name: app.info.name.clone() }),
            AppStatus::Dropped { .. } => {}
        }
        let new_name = new_name.filter(|name| *name != app.info.name);
        self.check_new_name(new_name.unwrap_or(&app.info.name))?;
        let recalled = app.with(|app| {
            app.status = AppStatus::Available;
            if let Some(name) = new_name {
                app.rename(name);
            }
        });
        Ok(vec![Change::App(recalled)])
    }

    /// Not before its time by the clock of whoever leads now, and not if it was dropped anew since.
    fn expire_app(&self, id: AppId, expires: WallTime, at: WallTime) -> Result<Vec<Change>, Refused> {
        let is_due = |app: &&AppRecord| app.status == AppStatus::Dropped { expires } && expires <= at;
        let app = self.apps.get(&id).filter(is_due).ok_or(Refused::NotExpired(id))?;
        Ok(vec![Change::App(app.with(|app| app.status = AppStatus::Gone))])
    }

    fn rename_app(&self, name: &str, new_name: &str) -> Result<Vec<Change>, Refused> {
        let app = self.existing(name)?;
        self.check_new_name(new_name)?;
        Ok(vec![Change::App(app.with(|app| app.rename(new_name)))])
    }

    fn change_envs(&self, name: &str, change: &EnvChange) -> Result<Vec<Change>, Refused> {
        let app = self.existing(name)?;
        let mut envs = app.envs.clone();
        match change {
            EnvChange::Set { key, value } => envs.set(key, value).map_err(Refused::Env)?,
            EnvChange::Remove { key } => {
                envs.remove(key).map_err(Refused::Env)?;
            }
            EnvChange::Clear => envs = AppEnvs::default(),
        }
        Ok(vec![Change::App(app.with(|app| app.envs = envs))])
    }

    fn set_replica_count(&self, name: &str, count: u32) -> Result<Vec<Change>, Refused> {
        check_replica_count(count)?;
        Ok(vec![Change::App(self.existing(name)?.with(|app| app.info.replica_count = count))])
    }

    /// The app of that name that is there now.
    fn existing(&self, name: &str) -> Result<&AppRecord, Refused> {
        self.app_named(name).ok_or_else(|| Refused::NoSuchApp(name.to_owned()))
    }

    fn check_new_name(&self, name: &str) -> Result<(), Refused> {
        check_name("an app's name", name, "._-")?;
        if self.app_named(name).is_some() {
            return Err(Refused::AppExists(name.to_owned()));
        }
        Ok(())
    }

    fn set_black_listed(&self, node: NodeId, listed: bool) -> Result<Change, Refused> {
        if !self.nodes.contains_key(&node) {
            return Err(Refused::UnknownNode(node));
        }
        let mut nodes = self.black_list.clone();
        if listed {
            nodes.insert(node)
        } else {
            nodes.remove(&node)
        };
        Ok(Change::BlackList(nodes))
    }

    fn set_drained(&self, node: NodeId, drained: bool) -> Result<Change, Refused> {
        if !self.nodes.contains_key(&node) {
            return Err(Refused::UnknownNode(node));
        }
        let mut nodes = self.drained.clone();
        if drained {
            nodes.insert(node)
        } else {
            nodes.remove(&node)
        };
        Ok(Change::Drained(nodes))
    }

    /// Whoever is named by a configuration must be known, so only who is named by none is forgotten. A dropped app
    /// can be recalled.
    fn remove_node(&self, node: NodeId) -> Result<Vec<Change>, Refused> {
        if !self.nodes.contains_key(&node) {
            return Err(Refused::UnknownNode(node));
        }
        let is_gone = |gpid: &Gpid| self.apps.get(&gpid.app).is_none_or(|app| app.status == AppStatus::Gone);
        let mut of = self.configurations.iter().filter(|(gpid, _)| !is_gone(gpid));
        if let Some((&gpid, _)) = of.find(|(_, configuration)| configuration.is_member(node)) {
            return Err(Refused::StillMember { node, gpid });
        }
        let mut changes = vec![Change::NodeRemoved(node)];
        if self.is_black_listed(node) {
            changes.push(self.set_black_listed(node, false)?);
        }
        if self.is_drained(node) {
            changes.push(self.set_drained(node, false)?);
        }
        Ok(changes)
    }

    /// Compare-and-set on the ballot (§4.1): every step of every partition's configuration passes here (S5, S6).
    fn set_configuration(&self, gpid: Gpid, next: &Configuration) -> Result<Change, Refused> {
        self.app_of(gpid).ok_or(Refused::NoSuchPartition(gpid))?;
        let current = self.configurations.get(&gpid).ok_or(Refused::NoSuchPartition(gpid))?;
        current.check_step(next).map_err(|why| Refused::IllegalStep { gpid, why })?;
        self.put_configuration(gpid, next)
    }

    /// The one step that S6 does not bind: an admin declared the loss, based on the ballot that he saw (§4.8).
    fn accept_loss(&self, gpid: Gpid, next: &Configuration) -> Result<Change, Refused> {
        self.app_of(gpid).ok_or(Refused::NoSuchPartition(gpid))?;
        let current = self.configurations.get(&gpid).ok_or(Refused::NoSuchPartition(gpid))?;
        current.check_loss(next).map_err(|why| Refused::IllegalStep { gpid, why })?;
        self.put_configuration(gpid, next)
    }

    /// Everything at once, and only into nothing (§4.9).
    fn recover(
        &self,
        apps: &[AppInfo],
        configurations: &[(Gpid, Configuration)],
        at: WallTime,
    ) -> Result<Vec<Change>, Refused> {
        if !self.apps.is_empty() {
            return Err(Refused::NotEmpty);
        }
        let mut changes = vec![];
        for info in apps {
            check_recovered_app(info)?;
            // Replicas may know a revision that is lost here: this one is above each that was ever counted to.
            let revision = at.0.max(1);
            changes.push(Change::App(AppRecord { revision, ..AppRecord::new(info.clone()) }));
        }
        for (gpid, configuration) in configurations {
            changes.push(self.put_configuration(*gpid, configuration)?);
        }
        Ok(changes)
    }

    fn put_configuration(&self, gpid: Gpid, next: &Configuration) -> Result<Change, Refused> {
        if let Some(node) = next.members().find(|node| !self.nodes.contains_key(node)) {
            return Err(Refused::UnknownNode(node));
        }
        Ok(Change::Configuration { gpid, configuration: next.clone() })
    }
}

/// Whether an app that replicas describe could have been created.
pub(crate) fn check_recovered_app(info: &AppInfo) -> Result<(), Refused> {
    check_name("an app's name", &info.name, "._-")?;
    check_name("an app's type", &info.app_type, "_")?;
    check_replica_count(info.replica_count)?;
    if (1..=MAX_PARTITIONS).contains(&info.partition_count) {
        return Ok(());
    }
    Err(Refused::PartitionCount(info.partition_count))
}

fn check_replica_count(count: u32) -> Result<(), Refused> {
    if (1..=MAX_REPLICAS).contains(&count) { Ok(()) } else { Err(Refused::ReplicaCount(count)) }
}

/// Names travel into command lines, file names and metrics: a small set of characters is safe in all of them.
fn check_name(what: &'static str, name: &str, marks: &'static str) -> Result<(), Refused> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c);
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && name.len() <= MAX_NAME_BYTES && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(Refused::Name { what, name: name.chars().take(MAX_NAME_BYTES).collect(), marks })
    }
}
