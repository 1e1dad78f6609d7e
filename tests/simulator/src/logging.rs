//! A node's log, as its shell drives it: one write and one sync at a time, for all that waits; cut in between.

use std::time::Duration;

use replica_core::{Event, LogSequence};
use words::{Decree, Gpid, Record};

use crate::bounds::check_mutation;
use crate::machine::Loss;
use crate::sometimes::Sometimes;
use crate::violation::Checked;
use crate::world::{Happening, World, trace};

/// Between two tries to write what there was no room for.
const LOG_PAUSE: Duration = Duration::from_millis(200);

impl World<'_> {
    pub(crate) fn append(&mut self, index: usize, records: Vec<(LogSequence, Record)>) -> Checked {
        let node = self.machines[index].disk.node;
        for (number, record) in &records {
            trace!(self, node, "   append #{number} {record}");
            if let Record::Prepare { mutation, .. } = record {
                check_mutation(node, mutation, &self.plan.settings)?;
            }
        }
        if let Some(process) = &mut self.machines[index].process {
            process.to_log.extend(records);
        }
        self.sync_if_idle(index)
    }

    /// One sync at a time; what comes meanwhile goes into the next one.
    pub(crate) fn sync_if_idle(&mut self, index: usize) -> Checked {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return Ok(()) };
        if !process.syncing.is_empty() {
            return Ok(());
        }
        if let Some(durable) = process.to_collect.take() {
            self.cut_log(index, &durable)?;
        }
        let machine = &mut self.machines[index];
        let Some(process) = machine.process.as_mut().filter(|process| !process.to_log.is_empty()) else {
            return Ok(());
        };
        process.syncing = std::mem::take(&mut process.to_log);
        let records: Vec<Record> = process.syncing.iter().map(|(_, record)| record.clone()).collect();
        let before = process.log.bytes();
        if process.log.append(&records).is_err() {
            return self.on_append_failed(index);
        }
        let grown = process.log.bytes() - before;
        process.ledger.write(&records, grown);
        machine.disk.on_appended(&records);
        machine.disk.largest_write = machine.disk.largest_write.max(grown);
        let slow = machine.slow_until > self.now;
        let epoch = machine.epoch;
        let span = if slow { self.plan.speed.slow_sync } else { self.plan.speed.sync };
        let at = self.now + self.dice.span(span) + self.script.sync_delay(index);
        self.put(at, Happening::Synced { machine: index, epoch });
        Ok(())
    }

    fn cut_log(&mut self, index: usize, durable: &[(Gpid, Decree)]) -> Checked {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return Ok(()) };
        match process.log.collect(durable) {
            Ok(cut) => {
                if cut > 0 {
                    self.tally.note(Sometimes::LogCollected);
                }
                self.check_log_is_cut(index, durable)
            }
            Err(_) if machine.disk.log.is_dead() || process.log.has_failed() => self.die_of_disk(index),
            // Tried again later.
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn on_synced(&mut self, index: usize, epoch: u64) -> Checked {
        let machine = &mut self.machines[index];
        if machine.epoch != epoch {
            return Ok(());
        }
        if machine.frozen_until > self.now {
            let at = machine.frozen_until;
            self.put(at, Happening::Synced { machine: index, epoch });
            return Ok(());
        }
        let Some(process) = &mut machine.process else { return Ok(()) };
        if process.log.sync().is_err() {
            self.tally.note(Sometimes::SyncFailed);
            return self.die_of_disk(index);
        }
        let records = std::mem::take(&mut process.syncing);
        machine.disk.on_synced(&records, &mut self.tally);
        if let Some(&(last, _)) = records.last() {
            self.hand_in(index, Event::LogDurable(last));
        }
        self.sync_if_idle(index)
    }

    /// A shortage of room or of handles passes: what could not be written waits for that (§7.6).
    fn on_append_failed(&mut self, index: usize) -> Checked {
        let machine = &mut self.machines[index];
        let Some(process) = &mut machine.process else { return Ok(()) };
        let for_good = process.log.has_failed() || machine.disk.log.is_dead();
        if for_good || machine.ills.room(self.now).is_ok() {
            self.tally.note(Sometimes::WriteFailed);
            return self.die_of_disk(index);
        }
        trace!(self, machine.disk.node, "   the log waits for room");
        self.tally.note(Sometimes::LogWaited);
        process.to_log = std::mem::take(&mut process.syncing);
        if !std::mem::replace(&mut process.log_waits, true) {
            let (at, epoch) = (self.now + LOG_PAUSE, machine.epoch);
            self.put(at, Happening::LogAgain { machine: index, epoch });
        }
        Ok(())
    }

    pub(crate) fn on_log_again(&mut self, index: usize, epoch: u64) -> Checked {
        let machine = &mut self.machines[index];
        if machine.epoch != epoch {
            return Ok(());
        }
        if machine.frozen_until > self.now {
            let at = machine.frozen_until;
            self.put(at, Happening::LogAgain { machine: index, epoch });
            return Ok(());
        }
        if let Some(process) = &mut machine.process {
            process.log_waits = false;
        }
        self.sync_if_idle(index)
    }

    /// A write or sync of the log failed: fatal to the node, never tried again as if nothing had happened (§7.1).
    pub(crate) fn die_of_disk(&mut self, index: usize) -> Checked {
        // A process that ends takes nothing from the system's cache, where what was not synced looks as if it were.
        let loss = match self.machines[index].cuts.pop_front() {
            Some((_, outcome)) => {
                self.tally.note(Sometimes::CutWriting);
                Loss::Cut(outcome)
            }
            None => self.dice.pick(&[Loss::Kept, Loss::Power]),
        };
        self.crash(index, loss);
        self.machines[index].arm();
        Ok(())
    }
}
