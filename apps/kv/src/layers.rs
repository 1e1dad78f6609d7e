//! What was changed and is not in the database yet: rows in memory, in layers. A row of a layer hides those of the same
//! name in the layers below it, and in the database, which is below all of them.
//!
//! Whoever holds a copy sees what was there when it was made, whatever changes later: a copy shares its rows with the
//! others.

use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;
use imbl::ordmap::RangedIter;

use crate::rows::Position;

/// A row that is written (or deleted, if there is no value).
pub(crate) type Row = Option<Bytes>;

/// The rows that a mutation changes, and their names.
pub(crate) type Rows = Vec<(Bytes, Row)>;

/// What a row needs in memory beside what is in it, roughly.
const ROW_OVERHEAD: usize = 128;

/// The layers of one database, and which state they make of it.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    newest: Layer,
    /// They don't change any more, and are on their way to the database: the oldest first.
    sealed: Vec<Layer>,
}

/// The rows that changed within some mutations.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    rows: OrdMap<Bytes, Row>,
    bytes: usize,
    /// Which state it is with these rows.
    position: Position,
}

impl Layers {
    /// Nothing above a database whose state this is.
    pub(crate) fn above(position: Position) -> Self {
        Self { newest: Layer { position, ..Layer::default() }, sealed: Vec::new() }
    }

    /// Which state it is.
    pub(crate) fn position(&self) -> Position {
        self.newest.position
    }

    /// What all layers need in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.newest.bytes + self.sealed.iter().map(|layer| layer.bytes).sum::<usize>()
    }

    /// The same for the newest.
    pub(crate) fn newest_bytes(&self) -> usize {
        self.newest.bytes
    }

    /// The row of that name; `None` if no layer knows of it, and the database has to be asked.
    pub(crate) fn get(&self, row: &[u8]) -> Option<&Row> {
        self.newest_first().find_map(|layer| layer.rows.get(row))
    }

    /// Takes in what a mutation changed.
    pub(crate) fn add(&mut self, changed: Rows, position: Position) {
        let newest = &mut self.newest;
        newest.position = position;
        for (row, value) in changed {
            let length = row.len();
            newest.bytes += bytes_of(length, &value);
            if let Some(before) = newest.rows.insert(row, value) {
                newest.bytes -= bytes_of(length, &before);
            }
        }
    }

    /// What changes from now on gets into another layer.
    pub(crate) fn seal(&mut self) {
        let above = Layer { position: self.newest.position, ..Layer::default() };
        self.sealed.push(std::mem::replace(&mut self.newest, above));
    }

    /// The layer that is next to get into the database.
    pub(crate) fn oldest_sealed(&self) -> Option<&Layer> {
        self.sealed.first()
    }

    /// That one is in the database.
    pub(crate) fn drop_oldest_sealed(&mut self) {
        self.sealed.remove(0);
    }

    /// The rows from one on up to another, in order.
    pub(crate) fn range<'a>(&'a self, from: &[u8], to: &[u8]) -> Merged<'a> {
        let range = (Bound::Included(from), Bound::Excluded(to));
        let layers = self.newest_first().filter(|layer| !layer.rows.is_empty());
        Merged(layers.map(|layer| layer.rows.range::<_, [u8]>(range).peekable()).collect())
    }

    fn newest_first(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.newest).chain(self.sealed.iter().rev())
    }
}

impl Layer {
    /// Which state it is with these rows.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Its rows, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&Bytes, &Row)> {
        self.rows.iter()
    }
}

/// The rows of several layers, in order; of those with one name the one of the newest layer.
pub(crate) struct Merged<'a>(Vec<Peekable<RangedIter<'a, Bytes, Row, imbl::shared_ptr::DefaultSharedPtr>>>);

impl<'a> Merged<'a> {
    /// The row that is next, if its name is as wanted.
    pub(crate) fn next_if(&mut self, is_wanted: impl FnOnce(&[u8]) -> bool) -> Option<(&'a Bytes, &'a Row)> {
        let names = self.0.iter_mut().filter_map(|layer| layer.peek().map(|(name, _)| *name));
        let next = names.min().filter(|name| is_wanted(name))?;
        // Each layer that has it goes on behind it.
        let found = self.0.iter_mut().filter_map(|layer| layer.next_if(|(name, _)| *name == next));
        found.reduce(|newest, _| newest)
    }
}

/// What a row with a name of that length needs.
fn bytes_of(name: usize, value: &Row) -> usize {
    name + value.as_ref().map_or(0, Bytes::len) + ROW_OVERHEAD
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
