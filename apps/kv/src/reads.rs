//! What reads answer.

use std::io;

use bytes::Bytes;
use replicated_app::AppAnswer;

use crate::answer::{Head, Page, Remaining, ScanEntry, State, encode_decided_value};
use crate::app::rejected;
use crate::files::invalid;
use crate::request::{MALFORMED, Read, Request};
use crate::rows;
use crate::states::Stored;
use crate::view::View;

/// A page of a scan ends after so many bytes, and after so many rows: deleted keys have rows, too.
const PAGE_BYTES: usize = 256 << 10;
const PAGE_ROWS: usize = 4096;

/// What is answered to a request by what is to be seen at a time.
///
/// # Errors
/// What the view says; `InvalidData` for rows that make no sense.
pub(crate) fn answer(view: &View<'_>, now_us: u64, request: &[u8]) -> io::Result<AppAnswer> {
    match Request::decode(request) {
        Ok(Request::Read(read)) => Reader { view, now_us }.answer(&read).map(Ok),
        Ok(Request::Write(_)) => Ok(Err(rejected(MALFORMED, "this is no read: send it as a write"))),
        Err(rejection) => Ok(Err(rejection)),
    }
}

struct Reader<'a> {
    view: &'a View<'a>,
    now_us: u64,
}

impl Reader<'_> {
    fn answer(&self, read: &Read<'_>) -> io::Result<Bytes> {
        match *read {
            Read::Get { key } => self.stored(key, |stored| stored.seen_at(self.now_us, Head::encode_with)),
            Read::Ttl { key } => {
                let seen = self.stored(key, |stored| Ok(stored.head.visible(self.now_us)))?;
                let remaining = match seen.value {
                    None => Remaining::NoValue,
                    Some(None) => Remaining::ForEver,
                    Some(Some(at_us)) => Remaining::Micros(at_us - self.now_us),
                };
                Ok(remaining.encode())
            }
            Read::GetAt { key, version } => {
                let decided = self.view.get(&rows::decided_row(key, version))?;
                Ok(encode_decided_value(decided))
            }
            Read::Scan { limit, from, to } => Ok(self.scan(limit, from, to)?.encode()),
        }
    }

    fn stored<T>(&self, key: &[u8], see: impl FnOnce(&Stored<'_>) -> io::Result<T>) -> io::Result<T> {
        self.view.stored(key, &rows::state_row(key), see)
    }

    fn scan(&self, limit: u32, from: &[u8], to: Option<&[u8]>) -> io::Result<Page> {
        let (first, end) = (rows::state_row(from), to.map_or_else(rows::state_rows_end, rows::state_row));
        let (mut page, mut seen, mut bytes) = (Page::default(), 0, 0);
        if first >= end {
            return Ok(page);
        }
        self.view.scan(&first, &end, |row, value| {
            let key = rows::key_of(row).ok_or_else(|| invalid("a row out of order".into()))?;
            if page.entries.len() >= limit as usize || seen >= PAGE_ROWS || bytes >= PAGE_BYTES {
                page.next = Some(Bytes::copy_from_slice(key));
                return Ok(false);
            }
            seen += 1;
            let stored = Stored::in_row(self.view, key, Some(value))?;
            let State { version, value } = stored.visible(self.now_us)?;
            if let Some(value) = value {
                bytes += key.len() + value.bytes.len();
                page.entries.push(ScanEntry { key: Bytes::copy_from_slice(key), version, value });
            }
            Ok(true)
        })?;
        Ok(page)
    }
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
