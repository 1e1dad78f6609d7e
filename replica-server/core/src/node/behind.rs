//! How far the apps of a node are behind its log (§7.5).

use words::{Gpid, Now};

use super::NodeCore;
use crate::Output;
use crate::replica::is_long;

impl NodeCore {
    /// A start replays what the log has beyond the apps, of all partitions. That is bounded as if it were one: once all
    /// together are as far behind as a single one may be, those that are furthest take a checkpoint, until half of it
    /// is left. Where it is little of each of very many, the interval has to do: each checkpoint costs some syncs.
    pub(super) fn bound_replay(&mut self, now: Now, out: &mut Output) {
        let most = self.settings.checkpoint_decrees;
        let behind = self.replicas.values().map(|replica| (replica.to_replay(), replica.gpid()));
        let mut behind: Vec<(u64, Gpid)> = behind.filter(|&(decrees, _)| decrees > 0).collect();
        let mut total: u64 = behind.iter().map(|&(decrees, _)| decrees).sum();
        if total < most {
            return;
        }
        behind.sort_unstable();
        while let Some((decrees, gpid)) = behind.pop()
            && total > most / 2
            && is_long(&self.settings, decrees)
        {
            total -= decrees;
            self.with(now, gpid, out, |replica, step| replica.checkpoint_now(step));
        }
    }

    /// A disk that is getting low may be so for the log alone, which any replica holds that has applied something since
    /// its last checkpoint, idle ones, too. They are not waited for: until they are due, clients' writes would be
    /// refused (§7.6).
    pub(super) fn make_room(&mut self, now: Now, out: &mut Output) {
        self.with_all(now, out, |replica, step| {
            if replica.to_replay() > 0 {
                replica.checkpoint_now(step);
            }
        });
    }
}
