//! Exactly-once writes (§8.2): for each session the answers of its recent writes, as part of the replicated
//! state and of every checkpoint.
//!
//! A client opens a session by a replicated write and numbers its writes 1, 2, 3, ... in it. Many can be in
//! flight, so they are applied in any order; with each the client says below which number all have been
//! answered, and those answers are forgotten (as in RIFL, Lee et al., SOSP 2015). A write below that point,
//! or of a session that is not known any more, is refused: never executed a second time.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use replicated_app::{Batch, ReplicatedApp};
use serde::{Deserialize, Serialize};
use words::{AppAnswer, Decree, Mutation, MutationId, SessionStamp, WriteKind, Writes};

use crate::WriteAnswer;
use crate::kept_answer::KeptAnswer;

/// Sessions that a partition keeps; the one unused for longest goes first.
const MAX_SESSIONS: usize = 10_000;
/// Unanswered writes that a session can have: how far `sequence` can be above `first_incomplete`.
const WINDOW: u64 = 4096;

/// Spreads ballots over all bits of a session's number (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The sessions of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// The newest timestamp applied: what an app sees never falls, whoever was primary (§3.7).
    last_timestamp_us: u64,
    sessions: BTreeMap<u64, Session>,
    /// `(last use, session)`: the first is the one to evict.
    by_use: BTreeSet<(Decree, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    first_incomplete: u64,
    last_use: Decree,
    answers: BTreeMap<u64, (Decree, KeptAnswer)>,
}

/// A snapshot of sessions that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedSessions;

impl std::fmt::Display for DamagedSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the snapshot of the sessions is damaged")
    }
}

impl std::error::Error for DamagedSessions {}

/// What is to be done with one write of a mutation.
enum Plan {
    /// Give it to the app, as the next request, and keep the answer in its session, if it has one.
    Apply(Option<SessionStamp>),
    /// As an earlier write of the same mutation.
    SameAs(usize),
    /// Read, after the mutation's updates: all its operations are concurrent, so that order is as good as any.
    Read(Bytes),
    Answered(WriteAnswer),
}

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For a checkpoint.
    ///
    /// # Panics
    /// Never: this type has nothing that can't be encoded.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data can be encoded")
    }

    /// From a checkpoint.
    ///
    /// # Errors
    /// If the bytes are no snapshot of sessions.
    pub fn decode(bytes: &[u8]) -> Result<Self, DamagedSessions> {
        let sessions: Self = postcard::from_bytes(bytes).map_err(|_| DamagedSessions)?;
        let consistent = sessions.by_use.len() == sessions.sessions.len()
            && sessions.by_use.iter().all(|&(last_use, id)| {
                sessions.sessions.get(&id).is_some_and(|session| session.last_use == last_use)
            });
        if consistent { Ok(sessions) } else { Err(DamagedSessions) }
    }

    /// Number of sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn open(&mut self, of: MutationId, index: usize) -> u64 {
        // Unique in the partition for ever: a mutation has fewer writes than this, and its identity is given once.
        // By the decree alone a session of a history that an admin gave up would be taken for another client's.
        assert!(index < Writes::MOST, "a mutation has {} writes at most", Writes::MOST);
        let decree = of.decree;
        let id = (decree.0 << 16 | index as u64) ^ of.ballot.0.wrapping_mul(SPREAD);
        self.sessions.insert(id, Session { first_incomplete: 1, last_use: decree, answers: BTreeMap::new() });
        self.by_use.insert((decree, id));
        if self.sessions.len() > MAX_SESSIONS
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.sessions.remove(&oldest);
        }
        id
    }

    /// Whether a stamped write is to be executed (`None`), or what it is answered with.
    fn check(&mut self, decree: Decree, stamp: SessionStamp) -> Option<WriteAnswer> {
        let Some(session) = self.sessions.get_mut(&stamp.session) else {
            return Some(WriteAnswer::SessionExpired);
        };
        // Most writes of a mutation are of few sessions.
        if session.last_use != decree {
            self.by_use.remove(&(session.last_use, stamp.session));
            session.last_use = decree;
            self.by_use.insert((decree, stamp.session));
        }
        session.forget_below(stamp.first_incomplete);
        if let Some((decree, answer)) = session.answers.get(&stamp.sequence) {
            return Some(WriteAnswer::Applied { decree: *decree, answer: answer.into() });
        }
        let window = session.first_incomplete..session.first_incomplete.saturating_add(WINDOW);
        (!window.contains(&stamp.sequence)).then_some(WriteAnswer::SequenceOutOfWindow)
    }

    /// A session opened by the same mutation may have pushed this one out; then there is nothing to keep.
    fn remember(&mut self, decree: Decree, stamp: SessionStamp, answer: &AppAnswer) {
        if let Some(session) = self.sessions.get_mut(&stamp.session)
            && stamp.sequence >= session.first_incomplete
        {
            session.answers.insert(stamp.sequence, (decree, answer.into()));
        }
    }
}

/// The numbered writes of one mutation that are given to the app, by their numbers. Mostly they come in order.
#[derive(Default)]
struct Numbered(Vec<((u64, u64), usize)>);

impl Numbered {
    fn find(&self, stamp: SessionStamp) -> Result<usize, usize> {
        let key = (stamp.session, stamp.sequence);
        match self.0.last() {
            Some((last, _)) if *last >= key => self.0.binary_search_by_key(&key, |(key, _)| *key),
            _ => Err(self.0.len()),
        }
    }

    /// The position in the mutation of the write that has the same number.
    fn earlier(&self, stamp: SessionStamp) -> Option<usize> {
        self.find(stamp).ok().map(|at| self.0[at].1)
    }

    fn note(&mut self, stamp: SessionStamp, index: usize) {
        if let Err(at) = self.find(stamp) {
            self.0.insert(at, ((stamp.session, stamp.sequence), index));
        }
    }
}

impl Session {
    /// All answers below this number have arrived. One by one from the front: that moves nothing of what stays.
    fn forget_below(&mut self, first_incomplete: u64) {
        self.first_incomplete = self.first_incomplete.max(first_incomplete);
        while self.answers.first_key_value().is_some_and(|(&oldest, _)| oldest < self.first_incomplete) {
            self.answers.pop_first();
        }
    }
}

/// Applies one committed mutation to an app and its sessions; one answer for each write, in order.
///
/// # Panics
/// If the app returns another number of answers than it got requests: replicas would differ from here on.
pub fn apply_mutation(
    app: &mut dyn ReplicatedApp,
    sessions: &mut Sessions,
    mutation: &Mutation,
) -> Vec<WriteAnswer> {
    let decree = mutation.id.decree;
    sessions.last_timestamp_us = sessions.last_timestamp_us.max(mutation.timestamp_us);
    let mut requests: Vec<Bytes> = Vec::with_capacity(mutation.writes.len());
    let mut numbered = Numbered::default();
    let mut plans = Vec::with_capacity(mutation.writes.len());
    for (index, write) in mutation.writes.iter().enumerate() {
        plans.push(match (write.kind, write.session) {
            (WriteKind::OpenSession, _) => {
                let id = sessions.open(mutation.id, index);
                let answer = Ok(Bytes::copy_from_slice(&id.to_le_bytes()));
                Plan::Answered(WriteAnswer::Applied { decree, answer })
            }
            (WriteKind::Read, _) => Plan::Read(write.payload),
            (WriteKind::Update, None) => {
                requests.push(write.payload);
                Plan::Apply(None)
            }
            (WriteKind::Update, Some(stamp)) => {
                if let Some(earlier) = numbered.earlier(stamp) {
                    Plan::SameAs(earlier)
                } else if let Some(answer) = sessions.check(decree, stamp) {
                    Plan::Answered(answer)
                } else {
                    numbered.note(stamp, index);
                    requests.push(write.payload);
                    Plan::Apply(Some(stamp))
                }
            }
        });
    }
    let batch = Batch { decree, timestamp_us: sessions.last_timestamp_us, requests: &requests };
    let applied = app.apply(&batch);
    assert_eq!(applied.len(), requests.len(), "an app answers each request once");
    let mut applied = applied.into_iter();
    let mut answers: Vec<WriteAnswer> = Vec::with_capacity(plans.len());
    for plan in plans {
        let answer = match plan {
            Plan::Apply(stamp) => {
                let answer = applied.next().expect("an app answers each request once");
                if let Some(stamp) = stamp {
                    sessions.remember(decree, stamp, &answer);
                }
                WriteAnswer::Applied { decree, answer }
            }
            Plan::SameAs(earlier) => answers[earlier].clone(),
            Plan::Read(request) => WriteAnswer::Applied { decree, answer: app.read(&request) },
            Plan::Answered(answer) => answer,
        };
        answers.push(answer);
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::io;

    use replicated_app::{ApplyMode, CheckpointJob, LearnState};
    use words::{Ballot, MutationId, Write};

    use super::*;

    /// Counts how often it applied anything.
    struct Tally(u64);

    impl ReplicatedApp for Tally {
        fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
            let answer = |this: &mut Self| {
                this.0 += 1;
                Ok(Bytes::from(this.0.to_string()))
            };
            batch.requests.iter().map(|_| answer(self)).collect()
        }
        fn read(&self, _: &[u8]) -> AppAnswer {
            Ok(Bytes::from(self.0.to_string()))
        }
        fn last_durable_decree(&self) -> Decree {
            Decree::ZERO
        }
        fn sync_checkpoint(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
            Ok(None)
        }
        fn get_checkpoint(&self) -> io::Result<LearnState> {
            Err(io::ErrorKind::NotFound.into())
        }
        fn apply_checkpoint(&mut self, _: ApplyMode, _: &LearnState) -> io::Result<()> {
            Ok(())
        }
        fn digest(&self) -> u64 {
            self.0
        }
        fn close(self: Box<Self>, _: bool) -> io::Result<()> {
            Ok(())
        }
    }

    struct Partition {
        app: Tally,
        sessions: Sessions,
        decree: u64,
    }

    impl Partition {
        fn new() -> Self {
            Self { app: Tally(0), sessions: Sessions::new(), decree: 0 }
        }

        fn apply(&mut self, writes: Vec<Write>) -> Vec<WriteAnswer> {
            self.decree += 1;
            let id = MutationId { ballot: Ballot(1), decree: Decree(self.decree) };
            apply_mutation(
                &mut self.app,
                &mut self.sessions,
                &Mutation { id, timestamp_us: 0, writes: writes.into() },
            )
        }

        fn open(&mut self) -> u64 {
            let write = Write { session: None, kind: WriteKind::OpenSession, payload: Bytes::new() };
            let answers = self.apply(vec![write]);
            let WriteAnswer::Applied { answer: Ok(bytes), .. } = &answers[0] else { panic!("{answers:?}") };
            u64::from_le_bytes(bytes[..].try_into().unwrap())
        }
    }

    fn write(session: u64, sequence: u64, first_incomplete: u64) -> Write {
        let stamp = SessionStamp { session, sequence, first_incomplete };
        Write { session: Some(stamp), kind: WriteKind::Update, payload: Bytes::new() }
    }

    #[test]
    fn a_session_of_another_history_is_not_known() {
        let opened = |ballot: u64| {
            let id = MutationId { ballot: Ballot(ballot), decree: Decree(7) };
            Sessions::new().open(id, 0)
        };
        assert_ne!(opened(5), opened(6));
    }

    fn text(answer: &WriteAnswer) -> String {
        match answer {
            WriteAnswer::Applied { decree, answer } => {
                format!("{decree}:{}", String::from_utf8_lossy(answer.as_ref().unwrap()))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_retry_gets_the_old_answer() {
        let mut partition = Partition::new();
        let session = partition.open();
        let first = partition.apply(vec![write(session, 1, 1), write(session, 2, 1), write(session, 1, 1)]);
        assert_eq!(first.iter().map(text).collect::<Vec<_>>(), ["2:1", "2:2", "2:1"]);
        assert_eq!(text(&partition.apply(vec![write(session, 2, 1)])[0]), "2:2");
        assert_eq!(partition.app.0, 2);
    }

    #[test]
    fn what_was_answered_is_forgotten_and_never_done_again() {
        let mut partition = Partition::new();
        let session = partition.open();
        partition.apply(vec![write(session, 1, 1)]);
        partition.apply(vec![write(session, 2, 2)]);
        assert_eq!(partition.apply(vec![write(session, 1, 1)])[0], WriteAnswer::SequenceOutOfWindow);
        assert_eq!(partition.apply(vec![write(session, 2 + WINDOW, 2)])[0], WriteAnswer::SequenceOutOfWindow);
        assert_eq!(partition.apply(vec![write(session + 1, 1, 1)])[0], WriteAnswer::SessionExpired);
        assert_eq!(partition.app.0, 2);
    }

    #[test]
    fn the_session_unused_for_longest_expires() {
        let mut partition = Partition::new();
        let oldest = partition.open();
        let used = partition.open();
        partition.apply(vec![write(oldest, 1, 1)]);
        for _ in 0..MAX_SESSIONS - 1 {
            partition.open();
        }
        assert_eq!(partition.sessions.len(), MAX_SESSIONS);
        assert_eq!(partition.apply(vec![write(used, 1, 1)])[0], WriteAnswer::SessionExpired);
        assert_eq!(text(&partition.apply(vec![write(oldest, 1, 1)])[0]), "3:1");
    }

    #[test]
    fn a_snapshot_is_the_same_again_and_damage_is_noticed() {
        let mut partition = Partition::new();
        let session = partition.open();
        partition.apply(vec![write(session, 1, 1)]);
        let bytes = partition.sessions.encode();
        assert_eq!(Sessions::decode(&bytes), Ok(partition.sessions));
        assert_eq!(Sessions::decode(&bytes[..bytes.len() - 1]), Err(DamagedSessions));
    }
}
