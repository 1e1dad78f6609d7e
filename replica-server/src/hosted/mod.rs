//! The apps of this node: opened, applied to, read, checkpointed, offered to others and replaced by what others
//! offered. Belongs to the shard; what takes long is given to workers and comes back as [`WorkDone`].

mod app;
mod checkpoints;
#[cfg(test)]
mod crash_points;
mod download;
mod fetch;
mod folder;
mod framework;
mod offers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use replica_core::{ApplyTask, Changes, Event, RecoveredApp, Token};
use replicated_app::{AppAnswer, AppInfo, Bytes, Reading};
use words::{Decree, Gpid, MutationId, Refusal, Reply, Signature};

use app::HostedApp;
pub(crate) use app::SharedRegistry;
use fetch::Fetch;
use folder::ReplicaFolder;
pub(crate) use offers::{Offer, Offers};

use crate::durable;
use crate::workers::Workers;

/// Apps that are opened at the same time when a node starts.
const OPENERS: usize = 16;

/// All apps of this node.
pub(crate) struct Apps {
    replicas: PathBuf,
    registry: SharedRegistry,
    offers: Arc<Offers>,
    workers: Workers,
    slots: BTreeMap<Gpid, Slot>,
    last_generation: u64,
    /// Bytes of recent changes that are kept of each app.
    history: usize,
}

/// The place of one replica's app.
struct Slot {
    info: AppInfo,
    folder: ReplicaFolder,
    /// `None` while it is being made, and once it failed.
    app: Option<HostedApp>,
    /// What `app` published since it was opened.
    changes: Changes,
    /// The generation of `app`, or the one being made; reports about another one are late.
    generation: u64,
    checkpoint: Checkpoint,
    /// Learnings that wait for a checkpoint at this decree or further.
    offers_wanted: Vec<(Signature, Decree)>,
    /// The fetch under way: its generation, and how to cancel it.
    fetch: Option<(u64, Arc<AtomicBool>)>,
}

/// One checkpoint of an app at a time.
#[derive(Default)]
struct Checkpoint {
    /// A worker writes one, or makes an offer of one.
    running: bool,
    /// The core waits for a `CheckpointDone`.
    wanted: bool,
    /// The last one failed, as the log says.
    failing: bool,
}

/// A piece of work that ended.
pub(crate) enum WorkDone {
    /// It concerns only the core.
    Event(Event),
    /// A new app.
    Created { gpid: Gpid, generation: u64, result: io::Result<HostedApp> },
    /// A checkpoint of a generation's app.
    Checkpointed { gpid: Gpid, generation: u64, result: io::Result<MutationId> },
    /// An offer of a checkpoint, for those who wait for one.
    Offered { gpid: Gpid, generation: u64, signatures: Vec<Signature>, result: io::Result<(MutationId, u64)> },
    /// A checkpoint of another node, opened in a generation that does not count yet.
    Fetched { gpid: Gpid, signature: Signature, generation: u64, result: io::Result<HostedApp> },
    /// Nobody needs to know.
    Tidied,
}

/// A read that a worker did.
pub(crate) struct ReadDone {
    gpid: Gpid,
    token: Token,
    result: io::Result<(Decree, AppAnswer)>,
}

/// A checkpoint to fetch, as the core asks for it.
pub(crate) struct FetchTask {
    pub(crate) gpid: Gpid,
    pub(crate) signature: Signature,
    /// Where the node that offers it can be reached; `None` if nobody said.
    pub(crate) address: Option<String>,
    pub(crate) transfer: u64,
    pub(crate) checkpoint: MutationId,
}

impl Apps {
    /// No apps yet; removes what an earlier life left lying around.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn new(
        data: &Path,
        registry: SharedRegistry,
        offers: Arc<Offers>,
        workers: Workers,
        history: usize,
    ) -> io::Result<Self> {
        let replicas = data.join("replicas");
        std::fs::create_dir_all(&replicas)?;
        durable::sync_folder(data)?;
        // What an earlier life set aside must be so for good before it is deleted.
        durable::sync_folder(&replicas)?;
        folder::remove_set_aside(&replicas);
        Ok(Self { replicas, registry, offers, workers, slots: BTreeMap::new(), last_generation: 0, history })
    }

    /// Opens the apps of replicas that are noted as being here. Several at a time: to open one is mostly to wait for
    /// the disk to sync its folders, and a file system syncs many at the cost of one.
    pub(crate) fn recover(&mut self, noted: &[(Gpid, &AppInfo)]) -> Vec<RecoveredApp> {
        let (replicas, registry, next) = (&self.replicas, &self.registry, AtomicUsize::new(0));
        let history = self.history;
        let open_some = || {
            let mine = iter::from_fn(|| noted.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.map(|&(gpid, info)| Slot::open(replicas, registry, gpid, info, history)).collect::<Vec<_>>()
        };
        let opened: Vec<(Slot, RecoveredApp)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..OPENERS.min(noted.len())).map(|_| scope.spawn(open_some)).collect();
            let joined =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|why| resume_unwind(why)));
            joined.flatten().collect()
        });
        let take = |(slot, recovered): (Slot, RecoveredApp)| {
            self.last_generation = self.last_generation.max(slot.generation);
            self.slots.insert(recovered.gpid, slot);
            recovered
        };
        opened.into_iter().map(take).collect()
    }

    /// Applies a committed mutation.
    pub(crate) fn apply(&mut self, task: &ApplyTask) -> Event {
        let gpid = task.gpid;
        let Some(slot) = self.slots.get_mut(&gpid) else { return no_app(gpid) };
        let Some(app) = &mut slot.app else { return no_app(gpid) };
        match catch_unwind(AssertUnwindSafe(|| app.apply(&task.mutation))) {
            Ok(_) if app.failure().is_some() => slot.give_up(gpid),
            Ok((answers, changes)) => {
                slot.changes.push(task.mutation.id.decree, changes);
                Event::Applied { gpid, decree: task.mutation.id.decree, answers }
            }
            Err(_) => {
                // What the app's memory is worth now, nobody knows; other partitions go on.
                slot.app = None;
                let reason = format!("the app panicked while it applied {}", task.mutation.id);
                Event::ReplicaFailed { gpid, reason }
            }
        }
    }

    /// Answers a read from the app's state as it is now; `None`: a worker does, and says so.
    pub(crate) fn read(
        &mut self,
        gpid: Gpid,
        request: &Bytes,
        token: Token,
        events: &mut Vec<Event>,
    ) -> Option<Reply> {
        let app = self.slots.get(&gpid).and_then(|slot| slot.app.as_ref());
        let Some(app) = app else { return Some(Reply::Refused(Refusal::UnknownPartition)) };
        let decree = app.applied().decree;
        let read = match catch_unwind(AssertUnwindSafe(|| app.start_read(request))) {
            Ok(Reading::Answered(answer)) => Ok((decree, answer)),
            Ok(Reading::Later(job)) => {
                self.workers.read(job, move |result| ReadDone { gpid, token, result });
                return None;
            }
            Err(_) => Err(io::Error::other("the app panicked while it read")),
        };
        Some(self.answer(gpid, read, events))
    }

    /// Takes in the end of a read that a worker did.
    pub(crate) fn read_done(&mut self, done: ReadDone, events: &mut Vec<Event>) -> (Token, Reply) {
        (done.token, self.answer(done.gpid, done.result, events))
    }

    fn answer(
        &mut self,
        gpid: Gpid,
        read: io::Result<(Decree, AppAnswer)>,
        events: &mut Vec<Event>,
    ) -> Reply {
        if let Some(slot) = self.slots.get_mut(&gpid)
            && slot.app.as_ref().is_some_and(|app| app.failure().is_some())
        {
            events.push(slot.give_up(gpid));
            return Reply::Refused(Refusal::UnknownPartition);
        }
        read.map_or(Reply::Unknown, |(decree, answer)| Reply::Done { decree, answer })
    }

    /// The recent changes of an app, if it is there.
    pub(crate) fn changes(&self, gpid: Gpid) -> Option<&Changes> {
        self.slots.get(&gpid).filter(|slot| slot.app.is_some()).map(|slot| &slot.changes)
    }

    /// Makes an empty app.
    pub(crate) fn create(&mut self, gpid: Gpid, info: AppInfo) {
        let generation = self.new_generation();
        let folder = ReplicaFolder::new(&self.replicas, gpid);
        let (slot_folder, slot_info) = (folder.clone(), info.clone());
        let registry = Arc::clone(&self.registry);
        self.workers.use_disk(
            move || {
                // Remains of a replica that is not noted any more: the log says what exists.
                if let Some(aside) = folder.set_aside(generation)? {
                    removal::remove_folder(&aside)?;
                }
                let app = HostedApp::open(&registry, gpid, &info, &folder.make_generation(generation)?)?;
                folder.make_current(generation)?;
                Ok(app)
            },
            move |result| WorkDone::Created { gpid, generation, result },
        );
        self.slots.insert(gpid, Slot::new(slot_info, slot_folder, generation));
    }

    /// Closes an app and deletes its data.
    pub(crate) fn remove(&mut self, gpid: Gpid) {
        let number = self.new_generation();
        let app = self.slots.remove(&gpid).and_then(Slot::into_app);
        let folder = ReplicaFolder::new(&self.replicas, gpid);
        self.workers.use_disk(
            move || {
                // Its files go only once nobody can find them any more: a power cut on the way must not leave an
                // app that opens, and is empty.
                app.map_or(Ok(()), |app| app.close(false))?;
                folder.set_aside(number)?.map_or(Ok(()), |aside| removal::remove_folder(&aside))
            },
            move |result| {
                if let Err(error) = result {
                    tracing::warn!(%gpid, %error, "can't delete all data of a removed replica");
                }
                WorkDone::Event(Event::Removed { gpid })
            },
        );
    }

    /// Fetches a checkpoint from another node, to take the app's place.
    pub(crate) fn fetch(&mut self, task: FetchTask, events: &mut Vec<Event>) {
        let FetchTask { gpid, signature, address, transfer, checkpoint } = task;
        let generation = self.new_generation();
        let (Some(slot), Some(address)) = (self.slots.get_mut(&gpid), address) else {
            events.push(Event::CheckpointInstalled { gpid, signature, result: Err(gone()) });
            return;
        };
        let cancelled = slot.begin_fetch(generation);
        let info = slot.info.clone();
        let folder = slot.folder.clone();
        let fetch =
            Fetch { gpid, signature, info, folder, generation, address, transfer, checkpoint, cancelled };
        let (registry, workers) = (Arc::clone(&self.registry), self.workers.clone());
        self.workers.use_network(
            move || fetch.run(&registry, &workers),
            move |result| WorkDone::Fetched { gpid, signature, generation, result },
        );
    }

    /// Takes in the end of a piece of work.
    pub(crate) fn work_done(&mut self, done: WorkDone, events: &mut Vec<Event>) {
        match done {
            WorkDone::Event(event) => events.push(event),
            WorkDone::Tidied => {}
            WorkDone::Created { gpid, generation, result } => {
                if let Some(slot) = self.slots.get_mut(&gpid).filter(|slot| slot.generation == generation) {
                    let result = result.map(|app| {
                        slot.host(app, self.history);
                    });
                    events.push(Event::Created { gpid, result });
                }
            }
            WorkDone::Checkpointed { gpid, generation, result } => {
                self.checkpoint_done(gpid, generation, result, events);
            }
            WorkDone::Offered { gpid, generation, signatures, result } => {
                self.offered(gpid, generation, signatures, &result, events);
            }
            WorkDone::Fetched { gpid, signature, generation, result } => {
                let result = result.and_then(|app| self.install(gpid, generation, app, events));
                if let Err(error) = &result {
                    tracing::warn!(%gpid, %error, "a checkpoint was not installed");
                }
                events.push(Event::CheckpointInstalled { gpid, signature, result });
            }
        }
    }

    /// Ends all apps; what they have not made durable is in the prepare log.
    pub(crate) fn close(self) {
        for (gpid, slot) in self.slots {
            if let Some(Err(error)) = slot.into_app().map(|app| app.close(false)) {
                tracing::warn!(%gpid, %error, "an app did not close cleanly");
            }
        }
    }

    fn new_generation(&mut self) -> u64 {
        self.last_generation += 1;
        self.last_generation
    }

    /// Puts a fetched checkpoint's generation in the place of the app: the one step (§6.2).
    fn install(
        &mut self,
        gpid: Gpid,
        generation: u64,
        app: HostedApp,
        events: &mut Vec<Event>,
    ) -> io::Result<MutationId> {
        let slot = self.slots.get_mut(&gpid);
        let wanted = slot.filter(|slot| slot.fetch.as_ref().is_some_and(|(number, _)| *number == generation));
        let Some(slot) = wanted else {
            self.discard(app);
            return Err(io::Error::new(io::ErrorKind::Interrupted, "not wanted any more"));
        };
        slot.fetch = None;
        let checkpoint = app.applied();
        if let Some(old) = &slot.app
            && old.applied().decree >= checkpoint.decree
        {
            // It got there by itself meanwhile: an app never goes back (S11).
            let error = format!("the replica has applied {} already", old.applied());
            self.discard(app);
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, error));
        }
        if let Err(error) = slot.folder.make_current(generation) {
            // Which of the two counts at the next start is not known: neither can be used on.
            slot.app = None;
            events.push(Event::ReplicaFailed { gpid, reason: format!("installing a checkpoint: {error}") });
            return Err(error);
        }
        let old = slot.host(app, self.history);
        slot.generation = generation;
        tracing::info!(%gpid, %checkpoint, "a learned checkpoint took the app's place");
        let was_running = std::mem::take(&mut slot.checkpoint.running);
        if let Some(old) = old {
            self.discard(old);
        }
        if was_running {
            self.report_checkpoint(gpid, Ok(checkpoint), events);
        }
        Ok(checkpoint)
    }

    /// Ends an app whose generation does not count, and deletes it.
    fn discard(&self, app: HostedApp) {
        let generation = app.generation().to_owned();
        self.workers.use_disk(
            move || app.close(true).and_then(|()| removal::remove_folder(&generation)),
            |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "can't delete an old generation now; the next start does");
                }
                WorkDone::Tidied
            },
        );
    }
}

impl Slot {
    fn new(info: AppInfo, folder: ReplicaFolder, generation: u64) -> Self {
        Self {
            info,
            folder,
            app: None,
            changes: Changes::after(Decree::ZERO, 0),
            generation,
            checkpoint: Checkpoint::default(),
            offers_wanted: Vec::new(),
            fetch: None,
        }
    }

    /// Opens the app of a replica, as it is found.
    fn open(
        replicas: &Path,
        registry: &SharedRegistry,
        gpid: Gpid,
        info: &AppInfo,
        history: usize,
    ) -> (Self, RecoveredApp) {
        let folder = ReplicaFolder::new(replicas, gpid);
        let current = folder.settle();
        if current.is_ok() {
            folder.remove_leftovers();
        }
        let generation = *current.as_ref().unwrap_or(&0);
        let opened =
            current.and_then(|number| HostedApp::open(registry, gpid, info, &folder.generation(number)));
        let mut slot = Self::new(info.clone(), folder, generation);
        let durable = match opened {
            Ok(app) => {
                let durable = app.durable();
                slot.host(app, history);
                Ok(durable)
            }
            Err(error) => {
                tracing::error!(%gpid, %error, "the replica's app can't be opened; it is to be learned afresh");
                Err(error)
            }
        };
        (slot, RecoveredApp { gpid, durable })
    }

    /// Lets go of an app that says that it can't be believed any more.
    fn give_up(&mut self, gpid: Gpid) -> Event {
        let app = self.app.take();
        let reason = app.as_ref().and_then(|app| app.failure()).unwrap_or("it has no app").to_owned();
        tracing::error!(%gpid, reason, "the replica is given up, and to be learned afresh");
        Event::ReplicaFailed { gpid, reason }
    }

    /// An app in the place of the one before, which is returned. What it publishes begins anew.
    fn host(&mut self, app: HostedApp, history: usize) -> Option<HostedApp> {
        self.changes = Changes::after(app.applied().decree, history);
        self.app.replace(app)
    }

    /// Notes a fetch, in the place of an older one.
    fn begin_fetch(&mut self, generation: u64) -> Arc<AtomicBool> {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.cancel_fetch();
        self.fetch = Some((generation, Arc::clone(&cancelled)));
        cancelled
    }

    fn cancel_fetch(&mut self) {
        if let Some((_, cancelled)) = self.fetch.take() {
            cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn into_app(mut self) -> Option<HostedApp> {
        self.cancel_fetch();
        self.app
    }
}

fn no_app(gpid: Gpid) -> Event {
    Event::ReplicaFailed { gpid, reason: "it has no app".to_owned() }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the replica has no app, or the other node no known address")
}
