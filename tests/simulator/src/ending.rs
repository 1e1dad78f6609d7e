//! After the last fault: the cluster must recover by itself, within a bounded time (L1).

use std::collections::BTreeMap;
use std::time::Duration;

use replicated_app::ReplicatedApp;
use words::{Configuration, Decree, Gpid, NodeId, RoleName};

use crate::clock::Moment;
use crate::sometimes::Sometimes;
use crate::violation::{Checked, Violation, check};
use crate::world::{Happening, World, trace};

/// How long recovery may take, and then how long until all is equal. Of 4,000 seeds the slowest took 7.1 s. What can
/// come together: a member is found dead (1.5 s), a meta server that was away waits for those that it misses (3 s),
/// and learning fails twice by its longest timeout (5 s each). Everybody who joins may take as long: a partition may
/// have got far while it had one member, and who learns all that from the log, in small pieces, takes a while.
pub(crate) const RECOVERY: Duration = Duration::from_secs(20);

/// How far recovery has come.
pub(crate) struct Ending {
    began: Option<Moment>,
    /// The most members that all partitions together had since then, and since when.
    members: (usize, Moment),
    /// Whether each partition served a write and a read that began after the last fault.
    served: BTreeMap<Gpid, (bool, bool)>,
    /// Since when all is served and whole.
    quiet: Option<Moment>,
    over: bool,
}

impl Ending {
    pub(crate) fn new(gpids: &[Gpid]) -> Self {
        Self {
            began: None,
            members: (0, Moment::default()),
            served: gpids.iter().map(|&gpid| (gpid, (false, false))).collect(),
            quiet: None,
            over: false,
        }
    }

    /// These partitions are to serve, too.
    pub(crate) fn want(&mut self, gpids: &[Gpid]) {
        for &gpid in gpids {
            self.served.entry(gpid).or_default();
        }
    }

    pub(crate) fn begin(&mut self, now: Moment) {
        self.began = Some(now);
        self.members = (0, now);
    }

    fn has_members(&mut self, members: usize, now: Moment) {
        if members > self.members.0 {
            self.members = (members, now);
        }
    }

    /// How long it took until all was served and whole, or has taken until now.
    pub(crate) fn took(&self, now: Moment) -> Duration {
        self.began.map_or(Duration::ZERO, |began| self.quiet.unwrap_or(now) - began)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Clients begin nothing new.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.is_some()
    }

    /// An operation that began at `began` was answered.
    pub(crate) fn served(&mut self, gpid: Gpid, is_read: bool, began: Moment) {
        if self.began.is_some_and(|calm| began >= calm) {
            let (write, read) = self.served.entry(gpid).or_default();
            if is_read { *read = true } else { *write = true }
        }
    }

    /// What a partition has still to show: a read (`true`) or a write.
    pub(crate) fn wanted(&self, gpid: Gpid) -> Option<bool> {
        self.began?;
        match self.served.get(&gpid) {
            Some((false, _)) => Some(false),
            Some((true, false)) => Some(true),
            _ => None,
        }
    }
}

impl World<'_> {
    /// Looks whether everybody is well.
    pub(crate) fn on_visit(&mut self) -> Checked {
        self.lift_policies();
        let mut complaint = self.complaint_about_apps();
        for gpid in self.gpids.clone() {
            if complaint.is_none() && self.can_live(gpid) {
                complaint = self.complaint(gpid)?.map(|what| format!("{gpid} {what}"));
            }
        }
        if complaint.is_none() && self.ending.is_quiet() {
            complaint = self.complaint_about_logs();
        }
        if complaint.is_none() && self.ending.is_quiet() {
            complaint = self.complaint_about_balance();
        }
        let members = |&gpid: &Gpid| self.meta.configuration(gpid).map_or(0, |it| it.members().count());
        self.ending.has_members(self.gpids.iter().map(members).sum(), self.now);
        let since = self.ending.quiet.unwrap_or(self.ending.members.1);
        match complaint {
            None if self.ending.is_quiet() => {
                self.compare_bytes()?;
                if self.plan.meta.balancer_moves_in_flight > 0 {
                    self.tally.note(Sometimes::Balanced);
                }
                self.ending.over = true;
            }
            // All is served and whole: what is under way ends, then all must be equal.
            None => self.ending.quiet = Some(self.now),
            Some(what) if self.now - since > RECOVERY => {
                return Err(Violation {
                    rule: "L1",
                    what: format!("after {RECOVERY:?} without a fault, and without a new member, {what}"),
                });
            }
            Some(what) => trace!(self, "visit", "{what}"),
        }
        self.put(self.now + Duration::from_millis(250), Happening::Visit);
        Ok(())
    }

    /// Whether a member of the last configuration has its data; what all have lost stays lost (§4.8).
    pub(crate) fn can_live(&self, gpid: Gpid) -> bool {
        match self.meta.configuration(gpid) {
            Some(configuration) if !configuration.is_empty() => {
                configuration.members().any(|node| self.has_data(node, gpid))
            }
            _ => true,
        }
    }

    fn complaint(&self, gpid: Gpid) -> Result<Option<String>, Violation> {
        if let Some(what) = self.unhealthy(gpid) {
            return Ok(Some(what));
        }
        if !self.ending.is_quiet() {
            return Ok(match self.ending.served.get(&gpid) {
                Some((true, true)) => None,
                Some((true, false)) => Some("serves no read".to_owned()),
                _ => Some("serves no write".to_owned()),
            });
        }
        if !self.running.is_empty() {
            return Ok(Some("has operations under way".to_owned()));
        }
        self.unequal(gpid)
    }

    /// Whether a partition does not have all the members that it should have.
    pub(crate) fn unhealthy(&self, gpid: Gpid) -> Option<String> {
        let Some(configuration) = self.meta.configuration(gpid) else {
            return Some("was never created".to_owned());
        };
        let wanted = self.meta.durable.app(gpid.app).map_or(0, |app| app.info.replica_count as usize);
        let target = wanted.min(self.machines_here());
        (configuration.len() != target).then(|| format!("is {configuration}, {target} replicas are wanted"))
    }

    /// Whether a partition's members are not equal yet.
    pub(crate) fn unequal(&self, gpid: Gpid) -> Result<Option<String>, Violation> {
        let Some(configuration) = self.meta.configuration(gpid) else { return Ok(None) };
        self.compare_members(gpid, configuration)
    }

    /// All members must come to the same state, which holds all that was acknowledged (V2, S12).
    fn compare_members(
        &self,
        gpid: Gpid,
        configuration: &Configuration,
    ) -> Result<Option<String>, Violation> {
        let mut states = Vec::new();
        for node in configuration.members() {
            let primary = configuration.primary == Some(node);
            match self.state_of(gpid, node, if primary { RoleName::Primary } else { RoleName::Secondary }) {
                Ok(state) => states.push(state),
                Err(what) => return Ok(Some(format!("is {configuration}, and {what}"))),
            }
        }
        let Some(&(applied, digest)) = states.first() else { return Ok(None) };
        if states.iter().any(|state| state.0 != applied) {
            return Ok(Some(format!("has members at different decrees: {states:?}")));
        }
        check(states.iter().all(|state| state.1 == digest), "S12", || {
            format!("{gpid}: members differ at {applied}: {states:x?}")
        })?;
        let ended = self.history.ended(gpid);
        check(applied >= ended && applied == self.history.applied(gpid), "V2", || {
            format!(
                "{gpid} ends at {applied}; a client was told of {ended}, {} was applied somewhere",
                self.history.applied(gpid)
            )
        })?;
        Ok(None)
    }

    fn state_of(&self, gpid: Gpid, node: NodeId, role: RoleName) -> Result<(Decree, u64), String> {
        let place = self.places.get(&node).ok_or_else(|| format!("{node} is nowhere"))?;
        let machine = &self.machines[*place];
        let process = machine.process.as_ref().filter(|_| machine.disk.node == node);
        let process = process.ok_or_else(|| format!("{node} does not run"))?;
        let replica = process.core.replica(gpid).ok_or_else(|| format!("{node} has no replica"))?;
        if replica.role() != role || replica.last_committed() != replica.last_prepared() {
            let (committed, prepared) = (replica.last_committed(), replica.last_prepared());
            return Err(format!("{node} is {} with {committed} of {prepared} committed", replica.role()));
        }
        let hosted = process.apps.get(&gpid).ok_or_else(|| format!("{node} has no app"))?;
        if hosted.applied.decree != replica.last_committed() {
            return Err(format!("{node} has applied {} of {}", hosted.applied, replica.last_committed()));
        }
        Ok((hosted.applied.decree, hosted.app.digest()))
    }
}
