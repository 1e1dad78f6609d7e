//! What requests do to the state: the same on every replica, whatever is on its disk in which form.

use std::io;

use bytes::Bytes;
use replicated_app::AppAnswer;

use crate::answer::{Change, Decided, Head, State};
use crate::fields::Writer;
use crate::live::{Live, Rows};
use crate::request::{Condition, Write};
use crate::rows;

/// Values that expired and are taken away with one mutation at most; more than one is written with has to be, or
/// they would pile up.
const EXPIRED_AT_ONCE: usize = 64;

/// The changes of one mutation, not written yet. Reads see them.
pub(crate) struct Changes<'a> {
    live: &'a Live,
    now_us: u64,
    rows: Rows,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(live: &'a Live, now_us: u64) -> Self {
        Self { live, now_us, rows: Rows::new() }
    }

    /// Rows to write, or to delete.
    pub(crate) fn into_rows(self) -> Rows {
        self.rows
    }

    /// Takes away what has expired, so that it needs no room any more. Nobody can see that: it was gone before.
    /// Returns when the next value expires.
    pub(crate) fn remove_expired(&mut self) -> io::Result<Option<u64>> {
        let due = self.live.expiries(EXPIRED_AT_ONCE + 1)?;
        for (index, (at_us, key)) in due.into_iter().enumerate() {
            if at_us > self.now_us || index == EXPIRED_AT_ONCE {
                return Ok(Some(at_us));
            }
            let version = self.see(&key, |stored, _| stored.visible(self.now_us).version)?;
            self.store(&key, Some(at_us), Head { version, value: None }, &[]);
        }
        Ok(None)
    }

    /// Does what one request says.
    pub(crate) fn apply(&mut self, write: &Write<'_>) -> io::Result<AppAnswer> {
        Ok(Ok(match *write {
            Write::Put { key, value, condition, ttl_us } => {
                self.change(key, condition, Some(value), ttl_us)?.encode()
            }
            Write::Delete { key, condition } => self.change(key, condition, None, 0)?.encode(),
            Write::SetTtl { key, ttl_us } => self.set_ttl(key, ttl_us)?.encode(),
            Write::MultiPut { ref pairs } => {
                let mut versions = Writer::default();
                for (key, value) in pairs {
                    match self.change(key, Condition::None, Some(value), 0)? {
                        Change::Made(version) => versions = versions.u64(version),
                        Change::Refused(_) => unreachable!("there was no condition"),
                    }
                }
                versions.0.into()
            }
            Write::SetOnce { key, version, value } => self.set_once(key, version, value)?.encode(),
        }))
    }

    fn set_ttl(&mut self, key: &[u8], ttl_us: u64) -> io::Result<Change> {
        let state = self.state(key)?;
        match &state.value {
            None => Ok(Change::Refused(state)),
            Some(value) => self.change(key, Condition::None, Some(&value.bytes), ttl_us),
        }
    }

    fn set_once(&mut self, key: &[u8], version: u64, value: &[u8]) -> io::Result<Decided> {
        let row = rows::decided_row(key, version);
        if let Some(decided) = self.with(&row, |found| found.map(Bytes::copy_from_slice))? {
            return Ok(Decided::Before(decided));
        }
        self.rows.insert(row, Some(Bytes::copy_from_slice(value)));
        Ok(Decided::Now)
    }

    /// One step of a key, if the condition holds.
    fn change(
        &mut self,
        key: &[u8],
        condition: Condition<'_>,
        value: Option<&[u8]>,
        ttl_us: u64,
    ) -> io::Result<Change> {
        let (stored, refused) = self.see(key, |stored, value| {
            let seen = stored.visible(self.now_us);
            (stored, (!holds(condition, seen, value)).then(|| seen.with(value)))
        })?;
        if let Some(state) = refused {
            return Ok(Change::Refused(state));
        }
        let version = stored.visible(self.now_us).version + 1;
        let expires_us = (ttl_us > 0).then(|| self.now_us.saturating_add(ttl_us));
        let head = Head { version, value: value.map(|_| expires_us) };
        self.store(key, stored.value.flatten(), head, value.unwrap_or_default());
        Ok(Change::Made(version))
    }

    /// Puts a state in the place of one that would have expired at `old_expiry`.
    fn store(&mut self, key: &[u8], old_expiry: Option<u64>, head: Head, value: &[u8]) {
        if let Some(at_us) = old_expiry {
            self.rows.insert(rows::expiry_row(at_us, key), None);
        }
        if let Some(at_us) = head.value.flatten() {
            self.rows.insert(rows::expiry_row(at_us, key), Some(Bytes::new()));
        }
        self.rows.insert(rows::state_row(key), Some(head.encode_with(value)));
    }

    fn state(&self, key: &[u8]) -> io::Result<State> {
        self.see(key, |stored, value| stored.visible(self.now_us).with(value))
    }

    /// What `see` makes of what is stored of a key; most changes need little of it, and its value may be large.
    fn see<T>(&self, key: &[u8], see: impl FnOnce(Head, &[u8]) -> T) -> io::Result<T> {
        self.with(&rows::state_row(key), |row| rows::decode_state(row).map(|(head, value)| see(head, value)))?
    }

    fn with<T>(&self, row: &[u8], see: impl FnOnce(Option<&[u8]>) -> T) -> io::Result<T> {
        match self.rows.get(row) {
            Some(changed) => Ok(see(changed.as_deref())),
            None => self.live.with(row, see),
        }
    }
}

/// Whether it does for what is seen of a key, and its value.
fn holds(condition: Condition<'_>, seen: Head, value: &[u8]) -> bool {
    match condition {
        Condition::None => true,
        Condition::Version(version) => seen.version == version,
        Condition::Value(wanted) => seen.value.is_some() && value == wanted,
        Condition::Absent => seen.value.is_none(),
    }
}
