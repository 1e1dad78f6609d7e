//! The safety invariants of PROTOCOL.md §2 that concern replicas, each checked as soon as it could break.
//!
//! [`Truth`] knows what no node knows: the one sequence of mutations that was first committed, the digest that
//! each of its prefixes gave, every configuration that was ever durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replica_core::{Output, Replica, Settings};
use words::{
    Ballot, Configuration, Decree, Envelope, Gpid, Mutation, MutationId, NodeId, PeerMessage, Prepare,
    PrepareAck, RoleName,
};

use crate::bounds::check_load;
use crate::clock::Moment;
use crate::machine::{Machine, Seen};
use crate::sometimes::{Sometimes, Tally};
use crate::violation::{Checked, Violation, check};

/// What is true of all partitions.
pub(crate) struct Truth {
    partitions: BTreeMap<Gpid, Partition>,
    /// What declared losses cost, for the history.
    pub(crate) lost: Vec<(Gpid, Decree)>,
    /// What was found where nothing could be returned.
    found: Option<Violation>,
}

#[derive(Default)]
pub(crate) struct Partition {
    /// H, by decree: what was first committed (S1).
    pub(crate) committed: BTreeMap<Decree, MutationId>,
    /// What is in it.
    contents: BTreeMap<MutationId, Arc<Mutation>>,
    /// What app and sessions are after each mutation (S12).
    pub(crate) digests: BTreeMap<MutationId, (u64, u64)>,
    /// Every configuration that was ever durable (S3).
    pub(crate) configurations: BTreeMap<Ballot, Configuration>,
    /// What was proposed under each ballot (S8): one identity for a decree.
    proposed: BTreeMap<(Ballot, Decree), MutationId>,
    /// A declared loss whose new primary has not led yet.
    pub(crate) loss: Option<Ballot>,
    /// The ballot of the last declared loss.
    pub(crate) lost_at: Ballot,
    /// What was committed and given up.
    pub(crate) given_up: BTreeSet<MutationId>,
    /// Every copy of what was committed is lost.
    is_lost: bool,
    /// Its app was dropped: its replicas are being collected, so what they hold proves nothing any more.
    dropped: bool,
}

impl Partition {
    /// S1: the first commit of a decree fixes it; every later one must equal it.
    pub(crate) fn commit(&mut self, node: NodeId, gpid: Gpid, id: MutationId) -> Checked {
        let first = *self.committed.entry(id.decree).or_insert(id);
        check(first == id, "S1", || {
            format!("{node} committed {id} of {gpid}, where {first} was committed first")
        })
    }
}

/// What one step of one node is checked with.
pub(crate) struct Scene<'a> {
    pub(crate) machines: &'a mut [Machine],
    pub(crate) places: &'a BTreeMap<NodeId, usize>,
    pub(crate) settings: &'a Settings,
    pub(crate) now: Moment,
    pub(crate) output: &'a Output,
    pub(crate) tally: &'a mut Tally,
}

impl Truth {
    pub(crate) fn new(gpids: &[Gpid]) -> Self {
        Self {
            partitions: gpids.iter().map(|&gpid| (gpid, Partition::default())).collect(),
            lost: Vec::new(),
            found: None,
        }
    }

    pub(crate) fn accuse(&mut self, violation: Violation) {
        self.found.get_or_insert(violation);
    }

    pub(crate) fn partition(&mut self, gpid: Gpid) -> &mut Partition {
        self.partitions.entry(gpid).or_default()
    }

    /// An app was dropped.
    pub(crate) fn drop_partition(&mut self, gpid: Gpid) {
        self.partition(gpid).dropped = true;
    }

    /// Every disk was lost. Of a partition without a commit nothing is: it can begin anew.
    pub(crate) fn lose_all(&mut self) {
        for partition in self.partitions.values_mut() {
            partition.is_lost |= !partition.committed.is_empty();
        }
    }

    pub(crate) fn is_lost(&self, gpid: Gpid) -> bool {
        self.partitions.get(&gpid).is_some_and(|partition| partition.is_lost)
    }

    /// What was found where nothing could be returned.
    pub(crate) fn verdict(&mut self) -> Checked {
        self.found.take().map_or(Ok(()), Err)
    }

    /// S5, S6: a configuration became durable.
    pub(crate) fn on_configuration(&mut self, gpid: Gpid, before: &Configuration, after: &Configuration) {
        if let Err(why) = before.check_step(after) {
            self.accuse(Violation { rule: "S5", what: format!("{gpid}: {before} -> {after}: {why}") });
        }
        // Said once more, apart from the code under test.
        if !before.is_empty() && !after.primary.is_some_and(|primary| before.is_member(primary)) {
            let what = format!("{gpid}: {before} -> {after}: its primary was no member");
            self.accuse(Violation { rule: "S6", what });
        }
        self.partition(gpid).configurations.insert(after.ballot, after.clone());
    }

    /// A meta server that had lost all took up a partition again: above every ballot that ever was. Nothing else is
    /// known to it, so nothing else is checked of it than what is checked of every configuration.
    pub(crate) fn on_recovery(&mut self, gpid: Gpid, after: &Configuration) {
        let configurations = &mut self.partition(gpid).configurations;
        let newest = configurations.last_key_value().map(|(&ballot, _)| ballot);
        configurations.insert(after.ballot, after.clone());
        if newest.is_some_and(|newest| newest >= after.ballot) {
            self.accuse(Violation {
                rule: "S5",
                what: format!("{gpid}: recovered as {after}, below {newest:?}"),
            });
        }
    }

    /// A node took a step: each of its replicas is looked at.
    pub(crate) fn after_step(&mut self, index: usize, scene: Scene<'_>) -> Checked {
        let Some(process) = &mut scene.machines[index].process else { return Ok(()) };
        let core = &process.core;
        process.seen.retain(|&gpid, _| core.replica(gpid).is_some());
        let gpids: Vec<Gpid> = core.replicas().map(Replica::gpid).collect();
        for gpid in gpids {
            let process = scene.machines[index].process.as_ref();
            let Some(replica) = process.and_then(|process| process.core.replica(gpid)) else { continue };
            let before = process.and_then(|process| process.seen.get(&gpid).copied());
            let seen = self.look(index, &scene, gpid, replica, before)?;
            let slow = scene.machines[index].slow_until > scene.now;
            note(scene.tally, before, seen, replica, slow);
            if let Some(process) = &mut scene.machines[index].process {
                if process.adding.get(&gpid).is_some_and(|&(ballot, _)| ballot < seen.ballot) {
                    process.adding.remove(&gpid);
                }
                process.seen.insert(gpid, seen);
            }
        }
        for read in &scene.output.reads {
            check_readers(index, &scene, read.gpid)?;
        }
        Ok(())
    }

    fn look(
        &mut self,
        index: usize,
        scene: &Scene<'_>,
        gpid: Gpid,
        replica: &Replica,
        before: Option<Seen>,
    ) -> Result<Seen, Violation> {
        let machine = &scene.machines[index];
        let node = machine.disk.node;
        let (role, ballot, committed) = (replica.role(), replica.ballot(), replica.last_committed());
        let kept = before.map(|before| before.kept).unwrap_or_default();
        let kept = check_load(node, replica, kept, scene.settings)?;
        let mut seen = Seen { role, ballot, committed, inherited: Decree::ZERO, kept };
        if let Some(before) = before {
            check(ballot >= before.ballot, "S5", || {
                format!("{node} fell from ballot {} to {ballot} in {gpid}", before.ballot)
            })?;
            check(committed >= before.committed, "S10", || {
                format!("{node} fell from committed {} to {committed} in {gpid}", before.committed)
            })?;
            seen.inherited = before.inherited;
        }
        let was_primary = before.is_some_and(|before| before.role == RoleName::Primary);
        if role == RoleName::Primary && !was_primary {
            seen.inherited = replica.last_prepared();
        }
        self.on_first_after_loss(gpid, replica, seen.inherited);
        let from = before.map_or(committed, |before| before.committed);
        self.look_at_commits(scene, node, gpid, replica, from)?;
        match role {
            RoleName::Primary => {
                self.look_at_primary(machine, gpid, replica)?;
                self.look_at_members(scene, machine, gpid, replica, from)?;
                if replica.can_read(machine.clock.time(scene.now)) {
                    check_readers(index, scene, gpid)?;
                }
            }
            RoleName::Secondary => self.look_at_secondary(scene, node, gpid, replica)?,
            _ => {}
        }
        Ok(seen)
    }

    /// S1.
    fn look_at_commits(
        &mut self,
        scene: &Scene<'_>,
        node: NodeId,
        gpid: Gpid,
        replica: &Replica,
        from: Decree,
    ) -> Checked {
        let committed = replica.last_committed();
        for decree in from.0 + 1..=committed.0 {
            if let Some(id) = replica.identity_at(Decree(decree))
                && !self.knows_no_better(gpid, replica, id)
            {
                self.partition(gpid).commit(node, gpid, id)?;
            }
        }
        for task in scene.output.apply.iter().filter(|task| task.gpid == gpid) {
            let (id, decree) = (task.mutation.id, task.mutation.id.decree);
            check(decree <= committed, "S11", || {
                format!("{node} applies {id} of {gpid} and has committed {committed}")
            })?;
            if !self.knows_no_better(gpid, replica, id) {
                self.partition(gpid).commit(node, gpid, id)?;
            }
            let first = self.partition(gpid).contents.entry(id).or_insert_with(|| task.mutation.clone());
            let same = Arc::ptr_eq(first, &task.mutation) || *first == task.mutation;
            check(same, "S1", || format!("{node} applies another {id} of {gpid} than was committed first"))?;
        }
        Ok(())
    }

    /// S3: it is the one that the meta server's configuration of that ballot names.
    fn look_at_primary(&mut self, machine: &Machine, gpid: Gpid, replica: &Replica) -> Checked {
        let (node, ballot) = (machine.disk.node, replica.ballot());
        let named = self.partition(gpid).configurations.get(&ballot).and_then(|c| c.primary);
        check(named == Some(node), "S3", || {
            format!("{node} is primary of {gpid} in ballot {ballot}, whose primary is {named:?}")
        })
    }

    /// S2, S7, S9: what a primary commits, each member of its configuration, and whoever it proposed to add, has
    /// durably.
    fn look_at_members(
        &mut self,
        scene: &Scene<'_>,
        machine: &Machine,
        gpid: Gpid,
        replica: &Replica,
        from: Decree,
    ) -> Checked {
        let committed = replica.last_committed();
        let Some(process) = machine.process.as_ref().filter(|_| committed > from) else { return Ok(()) };
        let adding = process.adding.get(&gpid).map(|&(_, node)| node);
        let members = replica.configuration().members().chain(adding);
        let partition = self.partition(gpid);
        if partition.dropped {
            return Ok(());
        }
        // Who left since may be collected, before the acknowledgement that it gave arrives.
        let latest = partition.configurations.last_key_value().map(|(_, latest)| latest);
        let left = |node| latest.is_some_and(|l| l.ballot > replica.ballot() && !l.is_member(node));
        for member in members.filter(|&node| !left(node)) {
            let Some(&place) = scene.places.get(&member) else { continue };
            let disk = &scene.machines[place].disk;
            if disk.node != member || disk.doubtful.contains(&gpid) {
                continue; // its data are gone
            }
            for decree in from.0 + 1..=committed.0 {
                let Some(&id) = partition.committed.get(&Decree(decree)) else { continue };
                check(disk.holds(gpid, id), "S2", || {
                    format!(
                        "{} committed {id} of {gpid} in ballot {}, and {member} does not have it durably",
                        machine.disk.node,
                        replica.ballot()
                    )
                })?;
            }
        }
        Ok(())
    }

    /// S2: no secondary is ahead of a primary of its ballot that has reconciled.
    fn look_at_secondary(
        &mut self,
        scene: &Scene<'_>,
        node: NodeId,
        gpid: Gpid,
        replica: &Replica,
    ) -> Checked {
        let (ballot, committed) = (replica.ballot(), replica.last_committed());
        let named = self.partition(gpid).configurations.get(&ballot).and_then(|c| c.primary);
        let Some(machine) =
            named.and_then(|node| scene.places.get(&node)).map(|&place| &scene.machines[place])
        else {
            return Ok(());
        };
        let Some(process) = machine.process.as_ref().filter(|_| Some(machine.disk.node) == named) else {
            return Ok(());
        };
        let (Some(primary), Some(seen)) = (process.core.replica(gpid), process.seen.get(&gpid)) else {
            return Ok(());
        };
        let reconciled = primary.role() == RoleName::Primary
            && primary.ballot() == ballot
            && primary.last_committed() >= seen.inherited;
        check(!reconciled || committed <= primary.last_committed(), "S2", || {
            format!(
                "{node} committed {committed} of {gpid} in ballot {ballot}, its primary only {}",
                primary.last_committed()
            )
        })
    }

    /// A message leaves a node.
    pub(crate) fn on_send(&mut self, machine: &Machine, envelope: &Envelope) -> Checked {
        match &envelope.body {
            PeerMessage::Prepare(prepare) => self.on_send_prepare(machine, prepare),
            PeerMessage::PrepareAck(ack) => self.on_send_ack(machine, ack),
            PeerMessage::Heartbeat(heartbeat) => heartbeat.claims.iter().try_for_each(|claim| {
                self.sent_by_its_primary(machine, claim.gpid, claim.ballot, "claims a lease")
            }),
            _ => Ok(()),
        }
    }

    /// S3, and §4.5: a primary makes its ballot durable before it sends anything under it.
    fn sent_by_its_primary(&mut self, machine: &Machine, gpid: Gpid, ballot: Ballot, what: &str) -> Checked {
        let node = machine.disk.node;
        let named = self.partition(gpid).configurations.get(&ballot).and_then(|c| c.primary);
        check(named == Some(node), "S3", || {
            format!("{node} {what} in {gpid} under ballot {ballot}, whose primary is {named:?}")
        })?;
        let durable = machine.disk.shadow.get(&gpid).map_or(Ballot(0), |shadow| shadow.ballot);
        check(durable >= ballot, "S7", || {
            format!("{node} {what} in {gpid} under ballot {ballot}, and only {durable} is durable")
        })
    }

    fn on_send_prepare(&mut self, machine: &Machine, prepare: &Prepare) -> Checked {
        let Prepare { gpid, ballot, mutation, .. } = prepare;
        self.sent_by_its_primary(machine, *gpid, *ballot, "prepares")?;
        let proposed = &mut self.partition(*gpid).proposed;
        let first = *proposed.entry((*ballot, mutation.id.decree)).or_insert(mutation.id);
        check(first == mutation.id, "S8", || {
            format!(
                "{} proposes {} of {gpid} under {ballot}, and proposed {first}",
                machine.disk.node, mutation.id
            )
        })
    }

    /// S7, S8: what an acknowledgement implies is on the sender's disk, and is what the primary has.
    fn on_send_ack(&mut self, machine: &Machine, ack: &PrepareAck) -> Checked {
        let PrepareAck { gpid, ballot, confirmed, .. } = *ack;
        let node = machine.disk.node;
        let durable = machine.disk.shadow.get(&gpid).map_or(Ballot(0), |shadow| shadow.ballot);
        check(durable >= ballot, "S7", || {
            format!("{node} acknowledges {gpid} under ballot {ballot}, and only {durable} is durable")
        })?;
        let partition = self.partition(gpid);
        if partition.dropped {
            return Ok(());
        }
        let proposed = partition.proposed.get(&(ballot, confirmed)).or(partition.committed.get(&confirmed));
        let Some(&id) = proposed else { return Ok(()) };
        check(machine.disk.holds(gpid, id), "S8", || {
            format!(
                "{node} acknowledges {confirmed} of {gpid} under {ballot}, and does not have {id} durably"
            )
        })
    }

    /// S9: whoever is proposed as a secondary has, durably, all that its primary had committed.
    pub(crate) fn on_propose_addition(
        &mut self,
        machines: &[Machine],
        places: &BTreeMap<NodeId, usize>,
        gpid: Gpid,
        based_on: Ballot,
        (added, committed): (NodeId, Decree),
    ) -> Checked {
        let partition = self.partition(gpid);
        let deposed = partition.configurations.last_key_value().is_some_and(|(&latest, _)| latest > based_on);
        if deposed || partition.dropped {
            return Ok(()); // of a primary that was deposed: nothing will come of it
        }
        let Some(&id) = partition.committed.get(&committed) else { return Ok(()) };
        let Some(machine) = places.get(&added).map(|&place| &machines[place]) else { return Ok(()) };
        check(machine.disk.node != added || machine.disk.holds(gpid, id), "S9", || {
            format!("{added} is proposed as a secondary of {gpid} and does not have {id} durably")
        })
    }
}

/// S4: at every true instant at most one replica can serve reads.
fn check_readers(index: usize, scene: &Scene<'_>, gpid: Gpid) -> Checked {
    for (other, machine) in scene.machines.iter().enumerate() {
        let Some(process) = machine.process.as_ref().filter(|_| other != index) else { continue };
        let can_read = |replica: &Replica| replica.can_read(machine.clock.time(scene.now));
        check(!process.core.replica(gpid).is_some_and(can_read), "S4", || {
            let node = scene.machines[index].disk.node;
            format!("{node} serves reads of {gpid} while {} can", machine.disk.node)
        })?;
    }
    Ok(())
}

/// Notes what a step brought about.
fn note(tally: &mut Tally, before: Option<Seen>, seen: Seen, replica: &Replica, slow_disk: bool) {
    if before.map(|before| before.role) == Some(seen.role) {
        return;
    }
    if seen.role == RoleName::Error {
        tally.note(Sometimes::ErrorReplica);
    }
    let Some(before) = before else { return };
    match (before.role, seen.role) {
        (RoleName::Secondary, RoleName::Primary) => {
            tally.note(Sometimes::Promotion);
            // Its own empty mutation is always there.
            if replica.last_prepared().0 > replica.last_committed().0 + 1 {
                tally.note(Sometimes::PromotionWithSuffix);
            }
        }
        (RoleName::Primary, _) => {
            tally.note(Sometimes::DeposedPrimary);
            if slow_disk {
                tally.note(Sometimes::DeposedSlowDisk);
            }
        }
        (RoleName::Learner, RoleName::Secondary) => tally.note(Sometimes::MemberAdded),
        (RoleName::Inactive, RoleName::Secondary) => tally.note(Sometimes::SecondaryRejoined),
        _ => {}
    }
}
