//! The database that is worked on. It has no log of its own: what it lacks after a crash, the prepare log has. So it
//! is made anew from the newest checkpoint whenever the app is opened, which costs a link for each file.
//!
//! RocksDB writes what is in memory to a file when a buffer is full. Here that is done at the end of a mutation, and
//! not while a checkpoint is being linked: so that what is in the files is the state after exactly one decree, the
//! checkpoint's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replicated_app::Decree;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, FlushOptions, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::rows::{self, Position};
use crate::states::LARGE_VALUE_BYTES;
use crate::view::View;

/// How the names of files end that hold rows, and those that hold large values.
const TABLE: &str = "sst";
const BLOB: &str = "blob";
/// What is changed in memory before it is written to a file.
const BUFFER_BYTES: usize = 32 << 20;
/// While RocksDB has enough to write already, changes stay in memory, up to this: to give it more would mean to wait
/// for it.
const MOST_WAITING_BYTES: usize = 4 * BUFFER_BYTES;
/// While a checkpoint waits for its files, they do so up to this; then the checkpoint has to fail.
const MOST_BUFFERED_BYTES: usize = 8 * BUFFER_BYTES;
/// Buffers on their way to the disk; when there are as many, writers wait.
const MOST_BUFFERS: i32 = 4;
/// Files that were written and not yet merged; when there are as many, writers are slowed down, or wait.
const SLOW_AT_FILES: i32 = 40;
const STOP_AT_FILES: i32 = 60;
/// The part of those files, from the oldest on, out of which values are moved on when their keys are merged: room that
/// was overwritten becomes free so.
const MOVED_SHARE: f64 = 0.125;
/// When so much of that part is overwritten its values are moved on without waiting for a merge.
const OVERWRITTEN_SHARE: f64 = 0.5;
/// Files that are merged at once, as much as is in the level that they get into.
const MERGED_FILES: i32 = 8;
/// What RocksDB writes goes to the disk a little at a time, each piece once the one before is there: the prepare log's
/// syncs don't wait behind a whole file then. The second has no function of its own.
const SYNC_A_LITTLE: &str = "bytes_per_sync=1048576;strict_bytes_per_sync=true";
/// A checkpoint whose files are not written within this fails.
const FLUSH_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at whether they are.
const FLUSH_LOOK: Duration = Duration::from_millis(2);
/// What a batch needs at most for a row beside the row, and for itself and the row of the position.
const ROW_OVERHEAD: usize = 16;
const BATCH_OVERHEAD: usize = 64;
/// What is read ahead when all of a database is read.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// A row that is written (or deleted, if there is no value).
pub(crate) type Rows = BTreeMap<Vec<u8>, Option<Bytes>>;

/// The database that is worked on.
pub(crate) struct Live {
    db: DB,
    unwritten: AtomicUsize,
    /// A checkpoint needs the files to stay at its decree.
    frozen: AtomicBool,
    /// Dropped after the database.
    _folder: Scratch,
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
    pub(crate) fn open(folder: PathBuf, checkpoint: Option<&Path>, cache: &Cache) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        let scratch = Scratch(folder);
        if let Some(checkpoint) = checkpoint {
            link_files(checkpoint, &scratch.0)?;
        }
        let mut options = options(cache);
        options.create_if_missing(checkpoint.is_none());
        // Nobody needs to keep in memory what was just written out of memory, and then there is nothing that would
        // have to go to the disk all at once.
        options.set_use_direct_io_for_flush_and_compaction(takes_direct_writes(&scratch.0)?);
        // Until it is known what is there.
        options.set_disable_auto_compactions(true);
        let db = DB::open(&options, &scratch.0).map_err(failed)?;
        check_large_values(&db, &scratch.0)?;
        db.set_options(&[("disable_auto_compactions", "false")]).map_err(failed)?;
        Ok(Self { db, unwritten: AtomicUsize::new(0), frozen: AtomicBool::new(false), _folder: scratch })
    }

    /// What is there when it is looked at.
    pub(crate) fn present(&self) -> View<'_> {
        View::present(&self.db)
    }

    /// The same for who must not wait.
    pub(crate) fn memory(&self) -> View<'_> {
        View::memory(&self.db)
    }

    /// What is there at this moment.
    pub(crate) fn moment(&self) -> View<'_> {
        View::moment(&self.db)
    }

    /// Calls `take` with each row that there is, in order, but for the position.
    pub(crate) fn each(&self, take: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
        all_rows(&self.db, take)
    }

    /// Writes the rows of one mutation, and that they are there, at once.
    pub(crate) fn write(&self, changed: &Rows, position: Position) -> io::Result<()> {
        let bytes_of = |(row, value): (&Vec<u8>, &Option<Bytes>)| {
            row.len() + value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD
        };
        let room = changed.iter().map(bytes_of).sum::<usize>();
        let mut batch = WriteBatch::with_capacity_bytes(room + BATCH_OVERHEAD);
        for (row, value) in changed {
            match value {
                Some(value) => batch.put(row, value),
                None => batch.delete(row),
            }
        }
        batch.put(rows::POSITION, position.encode());
        let bytes = batch.size_in_bytes();
        let mut writing = WriteOptions::default();
        writing.disable_wal(true);
        self.db.write_opt(batch, &writing).map_err(failed)?;
        let unwritten = self.unwritten.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if unwritten < BUFFER_BYTES {
            return Ok(());
        }
        let limit = if self.frozen.load(Ordering::Acquire) {
            MOST_BUFFERED_BYTES
        } else if self.has_enough_to_write()? {
            MOST_WAITING_BYTES
        } else {
            BUFFER_BYTES
        };
        if unwritten >= limit { self.begin_flush() } else { Ok(()) }
    }

    /// Whether RocksDB would rather wait than begin to write another buffer.
    fn has_enough_to_write(&self) -> io::Result<bool> {
        let files = number(&self.db, "rocksdb.num-files-at-level0")?;
        Ok(number(&self.db, "rocksdb.num-immutable-mem-table")? > 0 || files + 2 >= SLOW_AT_FILES as u64)
    }

    /// What is in memory is to be written to a file; what is changed from now on is not in that one.
    fn begin_flush(&self) -> io::Result<()> {
        self.unwritten.store(0, Ordering::Relaxed);
        let mut flushing = FlushOptions::default();
        flushing.set_wait(false);
        self.db.flush_opt(&flushing).map_err(failed)
    }

    /// From now on, until the result is dropped, what is in files stays at the decree that is applied now.
    pub(crate) fn freeze(self: &Arc<Self>) -> io::Result<Frozen> {
        self.frozen.store(true, Ordering::Release);
        let frozen = Frozen(Arc::clone(self));
        self.begin_flush()?;
        Ok(frozen)
    }
}

/// The state at the decree at which it was frozen.
pub(crate) struct Frozen(Arc<Live>);

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.frozen.store(false, Ordering::Release);
    }
}

impl Frozen {
    /// Links the files of the state at `decree` into a new folder, once they are written.
    pub(crate) fn link_into(self, folder: &Path, decree: Decree, cache: &Cache) -> io::Result<()> {
        self.wait_for_files()?;
        let checkpoint = Checkpoint::new(&self.0.db).map_err(failed)?;
        // As it is: nothing of what is in memory.
        checkpoint.create_checkpoint_with_log_size(folder, u64::MAX).map_err(failed)?;
        drop(checkpoint);
        drop(self);
        check(folder, decree, cache).map(drop)
    }

    fn wait_for_files(&self) -> io::Result<()> {
        let begun = Instant::now();
        while number(&self.0.db, "rocksdb.num-immutable-mem-table")? > 0 {
            if number(&self.0.db, "rocksdb.background-errors")? > 0
                && begun.elapsed() > Duration::from_secs(5)
                || begun.elapsed() > FLUSH_PATIENCE
            {
                return Err(io::Error::other("the state is not getting written to the disk"));
            }
            std::thread::sleep(FLUSH_LOOK);
        }
        Ok(())
    }
}

fn number(db: &DB, property: &str) -> io::Result<u64> {
    Ok(db.property_int_value(property).map_err(failed)?.unwrap_or(0))
}

/// Whether the file system of a folder writes past the system's cache. Some have nothing but that cache.
fn takes_direct_writes(folder: &Path) -> io::Result<bool> {
    let path = folder.join("direct");
    let direct = OFlags::CREATE | OFlags::WRONLY | OFlags::DIRECT;
    let takes = match rustix::fs::open(&path, direct, Mode::RUSR | Mode::WUSR) {
        Ok(_) => true,
        Err(Errno::INVAL) => false,
        Err(error) => return Err(error.into()),
    };
    // A system that refuses the flag may have made the file all the same.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(takes),
    }
}

/// Checks that a folder holds the state after a decree, as far as that can be seen without reading all of it.
fn check(folder: &Path, decree: Decree, cache: &Cache) -> io::Result<DB> {
    let db = DB::open_for_read_only(&options(cache), folder, false).map_err(failed)?;
    check_large_values(&db, folder)?;
    let found = View::present(&db).position()?.decree;
    if found == decree {
        return Ok(db);
    }
    Err(invalid(format!("the files are those of decree {found}, not of {decree}")))
}

/// Checks that the files with large values are all there, and as long as they were: RocksDB looks at its tables when it
/// opens a database, and at these only once it needs them.
fn check_large_values(db: &DB, folder: &Path) -> io::Result<()> {
    let expected = (number(db, "rocksdb.num-blob-files")?, number(db, "rocksdb.live-blob-file-size")?);
    let mut found = (0, 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == BLOB) {
            found = (found.0 + 1, found.1 + entry.metadata()?.len());
        }
    }
    if found == expected {
        return Ok(());
    }
    let ((files, bytes), (of, of_bytes)) = (found, expected);
    Err(invalid(format!("large values: {files} files of {bytes} bytes, not {of} of {of_bytes}")))
}

/// Checks that a folder holds the state after a decree, and reads all of it: each block has a checksum.
///
/// # Errors
/// `InvalidData` if it is damaged; otherwise what the file system says.
pub(crate) fn check_all(folder: &Path, decree: Decree, cache: &Cache) -> io::Result<()> {
    all_rows(&check(folder, decree, cache)?, |_, _| Ok(()))
}

/// Links the files of a checkpoint that never change into another folder, and copies the others.
pub(crate) fn link_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        link_or_copy(&source, &to.join(name))?;
    }
    Ok(())
}

/// The same for one file.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let never_changes = from.extension().is_some_and(|extension| extension == TABLE || extension == BLOB);
    if never_changes && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

fn all_rows(db: &DB, mut take: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut reading = ReadOptions::default();
    reading.fill_cache(false);
    reading.set_readahead_size(READ_AHEAD_BYTES);
    let mut rows = db.raw_iterator_opt(reading);
    rows.seek([rows::POSITION, &[0]].concat());
    each_row(rows, |key, value| take(key, value).map(|()| true))
}

pub(crate) fn each_row(
    mut rows: DBRawIterator<'_>,
    mut take: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    while let Some((key, value)) = rows.item() {
        if !take(key, value)? {
            return Ok(());
        }
        rows.next();
    }
    // An iterator that met a damaged block ends like one at its end, but for this.
    rows.status().map_err(failed)
}

fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    let mut options =
        Options::default().get_options_from_string(SYNC_A_LITTLE).expect("RocksDB knows these options");
    options.set_block_based_table_factory(&blocks);
    options.set_paranoid_checks(true);
    options.set_compression_type(DBCompressionType::Lz4);
    // Never reached: buffers are written when we say so.
    options.set_write_buffer_size(2 * MOST_BUFFERED_BYTES);
    options.set_arena_block_size(1 << 20);
    options.set_max_write_buffer_number(MOST_BUFFERS);
    options.set_level_zero_file_num_compaction_trigger(MERGED_FILES);
    options.set_level_zero_slowdown_writes_trigger(SLOW_AT_FILES);
    options.set_level_zero_stop_writes_trigger(STOP_AT_FILES);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(LARGE_VALUE_BYTES as u64);
    options.set_blob_compression_type(DBCompressionType::Lz4);
    options.set_enable_blob_gc(true);
    // Beside the blocks, in the same room.
    options.set_blob_cache(cache);
    options.set_blob_gc_age_cutoff(MOVED_SHARE);
    options.set_blob_gc_force_threshold(OVERWRITTEN_SHARE);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options
}

/// What RocksDB says, in the words of the file system: they tell whose fault it is.
pub(crate) fn failed(error: rocksdb::Error) -> io::Error {
    use rocksdb::ErrorKind;
    let kind = match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotFound => {
            io::ErrorKind::InvalidData
        }
        // It was asked not to look at the disk.
        ErrorKind::Incomplete => io::ErrorKind::WouldBlock,
        _ if error.as_ref().contains("No space left") => io::ErrorKind::StorageFull,
        // Nobody takes files away but us.
        _ if error.as_ref().contains("No such file") => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.into_string())
}

pub(crate) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
