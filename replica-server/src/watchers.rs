//! Whoever waits for changes. To the core each question of a watcher is a read: it decides who may be told
//! something, by role, lease and the app's environment, and nothing of that is decided here again. What it lets
//! through and has no answer yet is parked, and asked anew when there is one, or when it is time for a sign of life.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use replica_core::{Changes, Compacted, Event, Published, Token};
use tokio::sync::oneshot;
use words::{ChangePage, Decree, Gpid, KeyFilter, Refusal, Time};

/// A watcher with nothing to be told is told so after this long; so it knows that somebody is there.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// How often it is looked whose time has come, and who waits where nobody leads any more.
const SWEEP: Duration = Duration::from_millis(100);
/// Bytes of changes in one answer, about.
const PAGE_BYTES: usize = 256 << 10;
/// Tells a watcher's token from those of other requests.
const MARK: Token = 1 << 63;

/// One question of a watcher. It asks the next one when it has taken in the answer, so there is one at a time.
pub(crate) struct Pull {
    pub(crate) gpid: Gpid,
    pub(crate) filter: KeyFilter,
    /// From which decree on; `None`: from what is applied next.
    pub(crate) from: Option<Decree>,
    /// An answer without changes is an answer.
    pub(crate) at_once: bool,
    pub(crate) reply: oneshot::Sender<Result<ChangePage, Refusal>>,
}

/// A question without an answer so far.
struct Parked {
    pull: Pull,
    until: Time,
}

/// All watchers of this node that wait.
#[derive(Default)]
pub(crate) struct Watchers {
    last: Token,
    /// Asked of the core, which answers within the turn or, at times, refuses later.
    asked: HashMap<Token, Pull>,
    parked: BTreeMap<Gpid, Vec<Parked>>,
    /// The next sweep, while anybody is parked.
    sweep_at: Option<Time>,
}

impl Watchers {
    /// Whether this is a watcher's token.
    pub(crate) fn owns(token: Token) -> bool {
        token & MARK != 0
    }

    /// The question as the core takes it.
    pub(crate) fn ask(&mut self, pull: Pull) -> Event {
        self.last += 1;
        let (gpid, token) = (pull.gpid, self.last | MARK);
        self.asked.insert(token, pull);
        Event::Read { gpid, request: Bytes::new(), token }
    }

    /// The core refused.
    pub(crate) fn refuse(&mut self, token: Token, refusal: Refusal) {
        if let Some(pull) = self.asked.remove(&token) {
            let _ = pull.reply.send(Err(refusal));
        }
    }

    /// The core let it through: the answer, or the wait for one.
    pub(crate) fn answer(&mut self, now: Time, token: Token, changes: Option<&Changes>) {
        let Some(mut pull) = self.asked.remove(&token) else { return };
        let Some(changes) = changes else {
            let _ = pull.reply.send(Err(Refusal::UnknownPartition));
            return;
        };
        let from = pull.from.unwrap_or_else(|| changes.last().next());
        match changes.read(from, &pull.filter, PAGE_BYTES) {
            Ok(page) if page.changes.is_empty() && page.through == changes.last() && !pull.at_once => {
                pull.from = Some(page.through.next());
                self.parked.entry(pull.gpid).or_default().push(Parked { pull, until: now + SIGN_OF_LIFE });
                self.sweep_at.get_or_insert(now + SWEEP);
            }
            told => {
                let told = told.map_err(|Compacted { oldest }| Refusal::Compacted { oldest });
                let _ = pull.reply.send(told);
            }
        }
    }

    /// Whether anybody waits for changes of a partition.
    pub(crate) fn is_watched(&self, gpid: Gpid) -> bool {
        self.parked.contains_key(&gpid)
    }

    /// A partition applied a decree that published this: who waits for it asks again.
    pub(crate) fn wake(&mut self, gpid: Gpid, published: &Published, events: &mut Vec<Event>) {
        self.ask_again(gpid, events, |parked| {
            let wanted = published.keys().any(|key| parked.pull.filter.takes(key));
            // All before was looked at when it was parked, or here.
            let decree = published.decree();
            parked.pull.from = Some(if wanted { decree } else { decree.next() });
            wanted
        });
    }

    /// When to be called again by itself.
    pub(crate) fn deadline(&self) -> Time {
        self.sweep_at.unwrap_or(Time::NEVER)
    }

    /// Who has waited long enough, or where nobody `leads` any more, asks again.
    pub(crate) fn on_time(&mut self, now: Time, leads: impl Fn(Gpid) -> bool, events: &mut Vec<Event>) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        let watched: Vec<Gpid> = self.parked.keys().copied().collect();
        for gpid in watched {
            let over = !leads(gpid);
            self.ask_again(gpid, events, |parked| {
                parked.pull.at_once |= over || parked.until <= now;
                parked.pull.at_once
            });
        }
        self.sweep_at = (!self.parked.is_empty()).then(|| now + SWEEP);
    }

    /// Asks again what is due, and forgets those who have gone away.
    fn ask_again(&mut self, gpid: Gpid, events: &mut Vec<Event>, due: impl FnMut(&mut Parked) -> bool) {
        let Some(parked) = self.parked.get_mut(&gpid) else { return };
        parked.retain(|parked| !parked.pull.reply.is_closed());
        let pulls: Vec<Pull> = parked.extract_if(.., due).map(|parked| parked.pull).collect();
        if parked.is_empty() {
            self.parked.remove(&gpid);
        }
        events.extend(pulls.into_iter().map(|pull| self.ask(pull)));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;
    use words::Change;

    use super::*;

    const GPID: Gpid = Gpid::new(1, 0);

    fn change(key: &'static str) -> Change {
        Change { key: key.into(), value: "v".into() }
    }

    fn at(ms: u64) -> Time {
        Time::default() + Duration::from_millis(ms)
    }

    /// One watcher's questions, answered from `changes` for as long as the node leads.
    struct One {
        watchers: Watchers,
        changes: Changes,
        told: Receiver<Result<ChangePage, Refusal>>,
    }

    impl One {
        fn asks(from: Option<u64>) -> Self {
            let (reply, told) = oneshot::channel();
            let mut one =
                Self { watchers: Watchers::default(), changes: Changes::after(Decree(3), 300), told };
            let filter = KeyFilter::Key("mine".into());
            let pull = Pull { gpid: GPID, filter, from: from.map(Decree), at_once: false, reply };
            let event = one.watchers.ask(pull);
            one.core_lets_through(at(0), vec![event]);
            one
        }

        fn core_lets_through(&mut self, now: Time, events: Vec<Event>) {
            for event in events {
                let Event::Read { token, .. } = event else { panic!("{event:?}") };
                assert!(Watchers::owns(token) && !Watchers::owns(token ^ MARK));
                self.watchers.answer(now, token, Some(&self.changes));
            }
        }

        fn publish(&mut self, keys: &[&'static str]) {
            let decree = self.changes.last().next();
            self.changes.push(decree, keys.iter().copied().map(change).collect());
            let mut events = Vec::new();
            if let Some(newest) = self.changes.newest() {
                self.watchers.wake(GPID, newest, &mut events);
            }
            self.core_lets_through(at(1), events);
        }

        fn told(&mut self) -> Result<(u64, usize), Refusal> {
            let told = self.told.try_recv().expect("an answer");
            told.map(|page| (page.through.0, page.changes.len()))
        }
    }

    #[test]
    fn a_watcher_is_told_of_the_first_change_that_matches() {
        let mut one = One::asks(Some(4));
        one.publish(&["other"]);
        one.publish(&[]);
        assert_eq!(one.told.try_recv(), Err(TryRecvError::Empty));
        one.publish(&["other", "mine", "mine"]);
        assert_eq!(one.told(), Ok((6, 2)));
        assert!(one.watchers.parked.is_empty());
    }

    #[test]
    fn what_others_publish_makes_nobody_late() {
        let mut one = One::asks(None);
        for _ in 0..50 {
            one.publish(&["other"]);
        }
        assert!(one.changes.oldest() > Decree(4), "what it asked from is gone");
        one.publish(&["mine"]);
        assert_eq!(one.told(), Ok((54, 1)));
    }

    #[test]
    fn who_is_late_is_told_what_is_left() {
        assert_eq!(One::asks(Some(3)).told(), Err(Refusal::Compacted { oldest: Decree(4) }));
        assert_eq!(One::asks(Some(5)).told(), Err(Refusal::Compacted { oldest: Decree(4) }));
    }

    #[test]
    fn a_watcher_is_told_now_and_then_that_there_is_nothing() {
        let mut one = One::asks(None);
        one.publish(&["other"]);
        let sweep = |one: &mut One, ms, leads: bool| {
            assert!(one.watchers.deadline() <= at(ms));
            let mut events = Vec::new();
            one.watchers.on_time(at(ms), |_| leads, &mut events);
            one.core_lets_through(at(ms), events);
        };
        sweep(&mut one, 100, true);
        assert_eq!(one.told.try_recv(), Err(TryRecvError::Empty));
        sweep(&mut one, 500, true);
        assert_eq!(one.told(), Ok((4, 0)));
        assert_eq!(one.watchers.deadline(), Time::NEVER);

        let mut one = One::asks(None);
        sweep(&mut one, 100, false);
        assert_eq!(one.told(), Ok((3, 0)), "the core is asked again, and would refuse");
    }

    #[test]
    fn who_has_gone_away_is_forgotten() {
        let mut one = One::asks(None);
        one.told.close();
        one.publish(&["other"]);
        assert!(one.watchers.parked.is_empty());
    }
}
