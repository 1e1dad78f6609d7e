//! How the rows of a database are looked at: as they are, as far as they are in memory, or as they were at one moment.

use std::io;

use bytes::Bytes;
use rocksdb::{DB, ReadOptions, ReadTier, Snapshot};

use crate::live::{each_row, failed};
use crate::rows::{self, Position};

/// A way to look at the rows of a database.
pub(crate) struct View<'a> {
    db: &'a DB,
    sight: Sight<'a>,
}

enum Sight<'a> {
    Present,
    Memory,
    Moment(Snapshot<'a>),
}

impl<'a> View<'a> {
    /// What is there when it is looked at.
    pub(crate) fn present(db: &'a DB) -> Self {
        Self { db, sight: Sight::Present }
    }

    /// The same for who must not wait: what would have to be read from the disk fails, with `WouldBlock`, and so does
    /// what goes through many rows, wherever they are.
    pub(crate) fn memory(db: &'a DB) -> Self {
        Self { db, sight: Sight::Memory }
    }

    /// What is there at this moment, whatever changes later.
    pub(crate) fn moment(db: &'a DB) -> Self {
        Self { db, sight: Sight::Moment(db.snapshot()) }
    }

    fn reading(&self) -> ReadOptions {
        let mut reading = ReadOptions::default();
        match &self.sight {
            Sight::Present => {}
            Sight::Memory => reading.set_read_tier(ReadTier::BlockCache),
            Sight::Moment(snapshot) => reading.set_snapshot(snapshot),
        }
        reading
    }

    /// Where the state is in time.
    pub(crate) fn position(&self) -> io::Result<Position> {
        self.with(rows::POSITION, |row| row.map_or(Ok(Position::default()), Position::decode))?
    }

    pub(crate) fn get(&self, row: &[u8]) -> io::Result<Option<Bytes>> {
        self.with(row, |found| found.map(Bytes::copy_from_slice))
    }

    /// What `see` makes of a row, which it sees where it is.
    pub(crate) fn with<T>(&self, row: &[u8], see: impl FnOnce(Option<&[u8]>) -> T) -> io::Result<T> {
        Ok(see(self.db.get_pinned_opt(row, &self.reading()).map_err(failed)?.as_deref()))
    }

    /// Calls `take` with each row of a range, in order, until it returns false.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: Vec<u8>,
        take: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        if matches!(self.sight, Sight::Memory) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut reading = self.reading();
        reading.set_iterate_upper_bound(to);
        let mut rows = self.db.raw_iterator_opt(reading);
        rows.seek(from);
        each_row(rows, take)
    }

    /// The values that expire first: when, and their keys.
    pub(crate) fn expiries(&self, limit: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let (from, to) = rows::expiry_rows();
        let mut found = Vec::new();
        self.scan(&from, to, |row, _| {
            let (at_us, key) = rows::decode_expiry(row)?;
            found.push((at_us, key.to_vec()));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }
}
