//! Rebuilding an empty meta server from what the replica servers hold (§4.9).
//!
//! Nodes that report replicas of unknown partitions are asked to describe them ([`MetaCore::on_description`]); nothing
//! else happens by itself. An operator asks for a plan, and then for it to be carried out.

use std::collections::{BTreeMap, BTreeSet};

use words::{
    AppId, AppInfo, AppTerms, Ballot, Configuration, Gpid, MetaToNode, NodeAddress, NodeId,
    ReplicaDescription, ReplicaReport, RoleName, Time,
};

use crate::operator::{Checked, forbidden};
use crate::partition::Partition;
use crate::state::check_recovered_app;
use crate::{AdminReply, Command, MetaCore, MetaOutput};

/// So far above every ballot seen does a recovered partition go on. The old meta server may have made configurations
/// durable that only a node knows that is away just now; it must find itself outdated when it returns.
const MARGIN: u64 = 1000;

/// What is known of a replica of an unknown partition.
#[derive(Clone, Debug)]
pub(crate) struct Stranger {
    pub(crate) report: ReplicaReport,
    description: Option<ReplicaDescription>,
}

/// What a recovery makes of the replicas that were reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// By number; those that are left out too.
    pub apps: Vec<PlannedApp>,
    /// What stands against it: it is refused until nothing does.
    pub obstacles: Vec<String>,
    /// Every node that is named.
    pub nodes: Vec<NodeAddress>,
}

/// An app as it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedApp {
    /// What its replicas say of it.
    pub info: AppInfo,
    /// It is left alone: the operator wants that, or it was dropped.
    pub left_out: bool,
    /// By index; those without any replica are missing.
    pub partitions: Vec<PlannedPartition>,
    /// What is doubtful about it, for people.
    pub notes: Vec<String>,
}

/// A partition as it is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPartition {
    /// The partition.
    pub gpid: Gpid,
    /// The highest ballot that was reported.
    pub highest: Ballot,
    /// How it goes on; `None` if nobody has a copy that can be trusted.
    pub configuration: Option<Configuration>,
    /// Everybody who can have acted is here, so nothing is lost (§4.9).
    pub certain: bool,
    /// What is doubtful about it, for people.
    pub notes: Vec<String>,
}

impl RecoveryPlan {
    /// Partitions that may lose something.
    fn uncertain(&self) -> usize {
        let planned = self.apps.iter().filter(|app| !app.left_out).flat_map(|app| &app.partitions);
        planned.filter(|partition| !partition.certain).count()
    }

    fn command(&self) -> Command {
        let apps = self.apps.iter().filter(|app| !app.left_out);
        let configurations = apps.clone().flat_map(|app| &app.partitions).filter_map(|partition| {
            partition.configuration.clone().map(|configuration| (partition.gpid, configuration))
        });
        Command::Recover {
            configurations: configurations.collect(),
            apps: apps.map(|app| app.info.clone()).collect(),
        }
    }
}

impl Stranger {
    /// What the node said of it, if it said that of the replica as it is now.
    fn description(&self) -> Option<&ReplicaDescription> {
        self.description.as_ref().filter(|said| said.report.ballot == self.report.ballot)
    }

    fn is_trusted(&self) -> bool {
        self.report.role != RoleName::Error
    }

    /// The configuration of its ballot with all members. One that came with a prepare names the primary only, so
    /// only that of somebody who finds itself in it is whole.
    fn whole_configuration(&self, node: NodeId) -> Option<&Configuration> {
        let configuration = &self.description()?.configuration;
        let leads = self.report.role == RoleName::Primary && configuration.primary == Some(node);
        (leads || configuration.secondaries.contains(&node)).then_some(configuration)
    }

    /// Who has most, where it is not known who was a member: first who knows the highest ballot, then who surely
    /// equals the primary of that ballot furthest.
    fn evidence(&self) -> impl Ord + use<> {
        let confirmed = self.description().map(|said| said.confirmed).unwrap_or_default();
        (self.report.ballot, confirmed, self.report.last_committed, self.report.last_prepared)
    }
}

type Held = BTreeMap<NodeId, Stranger>;

impl MetaCore {
    /// A node has a replica of a partition that nobody here ever heard of. It stays where it is: this may be the wrong
    /// meta server, or have lost its state (PITFALLS 37). What else the node knows of it is asked for.
    pub(crate) fn on_stranger(&mut self, node: NodeId, report: ReplicaReport, out: &mut MetaOutput) {
        let gpid = report.gpid;
        let held = self.strangers.entry(gpid).or_default();
        let description = held.remove(&node).and_then(|known| known.description);
        let stranger = Stranger { report, description };
        let is_news = stranger.description().is_none();
        held.insert(node, stranger);
        if let Some(session) = self.nodes.session_of(node).filter(|_| is_news) {
            out.send.push((session, MetaToNode::Describe { gpid }));
        }
    }

    /// A node does not have that replica any more.
    pub(crate) fn no_stranger(&mut self, gpid: Gpid, node: NodeId) {
        let Some(held) = self.strangers.get_mut(&gpid) else { return };
        held.remove(&node);
        if held.is_empty() {
            self.strangers.remove(&gpid);
        }
    }

    pub(crate) fn on_description(&mut self, node: NodeId, description: ReplicaDescription) {
        let held = self.strangers.get_mut(&description.report.gpid);
        if let Some(stranger) = held.and_then(|held| held.get_mut(&node)) {
            stranger.description = Some(description);
        }
    }

    /// New apps would get the numbers of those that nodes hold replicas of.
    pub(crate) fn check_no_strangers(&self) -> Checked<()> {
        let last = self.state.apps().map(|app| app.info.id).max().unwrap_or_default();
        match self.strangers.keys().map(|gpid| gpid.app).max().filter(|&app| app > last) {
            None => Ok(()),
            Some(app) => Err(forbidden(format!(
                "nodes hold replicas of app {app}, which this meta server does not know; if it lost its state, \
                 `admin recover --dry-run` shows what can be brought back (`admin ddd` lists the replicas)"
            ))),
        }
    }

    /// A plan, and whether it may be carried out.
    pub(crate) fn plan_recovery(&self, leave_out: &[String]) -> Checked<RecoveryPlan> {
        if let Some(app) = self.state.apps().next() {
            return Err(forbidden(format!(
                "this meta server is not empty, it knows app `{}`; only one that lost all of its state is rebuilt",
                app.info.name
            )));
        }
        if self.strangers.is_empty() {
            return Err(forbidden(
                "no node has reported a replica; start the replica servers, then `admin nodes` shows them"
                    .to_owned(),
            ));
        }
        let mut plan = RecoveryPlan::default();
        let ids: BTreeSet<AppId> = self.strangers.keys().map(|gpid| gpid.app).collect();
        for id in ids {
            let app = self.plan_app(id, leave_out, &mut plan.obstacles);
            plan.apps.push(app);
        }
        check_names(&mut plan);
        for given in leave_out {
            if !plan.apps.iter().any(|app| app.left_out && is_called(&app.info, given)) {
                plan.obstacles.push(format!("no app `{given}` to leave out"));
            }
        }
        if plan.apps.iter().all(|app| app.left_out) {
            plan.obstacles.push("every app is left out, so there is nothing to recover".to_owned());
        }
        let named = self.strangers.values().flat_map(BTreeMap::keys).copied().collect();
        plan.nodes = self.addresses(&named);
        let notes = plan.apps.iter_mut().flat_map(|app| {
            app.notes.iter_mut().chain(app.partitions.iter_mut().flat_map(|partition| &mut partition.notes))
        });
        for text in notes.chain(&mut plan.obstacles) {
            *text = self.state.with_names(text);
        }
        Ok(plan)
    }

    fn plan_app(&self, id: AppId, leave_out: &[String], obstacles: &mut Vec<String>) -> PlannedApp {
        let first = Gpid { app: id, partition: 0 };
        let of_app = || self.strangers.range(first..).take_while(|(gpid, _)| gpid.app == id);
        let (info, dropped, notes) = agree_on_app(id, of_app().flat_map(|(_, held)| held.values()));
        let left_out = dropped || leave_out.iter().any(|given| is_called(&info, given));
        let partitions: Vec<PlannedPartition> =
            of_app().map(|(&gpid, held)| self.plan_partition(gpid, held)).collect();
        if !left_out {
            let missing: Vec<String> = info
                .gpids()
                .filter(|gpid| !partitions.iter().any(|p| p.gpid == *gpid && p.configuration.is_some()))
                .map(|gpid| gpid.to_string())
                .collect();
            if !missing.is_empty() {
                obstacles.push(format!(
                    "nobody has reported a copy of {} that can be trusted; start the servers that have one, or leave \
                     the app out (--leave-out {})",
                    missing.join(", "),
                    info.name
                ));
            }
            if let Err(refused) = check_recovered_app(&info) {
                obstacles.push(format!("what the replicas of app {id} say of it makes no sense: {refused}"));
            }
            let surplus = partitions.iter().find(|p| p.gpid.partition >= info.partition_count);
            if let Some(surplus) = surplus {
                obstacles.push(format!(
                    "app {id} has {} partitions, and there is {}",
                    info.partition_count, surplus.gpid
                ));
            }
        }
        PlannedApp { info, left_out, partitions, notes }
    }

    fn plan_partition(&self, gpid: Gpid, held: &Held) -> PlannedPartition {
        let is_here = |node: NodeId| self.nodes.get(node).is_some_and(|entry| entry.reported.is_some());
        let here: Vec<(NodeId, &Stranger)> = held
            .iter()
            .filter(|&(&node, _)| is_here(node))
            .map(|(&node, stranger)| (node, stranger))
            .collect();
        let highest = held.values().map(|stranger| stranger.report.ballot).max().unwrap_or_default();
        let mut notes = vec![];
        let broken = here.iter().filter(|(_, stranger)| !stranger.is_trusted());
        notes.extend(broken.map(|(node, _)| format!("the replica on {node} can't be trusted")));
        let silent = here.iter().filter(|(_, stranger)| stranger.description().is_none());
        notes.extend(silent.map(|(node, _)| format!("{node} has not described its replica yet; ask again")));

        let whole = here.iter().filter_map(|&(node, stranger)| {
            let is_primarys = stranger.report.role == RoleName::Primary;
            Some((is_primarys, stranger.whole_configuration(node).filter(|last| last.ballot == highest)?))
        });
        // Only the primary knows whom it proposed to add.
        let last = whole.max_by_key(|&(is_primarys, _)| is_primarys);
        let ballot = Ballot(highest.0 + MARGIN);
        let trusted =
            |node: NodeId| here.iter().any(|(here, stranger)| *here == node && stranger.is_trusted());
        match last {
            Some((certain, last)) if last.members().all(trusted) => {
                if !certain {
                    notes.push(format!(
                        "the primary of {last} does not lead any more: whom it proposed to add may have acted since"
                    ));
                }
                let configuration = Some(Configuration { ballot, ..last.clone() });
                return PlannedPartition { gpid, highest, configuration, certain, notes };
            }
            Some((_, last)) => {
                let missing: Vec<String> =
                    last.members().filter(|&node| !trusted(node)).map(|node| node.to_string()).collect();
                notes.push(format!(
                    "of the last known members {last} there is no sound copy on {}",
                    missing.join(", ")
                ));
            }
            None => {
                notes.push("no node that is here remembers who the members were".to_owned());
            }
        }
        let best = here.iter().filter(|(_, stranger)| stranger.is_trusted());
        let best = best.max_by_key(|(node, stranger)| (stranger.evidence(), std::cmp::Reverse(*node)));
        let configuration =
            best.map(|&(node, _)| Configuration { ballot, primary: Some(node), secondaries: vec![] });
        PlannedPartition { gpid, highest, configuration, certain: false, notes }
    }

    /// The command that carries the plan out, if nothing stands against it.
    pub(crate) fn check_recovery(&self, leave_out: &[String], others_are_stopped: bool) -> Checked<Command> {
        let plan = self.plan_recovery(leave_out)?;
        if let Some((obstacle, others)) = plan.obstacles.split_first() {
            let more = if others.is_empty() {
                String::new()
            } else {
                format!(" ({} more: --dry-run)", others.len())
            };
            return Err(forbidden(format!("{obstacle}{more}")));
        }
        let uncertain = plan.uncertain();
        if uncertain > 0 && !others_are_stopped {
            return Err(forbidden(format!(
                "{uncertain} partitions may lose what only servers that are not here have (--dry-run names them); \
                 start those, or state that they are stopped for good (--the-others-are-stopped)"
            )));
        }
        Ok(plan.command())
    }

    /// A recovery is durable: what was reported counts from now on, and every member is told.
    pub(crate) fn recovered(
        &mut self,
        now: Time,
        configurations: &[(Gpid, Configuration)],
        out: &mut MetaOutput,
    ) -> AdminReply {
        for (gpid, configuration) in configurations {
            let held = self.strangers.remove(gpid).unwrap_or_default();
            let reports = held.into_iter().map(|(node, stranger)| (node, stranger.report)).collect();
            self.partitions.insert(*gpid, Partition { changed: now, reports, ..Partition::default() });
            self.nodes.reconfigured(*gpid, &Configuration::default(), configuration);
            for node in configuration.members() {
                self.tell(*gpid, node, out);
            }
            self.dirty.insert(*gpid);
        }
        let apps = self.state.apps().count();
        AdminReply::Accepted(format!("{apps} apps with {} partitions are known again", configurations.len()))
    }
}

fn is_called(info: &AppInfo, given: &str) -> bool {
    info.name == given || info.id.to_string() == given
}

/// Two apps of one name are one that was dropped, or two clusters.
fn check_names(plan: &mut RecoveryPlan) {
    let mut names: BTreeMap<&str, AppId> = BTreeMap::new();
    for app in plan.apps.iter().filter(|app| !app.left_out) {
        if let Some(other) = names.insert(&app.info.name, app.info.id) {
            plan.obstacles.push(format!(
                "apps {other} and {} are both called `{}`: one of them may have been dropped; leave it out \
                 (--leave-out NUMBER)",
                app.info.id, app.info.name
            ));
        }
    }
}

/// What the replicas of an app say of it, and whether it was dropped. The newest word counts; of equally new ones, what
/// most say: after a restart a server knows an app as it was when the replica was made.
fn agree_on_app<'a>(id: AppId, held: impl Iterator<Item = &'a Stranger>) -> (AppInfo, bool, Vec<String>) {
    let mut said: Vec<(usize, &AppInfo, &AppTerms)> = vec![];
    for stranger in held.filter(|stranger| stranger.is_trusted()) {
        let Some(ReplicaDescription { app, terms, .. }) = stranger.description() else { continue };
        match said.iter_mut().find(|(_, known, on)| (*known, *on) == (app, terms)) {
            Some((times, ..)) => *times += 1,
            None => said.push((1, app, terms)),
        }
    }
    said.sort_by_key(|&(times, _, terms)| std::cmp::Reverse((terms.revision, times)));
    let Some((_, info, terms)) = said.first() else {
        return (AppInfo { id, ..AppInfo::default() }, false, vec![]);
    };
    let different = said.iter().skip(1).filter(|(_, other, _)| other != info);
    let mut notes: Vec<String> = different
        .map(|(times, other, _)| {
            format!(
                "{times} replicas say something else: `{}`, type {}, {} partitions, {} replicas",
                other.name, other.app_type, other.partition_count, other.replica_count
            )
        })
        .collect();
    if terms.dropped {
        notes.push("it was dropped; its replicas are left alone".to_owned());
    }
    (AppInfo { id, ..(*info).clone() }, terms.dropped, notes)
}
