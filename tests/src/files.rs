//! What is on a server's disk.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// All files below a folder by their inodes, each under one of its names: a checkpoint has links to what its app works
/// on.
///
/// # Errors
/// Those of the operating system.
pub fn files_below(folder: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    find(folder, &mut found)?;
    Ok(found)
}

fn find(folder: &Path, found: &mut BTreeMap<u64, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), found)?;
        } else {
            found.insert(entry.ino(), entry.path());
        }
    }
    Ok(())
}
