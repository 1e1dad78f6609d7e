//! The files of a database: what they are like, whether they are whole, and how they get into another folder.

use std::fs;
use std::io;
use std::path::Path;

use replicated_app::Decree;
use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, LogLevel, Options, ReadOptions};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::rows::{self, Position};
use crate::states::LARGE_VALUE_BYTES;

/// How the names of files end that hold rows, and those that hold large values.
const TABLE: &str = "sst";
const BLOB: &str = "blob";
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
/// RocksDB's own limit to what is in memory is never reached: a layer is written to files when it has settled.
const BUFFER_BYTES: usize = 512 << 20;
/// What is read ahead when all of a database is read.
const READ_AHEAD_BYTES: usize = 2 << 20;

/// What RocksDB says of itself.
pub(crate) fn number(db: &DB, property: &str) -> io::Result<u64> {
    Ok(db.property_int_value(property).map_err(failed)?.unwrap_or(0))
}

/// Whether the file system of a folder reads and writes past the system's cache. Some have nothing but that cache.
pub(crate) fn takes_direct_access(folder: &Path) -> io::Result<bool> {
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
pub(crate) fn check(folder: &Path, decree: Decree, cache: &Cache) -> io::Result<()> {
    open_checked(folder, decree, &options(cache)).map(drop)
}

fn open_checked(folder: &Path, decree: Decree, options: &Options) -> io::Result<DB> {
    let db = DB::open_for_read_only(options, folder, false).map_err(failed)?;
    check_large_values(&db, folder)?;
    let found = position(&db)?.decree;
    if found == decree {
        return Ok(db);
    }
    Err(invalid(format!("the files are those of decree {found}, not of {decree}")))
}

/// Checks that the files with large values are all there, and as long as they were: RocksDB looks at its tables when it
/// opens a database, and at these only once it needs them.
pub(crate) fn check_large_values(db: &DB, folder: &Path) -> io::Result<()> {
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
    let mut options = options(cache);
    // It is read once: nothing else has to make room for it in the system's cache.
    options.set_use_direct_reads(takes_direct_access(folder)?);
    let db = open_checked(folder, decree, &options)?;
    let mut rows = db.raw_iterator_opt(reading_all());
    rows.seek_to_first();
    while rows.valid() {
        rows.next();
    }
    // An iterator that met a damaged block ends like one at its end, but for this.
    rows.status().map_err(failed)
}

/// How all of a database is read: what others read often stays in the cache.
pub(crate) fn reading_all() -> ReadOptions {
    let mut reading = ReadOptions::default();
    reading.fill_cache(false);
    reading.set_readahead_size(READ_AHEAD_BYTES);
    reading
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

/// Which state it is.
pub(crate) fn position(db: &DB) -> io::Result<Position> {
    let row = db.get_pinned(rows::POSITION).map_err(failed)?;
    row.map_or(Ok(Position::default()), |row| Position::decode(&row))
}

/// How every database here is opened.
pub(crate) fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    let mut options =
        Options::default().get_options_from_string(SYNC_A_LITTLE).expect("RocksDB knows these options");
    options.set_block_based_table_factory(&blocks);
    options.set_paranoid_checks(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(BUFFER_BYTES);
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
