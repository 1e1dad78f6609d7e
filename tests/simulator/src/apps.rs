//! The apps of a run: created at different times, dropped, created anew, given another number of replicas.

use std::time::Duration;

use meta_core::AdminRequest;
use words::{AppInfo, Gpid};

use crate::machine::APP_TYPE;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// How long an operator waits before asking again for what is not so yet.
const AGAIN: Duration = Duration::from_millis(500);

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
        self.put(crate::clock::Moment(1_000_000), Happening::WantApp { app: 0 });
        for (index, more) in self.plan.more_apps.clone().into_iter().enumerate() {
            self.apps.push(WantedApp::new(index + 1, more.partitions, more.replicas));
            let at = crate::clock::Moment::default() + more.at;
            self.put(at, Happening::WantApp { app: index + 1 });
        }
    }

    /// An operator wants an app to be there, and asks until it is.
    pub(crate) fn on_want_app(&mut self, app: usize) -> Checked {
        let WantedApp { name, partitions, replicas, exists } = self.apps[app].clone();
        if !exists || self.is_there(app) {
            return Ok(());
        }
        if app == 0 || self.meta.durable.apps().next().is_some() {
            let app_type = APP_TYPE.to_owned();
            let (partition_count, replica_count) = (partitions, replicas);
            self.ask_meta(AdminRequest::CreateApp { name, app_type, partition_count, replica_count });
        }
        self.put(self.now + AGAIN, Happening::WantApp { app });
        self.truth.verdict()
    }

    /// An operator drops one of the apps that are there, and creates it anew later.
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

    /// An operator wants an app to be gone, asks until it is, and then wants another one of that name.
    pub(crate) fn on_drop_app(&mut self, app: usize) -> Checked {
        if self.is_there(app) {
            let name = self.apps[app].name.clone();
            self.ask_meta(AdminRequest::DropApp { name });
            self.put(self.now + AGAIN, Happening::DropApp { app });
        } else {
            self.apps[app].exists = true;
            self.apps[app].partitions = self.dice.between(1, 2) as u32;
            let at = self.now + Duration::from_millis(self.dice.between(0, 3_000));
            self.put(at, Happening::WantApp { app });
        }
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
        let gpids: Vec<Gpid> =
            (0..info.partition_count).map(|partition| Gpid { app: info.id, partition }).collect();
        let new: Vec<Gpid> = gpids.into_iter().filter(|gpid| !self.gpids.contains(gpid)).collect();
        trace!(self, "operator", "`{}` is there, {} partitions", info.name, info.partition_count);
        if info.id.0 > 1 {
            self.tally.note(Sometimes::AnotherApp);
        }
        self.gpids.extend(&new);
        self.begin_clients(&new, new.len());
        self.ending.want(&new);
    }

    /// An app is durably gone: its partitions leave the checks, and its data must go.
    pub(crate) fn on_app_dropped(&mut self, info: &AppInfo) {
        trace!(self, "operator", "`{}` is dropped", info.name);
        self.tally.note(Sometimes::AppDropped);
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
