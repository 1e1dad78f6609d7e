//! The keys and values as a caller sees them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use client::meta::MetaError;
use client::{App, Cluster, Decree, Failure, Outcome, Watch, Watched, partition_of};
use replicated_app::Rejection;
use tokio::task::JoinSet;

use crate::answer::{Change, Decided, Page, Remaining, ScanEntry, State, decided_value, decode_versions};
use crate::request::{Condition, MALFORMED, Read, Write, check_key, check_value};

const APP_TYPE: &str = "kv";
/// Entries of one partition that a scan asks for at once, if nobody says that it wants fewer.
const PAGE_ENTRIES: u32 = 256;
/// So many more than its share a scan asks each partition for: they are not spread that evenly.
const MORE_THAN_SHARE: u32 = 4;

/// The keys and values of one app. Clones share connections; calls may run concurrently.
#[derive(Clone, Debug)]
pub struct Kv {
    app: App,
}

impl Kv {
    /// Opens the app `app_name`.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app, [`MetaError::Invalid`] if it is of another type,
    /// [`MetaError::Unreachable`] if no meta server answers in time.
    pub async fn open(cluster: &Cluster, app_name: &str) -> Result<Self, MetaError> {
        Ok(Self { app: App::open_of_type(cluster, app_name, APP_TYPE).await? })
    }

    /// The same, with another time limit for each operation.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { app: self.app.with_timeout(timeout) }
    }

    /// Stores a value if the condition holds, exactly once. `ttl` is how long it stays; `None`: for ever.
    pub async fn put(
        &self,
        key: &[u8],
        value: &[u8],
        condition: Condition<'_>,
        ttl: Option<Duration>,
    ) -> Outcome<Change> {
        let checked = check_key(key).and_then(|()| check_value(value));
        let write = Write::Put { key, value, condition, ttl_us: micros(ttl) };
        self.write(key, checked, &write).await.and_then(|answer| Change::decode(&answer))
    }

    /// Takes a value away if the condition holds, exactly once.
    pub async fn delete(&self, key: &[u8], condition: Condition<'_>) -> Outcome<Change> {
        let write = Write::Delete { key, condition };
        self.write(key, check_key(key), &write).await.and_then(|answer| Change::decode(&answer))
    }

    /// Stores values all at once, exactly once, and returns their versions. Their keys must be in one partition;
    /// [`by_partition`](Self::by_partition) tells which are.
    pub async fn multi_put(&self, pairs: &[(&[u8], &[u8])]) -> Outcome<Vec<u64>> {
        let Some((first, _)) = pairs.first() else {
            return rejected("there is nothing to put");
        };
        if self.by_partition(pairs).len() > 1 {
            return rejected(
                "the keys are in several partitions, and only within one can they be put at once",
            );
        }
        let checked =
            pairs.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(value)));
        let write = Write::MultiPut { pairs: pairs.to_vec() };
        self.write(first, checked, &write).await.and_then(|answer| decode_versions(&answer))
    }

    /// Puts what is in the same partition together, each part in the order in which it was.
    #[must_use]
    pub fn by_partition<'a>(&self, pairs: &[(&'a [u8], &'a [u8])]) -> Vec<Vec<(&'a [u8], &'a [u8])>> {
        let count = self.app.info().partition_count;
        let mut parts = BTreeMap::<u32, Vec<_>>::new();
        for &(key, value) in pairs {
            parts.entry(partition_of(key, count)).or_default().push((key, value));
        }
        parts.into_values().collect()
    }

    /// Gives a value another time to live, exactly once; `None`: for ever. Refused if there is no value.
    pub async fn set_ttl(&self, key: &[u8], ttl: Option<Duration>) -> Outcome<Change> {
        let write = Write::SetTtl { key, ttl_us: micros(ttl) };
        self.write(key, check_key(key), &write).await.and_then(|answer| Change::decode(&answer))
    }

    /// Decides the value of a (key, version), or learns which one was decided.
    pub async fn set_once(&self, key: &[u8], version: u64, value: &[u8]) -> Outcome<Decided> {
        let checked = check_key(key).and_then(|()| check_value(value));
        let write = Write::SetOnce { key, version, value };
        self.write(key, checked, &write).await.and_then(|answer| Decided::decode(&answer))
    }

    /// A key's value and version. Linearizable. Never ends as unknown.
    ///
    /// A partition's time is that of its last write, so a value that can expire is asked for by a round through all
    /// replicas, which has the time of now.
    pub async fn get(&self, key: &[u8]) -> Outcome<State> {
        if let Err(rejection) = check_key(key) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let read = Read::Get { key }.encode();
        let outcome = self.app.read(key, read.clone()).await.and_then(|answer| State::decode(&answer));
        match &outcome {
            Outcome::Done { answer: State { value: Some(value), .. }, .. } if value.expires_us.is_some() => {
                self.app.read_as_write(key, read).await.and_then(|answer| State::decode(&answer))
            }
            _ => outcome,
        }
    }

    /// What the replica on one node has, by the node's name: it may lack what was committed lately.
    pub async fn get_local(&self, node: &str, key: &[u8]) -> Outcome<State> {
        if let Err(rejection) = check_key(key) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let read = Read::Get { key }.encode();
        self.app.read_local(node, key, read).await.and_then(|answer| State::decode(&answer))
    }

    /// How long a value will be there. Linearizable. Never ends as unknown.
    pub async fn ttl(&self, key: &[u8]) -> Outcome<Remaining> {
        if let Err(rejection) = check_key(key) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let read = Read::Ttl { key }.encode();
        self.app.read_as_write(key, read).await.and_then(|answer| Remaining::decode(&answer))
    }

    /// The value that was decided for a (key, version), if one was. Linearizable. Never ends as unknown.
    pub async fn get_at(&self, key: &[u8], version: u64) -> Outcome<Option<Bytes>> {
        if let Err(rejection) = check_key(key) {
            return Outcome::Failed(Failure::Rejected(rejection));
        }
        let read = Read::GetAt { key, version }.encode();
        self.app.read(key, read).await.and_then(|answer| decided_value(&answer))
    }

    /// Goes through all keys from `from` on, up to and without `to`, in their order. What is found in one partition at
    /// a time is linearizable; what changes meanwhile may be seen or not, so it is no snapshot of all.
    #[must_use]
    pub fn scan(&self, from: &[u8], to: Option<&[u8]>) -> Scan {
        let begin = || Part { found: VecDeque::new(), next: Some(Bytes::copy_from_slice(from)) };
        let parts = (0..self.app.info().partition_count).map(|_| begin()).collect();
        let to = to.map(Bytes::copy_from_slice);
        Scan { app: self.app.clone(), to, page_entries: PAGE_ENTRIES, parts }
    }

    /// Watches all keys that begin so: every state that they have, in order for each key, from now on; in the
    /// partitions that `from` names from that decree on. [`states`] reads what it brings.
    #[must_use]
    pub fn watch(&self, prefix: &[u8], from: &BTreeMap<u32, Decree>) -> Watch {
        self.app.watch_prefix(prefix, from)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.app.info().partition_count
    }

    async fn write(&self, key: &[u8], checked: Result<(), Rejection>, write: &Write<'_>) -> Outcome<Bytes> {
        match checked {
            Ok(()) => self.app.write(key, write.encode()).await,
            Err(rejection) => Outcome::Failed(Failure::Rejected(rejection)),
        }
    }
}

/// The states in what a watch brought, each with its decree and key. One decree that changes a key twice shows it
/// once.
pub fn states(watched: &Watched) -> impl Iterator<Item = (Decree, &Bytes, State)> + '_ {
    let changes = watched.changes.iter();
    changes.filter_map(|(decree, change)| Some((*decree, &change.key, State::decode(&change.value)?)))
}

/// A scan under way.
#[derive(Debug)]
pub struct Scan {
    app: App,
    to: Option<Bytes>,
    page_entries: u32,
    /// By partition.
    parts: Vec<Part>,
}

/// What a scan knows of one partition.
#[derive(Debug)]
struct Part {
    /// Not handed out yet.
    found: VecDeque<ScanEntry>,
    /// Where to look for more.
    next: Option<Bytes>,
}

impl Scan {
    /// The same, of which the caller wants about so many entries: no more are fetched ahead than that takes.
    #[must_use]
    pub fn expecting(self, entries: u32) -> Self {
        let share = entries / self.app.info().partition_count;
        Self {
            page_entries: share.saturating_mul(2).saturating_add(MORE_THAN_SHARE).min(PAGE_ENTRIES),
            ..self
        }
    }

    /// The next key with its value; `None`: that was all.
    ///
    /// # Errors
    /// Why a partition can't be read.
    pub async fn next(&mut self) -> Result<Option<ScanEntry>, Failure> {
        self.fetch().await?;
        let first = self.parts.iter_mut().filter(|part| !part.found.is_empty());
        let first = first.min_by(|one, other| one.found[0].key.cmp(&other.found[0].key));
        Ok(first.and_then(|part| part.found.pop_front()))
    }

    /// Asks all partitions of which nothing is left for more, at the same time, until each has something or nothing
    /// more to give.
    async fn fetch(&mut self) -> Result<(), Failure> {
        loop {
            let mut pages = JoinSet::new();
            for (number, part) in (0..).zip(&mut self.parts).filter(|(_, part)| part.found.is_empty()) {
                if let Some(from) = part.next.take() {
                    let read = Read::Scan { limit: self.page_entries, from: &from, to: self.to.as_deref() };
                    pages.spawn(page(self.app.clone(), number, read.encode()));
                }
            }
            if pages.is_empty() {
                return Ok(());
            }
            while let Some(page) = pages.join_next().await {
                let (number, page) = page.expect("no page's task panics, or is stopped");
                let page = page?;
                self.parts[number as usize] = Part { found: page.entries.into(), next: page.next };
            }
        }
    }
}

/// A page of one partition. If there is a value that can expire, with the time of now.
async fn page(app: App, partition: u32, read: Bytes) -> (u32, Result<Page, Failure>) {
    let page = page_of(app.read_partition(partition, read.clone()).await);
    let expires = |page: &Page| page.entries.iter().any(|entry| entry.value.expires_us.is_some());
    if page.as_ref().is_ok_and(expires) {
        return (partition, page_of(app.read_partition_as_write(partition, read).await));
    }
    (partition, page)
}

fn page_of(outcome: Outcome<Bytes>) -> Result<Page, Failure> {
    match outcome.and_then(|answer| Page::decode(&answer)) {
        Outcome::Done { answer, .. } => Ok(answer),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Unknown => Err(Failure::NotUnderstood("the answer is no page of a scan".into())),
    }
}

/// The first key behind all that begin with `prefix`; `None` if nothing is behind them.
#[must_use]
pub fn behind_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut behind = prefix[..=kept].to_vec();
    behind[kept] += 1;
    Some(behind)
}

fn micros(ttl: Option<Duration>) -> u64 {
    // Less than a microsecond is not for ever.
    ttl.map_or(0, |ttl| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX).max(1))
}

fn rejected<T>(message: &str) -> Outcome<T> {
    Outcome::Failed(Failure::Rejected(Rejection { code: MALFORMED, message: message.into() }))
}
