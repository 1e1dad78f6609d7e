//! Who this node is: what its data directory says (§1, §7.3), and the lock that keeps others out of it.
//!
//! | file | holds |
//! | --- | --- |
//! | `lock` | the id of the process that uses the directory, and locks this file while it does |
//! | `node` | the node's UUID and its name in `config.ini`, a line each; written once |
//! | `life` | a number, raised durably at each start |
//!
//! The last two end in a checksum: a node that takes itself for another one, or for an earlier life of its own, breaks
//! promises that it does not know of, so it had better not start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use words::{Life, NodeId};

use crate::StartError;
use crate::durable;

/// No life comes near this: it counts starts.
const HIGHEST_LIFE: u64 = 1 << 62;

/// A data directory, locked for this process.
#[derive(Debug)]
pub(crate) struct DataFolder {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Who owns it.
    pub(crate) node: NodeId,
    /// The life that began now.
    pub(crate) life: Life,
    /// Unlocked when it is dropped, and by the kernel when the process ends in any way.
    _lock: File,
}

impl DataFolder {
    /// Takes the directory for the node called `name` and begins a life; makes it if there is none.
    ///
    /// # Errors
    /// It is in use, belongs to a node of another name, or can't be read or written.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Self, StartError> {
        let failed = |what: &str, error: &io::Error| {
            StartError::new(format!("data directory {}: can't {what}: {error}", path.display()))
        };
        fs::create_dir_all(path).map_err(|error| failed("make it", &error))?;
        // What is in it stays until it is locked: it says who has it.
        let lock = File::options().create(true).truncate(false).write(true).open(path.join("lock"));
        let mut lock = lock.map_err(|error| failed("open its lock file", &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                return StartError::new(format!(
                    "data directory {} is in use by another process: stop that one first",
                    path.display()
                ));
            }
            failed("lock it", &error.into())
        })?;
        // For people and scripts.
        let told = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        told.map_err(|error| failed("write its lock file", &error))?;
        let node = read_or_give_identity(path, name)?;
        let life = begin_life(path).map_err(|error| failed("begin a life in its file `life`", &error))?;
        Ok(Self { path: path.to_owned(), node, life, _lock: lock })
    }
}

fn read_or_give_identity(path: &Path, name: &str) -> Result<NodeId, StartError> {
    let file = path.join("node");
    let failed = |error: &io::Error| StartError::new(format!("file {}: {error}", file.display()));
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let node = uuid::Uuid::new_v4();
            // A directory that goes with a power cut would come back as another, empty node.
            durable::sync_way_to(path).map_err(|e| failed(&e))?;
            durable::replace(&file, seal(&format!("{node}\n{name}\n")).as_bytes()).map_err(|e| failed(&e))?;
            return Ok(NodeId(node.as_u128()));
        }
        Err(error) => return Err(failed(&error)),
    };
    let mut lines = unseal(&text).unwrap_or_default().lines();
    let node = lines.next().and_then(|line| uuid::Uuid::parse_str(line).ok());
    let (Some(node), Some(owner)) = (node, lines.next()) else {
        return Err(StartError::new(format!(
            "file {} is damaged: it should hold the node's UUID and its name, a line each, and their checksum; \
             move the data directory away, and the node begins as a new one",
            file.display()
        )));
    };
    if owner != name {
        return Err(StartError::new(format!(
            "data directory {} belongs to node `{owner}`, not to `{name}`: give `{name}` a directory of its own",
            path.display()
        )));
    }
    Ok(NodeId(node.as_u128()))
}

/// A file that was there and can't be read stops the start: life 1 again could make messages to an earlier
/// life 1 count (§1).
fn begin_life(path: &Path) -> io::Result<Life> {
    let file = path.join("life");
    let last: u64 = match fs::read_to_string(&file) {
        Ok(text) => unseal(&text)
            .and_then(|text| text.trim_end().parse().ok())
            .filter(|&last| last < HIGHEST_LIFE)
            .ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "it should hold a number and its checksum")
            })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    durable::replace(&file, seal(&format!("{}\n", last + 1)).as_bytes())?;
    Ok(Life(last + 1))
}

/// Lines of text, and one with their checksum.
fn seal(text: &str) -> String {
    format!("{text}checksum {:08x}\n", crc32c::crc32c(text.as_bytes()))
}

/// The lines before the checksum, if it is right.
fn unseal(sealed: &str) -> Option<&str> {
    let (text, _) = sealed.split_at(sealed.rfind("checksum ")?);
    (seal(text) == sealed).then_some(text)
}

#[cfg(test)]
mod tests {
    use forgetful::{Point, Recorder, can_mount};
    use hostile::{flips, harmed, noise};
    use proptest::prelude::*;

    use super::*;

    /// A folder whose files are these.
    fn folder_of(node: &[u8], life: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("node"), node).unwrap();
        fs::write(folder.path().join("life"), life).unwrap();
        folder
    }

    fn files() -> [Vec<u8>; 2] {
        let node = format!("{}\nreplica1\n", uuid::Uuid::from_u128(7));
        [seal(&node).into_bytes(), seal("41\n").into_bytes()]
    }

    #[test]
    fn every_bit_of_both_files_counts() {
        let [node, life] = files();
        let begun = DataFolder::open(folder_of(&node, &life).path(), "replica1").unwrap();
        assert_eq!((begun.node, begun.life), (NodeId(7), Life(42)));
        for changed in flips(&node) {
            assert!(DataFolder::open(folder_of(&changed, &life).path(), "replica1").is_err(), "{changed:?}");
        }
        for changed in flips(&life) {
            assert!(DataFolder::open(folder_of(&node, &changed).path(), "replica1").is_err(), "{changed:?}");
        }
        let last = seal(&format!("{}\n", u64::MAX)).into_bytes();
        assert!(
            DataFolder::open(folder_of(&node, &last).path(), "replica1").is_err(),
            "there is no next life"
        );
    }

    proptest! {
        #[test]
        fn what_nobody_wrote_starts_no_node(
            which in 0..2_usize,
            node in prop_oneof![noise(), harmed(Just(files()[0].clone()))],
            life in prop_oneof![noise(), harmed(Just(files()[1].clone()))],
        ) {
            let mut both = files();
            both[which] = if which == 0 { node } else { life };
            let opened = DataFolder::open(folder_of(&both[0], &both[1]).path(), "replica1");
            prop_assert_eq!(opened.is_ok(), both == files());
        }
    }

    #[test]
    fn an_identity_stays_and_a_life_grows() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path(), "replica1").unwrap();
        let (node, life) = (first.node, first.life);
        drop(first);
        let second = DataFolder::open(folder.path(), "replica1").unwrap();
        assert_eq!(second.node, node);
        assert_eq!((life, second.life), (Life(1), Life(2)));
    }

    #[test]
    fn an_identity_that_was_given_out_stays_and_lives_grow_wherever_the_power_goes() {
        let test = "identity::an_identity_that_was_given_out_stays_and_lives_grow_wherever_the_power_goes";
        if !can_mount(test) {
            return;
        }
        let begin = |recorder: &mut Recorder<(NodeId, Life)>| {
            let data = DataFolder::open(&recorder.path().join("data/replica1"), "replica1").unwrap();
            recorder.promise((data.node, data.life));
        };
        let check = |folder: &Path, point: &Point<'_, (NodeId, Life)>| {
            let found = DataFolder::open(&folder.join("data/replica1"), "replica1").unwrap();
            if let Some((node, life)) = point.promised {
                assert_eq!(found.node, *node);
                assert!(found.life > *life, "life {} again", found.life);
            }
        };
        let mut recorder = Recorder::start();
        for _ in 0..3 {
            begin(&mut recorder);
        }
        let run = recorder.finish();
        forgetful::report(test, run.check_each_point(check), run.check_each_restart(begin, check));
        let (noticed, unnoticed) = run.check_without_each_sync(check);
        forgetful::report_left_out(test, noticed, &unnoticed);
    }

    #[test]
    fn refuses_a_directory_in_use_or_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path(), "replica1").unwrap();
        let in_use = DataFolder::open(folder.path(), "replica1").unwrap_err().to_string();
        assert!(in_use.contains("in use"), "{in_use}");
        let user = fs::read_to_string(folder.path().join("lock")).unwrap();
        assert_eq!(user, format!("{}\n", std::process::id()));
        drop(first);
        let other = DataFolder::open(folder.path(), "replica2").unwrap_err().to_string();
        assert!(other.contains("belongs to node `replica1`"), "{other}");
    }

    #[test]
    fn refuses_damaged_files_instead_of_starting_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::open(folder.path(), "replica1").unwrap());
        fs::write(folder.path().join("life"), "").unwrap();
        assert!(DataFolder::open(folder.path(), "replica1").is_err());
        fs::write(folder.path().join("life"), seal("7\n")).unwrap();
        fs::write(folder.path().join("node"), "x").unwrap();
        assert!(DataFolder::open(folder.path(), "replica1").is_err());
    }
}
