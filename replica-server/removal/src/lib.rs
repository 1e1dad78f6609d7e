//! Removes large files without holding up the disk.
//!
//! To free the blocks of a file of 64 MiB takes a file system tens of milliseconds, more under load (with the mount
//! option `discard` it tells the disk of each of them), and what others sync waits behind that: the prepare log's
//! syncs, which are what clients wait for. So a name goes at once, and the blocks in pieces, from the end on, on a
//! thread of its own that rests after each piece as long as that took. If the process ends before that is done the
//! operating system frees what is left.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

/// What is freed at once. A smaller file goes as files do.
const PIECE_BYTES: u64 = 4 << 20;
/// Files that wait to be freed. Each is an open file; one more is freed by whoever removes it.
const MOST_WAITING: usize = 64;

/// Removes a file. Its name is gone when this returns; the room that it took is free a little later, if this was its
/// only name.
///
/// Who still has a large file open finds it growing shorter.
///
/// # Errors
/// Those of the operating system; `NotFound` if it is not there.
pub fn remove_file(path: &Path) -> io::Result<()> {
    let large = open_if_large(path);
    fs::remove_file(path)?;
    if let Some(file) = large {
        free_later(file);
    }
    Ok(())
}

/// Removes a folder with all that is in it, files as [`remove_file`] does; one that is not there is fine.
///
/// # Errors
/// Those of the operating system; a part may then be removed.
pub fn remove_folder(folder: &Path) -> io::Result<()> {
    unless_gone(fs::read_dir(folder).and_then(|entries| {
        for entry in entries {
            remove_entry(&entry?)?;
        }
        fs::remove_dir(folder)
    }))
}

/// Removes an entry of a folder, a file or a folder; one that is not there is fine.
///
/// # Errors
/// As [`remove_folder`].
pub fn remove_entry(entry: &fs::DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() {
        remove_folder(&entry.path())
    } else {
        unless_gone(remove_file(&entry.path()))
    }
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// `None` also if it can't be opened: it is then removed as files are.
fn open_if_large(path: &Path) -> Option<File> {
    let found = fs::symlink_metadata(path).ok()?;
    if !found.is_file() || found.len() <= PIECE_BYTES {
        return None;
    }
    File::options().write(true).open(path).ok()
}

/// Hands a file without a name to the thread that frees such files. If that can't be started, or has enough to do, the
/// file is freed here, where it is dropped.
fn free_later(file: File) {
    static WAITING: OnceLock<SyncSender<File>> = OnceLock::new();
    let waiting = WAITING.get_or_init(|| {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        // Without the thread the receiver is gone, and each file is refused.
        let _ = thread::Builder::new().name("removal".to_owned()).spawn(move || free_all(&receiver));
        sender
    });
    let _ = waiting.try_send(file);
}

fn free_all(waiting: &Receiver<File>) {
    for file in waiting {
        // What can't be cut short is freed as a whole, when it is dropped.
        let _ = free(&file);
    }
}

fn free(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.nlink() > 0 {
        return Ok(()); // it is somebody else's, too
    }
    let mut left = found.len();
    while left > 0 {
        left = left.saturating_sub(PIECE_BYTES);
        let begun = Instant::now();
        file.set_len(left)?;
        thread::sleep(begun.elapsed());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LARGE: u64 = 2 * PIECE_BYTES + 1;

    fn large_file(path: &Path) -> File {
        let file = File::create_new(path).unwrap();
        file.set_len(LARGE).unwrap();
        file
    }

    #[test]
    fn a_name_is_gone_at_once_and_the_blocks_are_freed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let seen = large_file(&path);
        remove_file(&path).unwrap();
        assert!(!path.exists());
        let begun = Instant::now();
        while seen.metadata().unwrap().len() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is never freed");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_has_another_name_stays_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("large"), folder.path().join("other"));
        let file = large_file(&path);
        fs::hard_link(&path, &other).unwrap();
        fs::remove_file(&path).unwrap();
        free(&file).unwrap();
        assert_eq!(other.metadata().unwrap().len(), LARGE);
        fs::remove_file(&other).unwrap();
        free(&file).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_link_is_removed_and_not_what_it_points_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("large"), folder.path().join("link"));
        large_file(&path);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        remove_file(&link).unwrap();
        assert!(!link.is_symlink());
        assert_eq!(path.metadata().unwrap().len(), LARGE);
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("folder");
        fs::create_dir_all(folder.join("within/deep")).unwrap();
        large_file(&folder.join("within/large"));
        fs::write(folder.join("small"), "small").unwrap();
        std::os::unix::fs::symlink(scratch.path(), folder.join("away")).unwrap();
        remove_folder(&folder).unwrap();
        assert!(!folder.exists() && scratch.path().exists());
        remove_folder(&folder).unwrap();
        assert_eq!(remove_file(&folder).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
