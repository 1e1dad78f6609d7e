//! What a bad disk does to the files of a server that is down: a bit of one of them is another.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A segment of the prepare log, in its middle, with records before and after.
    Segment,
    /// The `CURRENT` of a replica.
    Current,
    /// What the framework keeps beside a replica's checkpoint.
    Framework,
}

/// Whether there is such a file.
#[must_use]
pub fn can_be_damaged(data: &Path, part: Part) -> bool {
    find(data, part).is_some()
}

/// Flips a bit; returns the file, or `None` if there is no such file.
///
/// # Panics
/// If the file can't be changed.
#[must_use]
pub fn flip_a_bit(data: &Path, part: Part) -> Option<PathBuf> {
    let file = find(data, part)?;
    let opened = OpenOptions::new().read(true).write(true).open(&file).expect("a file");
    let middle = opened.metadata().expect("a file").len() / 2;
    let mut byte = [0];
    opened.read_exact_at(&mut byte, middle).expect("a byte in the middle");
    byte[0] ^= 0x10;
    opened.write_all_at(&byte, middle).and_then(|()| opened.sync_all()).expect("a byte in the middle");
    Some(file)
}

fn find(data: &Path, part: Part) -> Option<PathBuf> {
    match part {
        // A tail that does not end well is torn and cut, as it should be: so one that has another after it.
        Part::Segment => {
            let segments = entries(&data.join("log")).into_iter().filter_map(|path| {
                let name = path.file_name()?.to_str()?;
                Some((name.strip_prefix("log.")?.parse::<u64>().ok()?, path))
            });
            let mut segments: Vec<_> = segments.collect();
            segments.sort();
            segments.len().checked_sub(2).map(|last_but_one| segments.swap_remove(last_but_one).1)
        }
        Part::Current => replicas(data).map(|replica| replica.join("CURRENT")).find(|file| file.exists()),
        Part::Framework => replicas(data).flat_map(|replica| entries(&replica)).find_map(|generation| {
            let mut files = entries(&generation).into_iter();
            files.find(|file| {
                file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("framework."))
            })
        }),
    }
}

fn replicas(data: &Path) -> impl Iterator<Item = PathBuf> {
    entries(&data.join("replicas")).into_iter()
}

/// What is in a folder, in order; nothing if it is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    entries
}
