//! Bits that change on a disk by themselves.

use replica_log::FileSystem;
use words::Gpid;

use crate::checksum::flip;
use crate::machine::Disk;
use crate::sometimes::Sometimes;
use crate::world::{World, trace};

/// Length of a segment's header.
const HEADER: usize = 36;

/// Changes a bit of the log, anywhere but in what was written last: what changes there can't be told from what
/// a crash tore. While the log is open its last segment is spared. Answers where it was.
pub(crate) fn rot(disk: &Disk, number: u64, is_open: bool) -> Option<Sometimes> {
    let mut names: Vec<String> = disk.log.list().unwrap_or_default();
    names.retain(|name| name.ends_with(|last: char| last.is_ascii_digit()));
    names.sort_by_key(|name| (name.len(), name.clone()));
    let last = names.len().checked_sub(1)?;
    let chosen = number.checked_rem(if is_open { last } else { last + 1 } as u64)? as usize;
    let mut bytes = disk.log.content(&names[chosen])?;
    let spared = if chosen == last { usize::try_from(disk.largest_write).unwrap_or(usize::MAX) } else { 0 };
    // Behind what was written there may be zeros, in which nothing can be lost.
    let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    let certain = written.saturating_sub(spared);
    // Headers are short, and worth a hit more often than their share.
    let in_header = (number >> 56).is_multiple_of(4);
    let end = if in_header { certain.min(HEADER) } else { certain };
    if !flip(&mut bytes[..end], number >> 4) {
        return None;
    }
    disk.log.set_content(&names[chosen], bytes);
    Some(match (chosen == last, in_header) {
        (_, true) => Sometimes::RotInHeader,
        (true, false) => Sometimes::RotInLastSegment,
        (false, false) => Sometimes::BitRot,
    })
}

impl World<'_> {
    /// A bit of an older segment changes while its log is open. Whoever reads it notices, and so does the next start.
    pub(crate) fn rot_open_log(&mut self, index: usize) {
        let number = self.dice.between(0, u64::MAX);
        let disk = &mut self.machines[index].disk;
        if rot(disk, number, true).is_some() {
            disk.doubtful.extend(self.gpids.iter().chain(&self.dropped));
            trace!(self, disk.node, "an older segment of its log rots");
            self.tally.note(Sometimes::RotWhileOpen);
        }
    }

    /// A bit of an app's newest checkpoint changes.
    pub(crate) fn rot_checkpoint(&mut self, index: usize, gpid: Gpid, number: u64) {
        let disk = &mut self.machines[index].disk;
        if disk.apps.get(&gpid).is_some_and(|folder| folder.home.shelf().rot(number)) {
            disk.rotten.insert(gpid);
            self.tally.note(Sometimes::RottenCheckpoint);
        }
    }

    /// A bit of what is kept beside it changes.
    pub(crate) fn rot_beside(&mut self, index: usize, gpid: Gpid, number: u64) {
        let disk = &mut self.machines[index].disk;
        let folder = disk.apps.get_mut(&gpid);
        let beside = folder.and_then(|folder| folder.beside.get_mut(&folder.durable));
        if beside.is_some_and(|beside| beside.rot(number)) {
            disk.rotten.insert(gpid);
            self.tally.note(Sometimes::RottenBeside);
        }
    }
}
