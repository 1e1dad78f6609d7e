//! The apps of a run: created at different times, dropped, created anew, given another number of replicas.

use std::time::Duration;

use meta_core::{AdminRequest, AppRecord, AppStatus, EnvChange};
use words::{AppEnvs, AppId, AppInfo, Gpid};

use crate::clock::Moment;
use crate::machine::APP_TYPE;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How long an operator waits before asking again for what is not so yet.
const AGAIN: Duration = Duration::from_millis(500);

/// What operators set for apps; the last ones make no sense.
const ENVS: [(&str, &str); 10] = [
    ("replica.write_throttling", "20*delay*50"),
    ("replica.write_throttling", "3*reject*20"),
    ("replica.write_throttling", "2*delay*300,10*reject*100"),
    ("replica.write_throttling_by_size", "1K*delay*100,2K*reject*0"),
    ("replica.deny_client_request", "reject*write"),
    ("replica.deny_client_request", "timeout*read"),
    ("replica.deny_client_request", "reconfig*all"),
    ("replica.deny_client_request", "timeout*write"),
    ("replica.deny_client_request", "everything"),
    ("replica.nothing", "1"),
];

/// One app, as operators want it.
#[derive(Clone, Debug)]
pub(crate) struct WantedApp {
    name: String,
    partitions: u32,
    replicas: u32,
    /// Whether it shall be there.
    exists: bool,
}

impl WantedApp {
    pub(crate) fn new(index: usize, partitions: u32, replicas: u32) -> Self {
        Self { name: format!("{APP_TYPE}.instance{index}"), partitions, replicas, exists: true }
    }
}

impl World<'_> {
    /// Every app, and when an operator first asks for it. The first one gets number 1, so its partitions are
    /// known beforehand.
    pub(crate) fn begin_apps(&mut self) {
        self.apps.push(WantedApp::new(0, self.plan.partitions, self.plan.replicas));
        self.put(Moment(1_000_000), Happening::WantApp { app: 0 });
        for (index, more) in self.plan.more_apps.clone().into_iter().enumerate() {
            self.apps.push(WantedApp::new(index + 1, more.partitions, more.replicas));
            let at = Moment::default() + more.at;
            self.put(at, Happening::WantApp { app: index + 1 });
        }
    }

    /// An operator wants an app to be there, and asks until it is.
    pub(crate) fn on_want_app(&mut self, app: usize) -> Checked {
        let WantedApp { name, partitions, replicas, exists } = self.apps[app].clone();
        if !exists || self.is_there(app) {
            return Ok(());
        }
        let is_new = self.meta.durable.apps().next().is_none();
        if app == 0 || !is_new {
            let app_type = APP_TYPE.to_owned();
            let (partition_count, replica_count) = (partitions, replicas);
            // A cluster comes with its first app, or gets it from an operator.
            let request = if is_new && self.seed % 2 == 1 {
                AdminRequest::CreateFirstApp { name, app_type, partition_count, replica_count }
            } else {
                AdminRequest::CreateApp { name, app_type, partition_count, replica_count }
            };
            self.ask_meta(request);
        }
        self.put(self.now + AGAIN, Happening::WantApp { app });
        self.truth.verdict()
    }

    /// An operator drops one of the apps that are there, and recalls it or creates another one of that name later.
    pub(crate) fn drop_something(&mut self) {
        let there: Vec<usize> =
            (0..self.apps.len()).filter(|&app| self.apps[app].exists && self.is_there(app)).collect();
        if there.is_empty() {
            return;
        }
        let app = self.dice.pick(&there);
        self.apps[app].exists = false;
        self.put(self.now, Happening::DropApp { app });
    }

    fn is_there(&self, app: usize) -> bool {
        self.meta.durable.app_named(&self.apps[app].name).is_some()
    }

    /// An operator wants an app to be dropped, asks until it is, and then wants it back, or another one of that name.
    pub(crate) fn on_drop_app(&mut self, app: usize) -> Checked {
        let name = self.apps[app].name.clone();
        if self.is_there(app) {
            let hold_seconds = Some(self.dice.pick(&[0, 1, 3, 6]));
            self.ask_meta(AdminRequest::DropApp { name, hold_seconds });
            self.put(self.now + AGAIN, Happening::DropApp { app });
            return self.truth.verdict();
        }
        let newest = self.meta.durable.apps().filter(|record| record.info.name == name).last();
        let newest = newest.map(|record| record.info.id);
        let at = self.now + Duration::from_millis(self.dice.between(0, 3_000));
        match newest.filter(|_| self.dice.permille(500)) {
            Some(id) => self.put(at, Happening::RecallApp { app, id }),
            None => self.want_anew(app, at),
        }
        self.truth.verdict()
    }

    fn want_anew(&mut self, app: usize, at: Moment) {
        self.apps[app].exists = true;
        self.apps[app].partitions = self.dice.between(1, 2) as u32;
        self.put(at, Happening::WantApp { app });
    }

    /// An operator wants a dropped app back, and asks until it is there or gone for good.
    pub(crate) fn on_recall_app(&mut self, app: usize, id: AppId) -> Checked {
        match self.meta.durable.app(id).map(|record| record.status) {
            Some(AppStatus::Dropped { .. }) => {
                self.ask_meta(AdminRequest::RecallApp { id, new_name: None });
                self.put(self.now + AGAIN, Happening::RecallApp { app, id });
            }
            Some(AppStatus::Available) => self.apps[app].exists = true,
            Some(AppStatus::Gone) | None => self.want_anew(app, self.now),
        }
        self.truth.verdict()
    }

    /// An operator sets something for an app, or nothing any more; sometimes what makes no sense.
    pub(crate) fn change_envs(&mut self) {
        let app = self.dice.index(self.apps.len());
        let name = self.apps[app].name.clone();
        let (key, value) = self.dice.pick(&ENVS);
        let change = match self.dice.index(5) {
            0 => EnvChange::Clear,
            1 => EnvChange::Remove { key: key.to_owned() },
            _ => EnvChange::Set { key: key.to_owned(), value: value.to_owned() },
        };
        trace!(self, "operator", "{change:?} for {name}");
        self.ask_meta(AdminRequest::ChangeEnvs { name, change });
    }

    /// When nothing goes wrong any more nobody is slowed down or denied either. An operator looks again and again: what
    /// was asked for before may become so only now, and an app that is recalled has what it had.
    pub(crate) fn on_clear_envs(&mut self, app: usize) -> Checked {
        let name = self.apps[app].name.clone();
        let record = self.meta.durable.app_named(&name);
        if record.is_some_and(|record| record.envs != AppEnvs::default()) {
            self.ask_meta(AdminRequest::ChangeEnvs { name, change: EnvChange::Clear });
        }
        self.put(self.now + AGAIN, Happening::ClearEnvs { app });
        self.truth.verdict()
    }

    /// An operator wants another number of replicas; sometimes one that makes no sense.
    pub(crate) fn change_replica_count(&mut self) {
        let app = self.dice.index(self.apps.len());
        let name = self.apps[app].name.clone();
        let count = self.dice.pick(&[1, 2, 2, 3, 3, 4, 5, 0, 10]);
        trace!(self, "operator", "{count} replicas for {name}");
        self.ask_meta(AdminRequest::SetReplicaCount { name, count });
    }

    /// An app is durably there: its partitions are checked, and clients come.
    pub(crate) fn on_app_created(&mut self, info: &AppInfo) {
        let new: Vec<Gpid> = info.gpids().filter(|gpid| !self.gpids.contains(gpid)).collect();
        trace!(self, "operator", "`{}` is there, {} partitions", info.name, info.partition_count);
        if info.id.0 > 1 {
            self.tally.note(Sometimes::AnotherApp);
        }
        self.gpids.extend(&new);
        self.begin_clients(&new, new.len());
        self.ending.want(&new);
    }

    /// An app is durably gone: its partitions leave the checks, and its data must go.
    pub(crate) fn on_app_gone(&mut self, info: &AppInfo) {
        trace!(self, "operator", "`{}` is gone", info.name);
        self.tally.note(Sometimes::AppGone);
        let (gone, kept) = self.gpids.drain(..).partition(|gpid| gpid.app == info.id);
        self.gpids = kept;
        for &gpid in &gone {
            self.truth.drop_partition(gpid);
        }
        self.dropped.extend::<Vec<Gpid>>(gone);
    }

    /// What keeps an app from being as operators want it.
    pub(crate) fn complaint_about_apps(&self) -> Option<String> {
        let unwanted = (0..self.apps.len()).find(|&app| self.apps[app].exists != self.is_there(app));
        if let Some(app) = unwanted {
            return Some(format!("`{}` is not as it is wanted", self.apps[app].name));
        }
        let is_held = |record: &&AppRecord| matches!(record.status, AppStatus::Dropped { .. });
        if let Some(record) = self.meta.durable.apps().find(is_held) {
            return Some(format!("app {} was dropped and has not expired", record.info.id));
        }
        let is_slowed =
            |record: &&AppRecord| record.status == AppStatus::Available && record.envs != AppEnvs::default();
        if let Some(record) = self.meta.durable.apps().find(is_slowed) {
            return Some(format!("`{}` still has an environment", record.info.name));
        }
        let holds = |gpid: &&Gpid| {
            self.machines.iter().find(|machine| {
                machine.process.as_ref().is_some_and(|process| process.core.replica(**gpid).is_some())
                    || machine.process.is_some() && machine.disk.apps.contains_key(gpid)
            })
        };
        let left = self.dropped.iter().find_map(|gpid| Some((gpid, holds(&gpid)?.disk.node)));
        left.map(|(gpid, node)| format!("{gpid} was dropped, and is still on {node}"))
    }

    /// A partition that is there, by chance.
    pub(crate) fn some_partition(&mut self) -> Option<Gpid> {
        if self.gpids.is_empty() { None } else { Some(self.dice.pick(&self.gpids)) }
    }
}
