//! What a disk holds, and what it would hold if the power went now.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::{fs, io};

use crate::file::File;
use crate::folder::{Folder, NameChange};

/// The number of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode(pub u64);

impl Inode {
    /// The folder that all others are in.
    pub const ROOT: Self = Self(1);
}

/// What a power cut does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is lost.
    Lost,
    /// None of it is lost.
    Kept,
    /// Any of it survives, in any order: each sector of a file as any of the writes since its last sync left it, and
    /// any of the changes to names. The number picks.
    Torn(u64),
    /// As [`Torn`](Self::Torn), but names are as they were at one moment, and what was appended to a file is there
    /// from its beginning up to any byte: what a file system makes of it that keeps a journal, and writes data before
    /// the length that covers it (ext4 with `data=ordered`, its default; XFS; Btrfs).
    Journaled(u64),
}

/// Something that changes a disk, or makes a change durable.
#[expect(missing_docs, reason = "the fields' names say it")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new, empty file.
    CreateFile { folder: Inode, name: OsString, inode: Inode },
    /// A new, empty folder.
    CreateFolder { folder: Inode, name: OsString, inode: Inode },
    /// Another name for a file.
    Link { folder: Inode, name: OsString, inode: Inode },
    /// Another name in the place of one, and of what had that name before.
    Rename { folder: Inode, from: OsString, to: OsString },
    /// A name taken away.
    Remove { folder: Inode, name: OsString },
    /// Bytes written into a file.
    Write { file: Inode, offset: usize, bytes: Vec<u8> },
    /// A file cut, or made longer with zeros.
    Resize { file: Inode, size: usize },
    /// A file's content made durable; says nothing of its name.
    SyncFile { file: Inode },
    /// A folder's names made durable; says nothing of what is in the files.
    SyncFolder { folder: Inode },
}

/// Why an operation is not possible; the disk is then as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such name, file or folder.
    NotFound,
    /// There is such a name.
    Exists,
    /// It is not a folder.
    NotAFolder,
    /// It is a folder.
    IsAFolder,
    /// There is something in that folder.
    NotEmpty,
}

/// A file or a folder.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    File(File),
    Folder(Folder),
}

/// A disk in memory. It is a plain value: a clone is another disk that holds the same.
#[derive(Clone, Debug)]
pub struct Disk {
    nodes: BTreeMap<Inode, Node>,
    next: u64,
    /// Numbers the changes to names, over all folders.
    changes: u64,
}

impl Default for Disk {
    fn default() -> Self {
        let nodes = BTreeMap::from([(Inode::ROOT, Node::Folder(Folder::default()))]);
        Self { nodes, next: Inode::ROOT.0 + 1, changes: 0 }
    }
}

impl Disk {
    /// What these operations make of an empty disk.
    ///
    /// # Panics
    /// If one of them is not possible: they are no disk's journal.
    #[must_use]
    pub fn after(operations: &[Operation]) -> Self {
        let mut disk = Self::default();
        for operation in operations {
            disk.apply(operation).expect("operations that were possible");
        }
        disk
    }

    /// The number for the next file or folder that is created.
    pub(crate) fn next(&self) -> Inode {
        Inode(self.next)
    }

    pub(crate) fn node(&self, inode: Inode) -> Result<&Node, Refused> {
        self.nodes.get(&inode).ok_or(Refused::NotFound)
    }

    pub(crate) fn file(&self, inode: Inode) -> Result<&File, Refused> {
        match self.node(inode)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Refused::IsAFolder),
        }
    }

    pub(crate) fn folder(&self, inode: Inode) -> Result<&Folder, Refused> {
        match self.node(inode)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Refused::NotAFolder),
        }
    }

    /// What has that name.
    pub(crate) fn lookup(&self, folder: Inode, name: &OsStr) -> Result<Inode, Refused> {
        self.folder(folder)?.names().get(name).copied().ok_or(Refused::NotFound)
    }

    /// Under how many names a file is.
    pub(crate) fn links(&self, inode: Inode) -> usize {
        let folders = self.nodes.values().filter_map(|node| match node {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        });
        folders.flat_map(|folder| folder.names().values()).filter(|&&found| found == inode).count()
    }

    fn file_mut(&mut self, inode: Inode) -> Result<&mut File, Refused> {
        match self.nodes.get_mut(&inode).ok_or(Refused::NotFound)? {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(Refused::IsAFolder),
        }
    }

    fn folder_mut(&mut self, inode: Inode) -> Result<&mut Folder, Refused> {
        match self.nodes.get_mut(&inode).ok_or(Refused::NotFound)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(Refused::NotAFolder),
        }
    }

    /// Carries an operation out.
    ///
    /// # Errors
    /// It is not possible; nothing was changed.
    pub fn apply(&mut self, operation: &Operation) -> Result<(), Refused> {
        match operation {
            Operation::CreateFile { folder, name, inode } => {
                self.create(*folder, name, *inode, Node::File(File::default()))
            }
            Operation::CreateFolder { folder, name, inode } => {
                self.create(*folder, name, *inode, Node::Folder(Folder::default()))
            }
            Operation::Link { folder, name, inode } => {
                self.file(*inode)?;
                self.add_name(*folder, name, *inode)
            }
            Operation::Rename { folder, from, to } => self.rename(*folder, from, to),
            Operation::Remove { folder, name } => {
                let inode = self.lookup(*folder, name)?;
                self.can_go(inode)?;
                self.change(*folder, NameChange::Remove { name: name.clone() })
            }
            Operation::Write { file, offset, bytes } => {
                self.file_mut(*file)?.write(*offset, bytes);
                Ok(())
            }
            Operation::Resize { file, size } => {
                self.file_mut(*file)?.resize(*size);
                Ok(())
            }
            Operation::SyncFile { file } => {
                self.file_mut(*file)?.sync();
                Ok(())
            }
            Operation::SyncFolder { folder } => {
                self.folder_mut(*folder)?.sync();
                Ok(())
            }
        }
    }

    fn create(&mut self, folder: Inode, name: &OsStr, inode: Inode, node: Node) -> Result<(), Refused> {
        self.add_name(folder, name, inode)?;
        self.nodes.insert(inode, node);
        self.next = self.next.max(inode.0 + 1);
        Ok(())
    }

    fn add_name(&mut self, folder: Inode, name: &OsStr, inode: Inode) -> Result<(), Refused> {
        if self.folder(folder)?.names().contains_key(name) {
            return Err(Refused::Exists);
        }
        self.change(folder, NameChange::Add { name: name.to_owned(), inode })
    }

    fn rename(&mut self, folder: Inode, from: &OsStr, to: &OsStr) -> Result<(), Refused> {
        let inode = self.lookup(folder, from)?;
        if let Ok(replaced) = self.lookup(folder, to) {
            if replaced == inode {
                return Ok(()); // two names of one file: nothing happens, says POSIX
            }
            match (self.node(inode)?, self.node(replaced)?) {
                (Node::File(_), Node::Folder(_)) => return Err(Refused::IsAFolder),
                (Node::Folder(_), Node::File(_)) => return Err(Refused::NotAFolder),
                _ => self.can_go(replaced)?,
            }
        }
        self.change(folder, NameChange::Rename { from: from.to_owned(), to: to.to_owned(), inode })
    }

    fn can_go(&self, inode: Inode) -> Result<(), Refused> {
        match self.node(inode)? {
            Node::Folder(folder) if !folder.names().is_empty() => Err(Refused::NotEmpty),
            _ => Ok(()),
        }
    }

    fn change(&mut self, folder: Inode, change: NameChange) -> Result<(), Refused> {
        self.changes += 1;
        let number = self.changes;
        self.folder_mut(folder)?.change(number, change);
        Ok(())
    }

    /// The power goes, and is back: of what was not synced the outcome says what is left, and that is durable now.
    pub fn cut(&mut self, outcome: Outcome) {
        let mut pick = Pick::new(outcome);
        let moment = self.a_moment(&mut pick);
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => file.cut(outcome, &mut pick),
                Node::Folder(folder) => folder.cut(|number| match outcome {
                    Outcome::Lost => false,
                    Outcome::Kept => true,
                    Outcome::Torn(_) => pick.coin(),
                    Outcome::Journaled(_) => number <= moment,
                }),
            }
        }
        self.forget_unnamed(|_| false);
    }

    /// The number of one of the changes to names that are not synced, or of the one before them.
    fn a_moment(&self, pick: &mut Pick) -> u64 {
        let unsynced = self.nodes.values().filter_map(|node| match node {
            Node::Folder(folder) => folder.first_unsynced(),
            Node::File(_) => None,
        });
        let first = unsynced.min().unwrap_or(self.changes + 1);
        first - 1 + pick.below(self.changes + 2 - first)
    }

    /// Removes what no name leads to, whatever becomes of the changes that are not synced.
    pub(crate) fn forget_unnamed(&mut self, open: impl Fn(Inode) -> bool) {
        let mut named = BTreeSet::from([Inode::ROOT]);
        let mut to_visit = vec![Inode::ROOT];
        while let Some(inode) = to_visit.pop() {
            let Some(Node::Folder(folder)) = self.nodes.get(&inode) else { continue };
            to_visit.extend(folder.all_that_may_be_named().filter(|&found| named.insert(found)));
        }
        self.nodes.retain(|inode, _| named.contains(inode) || open(*inode));
    }

    /// Writes all that there is into an empty folder of another file system.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn copy_to(&self, target: &Path) -> io::Result<()> {
        self.copy_folder(Inode::ROOT, target)
    }

    fn copy_folder(&self, inode: Inode, target: &Path) -> io::Result<()> {
        let folder = self.folder(inode).map_err(|_| io::ErrorKind::NotADirectory)?;
        for (name, inode) in folder.names() {
            let path = target.join(name);
            match self.nodes.get(inode) {
                Some(Node::File(file)) => fs::write(path, file.content())?,
                Some(Node::Folder(_)) => {
                    fs::create_dir(&path)?;
                    self.copy_folder(*inode, &path)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// A small generator (splitmix64): the same number picks the same.
pub(crate) struct Pick(u64);

impl Pick {
    fn new(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Lost | Outcome::Kept => Self(0),
            Outcome::Torn(number) | Outcome::Journaled(number) => Self(number),
        }
    }

    /// A number below `limit`, which is above 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// A number up to `limit`.
    pub(crate) fn up_to(&mut self, limit: usize) -> usize {
        self.below(limit as u64 + 1) as usize
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
