//! Files that are either as they were or as they shall be, whatever moment the machine stops at.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the file in one step: written beside, synced, renamed, and the rename synced too.
///
/// # Errors
/// What the file system says; the file is then as it was.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(parent(path)?)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the file system says.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder durable as such: its name, and those of the folders that it is in, which may be as new.
///
/// # Errors
/// What the file system says. One that may not be read was not made by us, and needs no sync.
pub(crate) fn sync_way_to(folder: &Path) -> io::Result<()> {
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match File::open(above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            opened => opened?.sync_all()?,
        }
    }
    Ok(())
}

/// The folder that the path is in.
///
/// # Errors
/// `InvalidInput` for a path without one.
pub(crate) fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a folder"))
}
