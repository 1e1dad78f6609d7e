//! Seeing every change of an election.

use std::collections::VecDeque;
use std::time::Duration;

use client::{Failure, Outcome, Watch, WatchFailure};

use crate::Election;
use crate::request::Record;

/// Between two tries to read a state that can't be read just now.
const PAUSE: Duration = Duration::from_millis(100);

/// The records of an election, the present one first, then each that follows, through every failover. If so many
/// follow that the servers don't keep them all, the newest stands for those that were missed.
#[derive(Debug)]
pub struct Observation {
    election: Election,
    /// `None`: the state is to be read first.
    watch: Option<Watch>,
    /// Seen, and not handed out yet.
    records: VecDeque<Record>,
    /// The last one that was handed out.
    version: Option<u64>,
}

/// Why an observation is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObservationFailure {
    /// The state can't be read for good.
    #[error("{0}")]
    Read(Failure),
    /// Its changes can't be watched for good.
    #[error("{0}")]
    Watch(WatchFailure),
}

impl Observation {
    pub(crate) fn new(election: Election) -> Self {
        Self { election, watch: None, records: VecDeque::new(), version: None }
    }

    /// The next record. Waits for servers that are not there. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn next(&mut self) -> Result<Record, ObservationFailure> {
        loop {
            while let Some(record) = self.records.pop_front() {
                if self.version.is_none_or(|seen| record.version > seen) {
                    self.version = Some(record.version);
                    return Ok(record);
                }
            }
            let Some(watch) = &mut self.watch else {
                self.read().await?;
                continue;
            };
            match watch.next().await {
                Some(Ok(watched)) => {
                    let values = watched.changes.iter().map(|(_, change)| &change.value);
                    self.records.extend(values.filter_map(|value| Record::decode(value)));
                }
                Some(Err(WatchFailure::Compacted { .. })) | None => self.watch = None,
                Some(Err(failure)) => return Err(ObservationFailure::Watch(failure)),
            }
        }
    }

    /// The state; what follows is watched from there.
    async fn read(&mut self) -> Result<(), ObservationFailure> {
        match self.election.read().await {
            Outcome::Done { decree, answer } => {
                self.watch = Some(self.election.app.watch(self.election.key(), Some(decree.next())));
                self.records.push_back(answer);
                Ok(())
            }
            Outcome::Failed(failure) if failure.is_callers_mistake() => {
                Err(ObservationFailure::Read(failure))
            }
            Outcome::Failed(_) | Outcome::Unknown => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }
}
