//! The database that is worked on. It has no log of its own: what it lacks after a crash, the prepare log has. So it
//! is made anew from the newest checkpoint whenever the app is opened, which costs a link for each file.
//!
//! What mutations change is kept above the database at first, in [layers](crate::layers): what is overwritten soon need
//! never get there, and nobody waits for RocksDB who applies a mutation. A layer settles in the database as a whole, on
//! another thread, when it is large or a checkpoint wants it, and then RocksDB writes its files. None does while a
//! checkpoint is being linked: so what is in the files is the state after exactly one decree, the checkpoint's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replicated_app::Decree;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{Cache, DB, FlushOptions, WriteBatch, WriteOptions};

use crate::files::{self, check, check_large_values, failed, link_files, number, takes_direct_access};
use crate::layers::{Layer, Layers, Rows};
use crate::rows::{self, Position};
use crate::view::View;

/// What is changed in memory before it settles.
const LAYER_BYTES: usize = 32 << 20;
/// While layers wait for RocksDB, or it for the disk, changes stay in memory, up to this. Then a checkpoint that is
/// under way has to fail, and whoever writes waits.
const MOST_BYTES: usize = 8 * LAYER_BYTES;
/// What is written to the database at once.
const BATCH_BYTES: usize = 1 << 20;
/// A checkpoint whose files are not written within this fails, and so does a write for which there is no room.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether they are.
const FLUSH_LOOK: Duration = Duration::from_millis(2);

/// What settles goes past the system's cache, so RocksDB keeps it in its own: otherwise the next change of each of these
/// keys would wait for the disk. It has no function of its own, and is set once the database is open: it would be lost
/// with the table factory that the options get by a function.
const KEEP_WHAT_SETTLES: (&str, &str) = ("block_based_table_factory", "{prepopulate_block_cache=kFlushOnly}");

/// Layers settle one at a time, whichever of a process's databases they are in: mutations need the processors, too.
static SETTLING: Mutex<()> = Mutex::new(());

/// The database that is worked on.
pub(crate) struct Live {
    db: DB,
    above: Mutex<Above>,
    /// Told when a layer has settled, or could not.
    settled: Condvar,
    /// Held by who writes to the database, or links its files.
    writing: Mutex<()>,
    /// Dropped after the database.
    _folder: Scratch,
}

/// What is above the database.
struct Above {
    layers: Arc<Layers>,
    /// A checkpoint needs the database to stay at its decree.
    frozen: bool,
    /// A thread sees to it that what is sealed settles.
    settling: bool,
    /// Why that thread could not.
    failure: Option<io::Error>,
    /// Nobody needs what has not settled yet.
    closed: bool,
}

/// A folder that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed now is removed when the app is opened.
        let _ = replicated_app::remove_folder(&self.0);
    }
}

impl Live {
    /// Makes a database in a new folder: that of a checkpoint, or an empty one.
    ///
    /// # Errors
    /// `InvalidData` if the checkpoint is damaged; otherwise what the file system says.
    pub(crate) fn open(folder: PathBuf, checkpoint: Option<&Path>, cache: &Cache) -> io::Result<Arc<Self>> {
        fs::create_dir(&folder)?;
        let scratch = Scratch(folder);
        if let Some(checkpoint) = checkpoint {
            link_files(checkpoint, &scratch.0)?;
        }
        let mut options = files::options(cache);
        options.create_if_missing(checkpoint.is_none());
        // Nobody needs to keep in memory what was just written out of memory, and then there is nothing that would
        // have to go to the disk all at once.
        options.set_use_direct_io_for_flush_and_compaction(takes_direct_access(&scratch.0)?);
        // Until it is known what is there.
        options.set_disable_auto_compactions(true);
        let db = DB::open(&options, &scratch.0).map_err(failed)?;
        check_large_values(&db, &scratch.0)?;
        db.set_options(&[("disable_auto_compactions", "false"), KEEP_WHAT_SETTLES]).map_err(failed)?;
        let layers = Arc::new(Layers::above(files::position(&db)?));
        let above = Above { layers, frozen: false, settling: false, failure: None, closed: false };
        Ok(Arc::new(Self {
            db,
            above: Mutex::new(above),
            settled: Condvar::new(),
            writing: Mutex::new(()),
            _folder: scratch,
        }))
    }

    /// What is there as long as nobody writes.
    pub(crate) fn present(&self) -> View<'_> {
        View::present(Arc::clone(&self.above().layers), &self.db)
    }

    /// The same for who must not wait.
    pub(crate) fn memory(&self) -> View<'_> {
        View::memory(Arc::clone(&self.above().layers), &self.db)
    }

    /// What is there at this moment.
    pub(crate) fn moment(&self) -> View<'_> {
        // Meanwhile no layer is sealed: what settles later is among these already.
        let above = self.above();
        View::moment(Arc::clone(&above.layers), &self.db)
    }

    /// Takes in the rows of one mutation, and that they are there, at once.
    ///
    /// # Errors
    /// Why what was written before could not settle.
    pub(crate) fn write(self: &Arc<Self>, changed: Rows, position: Position) -> io::Result<()> {
        let mut above = self.above();
        if let Some(failure) = above.failure.take() {
            return Err(failure);
        }
        Arc::make_mut(&mut above.layers).add(changed, position);
        let limit = if above.frozen { MOST_BYTES } else { LAYER_BYTES };
        if above.layers.newest_bytes() < limit {
            return Ok(());
        }
        if !above.settling {
            (above.frozen, above.settling) = (false, true);
            Arc::make_mut(&mut above.layers).seal();
            let live = Arc::clone(self);
            std::thread::Builder::new().name("kv settles".into()).spawn(move || live.settle_all())?;
        }
        self.wait_for_room(above)
    }

    fn wait_for_room(&self, above: MutexGuard<'_, Above>) -> io::Result<()> {
        let is_full = |above: &mut Above| {
            above.settling && above.failure.is_none() && above.layers.bytes() >= MOST_BYTES
        };
        let waited = self.settled.wait_timeout_while(above, PATIENCE, is_full);
        if waited.expect("nobody panics who holds it").1.timed_out() {
            return Err(io::Error::other("what was changed is not getting from memory to the database"));
        }
        Ok(())
    }

    /// What settles needs not any more. Returns when no thread is at it: it would be in RocksDB while the process ends.
    pub(crate) fn close(&self) {
        let mut above = self.above();
        above.closed = true;
        let waited = self.settled.wait_timeout_while(above, PATIENCE, |above| above.settling);
        drop(waited.expect("nobody panics who holds it"));
    }

    fn settle_all(&self) {
        let settled = self.settle(&self.lock_files());
        let mut above = self.above();
        above.settling = false;
        above.failure = settled.err();
        drop(above);
        self.settled.notify_all();
    }

    /// Brings what is sealed into the database, and from there on its way to files.
    fn settle(&self, _: &MutexGuard<'_, ()>) -> io::Result<()> {
        // It guards nothing but the order.
        let _one_at_a_time = SETTLING.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(layer) = self.oldest_sealed() {
            self.write_down(&layer)?;
            Arc::make_mut(&mut self.above().layers).drop_oldest_sealed();
            self.settled.notify_all();
        }
        Ok(())
    }

    fn oldest_sealed(&self) -> Option<Layer> {
        self.above().layers.oldest_sealed().cloned()
    }

    /// As long as that takes, the layer hides what of it is in the database already.
    fn write_down(&self, layer: &Layer) -> io::Result<()> {
        let mut writing = WriteOptions::default();
        writing.disable_wal(true);
        let mut batch = WriteBatch::default();
        for (row, value) in layer.rows() {
            match value {
                Some(value) => batch.put(row, value),
                None => batch.delete(row),
            }
            if batch.size_in_bytes() >= BATCH_BYTES {
                if self.above().closed {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                self.db.write_opt(std::mem::take(&mut batch), &writing).map_err(failed)?;
            }
        }
        batch.put(rows::POSITION, layer.position().encode());
        self.db.write_opt(batch, &writing).map_err(failed)?;
        let mut flushing = FlushOptions::default();
        flushing.set_wait(false);
        self.db.flush_opt(&flushing).map_err(failed)
    }

    /// From now on, until the result is dropped, no more settles than what is there now.
    pub(crate) fn freeze(self: &Arc<Self>) -> Frozen {
        let mut above = self.above();
        Arc::make_mut(&mut above.layers).seal();
        above.frozen = true;
        Frozen(Arc::clone(self))
    }

    fn above(&self) -> MutexGuard<'_, Above> {
        self.above.lock().expect("nobody panics who holds it")
    }

    fn lock_files(&self) -> MutexGuard<'_, ()> {
        // A thread that panicked left a layer behind that has not settled, and that hides what of it has.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state at the decree at which it was frozen.
pub(crate) struct Frozen(Arc<Live>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.above().frozen = false;
    }
}

impl Frozen {
    /// Links the files of the state at `decree` into a new folder, once they are written.
    pub(crate) fn link_into(self, folder: &Path, decree: Decree, cache: &Cache) -> io::Result<()> {
        self.link(folder)?;
        drop(self);
        check(folder, decree, cache)
    }

    fn link(&self, folder: &Path) -> io::Result<()> {
        let files = self.0.lock_files();
        self.0.settle(&files)?;
        self.wait_for_files()?;
        let checkpoint = Checkpoint::new(&self.0.db).map_err(failed)?;
        // As it is: nothing of what is in memory.
        checkpoint.create_checkpoint_with_log_size(folder, u64::MAX).map_err(failed)
    }

    fn wait_for_files(&self) -> io::Result<()> {
        let begun = Instant::now();
        while number(&self.0.db, "rocksdb.num-immutable-mem-table")? > 0 {
            if number(&self.0.db, "rocksdb.background-errors")? > 0
                && begun.elapsed() > Duration::from_secs(5)
                || begun.elapsed() > PATIENCE
            {
                return Err(io::Error::other("the state is not getting written to the disk"));
            }
            std::thread::sleep(FLUSH_LOOK);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
