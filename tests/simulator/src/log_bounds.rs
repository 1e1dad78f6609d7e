//! L2 for the disk: a log holds no more than what apps have not made durable, and some segments' worth.

use std::collections::{BTreeMap, VecDeque};

use replica_core::Replica;
use words::{Decree, Gpid, Record};

use crate::machine::Machine;
use crate::violation::{Checked, check};
use crate::world::World;

/// What a segment begins with, and what it says again of each partition, in bytes at most.
const HEADER: u64 = 36;
const RESTATED: u64 = 200;

/// Up to where each partition's app has all.
type Durable = BTreeMap<Gpid, Decree>;

/// What was written to a log, oldest first, and how much of it there was before each: kept apart from the log.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Bytes that were ever in the log, in this life.
    written: u64,
    prepared: VecDeque<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    /// Where the write begins in which it came, and where that ends.
    at: u64,
    end: u64,
    gpid: Gpid,
    decree: Decree,
}

impl Ledger {
    /// A log as it is found: whatever of it is needed, all of it may be.
    pub(crate) fn found(records: &[Record], bytes: u64) -> Self {
        let mut ledger = Self::default();
        ledger.write(records, bytes);
        ledger
    }

    /// These were written at once, and the log grew by so much.
    pub(crate) fn write(&mut self, records: &[Record], bytes: u64) {
        for record in records {
            match record {
                Record::Prepare { gpid, mutation, .. } => {
                    let (at, decree) = (self.written, mutation.id.decree);
                    self.prepared.push_back(Prepared { at, end: at + bytes, gpid: *gpid, decree });
                }
                // What a removed replica prepared is needed by nobody.
                Record::Removed { gpid, .. } => self.prepared.retain(|prepared| prepared.gpid != *gpid),
                _ => {}
            }
        }
        self.written += bytes;
    }

    /// Bytes from the first mutation on that `durable` does not cover; partitions that are not in it need nothing.
    fn needed(&self, durable: &Durable) -> u64 {
        let oldest = self.prepared.iter().find(|prepared| prepared.is_needed(durable));
        oldest.map_or(0, |oldest| self.written - oldest.at)
    }

    /// The log was cut: so much of it is left.
    fn cut(&mut self, bytes: u64) {
        while self.prepared.front().is_some_and(|oldest| oldest.end + bytes <= self.written) {
            self.prepared.pop_front();
        }
    }
}

impl Prepared {
    fn is_needed(&self, durable: &Durable) -> bool {
        durable.get(&self.gpid).is_some_and(|&decree| self.decree > decree)
    }
}

impl World<'_> {
    /// A log was cut by what its core said to be durable.
    pub(crate) fn check_log_is_cut(&mut self, index: usize, durable: &[(Gpid, Decree)]) -> Checked {
        let durable = durable.iter().copied().collect();
        if let Some(process) = &mut self.machines[index].process {
            process.ledger.cut(process.log.bytes());
        }
        let excess = self.excess(index, &durable);
        check(excess.is_none(), "L2", || excess.unwrap_or_default())
    }

    /// When all is well, whether a log still holds what no app needs. A learner that died over a checkpoint is given up
    /// only after many learn timeouts, and its primary's log waits for that.
    pub(crate) fn complaint_about_logs(&self) -> Option<String> {
        (0..self.machines.len()).find_map(|index| {
            let core = &self.machines[index].process.as_ref()?.core;
            let durable =
                |replica: &Replica| if replica.teaches() { Decree::ZERO } else { replica.durable().decree };
            let durable = core.replicas().map(|replica| (replica.gpid(), durable(replica))).collect();
            self.excess(index, &durable)
        })
    }

    fn excess(&self, index: usize, durable: &Durable) -> Option<String> {
        let Machine { disk, process, .. } = &self.machines[index];
        let process = process.as_ref()?;
        let (bytes, needed) = (process.log.bytes(), process.ledger.needed(durable));
        // From the beginning of the segment that the first of it is in, or that is the last one, which a last write
        // makes longer than it should be.
        let partitions = (self.gpids.len() + self.dropped.len()) as u64;
        let begins = HEADER + RESTATED * partitions;
        let most = needed + begins + self.plan.segment_bytes + disk.largest_write;
        (bytes > most).then(|| {
            format!(
                "the log of {} has {bytes} bytes, of which {needed} are needed, {most} are the most",
                disk.node
            )
        })
    }
}
