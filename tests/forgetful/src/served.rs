//! The disk as the kernel sees it. Nothing is cached on the way, so that every write and every sync arrives here
//! before the call that made it returns.

use std::ffi::OsStr;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::FallocateFlags;

use crate::state::{BLOCK, State};
use crate::{Inode, Operation};

/// Names and attributes are asked for each time.
const NOT_CACHED: Duration = Duration::ZERO;
const NO_GENERATION: Generation = Generation(0);
/// What `statfs` says, in blocks: plenty.
const BLOCKS: u64 = 1 << 30;

/// What answers the kernel.
pub(crate) struct Served {
    state: Arc<Mutex<State>>,
}

impl Served {
    pub(crate) fn new(state: Arc<Mutex<State>>) -> Self {
        Self { state }
    }

    /// Nothing works without power.
    fn state(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.powered { Ok(state) } else { Err(Errno::EIO) }
    }

    fn sync(&self, handle: FileHandle, operation: impl FnOnce(Inode) -> Operation, reply: ReplyEmpty) {
        let synced = self.state().and_then(|mut state| {
            let inode = state.handle(handle)?.inode;
            state.apply(operation(inode))
        });
        answer(synced, reply);
    }

    fn close(&self, handle: FileHandle, reply: ReplyEmpty) {
        if let Ok(mut state) = self.state() {
            state.close(handle);
        }
        reply.ok();
    }
}

fn answer(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&NOT_CACHED, &attributes, NO_GENERATION),
        Err(error) => reply.error(error),
    }
}

fn answer_attributes(result: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&NOT_CACHED, &attributes),
        Err(error) => reply.error(error),
    }
}

fn answer_opened(result: Result<FileHandle, Errno>, flags: FopenFlags, reply: ReplyOpen) {
    match result {
        Ok(handle) => reply.opened(handle, flags),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, _: &mut KernelConfig) -> io::Result<()> {
        // What fuser asks for by itself is right: no writeback cache, locks kept by the kernel.
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.state().and_then(|state| state.lookup(parent, name)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answer_attributes(self.state().and_then(|state| state.attributes(Inode(ino.0))), reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer_attributes(self.state().and_then(|mut state| state.resize(ino, size)), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        answer_entry(self.state().and_then(|mut state| state.create_folder(parent, name)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state().and_then(|mut state| state.remove(parent, name, FileType::RegularFile)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.state().and_then(|mut state| state.remove(parent, name, FileType::Directory)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(
            self.state().and_then(|mut state| state.rename(parent, name, newparent, newname, flags)),
            reply,
        );
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        answer_entry(self.state().and_then(|mut state| state.link(ino, newparent, newname)), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.state().and_then(|mut state| {
            let attributes = state.create_file(parent, name)?;
            Ok((attributes, state.open(Inode(attributes.ino.0), OpenFlags(flags))?))
        });
        match created {
            Ok((attributes, handle)) => {
                reply.created(&NOT_CACHED, &attributes, NO_GENERATION, handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.state().and_then(|mut state| state.open(Inode(ino.0), flags));
        answer_opened(opened, FopenFlags::FOPEN_DIRECT_IO, reply);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().as_ref().map_err(|&error| error).and_then(|state| state.read(fh, offset, size)) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().and_then(|mut state| state.write(fh, offset, data)) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.close(fh, reply);
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(fh, |file| Operation::SyncFile { file }, reply);
    }

    fn opendir(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.state().and_then(|mut state| state.open(Inode(ino.0), flags));
        answer_opened(opened, FopenFlags::empty(), reply);
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = match self.state() {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        let listing = match state.handle(fh) {
            Ok(handle) => &handle.listing,
            Err(error) => return reply.error(error),
        };
        let rest = (1..).zip(listing).skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for (next, (inode, kind, name)) in rest {
            if reply.add(INodeNo(inode.0), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.close(fh, reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(fh, |folder| Operation::SyncFolder { folder }, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCK, 255, BLOCK);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        answer(self.state().and_then(|mut state| state.allocate(fh, offset, length, mode)), reply);
    }
}
