//! Large writes past the system's cache. Nobody reads soon what the log takes, so there it would only be in the way:
//! room has to be found for each page, it is copied there, and at the sync all of it goes to the disk at once.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::BLOCK;

/// Bytes that are written at once.
const PIECE_BYTES: usize = 1 << 20;
/// A shorter write is done sooner by the cache, which a sync then empties.
const WORTH_BYTES: usize = 128 << 10;

/// A file, opened once more to be written to without the cache.
#[derive(Debug)]
pub(crate) struct Direct {
    file: fs::File,
    /// A piece, and what it takes to have it begin at a block.
    memory: Mutex<Vec<u8>>,
}

impl Direct {
    /// `None` where the file system has nothing but the cache.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        let flag = OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().write(true).custom_flags(flag).open(path) {
            Ok(file) => Ok(Some(Self { file, memory: Mutex::default() })),
            Err(error) if is_refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes all of `bytes` at `offset`, by `cached`, the same file, unless they are whole blocks, and enough of them.
    ///
    /// # Errors
    /// Those of the operating system. A part may then be written.
    pub(crate) fn write_at(&self, cached: &fs::File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let is_whole = offset.is_multiple_of(BLOCK as u64) && bytes.len().is_multiple_of(BLOCK);
        if !is_whole || bytes.len() < WORTH_BYTES {
            return cached.write_all_at(bytes, offset);
        }
        let mut at = offset;
        for piece in bytes.chunks(PIECE_BYTES) {
            match self.write_blocks_at(at, piece) {
                // The disk has larger blocks after all.
                Err(error) if is_refused(&error) => cached.write_all_at(piece, at)?,
                result => result?,
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn write_blocks_at(&self, offset: u64, piece: &[u8]) -> io::Result<()> {
        let mut memory = self.memory.lock().expect("no holder panics");
        memory.resize(PIECE_BYTES + BLOCK, 0);
        let begin = memory.as_ptr().align_offset(BLOCK);
        let aligned = &mut memory[begin..begin + piece.len()];
        aligned.copy_from_slice(piece);
        self.file.write_all_at(aligned, offset)
    }
}

fn is_refused(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Places and lengths in blocks, and what is missing to whole ones.
    fn write() -> impl Strategy<Value = (usize, usize, usize)> {
        let worth = WORTH_BYTES / BLOCK;
        let blocks =
            prop_oneof![1..4_usize, worth - 1..worth + 2, PIECE_BYTES / BLOCK + 1..PIECE_BYTES / BLOCK + 3];
        (0..300_usize, blocks, prop_oneof![3 => Just(0_usize), 1 => 1..BLOCK])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_file_is_the_same_whichever_way_it_was_written(writes in vec(write(), 1..6)) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("file");
            let cached = OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("made");
            let Some(direct) = Direct::open(&path).expect("opened") else { return Ok(()) };
            let mut expected = Vec::new();
            for (number, (block, blocks, less)) in writes.into_iter().enumerate() {
                let (offset, length) = (block * BLOCK, blocks * BLOCK - less);
                let bytes: Vec<u8> = (0..length).map(|at| (at / 7 + number) as u8).collect();
                expected.resize(expected.len().max(offset + length), 0);
                expected[offset..offset + length].copy_from_slice(&bytes);
                direct.write_at(&cached, offset as u64, &bytes).expect("written");
                prop_assert!(fs::read(&path).expect("read") == expected);
            }
        }
    }
}
