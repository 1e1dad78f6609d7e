//! What follows when an app was created, dropped, recalled or changed in another way: who is told, and when a
//! dropped one is gone for good.

use std::collections::BTreeSet;
use std::time::Duration;

use words::{AppId, AppInfo, Configuration, NodeId, Time};

use crate::partition::Partition;
use crate::{AdminReply, AppStatus, Command, Level, MetaCore, MetaOutput, MetaState, WallTime};

/// Between two questions whether an app has expired, at least: clocks of the day can be set back.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Dropped apps that can still be recalled.
pub(crate) fn dropped_apps(state: &MetaState) -> impl Iterator<Item = AppId> {
    let is_dropped = |status| matches!(status, AppStatus::Dropped { .. });
    state.apps().filter(move |app| is_dropped(app.status)).map(|app| app.info.id)
}

impl MetaCore {
    pub(crate) fn app_created(&mut self, name: &str, now: Time) -> AdminReply {
        let info = self.state.app_named(name).expect("it was just created").info.clone();
        for gpid in info.gpids() {
            self.partitions.insert(gpid, Partition { changed: now, ..Partition::default() });
            self.dirty.insert(gpid);
        }
        AdminReply::Created(info)
    }

    /// Members are told: how many replicas are enough for a write depends on how many there should be (§3.6).
    pub(crate) fn replica_count_set(&mut self, name: &str, count: u32, out: &mut MetaOutput) -> AdminReply {
        let app = self.state.app_named(name).expect("it was just changed").info.clone();
        self.tell_members(&app, out);
        self.dirty.extend(app.gpids());
        AdminReply::Accepted(format!("`{name}`: each partition gets {count} replicas"))
    }

    /// The replicas of a dropped app stay, and serve nobody: members are told now, others when they report.
    pub(crate) fn app_dropped(
        &mut self,
        now: Time,
        at: WallTime,
        id: Option<AppId>,
        out: &mut MetaOutput,
    ) -> AdminReply {
        let record = id.and_then(|id| self.state.app(id)).expect("it was just dropped");
        let AppStatus::Dropped { expires } = record.status else { unreachable!("it was just dropped") };
        let app = record.info.clone();
        self.balancer.changed();
        for gpid in app.gpids() {
            let Some(holds) = self.state.configuration(gpid) else { continue };
            let Some(partition) = self.partitions.get_mut(&gpid) else { continue };
            let counted = partition.pending.as_ref().unwrap_or(holds);
            self.nodes.reconfigured(gpid, counted, &Configuration::default());
            if let Some(entry) = partition.adding.take().and_then(|adding| self.nodes.get_mut(adding.node)) {
                entry.joining.remove(&gpid);
            }
            partition.plan.clear();
            self.starving.remove(&gpid);
        }
        self.tell_members(&app, out);
        self.expire_later(now, at, app.id, Duration::ZERO);
        AdminReply::Dropped { app, expires }
    }

    /// Everything is as it was when it was dropped, the configurations above all; members go on as after a restart,
    /// and who has lost its data meanwhile says so (§4.8).
    pub(crate) fn app_recalled(&mut self, now: Time, id: AppId, out: &mut MetaOutput) -> AdminReply {
        let app = self.state.app(id).expect("it was just recalled").info.clone();
        self.expiries.remove(&id);
        self.balancer.changed();
        for gpid in app.gpids() {
            let Some(holds) = self.state.configuration(gpid) else { continue };
            let Some(partition) = self.partitions.get_mut(&gpid) else { continue };
            let counted = partition.pending.as_ref().unwrap_or(holds);
            self.nodes.reconfigured(gpid, &Configuration::default(), counted);
            partition.changed = now;
            self.dirty.insert(gpid);
        }
        self.tell_members(&app, out);
        AdminReply::Recalled(app)
    }

    pub(crate) fn app_renamed(&mut self, name: &str, new_name: &str, out: &mut MetaOutput) -> AdminReply {
        let app = self.state.app_named(new_name).expect("it was just renamed").info.clone();
        self.tell_members(&app, out);
        AdminReply::Accepted(format!("`{name}` is called `{new_name}` now"))
    }

    pub(crate) fn envs_changed(&mut self, name: &str, out: &mut MetaOutput) -> AdminReply {
        let app = self.state.app_named(name).expect("it was just changed");
        let (info, envs) = (app.info.clone(), app.envs.clone());
        self.tell_members(&info, out);
        AdminReply::Envs(envs)
    }

    /// It can't be recalled any more: the replicas that are known are collected now, others as they are reported.
    pub(crate) fn app_expired(&mut self, id: AppId, out: &mut MetaOutput) {
        self.expiries.remove(&id);
        let app = self.state.app(id).expect("it has just expired").info.clone();
        for gpid in app.gpids() {
            let members = self.state.configuration(gpid).into_iter().flat_map(Configuration::members);
            let reported = self.partitions.get(&gpid).into_iter().flat_map(|p| p.reports.keys().copied());
            let nodes: BTreeSet<NodeId> = members.chain(reported).collect();
            for node in nodes {
                self.collect(gpid, node, out);
            }
        }
    }

    /// Only a command learns the time of day. So whoever begins to lead asks once for each dropped app, hears how
    /// late it is, and asks again when it is time.
    pub(crate) fn expire_later(&mut self, now: Time, at: WallTime, id: AppId, at_least: Duration) {
        match self.state.app(id).map(|app| app.status) {
            Some(AppStatus::Dropped { expires }) => {
                let left = Duration::from_millis(expires.0.saturating_sub(at.0));
                self.expiries.insert(id, now + left.max(at_least));
            }
            _ => {
                self.expiries.remove(&id);
            }
        }
    }

    pub(crate) fn expire_apps(&mut self, now: Time, out: &mut MetaOutput) {
        let due = self.expiries.iter().filter(|&(_, &time)| time <= now);
        for id in due.map(|(&id, _)| id).collect::<Vec<_>>() {
            let status = self.state.app(id).map(|app| app.status);
            // Nothing is changed when all is stopped.
            let Some(AppStatus::Dropped { expires }) = status.filter(|_| self.level() > Level::Stopped)
            else {
                self.expiries.insert(id, now + ASK_AGAIN);
                continue;
            };
            self.expiries.insert(id, Time::NEVER);
            self.commit(Command::ExpireApp { id, expires }, None, out);
        }
    }

    pub(crate) fn next_expiry(&self) -> Time {
        self.expiries.values().copied().min().unwrap_or(Time::NEVER)
    }

    /// Members are told what holds of each partition, the app and its terms with it.
    fn tell_members(&mut self, app: &AppInfo, out: &mut MetaOutput) {
        for gpid in app.gpids() {
            let members: Vec<NodeId> =
                self.state.configuration(gpid).into_iter().flat_map(Configuration::members).collect();
            for node in members {
                self.tell(gpid, node, out);
            }
        }
    }
}
