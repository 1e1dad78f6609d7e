//! The rows that were written last, as they are in the database: there each key that is written again and again is one
//! of very many, and to look for it costs more than all else that a write does.

use std::collections::HashMap;

use bytes::Bytes;

use crate::live::Rows;

/// What all of them may take, in bytes. There is one of these for each partition.
const MOST_BYTES: usize = 256 << 10;
/// About what the map takes for a row.
const ROW_BYTES: usize = 80;

/// What is known of some rows; `None` is known, too: there is none.
#[derive(Default)]
pub(crate) struct Recent {
    rows: HashMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn get(&self, row: &[u8]) -> Option<Option<Bytes>> {
        self.rows.get(row).cloned()
    }

    /// Takes what was written. When it is too much it forgets all: whatever is written often is here again soon.
    pub(crate) fn take(&mut self, changed: Rows) {
        for (row, value) in changed {
            let bytes = size(&row, value.as_ref());
            if self.bytes + bytes > MOST_BYTES {
                *self = Self::default();
            }
            if bytes > MOST_BYTES {
                continue;
            }
            self.bytes += bytes;
            if let Some(before) = self.rows.get(&row) {
                self.bytes -= size(&row, before.as_ref());
            }
            self.rows.insert(row, value);
        }
    }
}

fn size(row: &[u8], value: Option<&Bytes>) -> usize {
    ROW_BYTES + row.len() + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(row: u32, length: usize) -> Rows {
        Rows::from([(row.to_be_bytes().to_vec(), Some(Bytes::from(vec![7; length])))])
    }

    #[test]
    fn it_never_holds_more_than_it_may_nor_anything_old() {
        let mut recent = Recent::default();
        for round in 1..5_000_u32 {
            let (row, length) = (round % 700, (round * 37) as usize % 2_000);
            recent.take(rows(row, length));
            assert_eq!(recent.get(&row.to_be_bytes()).flatten().map(|value| value.len()), Some(length));
            let held: usize = recent.rows.iter().map(|(row, value)| size(row, value.as_ref())).sum();
            assert!(held == recent.bytes && held <= MOST_BYTES, "{held}");
        }
        recent.take(rows(1, MOST_BYTES));
        assert_eq!(recent.get(&1_u32.to_be_bytes()), None, "too large to be held, and nothing older is");
    }
}
