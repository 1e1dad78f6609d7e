//! How the rows of a database, and of the layers above it, are looked at: as they are, as far as they are in memory, or
//! as they were at one moment.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rocksdb::{DB, DBRawIterator, ReadOptions, ReadTier, Snapshot};

use crate::files::{failed, reading_all};
use crate::layers::{Layers, Merged};
use crate::rows::{self, Position};

/// A way to look at the rows of a database and of the layers above it.
pub(crate) struct View<'a> {
    layers: Arc<Layers>,
    db: &'a DB,
    sight: Sight<'a>,
}

enum Sight<'a> {
    Present,
    Memory,
    Moment(Snapshot<'a>),
}

impl<'a> View<'a> {
    /// What is there as long as nobody writes.
    pub(crate) fn present(layers: Arc<Layers>, db: &'a DB) -> Self {
        Self { layers, db, sight: Sight::Present }
    }

    /// The same for who must not wait: what would have to be read from the disk fails, with `WouldBlock`, and so does
    /// what goes through many rows, wherever they are.
    pub(crate) fn memory(layers: Arc<Layers>, db: &'a DB) -> Self {
        Self { layers, db, sight: Sight::Memory }
    }

    /// What is there at this moment, whatever changes later.
    pub(crate) fn moment(layers: Arc<Layers>, db: &'a DB) -> Self {
        Self { layers, db, sight: Sight::Moment(db.snapshot()) }
    }

    fn reading(&self) -> ReadOptions {
        self.sighted(ReadOptions::default())
    }

    fn sighted(&self, mut reading: ReadOptions) -> ReadOptions {
        match &self.sight {
            Sight::Present => {}
            Sight::Memory => reading.set_read_tier(ReadTier::BlockCache),
            Sight::Moment(snapshot) => reading.set_snapshot(snapshot),
        }
        reading
    }

    /// Where the state is in time.
    pub(crate) fn position(&self) -> Position {
        self.layers.position()
    }

    pub(crate) fn get(&self, row: &[u8]) -> io::Result<Option<Bytes>> {
        self.with(row, |found| found.map(Bytes::copy_from_slice))
    }

    /// What `see` makes of a row, which it sees where it is.
    pub(crate) fn with<T>(&self, row: &[u8], see: impl FnOnce(Option<&[u8]>) -> T) -> io::Result<T> {
        match self.layers.get(row) {
            Some(found) => Ok(see(found.as_deref())),
            None => Ok(see(self.db.get_pinned_opt(row, &self.reading()).map_err(failed)?.as_deref())),
        }
    }

    /// Calls `take` with each row of a range, in order, until it returns false.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        take: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.merge(self.reading(), from, to, take)
    }

    /// Calls `take` with each row that there is, in order, but for the position.
    pub(crate) fn each(&self, mut take: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<()> {
        let (from, to) = rows::all_but_the_position();
        self.merge(self.sighted(reading_all()), from, to, |row, value| take(row, value).map(|()| true))
    }

    fn merge(
        &self,
        mut reading: ReadOptions,
        from: &[u8],
        to: &[u8],
        take: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        if matches!(self.sight, Sight::Memory) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let above = self.layers.range(from, to);
        reading.set_iterate_upper_bound(to);
        let mut below = self.db.raw_iterator_opt(reading);
        below.seek(from);
        merge(above, below, take)
    }

    /// The values that expire first: when, and their keys.
    pub(crate) fn expiries(&self, limit: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let (from, to) = rows::expiry_rows();
        let mut found = Vec::new();
        self.scan(from, to, |row, _| {
            let (at_us, key) = rows::decode_expiry(row)?;
            found.push((at_us, key.to_vec()));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }
}

/// Calls `take` with each row of those above and of those below that none above hides, in order, until it returns
/// false.
fn merge(
    mut above: Merged<'_>,
    mut below: DBRawIterator<'_>,
    mut take: impl FnMut(&[u8], &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    loop {
        let found = below.item();
        if found.is_none() {
            // An iterator that met a damaged block ends like one at its end, but for this.
            below.status().map_err(failed)?;
        }
        let first = above.next_if(|name| found.is_none_or(|(row, _)| name <= row));
        let (goes_on, is_done_below) = match (first, found) {
            (Some((name, value)), _) => {
                let goes_on = value.as_ref().map_or(Ok(true), |value| take(name, value))?;
                (goes_on, found.is_some_and(|(row, _)| row == name))
            }
            (None, Some((row, value))) => (take(row, value)?, true),
            (None, None) => return Ok(()),
        };
        if !goes_on {
            return Ok(());
        }
        if is_done_below {
            below.next();
        }
    }
}
