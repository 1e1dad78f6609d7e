//! What Raft's log leads to: the [`MetaState`], in memory for whoever reads it and in RocksDB.

use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};

use meta_core::{Change, MetaState};
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, Entry, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    StorageIOError,
};
use rocksdb::WriteBatch;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tracing::{debug, info};

use crate::raft::{Batch, LogId, Member, MemberId, Membership, Types};
use crate::records::encode;
use crate::storage::{self, Storage, Sync, encoded};

/// Up to which entry the stored state was applied, and the members that the entries named.
const APPLIED_KEY: &[u8] = b"applied";

/// Above every key of the state.
const LAST_KEY: &[u8] = &[0xff; 64];

type Failed = StorageError<MemberId>;

/// The state, up to an entry of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) state: MetaState,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: Membership,
}

/// An entry that was committed and is in the [`View`].
#[derive(Debug)]
pub(crate) struct Committed {
    pub(crate) log_id: LogId,
    pub(crate) batch: Batch,
}

#[derive(Clone, Debug)]
struct Stored {
    meta: SnapshotMeta<MemberId, Member>,
    state: Arc<Vec<u8>>,
}

/// Applies the log.
pub(crate) struct Machine {
    storage: Arc<Storage>,
    view: watch::Sender<View>,
    committed: mpsc::Sender<Committed>,
    /// The newest snapshot. Only in memory: it can be made again at any time.
    snapshot: Arc<Mutex<Option<Stored>>>,
}

impl Machine {
    /// The state as it is stored. Entries that are applied from now on go to `committed`.
    pub(crate) fn open(
        storage: Arc<Storage>,
        committed: mpsc::Sender<Committed>,
    ) -> Result<(Self, watch::Receiver<View>), storage::StorageError> {
        let state = storage.read_state()?;
        let (last, membership) = storage.get(APPLIED_KEY)?.unwrap_or_default();
        let (view, viewer) = watch::channel(View { state, last, membership });
        Ok((Self { storage, view, committed, snapshot: Arc::default() }, viewer))
    }

    async fn write(&self, batch: WriteBatch, sync: Sync) -> Result<(), Failed> {
        let storage = Arc::clone(&self.storage);
        let written = spawn_blocking(move || storage.commit(batch, sync)).await;
        let written = written.expect("a write does not panic");
        written.map_err(|error| StorageIOError::write_state_machine(AnyError::new(&error)).into())
    }
}

/// Carries out the commands; what is refused changes nothing.
fn carry_out(storage: &Storage, state: &mut MetaState, commands: &Batch, batch: &mut WriteBatch) {
    for command in &commands.commands {
        match state.apply(command, commands.at) {
            Ok(changes) => {
                info!("{}", state.with_names(&command.told()));
                put(storage, batch, changes);
            }
            Err(refused) => debug!("refused: {refused}"),
        }
    }
}

fn put(storage: &Storage, batch: &mut WriteBatch, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        match encode(&change) {
            (key, Some(value)) => batch.put_cf(storage.state(), key, value),
            (key, None) => batch.delete_cf(storage.state(), key),
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), Failed> {
        let view = self.view.borrow();
        Ok((view.last, view.membership.clone()))
    }

    /// Not synced: the log is, and with it everything before.
    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        let mut applied = vec![];
        let mut answers = vec![];
        self.view.send_modify(|view| {
            for Entry { log_id, payload } in entries {
                view.last = Some(log_id);
                answers.push(());
                match payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(members) => {
                        view.membership = Membership::new(Some(log_id), members);
                    }
                    EntryPayload::Normal(commands) => {
                        carry_out(&self.storage, &mut view.state, &commands, &mut batch);
                        applied.push(Committed { log_id, batch: commands });
                    }
                }
            }
            batch.put(APPLIED_KEY, encoded(&(view.last, &view.membership)));
        });
        self.write(batch, Sync::Later).await?;
        for committed in applied {
            // Nobody listens when the server stops.
            let _ = self.committed.send(committed).await;
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { view: self.view.borrow().clone(), snapshot: Arc::clone(&self.snapshot) }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, Failed> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<MemberId, Member>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), Failed> {
        let state = (*snapshot).into_inner();
        let next = View {
            state: postcard::from_bytes(&state).map_err(|error| {
                StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error))
            })?,
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.storage.state(), &[][..], LAST_KEY);
        put(&self.storage, &mut batch, next.state.values());
        batch.put(APPLIED_KEY, encoded(&(next.last, &next.membership)));
        self.write(batch, Sync::Now).await?;
        info!(upto = meta.last_log_id.map(|last| last.index), "a snapshot of the state is taken over");
        self.view.send_replace(next);
        *locked(&self.snapshot) = Some(Stored { meta: meta.clone(), state: Arc::new(state) });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, Failed> {
        Ok(locked(&self.snapshot).as_ref().map(Stored::open))
    }
}

/// Makes a snapshot of a state that stays as it was.
pub(crate) struct Builder {
    view: View,
    snapshot: Arc<Mutex<Option<Stored>>>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, Failed> {
        let View { state, last, membership } = std::mem::take(&mut self.view);
        let state = spawn_blocking(move || encoded(&state)).await.expect("plain values always serialise");
        let snapshot_id = last.map_or_else(String::new, |last| last.to_string());
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id };
        let stored = Stored { meta, state: Arc::new(state) };
        let snapshot = stored.open();
        let mut newest = locked(&self.snapshot);
        if newest.as_ref().is_none_or(|newest| newest.meta.last_log_id <= stored.meta.last_log_id) {
            *newest = Some(stored);
        }
        Ok(snapshot)
    }
}

impl Stored {
    fn open(&self) -> Snapshot<Types> {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(self.state.to_vec())) }
    }
}

fn locked(snapshot: &Mutex<Option<Stored>>) -> std::sync::MutexGuard<'_, Option<Stored>> {
    snapshot.lock().unwrap_or_else(PoisonError::into_inner)
}
