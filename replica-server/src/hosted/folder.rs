//! A replica's folder, `replicas/GPID/`, and how one state takes the place of another in one step (§6.2).
//!
//! | in it | |
//! | --- | --- |
//! | `CURRENT` | the name of the generation that counts |
//! | `gen.N/app/` | what the app of that generation stores |
//! | `gen.N/framework.D` | what the framework keeps for its checkpoint at decree D |
//! | `gen.N/incoming/` | a checkpoint that is being fetched |
//! | `incoming/` | what there is of one whose fetch broke off |
//! | `offer.N/` | a checkpoint that others can fetch |
//!
//! A generation is filled out of sight; `CURRENT` is then replaced. Whenever the machine stops, `CURRENT` names
//! a whole generation, the old or the new one. All else that lies around is removed at the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use words::Gpid;

use crate::durable;

/// The folder of one replica.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaFolder {
    path: PathBuf,
}

impl ReplicaFolder {
    pub(crate) fn new(replicas: &Path, gpid: Gpid) -> Self {
        Self { path: replicas.join(gpid.to_string()) }
    }

    /// The folder of a generation.
    pub(crate) fn generation(&self, number: u64) -> PathBuf {
        self.path.join(format!("gen.{number}"))
    }

    /// The folder of an offered checkpoint.
    pub(crate) fn offer(&self, number: u64) -> PathBuf {
        self.path.join(format!("offer.{number}"))
    }

    /// Makes an empty folder for a generation, with a folder for its app, and returns it.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn make_generation(&self, number: u64) -> io::Result<PathBuf> {
        let generation = self.generation(number);
        removal::remove_folder(&generation)?;
        fs::create_dir_all(app_folder(&generation))?;
        durable::sync_folder(&generation)?;
        durable::sync_folder(&self.path)?;
        durable::sync_folder(durable::parent(&self.path)?)?;
        Ok(generation)
    }

    /// The folder in which a generation's checkpoint arrives; in it is what there is of an earlier one.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn take_incoming(&self, generation: &Path) -> io::Result<PathBuf> {
        let incoming = generation.join("incoming");
        match fs::rename(self.broken_off(), &incoming) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&incoming)?,
            renamed => renamed?,
        }
        Ok(incoming)
    }

    /// What arrived by now is for the next fetch; it is looked through then. What can't be kept is fetched again.
    pub(crate) fn keep_incoming(&self, incoming: &Path) {
        let _ = removal::remove_folder(&self.broken_off());
        let _ = fs::rename(incoming, self.broken_off());
    }

    fn broken_off(&self) -> PathBuf {
        self.path.join("incoming")
    }

    /// Makes a generation the one that counts: the one step. All that is in it must be durable.
    ///
    /// # Errors
    /// What the file system says; the old generation then still counts, or the new one.
    pub(crate) fn make_current(&self, number: u64) -> io::Result<()> {
        durable::replace(&self.path.join("CURRENT"), format!("gen.{number}\n").as_bytes())
    }

    /// The number of the generation that counts.
    ///
    /// # Errors
    /// `NotFound` if the replica's data is gone; `InvalidData` if `CURRENT` is damaged.
    pub(crate) fn current(&self) -> io::Result<u64> {
        let file = self.path.join("CURRENT");
        let text = fs::read_to_string(&file)?;
        let number = text.trim_end().strip_prefix("gen.").and_then(|number| number.parse().ok());
        number.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", file.display()))
        })
    }

    /// The number of the generation that counts, at a start. An earlier life may have ended between a rename and
    /// its sync: what is seen now must still be so after a power cut, before anything is removed for it.
    ///
    /// # Errors
    /// As [`current`](Self::current), and what the file system says.
    pub(crate) fn settle(&self) -> io::Result<u64> {
        durable::sync_folder(&self.path)?;
        let number = self.current()?;
        durable::sync_folder(&self.generation(number))?;
        Ok(number)
    }

    /// Removes what does not count: generations that never did or no longer do, offers, half-written files.
    /// What can't be removed now is removed at another start.
    pub(crate) fn remove_leftovers(&self) {
        let Ok(current) = self.current() else { return };
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let keep = format!("gen.{current}");
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name == keep.as_str() || name == "CURRENT" {
                continue;
            }
            let _ = removal::remove_entry(&entry);
        }
    }

    /// Takes the folder out of sight in one step; returns where its remains are, to be deleted at leisure.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn set_aside(&self, number: u64) -> io::Result<Option<PathBuf>> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".removed.{number}"));
        let aside = PathBuf::from(aside);
        match fs::rename(&self.path, &aside) {
            Ok(()) => durable::sync_folder(durable::parent(&self.path)?).map(|()| Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where a generation's app stores its files.
pub(crate) fn app_folder(generation: &Path) -> PathBuf {
    generation.join("app")
}

/// Removes the remains of replicas that were set aside before this start.
pub(crate) fn remove_set_aside(replicas: &Path) {
    let Ok(entries) = fs::read_dir(replicas) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.contains(".removed.")) {
            let _ = removal::remove_folder(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_counts_only_once_current_names_it() {
        let root = tempfile::tempdir().unwrap();
        let folder = ReplicaFolder::new(root.path(), Gpid::new(1, 0));
        let first = folder.make_generation(1).unwrap();
        assert_eq!(folder.current().unwrap_err().kind(), io::ErrorKind::NotFound);
        folder.make_current(1).unwrap();
        // Stopped while the second one was being filled: the first counts, the second goes.
        let second = folder.make_generation(2).unwrap();
        fs::write(root.path().join("1.0/CURRENT.new"), "gen.2").unwrap();
        folder.remove_leftovers();
        assert_eq!(folder.current().unwrap(), 1);
        assert_eq!((first.exists(), second.exists()), (true, false));
        // Stopped right after the step: the second counts, the first goes.
        let second = folder.make_generation(2).unwrap();
        folder.make_current(2).unwrap();
        folder.remove_leftovers();
        assert_eq!(folder.current().unwrap(), 2);
        assert_eq!((first.exists(), second.exists()), (false, true));
    }

    #[test]
    fn nothing_is_removed_while_it_is_unknown_what_counts() {
        let root = tempfile::tempdir().unwrap();
        let folder = ReplicaFolder::new(root.path(), Gpid::new(1, 0));
        let generation = folder.make_generation(1).unwrap();
        fs::write(root.path().join("1.0/CURRENT"), "gen.").unwrap();
        folder.remove_leftovers();
        assert_eq!(folder.current().unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(generation.exists());
    }
}
