//! What requests do to the state: the same on every replica, whatever is on its disk in which form.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use replicated_app::AppAnswer;

use crate::answer::{Change, Decided, Head};
use crate::fields::Writer;
use crate::layers::{Row, Rows};
use crate::request::{Condition, Write};
use crate::rows;
use crate::states::{NewState, Stored};
use crate::view::View;

/// Values that expired and are taken away with one mutation at most; more than one is written with has to be, or
/// they would pile up.
const EXPIRED_AT_ONCE: usize = 64;

/// The changes of one mutation, not written yet. Its requests see them.
pub(crate) struct Changes<'a> {
    view: View<'a>,
    now_us: u64,
    /// By the names of their rows.
    states: BTreeMap<Bytes, NewState>,
    /// Rows that are about something else.
    others: BTreeMap<Bytes, Row>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(view: View<'a>, now_us: u64) -> Self {
        Self { view, now_us, states: BTreeMap::new(), others: BTreeMap::new() }
    }

    /// When the first of the values expires that get a time to live.
    pub(crate) fn next_expiry_us(&self) -> Option<u64> {
        let (from, to) = rows::expiry_rows();
        let expiries = self.others.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
        let mut new = expiries.filter(|(_, value)| value.is_some());
        new.find_map(|(name, _)| rows::decode_expiry(name).ok()).map(|(at_us, _)| at_us)
    }

    /// The keys that changed with their new states, and rows to write or to delete.
    pub(crate) fn into_rows(self) -> (Vec<replicated_app::Change>, Rows) {
        let mut rows = Rows::with_capacity(self.others.len() + self.states.len());
        rows.extend(self.others);
        let states = self.states.into_iter().map(|(name, state)| {
            let key = rows::key_in(&name);
            let value = state.into_rows(&key, name, &mut rows);
            replicated_app::Change { key, value }
        });
        (states.collect(), rows)
    }

    /// Takes away what has expired, so that it needs no room any more. Nobody can see that: it was gone before.
    /// Returns when the next value expires.
    pub(crate) fn remove_expired(&mut self) -> io::Result<Option<u64>> {
        let due = self.view.expiries(EXPIRED_AT_ONCE + 1)?;
        for (index, (at_us, key)) in due.into_iter().enumerate() {
            if at_us > self.now_us || index == EXPIRED_AT_ONCE {
                return Ok(Some(at_us));
            }
            let name = rows::state_row(&key);
            let new = self.see(&key, &name, |stored| {
                let Head { version, .. } = stored.head.visible(self.now_us);
                Ok(NewState::after(stored, Head { version, value: None }, &[]))
            })?;
            self.store(&key, name, Some(at_us), new);
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
                let mut versions = Writer::with_room(8 * pairs.len());
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
        let state = self.see(key, &rows::state_row(key), |stored| stored.visible(self.now_us))?;
        match &state.value {
            None => Ok(Change::Refused(state)),
            Some(value) => self.change(key, Condition::None, Some(&value.bytes), ttl_us),
        }
    }

    fn set_once(&mut self, key: &[u8], version: u64, value: &[u8]) -> io::Result<Decided> {
        let row = rows::decided_row(key, version);
        let decided = match self.others.get(&row) {
            Some(now) => now.clone(),
            None => self.view.get(&row)?,
        };
        if let Some(value) = decided {
            return Ok(Decided::Before(value));
        }
        self.others.insert(row, Some(Bytes::copy_from_slice(value)));
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
        let expires_us = (ttl_us > 0).then(|| self.now_us.saturating_add(ttl_us));
        let name = rows::state_row(key);
        let new = self.see(key, &name, |stored| {
            let seen = stored.head.visible(self.now_us);
            if !holds(condition, seen, stored)? {
                return Ok(Err(stored.visible(self.now_us)?));
            }
            let head = Head { version: seen.version + 1, value: value.map(|_| expires_us) };
            let new = NewState::after(stored, head, value.unwrap_or_default());
            Ok(Ok((stored.head.value.flatten(), new)))
        })?;
        Ok(match new {
            Err(state) => Change::Refused(state),
            Ok((old_expiry, new)) => Change::Made(self.store(key, name, old_expiry, new)),
        })
    }

    /// Puts a state, with the name of its row, in the place of one that would have expired at `old_expiry`. Returns its
    /// version.
    fn store(&mut self, key: &[u8], name: Bytes, old_expiry: Option<u64>, new: NewState) -> u64 {
        let Head { version, value } = new.head();
        if let Some(at_us) = old_expiry {
            self.others.insert(rows::expiry_row(at_us, key), None);
        }
        if let Some(at_us) = value.flatten() {
            self.others.insert(rows::expiry_row(at_us, key), Some(Bytes::new()));
        }
        self.states.insert(name, new);
        version
    }

    /// What `see` makes of what is stored of a key, in its row of this name.
    fn see<T>(
        &self,
        key: &[u8],
        name: &[u8],
        see: impl FnOnce(&Stored<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.states.get(name) {
            Some(new) => see(&new.as_stored()),
            None => self.view.stored(key, name, see),
        }
    }
}

/// Whether it does for a key of which this is seen and that stored.
fn holds(condition: Condition<'_>, seen: Head, stored: &Stored<'_>) -> io::Result<bool> {
    Ok(match condition {
        Condition::None => true,
        Condition::Version(version) => seen.version == version,
        Condition::Value(wanted) => seen.value.is_some() && stored.with_value(|value| value == wanted)?,
        Condition::Absent => seen.value.is_none(),
    })
}
