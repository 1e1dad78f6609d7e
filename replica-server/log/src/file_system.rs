//! The little that the log needs of a file system, so that the simulator can own its disk.

use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::direct::Direct;

/// One folder. Names are plain file names.
///
/// A file that was created, renamed or removed is surely so after a crash only once
/// [`sync_folder`](Self::sync_folder) returned.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// The names of all files.
    ///
    /// # Errors
    /// Those of the operating system.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file, in the place of one of that name if there is one.
    ///
    /// # Errors
    /// Those of the operating system.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file to read and write.
    ///
    /// # Errors
    /// Those of the operating system; `NotFound` if there is none of that name.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Gives a file another name, in the place of one of that name if there is one.
    ///
    /// # Errors
    /// Those of the operating system; `NotFound` if there is none of that name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Who still has it open may find it shorter than it was.
    ///
    /// # Errors
    /// Those of the operating system; `NotFound` if there is none of that name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names as they are now durable. That says nothing about what is in the files.
    ///
    /// # Errors
    /// Those of the operating system. What is durable is then unknown.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One open file.
pub trait File: fmt::Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` with what is at `offset`.
    ///
    /// # Errors
    /// Those of the operating system; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Says that these bytes will be read soon. Whoever says so of many before it reads the first waits for a disk once
    /// and not for each; it changes nothing else.
    fn will_read(&self, offset: u64, length: NonZeroU64) {
        let _ = (offset, length);
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the operating system. A part may then be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `size` bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes what is in the file, and its length, durable.
    ///
    /// # Errors
    /// Those of the operating system. What is durable is then unknown, and a second sync that succeeds says
    /// nothing about what the first one failed to write (§7.1).
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct RealFolder {
    path: PathBuf,
    /// Open all the time, so that names can be made durable when the process is out of handles.
    folder: fs::File,
}

impl RealFolder {
    /// The folder at `path`; made, durably, if it is not there.
    ///
    /// # Errors
    /// It can't be made, or is not a folder.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path)?;
        // Also if it was there: the process that made it may have ended before it synced.
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_path(parent)?;
        }
        let folder = fs::File::open(&path)?;
        Ok(Self { path, folder })
    }
}

fn sync_path(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

impl FileSystem for RealFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of the log's.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let path = self.path.join(name);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Box::new(RealFile { file, direct: Direct::open(&path)? }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(Box::new(RealFile { file, direct: None }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        removal::remove_file(&self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    /// A second handle that only new files are worth: most others are read.
    direct: Option<Direct>,
}

impl File for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn will_read(&self, offset: u64, length: NonZeroU64) {
        // Where that is refused it is read without.
        let _ = fadvise(&self.file, offset, Some(length), Advice::WillNeed);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.direct {
            Some(direct) => direct.write_at(&self.file, offset, bytes),
            None => self.file.write_all_at(bytes, offset),
        }
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        // fdatasync on Linux: the content and the length, not the times.
        self.file.sync_data()
    }
}
