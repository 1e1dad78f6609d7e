//! What apps and logs come to: the same in every replica (S12), and after a start what it was before (S5, S10).

use std::collections::BTreeMap;

use replica_core::{ApplyTask, Replica};
use replicated_app::ReplicatedApp;
use words::{Decree, Gpid, MutationId, NodeId, RoleName};

use crate::checksum::checksum;
use crate::invariants::{Partition, Truth};
use crate::machine::{Hosted, Machine};
use crate::shadow::Shadow;
use crate::violation::{Checked, check};

impl Truth {
    /// S12: app and sessions are a function of what was applied.
    pub(crate) fn on_applied(&mut self, node: NodeId, gpid: Gpid, hosted: &Hosted) -> Checked {
        self.partition(gpid).compare(node, gpid, hosted, "applied what it had to")
    }

    /// S1, S12: a replica's state is that of a checkpoint now, another one's or its own.
    pub(crate) fn on_installed(
        &mut self,
        node: NodeId,
        gpid: Gpid,
        hosted: &Hosted,
        how: &'static str,
    ) -> Checked {
        let partition = self.partition(gpid);
        partition.commit(node, gpid, hosted.applied)?;
        partition.compare(node, gpid, hosted, how)
    }

    /// S5, S10: a node that starts finds what was durable; some of it was read back from the log.
    pub(crate) fn on_start(&mut self, machine: &Machine, read_back: &[ApplyTask]) -> Checked {
        let (node, Some(process)) = (machine.disk.node, &machine.process) else { return Ok(()) };
        for (&gpid, hosted) in process.apps.iter().filter(|(_, hosted)| hosted.applied != MutationId::ZERO) {
            self.partition(gpid).compare(node, gpid, hosted, "restarted")?;
        }
        for (&gpid, shadow) in &machine.disk.shadow {
            let Some(replica) = process.core.replica(gpid) else {
                // Its removal was appended and kept, or its creation was never noted.
                continue;
            };
            if machine.disk.doubtful.contains(&gpid) || machine.disk.given_up.contains(&gpid) {
                continue;
            }
            check(replica.role() != RoleName::Error, "S10", || {
                format!("{node} restarts with {gpid} in error: {:?}", replica.error())
            })?;
            check(replica.ballot() >= shadow.ballot, "S5", || {
                format!(
                    "{node} restarts {gpid} in ballot {}, {} was durable",
                    replica.ballot(),
                    shadow.ballot
                )
            })?;
            check_replayed(node, replica, read_back, shadow)?;
        }
        Ok(())
    }
}

/// S10: above what its app has, a restarted replica has what the log adds up to, nothing else and no less.
fn check_replayed(node: NodeId, replica: &Replica, read_back: &[ApplyTask], shadow: &Shadow) -> Checked {
    let (gpid, durable) = (replica.gpid(), replica.durable());
    let read_back: BTreeMap<Decree, MutationId> = read_back
        .iter()
        .filter(|task| task.gpid == gpid)
        .map(|task| (task.mutation.id.decree, task.mutation.id))
        .collect();
    for decree in (durable.decree.0 + 1..=replica.last_prepared().0).map(Decree) {
        let here = replica.identity_at(decree).or_else(|| read_back.get(&decree).copied());
        let logged = shadow.identity_at(decree);
        check(here == logged, "S10", || {
            format!("{node} restarts {gpid} with {here:?} at {decree}, its log has {logged:?}")
        })?;
    }
    // Another identity at the app's last decree: a checkpoint that the log does not know took all of it.
    let lost = shadow.above(replica.last_prepared().max(durable.decree)).next();
    let noted = shadow.identity_at(durable.decree) == Some(durable);
    check(lost.is_none() || !noted, "S10", || {
        format!("{node} restarts {gpid} up to {}, its log has {lost:?}", replica.last_prepared())
    })
}

impl Partition {
    fn compare(&mut self, node: NodeId, gpid: Gpid, hosted: &Hosted, how: &'static str) -> Checked {
        let decree = hosted.applied.decree;
        // The sessions are compared now and then: to encode them costs more than all else here.
        let rarely = if hosted.sessions.len() < 1_000 { 8 } else { 128 };
        let sessions = if decree.0.is_multiple_of(rarely) { checksum(&hosted.sessions.encode()) } else { 0 };
        let mine = (hosted.app.digest(), sessions);
        let first = *self.digests.entry(hosted.applied).or_insert(mine);
        let (after, there) =
            (format_args!("{node} {how}: after decree {decree} of {gpid}"), "where that was reached first");
        check(first.1 == mine.1, "S12", || format!("{after} it has other sessions than {there}"))?;
        check(first.0 == mine.0, "S12", || {
            format!("{after} its app has the digest {:x}, and {:x} {there}", mine.0, first.0)
        })
    }
}
