//! What the framework keeps beside an app's checkpoint: the identity of its last decree and the sessions at
//! that decree, in a file `framework.<decree>`.
//!
//! It is durable *before* the app's checkpoint of that decree is, so whatever decree an app opens at, its file
//! is there; older ones are removed only afterwards (§8.2: sessions are part of every checkpoint).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use words::{Ballot, Decree, MutationId};

use crate::durable;

const MAGIC: &[u8; 8] = b"HFframe1";
const HEADER: usize = 8 + 8 + 8;
const CHECKSUM: usize = 4;

/// Where the file for a checkpoint at `decree` is.
pub(crate) fn path(generation: &Path, decree: Decree) -> PathBuf {
    generation.join(format!("framework.{decree}"))
}

/// Writes the file durably.
///
/// # Errors
/// What the file system says.
pub(crate) fn write(generation: &Path, identity: MutationId, sessions: &[u8]) -> io::Result<()> {
    let mut content = Vec::with_capacity(HEADER + sessions.len() + CHECKSUM);
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&identity.ballot.0.to_le_bytes());
    content.extend_from_slice(&identity.decree.0.to_le_bytes());
    content.extend_from_slice(sessions);
    content.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    durable::replace(&path(generation, identity.decree), &content)
}

/// Reads such a file: the identity, and the encoded sessions.
///
/// # Errors
/// `NotFound`; `InvalidData` for one that is damaged; otherwise what the file system says.
pub(crate) fn read(file: &Path) -> io::Result<(MutationId, Vec<u8>)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", file.display()));
    let content = fs::read(file)?;
    let (body, checksum) = content.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(damaged());
    }
    let rest = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (ballot, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let (decree, sessions) = rest.split_first_chunk().ok_or_else(damaged)?;
    let identity = MutationId {
        ballot: Ballot(u64::from_le_bytes(*ballot)),
        decree: Decree(u64::from_le_bytes(*decree)),
    };
    Ok((identity, sessions.to_vec()))
}

/// Removes all files but the one for `keep`: older ones, and those of checkpoints that were never finished.
/// What can't be removed now is removed at another time.
pub(crate) fn remove_others(generation: &Path, keep: Decree) {
    let Ok(entries) = fs::read_dir(generation) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let decree = name.to_str().and_then(|name| name.strip_prefix("framework."));
        if decree.is_some_and(|decree| decree != keep.to_string()) {
            let _ = removal::remove_file(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: MutationId = MutationId { ballot: Ballot(3), decree: Decree(17) };

    #[test]
    fn reads_what_it_wrote_and_refuses_damage() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), AT, b"sessions").unwrap();
        let file = path(folder.path(), AT.decree);
        assert_eq!(read(&file).unwrap(), (AT, b"sessions".to_vec()));
        let whole = fs::read(&file).unwrap();
        for (bit, bad) in hostile::flips(&whole).enumerate() {
            fs::write(&file, &bad).unwrap();
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "bit {bit}");
        }
        for at in 0..whole.len() {
            fs::write(&file, &whole[..at]).unwrap();
            assert_eq!(read(&file).unwrap_err().kind(), io::ErrorKind::InvalidData, "cut at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_nobody_wrote_is_refused(bad in proptest::prop_oneof![hostile::noise(), hostile::harmed(valid())]) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("framework.17");
            fs::write(&file, &bad).unwrap();
            if let Ok(found) = read(&file) {
                proptest::prop_assert_eq!(found, (AT, b"sessions".to_vec()));
            }
        }
    }

    fn valid() -> proptest::strategy::Just<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), AT, b"sessions").unwrap();
        proptest::strategy::Just(fs::read(path(folder.path(), AT.decree)).unwrap())
    }

    #[test]
    fn keeps_only_the_one_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        for decree in [5, 17, 23] {
            write(folder.path(), MutationId { decree: Decree(decree), ..AT }, b"").unwrap();
        }
        remove_others(folder.path(), AT.decree);
        let left: Vec<bool> = [5, 17, 23].map(|d| path(folder.path(), Decree(d)).exists()).into();
        assert_eq!(left, [false, true, false]);
    }
}
