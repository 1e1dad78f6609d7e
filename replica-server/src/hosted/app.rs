//! One open app with what the framework keeps for it: its sessions, and the identities of what it has applied
//! and made durable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replica_core::{Sessions, WriteAnswer, apply_mutation};
use replicated_app::{
    AppInfo, ApplyMode, Bytes, CheckpointJob, LearnState, OpenContext, Reading, Registry, ReplicatedApp,
};
use words::{Change, Decree, Gpid, Mutation, MutationId};

use super::folder;
use super::framework;

/// An open app.
pub(crate) struct HostedApp {
    app: Box<dyn ReplicatedApp>,
    sessions: Sessions,
    applied: MutationId,
    durable: MutationId,
    generation: PathBuf,
}

impl HostedApp {
    /// Opens the app of a generation, with the state that is durable in it.
    ///
    /// # Errors
    /// The type is not registered; the app can't be opened; or what the framework keeps for the decree that it
    /// opened at is missing or damaged, so that starting would be with less than was durable (PITFALLS 5).
    pub(crate) fn open(
        registry: &Registry,
        gpid: Gpid,
        info: &AppInfo,
        generation: &Path,
    ) -> io::Result<Self> {
        let app_type = registry.get(&info.app_type).ok_or_else(|| {
            let known: Vec<_> = registry.names().collect();
            let message =
                format!("app type `{}` is not registered here (known: {})", info.app_type, known.join(", "));
            io::Error::new(io::ErrorKind::Unsupported, message)
        })?;
        let folder = folder::app_folder(generation);
        let app = app_type.open(&OpenContext { gpid, app: info, folder: &folder })?;
        let decree = app.last_durable_decree();
        let (identity, sessions) = if decree == Decree::ZERO {
            (MutationId::ZERO, Sessions::new())
        } else {
            let (identity, sessions) = framework::read(&framework::path(generation, decree))?;
            (identity, decode(&sessions)?)
        };
        framework::remove_others(generation, decree);
        Ok(Self { app, sessions, applied: identity, durable: identity, generation: generation.to_owned() })
    }

    /// The identity of the last mutation applied.
    pub(crate) fn applied(&self) -> MutationId {
        self.applied
    }

    /// The identity of the last mutation that is durable in the app.
    pub(crate) fn durable(&self) -> MutationId {
        self.durable
    }

    /// Its generation's folder.
    pub(crate) fn generation(&self) -> &Path {
        &self.generation
    }

    /// Applies the next committed mutation; with what the app publishes of that.
    ///
    /// # Panics
    /// If it is not the next one (S11), or if the app panics.
    pub(crate) fn apply(&mut self, mutation: &Mutation) -> (Vec<WriteAnswer>, Vec<Change>) {
        assert_eq!(mutation.id.decree, self.applied.decree.next(), "decrees are applied in order (S11)");
        let answers = apply_mutation(self.app.as_mut(), &mut self.sessions, mutation);
        self.applied = mutation.id;
        (answers, self.app.take_changes())
    }

    /// Reads from the state as it is, or begins to.
    pub(crate) fn start_read(&self, request: &Bytes) -> Reading {
        self.app.start_read(request)
    }

    /// Why the app can't be believed any more, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.app.failure()
    }

    /// Takes a snapshot of what is applied now; the rest can be done on another thread. `None`: all that is
    /// applied is durable already.
    ///
    /// # Errors
    /// What the app says.
    pub(crate) fn begin_checkpoint(&mut self) -> io::Result<Option<PendingCheckpoint>> {
        if self.applied == self.durable {
            return Ok(None);
        }
        let job = self.app.async_checkpoint()?.ok_or_else(|| {
            io::Error::other(format!(
                "the app has nothing new at {}, yet is durable at {}",
                self.applied, self.durable
            ))
        })?;
        Ok(Some(PendingCheckpoint {
            identity: self.applied,
            sessions: self.sessions.encode(),
            generation: self.generation.clone(),
            job,
        }))
    }

    /// Notes that a checkpoint is durable.
    pub(crate) fn checkpoint_is_durable(&mut self, identity: MutationId) {
        self.durable = identity;
    }

    /// Where the newest durable checkpoint is; it stays there until another one is begun.
    ///
    /// # Errors
    /// What the app says.
    pub(crate) fn durable_checkpoint(&self) -> io::Result<DurableCheckpoint> {
        let state = self.app.get_checkpoint()?;
        let framework_file = framework::path(&self.generation, state.decree);
        Ok(DurableCheckpoint { state, framework_file })
    }

    /// Takes over a fetched checkpoint as the state of a new generation's app, durably.
    ///
    /// # Errors
    /// What the app or the file system says; `InvalidData` if it makes no sense. The generation is of no use then.
    pub(crate) fn install(
        &mut self,
        checkpoint: MutationId,
        sessions: &[u8],
        state: &LearnState,
    ) -> io::Result<()> {
        self.sessions = decode(sessions)?;
        framework::write(&self.generation, checkpoint, sessions)?;
        self.app.apply_checkpoint(ApplyMode::Learn, state)?;
        if self.app.last_durable_decree() != checkpoint.decree {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "the app took over a checkpoint at decree {} and says that it is durable at {}",
                    checkpoint.decree,
                    self.app.last_durable_decree()
                ),
            ));
        }
        self.applied = checkpoint;
        self.durable = checkpoint;
        Ok(())
    }

    /// Ends the app.
    ///
    /// # Errors
    /// What the app says.
    pub(crate) fn close(self, clean_up: bool) -> io::Result<()> {
        self.app.close(clean_up)
    }
}

/// A checkpoint that is not durable yet.
pub(crate) struct PendingCheckpoint {
    identity: MutationId,
    sessions: Vec<u8>,
    generation: PathBuf,
    job: CheckpointJob,
}

impl PendingCheckpoint {
    /// Makes it durable: first what the framework keeps, then what the app does. What was kept for older ones goes.
    ///
    /// # Errors
    /// What the app or the file system says; the older checkpoint then counts.
    pub(crate) fn run(self) -> io::Result<MutationId> {
        framework::write(&self.generation, self.identity, &self.sessions)?;
        let durable = (self.job)()?;
        if durable != self.identity.decree {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the app was asked for a checkpoint at {} and wrote one at {durable}", self.identity),
            ));
        }
        framework::remove_others(&self.generation, durable);
        Ok(self.identity)
    }
}

/// A checkpoint whose files stay where they are until the app begins another one.
pub(crate) struct DurableCheckpoint {
    state: LearnState,
    framework_file: PathBuf,
}

impl DurableCheckpoint {
    /// Links it into a new folder, out of reach of what the app does next.
    ///
    /// # Errors
    /// What the file system says, `NotFound` if the replica's own folder is gone; `InvalidData` if the app names files
    /// outside of its folder.
    pub(crate) fn link_into(self, offer: &Path) -> io::Result<LinkedCheckpoint> {
        fs::create_dir(offer)?;
        let files = offer.join("app");
        fs::create_dir(&files)?;
        for name in &self.state.files {
            check_name(name)?;
            let to = files.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            link(&self.state.folder.join(name), &to)?;
        }
        let framework_file = offer.join("framework");
        link(&self.framework_file, &framework_file)?;
        Ok(LinkedCheckpoint { state: LearnState { folder: files, ..self.state }, framework_file })
    }
}

/// A checkpoint whose files stay as they are.
pub(crate) struct LinkedCheckpoint {
    /// The app's part.
    pub(crate) state: LearnState,
    /// The framework's part.
    pub(crate) framework_file: PathBuf,
}

/// Whether a file's name stays inside of the folder that it is relative to.
///
/// # Errors
/// `InvalidData` if it does not.
pub(crate) fn check_name(name: &Path) -> io::Result<()> {
    let inside = name.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside && name.components().next().is_some() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is no file name", name.display())))
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    // A file system without hard links costs a copy.
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

fn decode(sessions: &[u8]) -> io::Result<Sessions> {
    Sessions::decode(sessions)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the sessions in it make no sense"))
}

/// The app types that this process hosts, shared with the threads that open apps.
pub(crate) type SharedRegistry = Arc<Registry>;
