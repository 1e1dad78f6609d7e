//! Raft's log and vote in RocksDB. Nothing is said to be durable before it is.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, Entry, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError, Vote};
use rocksdb::{Direction, IteratorMode, WriteBatch};
use tokio::task::spawn_blocking;

use crate::raft::{LogId, MemberId, Types};
use crate::storage::{self, Storage, Sync, encoded};

const VOTE_KEY: &[u8] = b"vote";
/// The last entry that was removed because a snapshot holds it.
const PURGED_KEY: &[u8] = b"purged";

/// Bytes of entries in one message to another server, unless a single one is larger. A message has to arrive and be
/// synced within a heartbeat.
const MESSAGE_BYTES: usize = 256 << 10;

type Failed = StorageError<MemberId>;

/// The log.
#[derive(Clone)]
pub(crate) struct LogStore {
    storage: Arc<Storage>,
}

impl LogStore {
    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }

    /// The entries of a range, as many as fit into so many bytes, but one at least.
    fn entries(
        &self,
        range: impl RangeBounds<u64>,
        most: usize,
    ) -> Result<Vec<Entry<Types>>, storage::StorageError> {
        let first = match range.start_bound() {
            Bound::Included(&first) => first,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let mut entries = vec![];
        let mut bytes = 0;
        let from = first.to_be_bytes();
        for entry in self.storage.scan(self.storage.log(), IteratorMode::From(&from, Direction::Forward)) {
            let (key, value) = entry?;
            bytes += value.len();
            let is_full = bytes > most && !entries.is_empty();
            if is_full || !range.contains(&self.index(&key)?) {
                break;
            }
            entries.push(self.storage.decoded(&key, &value)?);
        }
        Ok(entries)
    }

    fn index(&self, key: &[u8]) -> Result<u64, storage::StorageError> {
        key.try_into().map(u64::from_be_bytes).map_err(|_| self.storage.damaged(key))
    }

    fn state(&self) -> Result<LogState<Types>, storage::StorageError> {
        let last_purged_log_id: Option<LogId> = self.storage.get(PURGED_KEY)?;
        let last = self.storage.scan(self.storage.log(), IteratorMode::End).next().transpose()?;
        let last_log_id = match last {
            Some((key, value)) => Some(self.storage.decoded::<Entry<Types>>(&key, &value)?.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    /// Returns once the batch is on stable storage.
    async fn write(&self, batch: WriteBatch) -> Result<(), storage::StorageError> {
        let storage = Arc::clone(&self.storage);
        spawn_blocking(move || storage.commit(batch, Sync::Now)).await.expect("a write does not panic")
    }
}

fn reading(error: storage::StorageError) -> Failed {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

fn writing(error: storage::StorageError) -> Failed {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry<Types>>, Failed> {
        self.entries(range, usize::MAX).map_err(reading)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry<Types>>, Failed> {
        self.entries(start..end, MESSAGE_BYTES).map_err(reading)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, Failed> {
        self.state().map_err(reading)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<MemberId>) -> Result<(), Failed> {
        let mut batch = WriteBatch::default();
        batch.put(VOTE_KEY, encoded(vote));
        self.write(batch).await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<MemberId>>, Failed> {
        let vote = self.storage.get(VOTE_KEY);
        vote.map_err(|error| StorageIOError::read_vote(AnyError::new(&error)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), Failed>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        for entry in entries {
            batch.put_cf(self.storage.log(), entry.log_id.index.to_be_bytes(), encoded(&entry));
        }
        self.write(batch).await.map_err(writing)?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), Failed> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.storage.log(), from.index.to_be_bytes(), u64::MAX.to_be_bytes());
        self.write(batch).await.map_err(writing)
    }

    /// Synced, and with it all that was applied before: an entry goes only when the state that it led to stays.
    async fn purge(&mut self, upto: LogId) -> Result<(), Failed> {
        let mut batch = WriteBatch::default();
        batch.put(PURGED_KEY, encoded(&upto));
        batch.delete_range_cf(self.storage.log(), 0_u64.to_be_bytes(), (upto.index + 1).to_be_bytes());
        self.write(batch).await.map_err(writing)
    }
}
