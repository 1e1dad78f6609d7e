//! One folder's names: as they are, as the disk has them, and what was done between the two.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::Inode;

pub(crate) type Names = BTreeMap<OsString, Inode>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Folder {
    names: Names,
    durable: Names,
    /// Each with its number, which grows over all folders of the disk.
    unsynced: Vec<(u64, NameChange)>,
}

/// A change to names. Each is atomic: it survives a power cut or does not.
#[derive(Clone, Debug)]
pub(crate) enum NameChange {
    Add { name: OsString, inode: Inode },
    Rename { from: OsString, to: OsString, inode: Inode },
    Remove { name: OsString },
}

impl Folder {
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn change(&mut self, number: u64, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push((number, change));
    }

    pub(crate) fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.unsynced.clear();
    }

    pub(crate) fn first_unsynced(&self) -> Option<u64> {
        self.unsynced.first().map(|(number, _)| *number)
    }

    /// What is named now, on the disk, or in a change that is not synced.
    pub(crate) fn all_that_may_be_named(&self) -> impl Iterator<Item = Inode> {
        let changed = self.unsynced.iter().filter_map(|(_, change)| match change {
            NameChange::Add { inode, .. } | NameChange::Rename { inode, .. } => Some(*inode),
            NameChange::Remove { .. } => None,
        });
        self.names.values().chain(self.durable.values()).copied().chain(changed)
    }

    pub(crate) fn cut(&mut self, mut survives: impl FnMut(u64) -> bool) {
        for (number, change) in self.unsynced.drain(..) {
            if survives(number) {
                change.apply(&mut self.durable);
            }
        }
        self.names.clone_from(&self.durable);
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}
