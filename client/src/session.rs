//! One session with one partition: numbers writes, so that each takes effect once however often it is sent
//! (§8.2).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use words::SessionStamp;

/// How far the numbers of unfinished writes may lie apart. A partition keeps answers for at least twice as many,
/// so a write of ours is never beyond its window.
const WINDOW: u64 = 2048;

/// A client's session with a partition. Opened when the first write needs it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    state: Mutex<State>,
    /// A write is finished: the window may have room.
    room: Notify,
    /// Held by the task that opens the session for all.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The number that the partition gave it; `None` while none is open.
    number: Option<u64>,
    /// The last write's number.
    last: u64,
    /// Numbers of writes that may still be sent (again).
    unfinished: BTreeSet<u64>,
}

/// Why a write can't have its number now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotNumbered {
    NoSession,
    WindowFull,
}

/// A write's number. Dropping it says that the write is finished: answered, or never to be sent again.
#[derive(Debug)]
pub(crate) struct Numbered<'a> {
    session: &'a Session,
    stamp: SessionStamp,
}

impl Session {
    /// The next number, as soon as the window has room; `None` if no session is open.
    pub(crate) async fn number(&self) -> Option<Numbered<'_>> {
        let mut waited = false;
        loop {
            match self.try_number() {
                Err(NotNumbered::WindowFull) => self.room.notified().await,
                numbered => {
                    if waited {
                        // There may be room for more than one.
                        self.room.notify_one();
                    }
                    return numbered.ok();
                }
            }
            waited = true;
        }
    }

    fn try_number(&self) -> Result<Numbered<'_>, NotNumbered> {
        let mut state = self.lock();
        let number = state.number.ok_or(NotNumbered::NoSession)?;
        let sequence = state.last + 1;
        let first_incomplete = state.unfinished.first().copied().unwrap_or(sequence);
        if sequence - first_incomplete >= WINDOW {
            return Err(NotNumbered::WindowFull);
        }
        state.last = sequence;
        state.unfinished.insert(sequence);
        Ok(Numbered { session: self, stamp: SessionStamp { session: number, sequence, first_incomplete } })
    }

    /// Waits for the right to open the session; `None` if it is open by then.
    pub(crate) async fn begin_opening(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let opening = self.opening.lock().await;
        self.lock().number.is_none().then_some(opening)
    }

    /// The session is open, by this number.
    pub(crate) fn opened(&self, number: u64) {
        *self.lock() = State { number: Some(number), ..State::default() };
    }

    /// The partition does not know this session any more.
    pub(crate) fn expired(&self, number: u64) {
        let mut state = self.lock();
        // Another write may have noticed first, and a new session be open.
        if state.number == Some(number) {
            *state = State::default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Numbered<'_> {
    pub(crate) fn stamp(&self) -> SessionStamp {
        self.stamp
    }
}

impl Drop for Numbered<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        if state.number == Some(self.stamp.session) {
            state.unfinished.remove(&self.stamp.sequence);
        }
        drop(state);
        self.session.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(number: u64) -> Session {
        let session = Session::default();
        session.opened(number);
        session
    }

    #[test]
    fn first_incomplete_is_the_lowest_number_that_may_still_be_sent() {
        let session = open(7);
        let [first, second] = [session.try_number().unwrap(), session.try_number().unwrap()];
        assert_eq!(first.stamp(), SessionStamp { session: 7, sequence: 1, first_incomplete: 1 });
        drop(second);
        assert_eq!(session.try_number().unwrap().stamp().first_incomplete, 1);
        drop(first);
        assert_eq!(
            session.try_number().unwrap().stamp(),
            SessionStamp { session: 7, sequence: 4, first_incomplete: 4 }
        );
    }

    #[test]
    fn the_window_is_bounded_by_the_oldest_unfinished_write() {
        let session = open(7);
        let oldest = session.try_number().unwrap();
        for _ in 1..WINDOW {
            drop(session.try_number().unwrap());
        }
        assert_eq!(session.try_number().unwrap_err(), NotNumbered::WindowFull);
        drop(oldest);
        assert!(session.try_number().is_ok());
    }

    #[tokio::test]
    async fn writes_that_wait_for_the_window_all_get_in() {
        let session = open(7);
        let mut unfinished: Vec<_> = (0..WINDOW).map(|_| session.try_number().unwrap()).collect();
        let waiting = async || session.number().await.unwrap().stamp().sequence;
        let oldest_ends = async {
            tokio::task::yield_now().await;
            drop(unfinished.remove(0));
            drop(unfinished.remove(0));
        };
        let (first, second, ()) = tokio::join!(waiting(), waiting(), oldest_ends);
        assert_eq!((first, second), (WINDOW + 1, WINDOW + 2));
    }

    #[test]
    fn a_write_of_an_expired_session_does_not_touch_the_next_one() {
        let session = open(7);
        let old = session.try_number().unwrap();
        session.expired(7);
        assert_eq!(session.try_number().unwrap_err(), NotNumbered::NoSession);
        session.opened(8);
        let new = session.try_number().unwrap();
        drop(old);
        session.expired(7);
        assert_eq!(session.try_number().unwrap().stamp().first_incomplete, new.stamp().sequence);
    }
}
