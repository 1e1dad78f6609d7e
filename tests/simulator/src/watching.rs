//! What apps publish, held against what a watcher sees of it (V5).

use std::collections::BTreeMap;

use replica_core::{Changes, Compacted};
use replicated_app::Change;
use words::{ChangePage, Decree, Gpid, KeyFilter, NodeId};

use crate::sometimes::{Sometimes, Tally};
use crate::violation::{Checked, check};

/// What a replica keeps: little, so that watchers fall behind.
pub(crate) const HISTORY: usize = 4 << 10;
/// What a watcher takes at once: less than what is often there.
const ROOM: usize = 300;

/// All partitions, each with one watcher. It looks whenever a primary reads under its leases, as a watcher's question
/// is a read to the core.
#[derive(Default)]
pub(crate) struct Watching(BTreeMap<Gpid, Watched>);

struct Watched {
    /// As whoever applied it first published it.
    published: BTreeMap<Decree, Vec<Change>>,
    /// What the watcher wants next.
    next: Decree,
    /// Who told it what it has seen last.
    told_by: Option<NodeId>,
}

impl Watching {
    fn of(&mut self, gpid: Gpid) -> &mut Watched {
        let new = || Watched { published: BTreeMap::new(), next: Decree(1), told_by: None };
        self.0.entry(gpid).or_insert_with(new)
    }

    /// A replica's app published this of a decree, the first one or another one.
    ///
    /// # Errors
    /// S12.
    pub(crate) fn on_applied(
        &mut self,
        node: NodeId,
        gpid: Gpid,
        decree: Decree,
        changes: &[Change],
    ) -> Checked {
        let published = &mut self.of(gpid).published;
        let first = published.entry(decree).or_insert_with(|| changes.to_vec());
        check(first == changes, "S12", || {
            format!(
                "{node} publishes {changes:?} of {gpid} at {decree}, and {first:?} was published where that was first applied"
            )
        })
    }

    /// `node` reads its app under its leases, and has kept these changes: the watcher reads on.
    ///
    /// # Errors
    /// V5.
    pub(crate) fn on_read(&mut self, node: NodeId, gpid: Gpid, kept: &Changes, tally: &mut Tally) -> Checked {
        let watched = self.of(gpid);
        let next = watched.next;
        let ChangePage { through, changes } = match kept.read(next, &KeyFilter::ALL, ROOM) {
            Ok(page) => page,
            Err(Compacted { oldest }) => {
                tally.note(Sometimes::WatchCompacted);
                watched.next = oldest;
                return check(oldest > next, "V5", || {
                    format!("{node} leads {gpid} and has {}, and a watcher has seen {next}", kept.last())
                });
            }
        };
        let missed = watched
            .published
            .range(next..through.next())
            .flat_map(|(decree, changes)| changes.iter().map(|change| (*decree, change.clone())));
        let expected: Vec<(Decree, Change)> = missed.collect();
        if !changes.is_empty() && watched.told_by.replace(node).is_some_and(|before| before != node) {
            tally.note(Sometimes::WatchMoved);
        }
        watched.next = through.next();
        check(changes == expected, "V5", || {
            format!(
                "{node} tells a watcher of {gpid} {changes:?} from {next} to {through}; published was {expected:?}"
            )
        })
    }

    /// A declared loss: from this decree on another history begins.
    pub(crate) fn lose(&mut self, gpid: Gpid, from: Decree) {
        let watched = self.of(gpid);
        watched.published.split_off(&from);
        watched.next = watched.next.min(from);
    }
}
