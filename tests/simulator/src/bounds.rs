//! L2: what a node holds stays bounded, whatever befalls it and its neighbours.

use std::collections::BTreeSet;

use replica_core::{Replica, Settings};
use words::{Decree, Gpid, Mutation, NodeId};

use crate::violation::{Checked, Violation, check};

/// Payload that may wait for a place in the window, in full mutations; one write comes on top.
const QUEUED_BATCHES: usize = 16;

/// Why a prepare list may be longer than it is as a rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// A learner wants it now.
    is_wanted: bool,
    /// What was applied when one last did: what was kept for it goes as soon as more is applied.
    at: Option<Decree>,
}

/// Looks at what a replica holds after a step; `before` is what this said after the one before.
pub(crate) fn check_load(
    node: NodeId,
    replica: &Replica,
    before: Kept,
    settings: &Settings,
) -> Result<Kept, Violation> {
    let (load, applied) = (replica.load(), replica.applied());
    let wanted = load.is_wanted || before.is_wanted;
    let kept = Kept { is_wanted: load.is_wanted, at: if wanted { Some(applied) } else { before.at } };
    let bounded = Bounded { node, gpid: replica.gpid() };
    if kept.at != Some(applied) {
        bounded.check("applied mutations in the prepare list", load.tail, settings.list_tail)?;
    }
    if load.list_bytes > settings.list_tail_bytes {
        bounded.check("bytes of these", replica.tail_bytes(), settings.list_tail_bytes)?;
    }
    if load.in_flight > settings.window {
        let most = settings.window + tenures_in_flight(replica);
        bounded.check("mutations in flight", load.in_flight, most)?;
    }
    let unapplied = replica.last_prepared().0.saturating_sub(applied.0);
    bounded.check("mutations with clients that wait", load.unanswered, unapplied as usize)?;
    bounded.check("writes that wait", load.waiting, settings.queue)?;
    bounded.check("requests that are kept back", load.kept, settings.queue)?;
    let most = settings.batch_bytes * QUEUED_BATCHES + settings.max_write_bytes;
    bounded.check("bytes of writes that wait", load.waiting_bytes, most)?;
    Ok(kept)
}

/// No mutation is larger than the settings say.
pub(crate) fn check_mutation(node: NodeId, mutation: &Mutation, settings: &Settings) -> Checked {
    let sizes = || mutation.writes.iter().map(|write| write.payload.len());
    let (count, bytes, largest) = (sizes().count(), sizes().sum::<usize>(), sizes().max().unwrap_or(0));
    let fits = count <= settings.batch
        && largest <= settings.max_write_bytes
        && (count <= 1 || bytes <= settings.batch_bytes);
    check(fits, "L2", || {
        format!("{node} logs {}, with {count} writes of {bytes} bytes, one of {largest}", mutation.id)
    })
}

/// By how many primaries what is in flight was made: each adds an empty mutation to what it finds (§4.5), however
/// full the window is.
fn tenures_in_flight(replica: &Replica) -> usize {
    let in_flight = replica.last_committed().0 + 1..=replica.last_prepared().0;
    let ballots = in_flight.filter_map(|decree| replica.identity_at(Decree(decree))).map(|id| id.ballot);
    ballots.collect::<BTreeSet<_>>().len()
}

struct Bounded {
    node: NodeId,
    gpid: Gpid,
}

impl Bounded {
    fn check(&self, what: &str, is: usize, most: usize) -> Checked {
        check(is <= most, "L2", || {
            format!("{} holds {is} {what} for {}, {most} are the most", self.node, self.gpid)
        })
    }
}
