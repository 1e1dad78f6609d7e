//! A disk in use: who has what open on it, and what a test wants of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::UNIX_EPOCH;

use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo, OpenFlags, RenameFlags};
use rustix::fs::{FallocateFlags, OFlags};

use crate::disk::Node;
use crate::{Disk, Inode, Operation, Outcome, Refused};

pub(crate) const BLOCK: u32 = 4096;

/// A disk, who has what open on it, and what a test wants of it.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) disk: Disk,
    pub(crate) journal: Option<Vec<Operation>>,
    pub(crate) operations: u64,
    pub(crate) lies: bool,
    pub(crate) powered: bool,
    /// A number is never given twice, so that a handle of before a power cut is unknown after it.
    handles: BTreeMap<u64, Handle>,
    next_handle: u64,
}

#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) inode: Inode,
    /// Every write is followed by a sync.
    sync: bool,
    append: bool,
    /// What a folder held when it was opened.
    pub(crate) listing: Vec<(Inode, FileType, OsString)>,
}

impl State {
    pub(crate) fn new(disk: Disk) -> Self {
        Self {
            disk,
            journal: None,
            operations: 0,
            lies: false,
            powered: true,
            handles: BTreeMap::new(),
            next_handle: 1,
        }
    }

    pub(crate) fn cut_power(&mut self, outcome: Outcome) {
        self.powered = false;
        self.handles.clear();
        self.disk.cut(outcome);
    }

    pub(crate) fn apply(&mut self, operation: Operation) -> Result<(), Errno> {
        if self.lies && matches!(operation, Operation::SyncFile { .. } | Operation::SyncFolder { .. }) {
            return Ok(());
        }
        self.disk.apply(&operation).map_err(errno)?;
        self.operations += 1;
        if let Operation::SyncFolder { .. } = operation {
            let handles = &self.handles;
            self.disk.forget_unnamed(|inode| handles.values().any(|handle| handle.inode == inode));
        }
        if let Some(journal) = &mut self.journal {
            journal.push(operation);
        }
        Ok(())
    }

    pub(crate) fn attributes(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let (kind, size, perm, nlink) = match self.disk.node(inode).map_err(errno)? {
            Node::File(file) => (FileType::RegularFile, file.content().len(), 0o644, self.disk.links(inode)),
            Node::Folder(_) => (FileType::Directory, 0, 0o755, 2),
        };
        Ok(FileAttr {
            ino: INodeNo(inode.0),
            size: size as u64,
            blocks: size.div_ceil(512) as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: u32::try_from(nlink).unwrap_or(u32::MAX),
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        })
    }

    pub(crate) fn lookup(&self, folder: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        self.attributes(self.disk.lookup(Inode(folder.0), name).map_err(errno)?)
    }

    pub(crate) fn open(&mut self, inode: Inode, flags: OpenFlags) -> Result<FileHandle, Errno> {
        let listing = match self.disk.node(inode).map_err(errno)? {
            Node::File(_) => Vec::new(),
            Node::Folder(_) => self.list(inode)?,
        };
        let flags = OFlags::from_bits_retain(flags.0.cast_unsigned());
        let handle = Handle {
            inode,
            sync: flags.contains(OFlags::DSYNC),
            append: flags.contains(OFlags::APPEND),
            listing,
        };
        let number = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(number, handle);
        Ok(FileHandle(number))
    }

    fn list(&self, inode: Inode) -> Result<Vec<(Inode, FileType, OsString)>, Errno> {
        let dots = [".", ".."].map(|dot| (inode, FileType::Directory, dot.into()));
        let mut listing = Vec::from(dots);
        for (name, &inode) in self.disk.folder(inode).map_err(errno)?.names() {
            listing.push((inode, self.attributes(inode)?.kind, name.clone()));
        }
        Ok(listing)
    }

    pub(crate) fn handle(&self, handle: FileHandle) -> Result<&Handle, Errno> {
        self.handles.get(&handle.0).ok_or(Errno::EIO)
    }

    pub(crate) fn close(&mut self, handle: FileHandle) {
        self.handles.remove(&handle.0);
    }

    pub(crate) fn create_file(&mut self, folder: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let inode = self.disk.next();
        self.apply(Operation::CreateFile { folder: Inode(folder.0), name: name.to_owned(), inode })?;
        self.attributes(inode)
    }

    pub(crate) fn create_folder(&mut self, folder: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let inode = self.disk.next();
        self.apply(Operation::CreateFolder { folder: Inode(folder.0), name: name.to_owned(), inode })?;
        self.attributes(inode)
    }

    pub(crate) fn remove(&mut self, folder: INodeNo, name: &OsStr, kind: FileType) -> Result<(), Errno> {
        match (self.lookup(folder, name)?.kind, kind) {
            (found, wanted) if found == wanted => {
                self.apply(Operation::Remove { folder: Inode(folder.0), name: name.to_owned() })
            }
            (FileType::Directory, _) => Err(Errno::EISDIR),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn rename(
        &mut self,
        folder: INodeNo,
        from: &OsStr,
        to_folder: INodeNo,
        to: &OsStr,
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        if flags.contains(RenameFlags::RENAME_NOREPLACE) && self.lookup(to_folder, to).is_ok() {
            return Err(Errno::EEXIST);
        }
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return Err(Errno::EINVAL);
        }
        if folder != to_folder {
            // As between two file systems: a change of two folders at once is not something that is kept here.
            return Err(Errno::EXDEV);
        }
        self.apply(Operation::Rename { folder: Inode(folder.0), from: from.to_owned(), to: to.to_owned() })
    }

    pub(crate) fn link(&mut self, inode: INodeNo, folder: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let inode = Inode(inode.0);
        self.apply(Operation::Link { folder: Inode(folder.0), name: name.to_owned(), inode })?;
        self.attributes(inode)
    }

    pub(crate) fn read(&self, handle: FileHandle, offset: u64, size: u32) -> Result<&[u8], Errno> {
        let content = self.disk.file(self.handle(handle)?.inode).map_err(errno)?.content();
        let begin = position(offset)?.min(content.len());
        let end = begin.saturating_add(size as usize).min(content.len());
        Ok(&content[begin..end])
    }

    pub(crate) fn write(&mut self, handle: FileHandle, offset: u64, bytes: &[u8]) -> Result<u32, Errno> {
        let &Handle { inode: file, sync, append, .. } = self.handle(handle)?;
        let end = self.disk.file(file).map_err(errno)?.content().len();
        let offset = if append { end } else { position(offset)? };
        self.apply(Operation::Write { file, offset, bytes: bytes.to_vec() })?;
        if sync {
            self.apply(Operation::SyncFile { file })?;
        }
        u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)
    }

    pub(crate) fn resize(&mut self, inode: INodeNo, size: Option<u64>) -> Result<FileAttr, Errno> {
        let file = Inode(inode.0);
        if let Some(size) = size {
            self.apply(Operation::Resize { file, size: position(size)? })?;
        }
        self.attributes(file)
    }

    pub(crate) fn allocate(
        &mut self,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: FallocateFlags,
    ) -> Result<(), Errno> {
        let file = self.handle(handle)?.inode;
        let size = self.disk.file(file).map_err(errno)?.content().len();
        let (offset, length) = (position(offset)?, position(length)?);
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        if mode.is_empty() {
            return if end > size { self.apply(Operation::Resize { file, size: end }) } else { Ok(()) };
        }
        if mode == FallocateFlags::KEEP_SIZE {
            return Ok(());
        }
        if mode == FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE {
            let bytes = vec![0; size.min(end).saturating_sub(offset)];
            return self.apply(Operation::Write { file, offset: offset.min(size), bytes });
        }
        Err(Errno::EOPNOTSUPP)
    }
}

/// More than this is no position in a file that is kept in memory.
fn position(offset: u64) -> Result<usize, Errno> {
    usize::try_from(offset).ok().filter(|&offset| offset <= 1 << 32).ok_or(Errno::EFBIG)
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::NotFound => Errno::ENOENT,
        Refused::Exists => Errno::EEXIST,
        Refused::NotAFolder => Errno::ENOTDIR,
        Refused::IsAFolder => Errno::EISDIR,
        Refused::NotEmpty => Errno::ENOTEMPTY,
    }
}
