//! The replicated part: who was elected last, and a compare-and-set on its version. It knows no time. Replicated
//! timestamps come from the clock of whoever leads a partition, which may be an hour ahead of the one before; a lease
//! that ended by them could end early. Candidates measure leases on their own clocks ([`crate::Candidate`]).

use std::collections::BTreeMap;
use std::io;

use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, Bytes, Change, CheckpointJob, Checkpoints, Decree, Digest,
    LearnState, OpenContext, Rejection, ReplicatedApp,
};

use crate::request::{Answer, MALFORMED, Master, Record, Request};

type Records = BTreeMap<String, Record>;

/// The app type `election`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ElectionType;

impl AppType for ElectionType {
    fn name(&self) -> &'static str {
        "election"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        let (checkpoints, state) = Checkpoints::open(context.folder)?;
        let records = state.map_or(Ok(Records::new()), |state| decode(&state))?;
        let (applied, changes) = (checkpoints.durable(), Vec::new());
        Ok(Box::new(ElectionApp { records, applied, changes, checkpoints }))
    }
}

/// One partition's elections: in memory, with a checkpoint file now and then.
#[derive(Debug)]
pub struct ElectionApp {
    records: Records,
    /// The last decree whose effect is in `records`.
    applied: Decree,
    /// The records that `applied` changed.
    changes: Vec<Change>,
    checkpoints: Checkpoints,
}

impl ElectionApp {
    fn record(&self, election: &str) -> Record {
        self.records.get(election).cloned().unwrap_or_default()
    }

    fn answer(&mut self, request: &[u8], now_us: u64) -> AppAnswer {
        let request = Request::decode(request)?;
        let mut record = self.record(request.election());
        let accepted = match request {
            Request::Read { .. } => return Ok(record.encode()),
            Request::Take { version, nonce, lease_ms, name, .. } => take(
                &mut record,
                version,
                Master { nonce, token: 0, lease_ms, since_us: now_us, revoked: false, name: name.to_owned() },
            ),
            Request::Resign { version, nonce, .. } => {
                let is_master = record.master.as_ref().is_some_and(|master| master.nonce == nonce);
                let resigns = record.version == version && is_master;
                if resigns {
                    record.master = None;
                }
                resigns
            }
            Request::Revoke { version, .. } => match &mut record.master {
                Some(master) if record.version == version && !master.revoked => {
                    master.revoked = true;
                    true
                }
                _ => false,
            },
        };
        if accepted {
            record.version += 1;
            let key = Bytes::copy_from_slice(request.election().as_bytes());
            self.changes.push(Change { key, value: record.encode() });
            self.records.insert(request.election().to_owned(), record.clone());
        }
        Ok(Answer { accepted, record }.encode())
    }
}

/// Whether the candidate is master with the next version. That it waited for the lease of whoever is before is its
/// own duty; that nothing happened meanwhile is what the version says.
fn take(record: &mut Record, version: u64, candidate: Master) -> bool {
    let before = record.master.as_ref().filter(|master| master.nonce == candidate.nonce);
    if record.version != version || before.is_some_and(|master| master.revoked) {
        return false;
    }
    let (token, since_us) =
        before.map_or((version + 1, candidate.since_us), |master| (master.token, master.since_us));
    record.master = Some(Master { token, since_us, ..candidate });
    true
}

impl ReplicatedApp for ElectionApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.applied.next(), "decrees come in order, without gaps (S11)");
        self.applied = batch.decree;
        self.changes.clear();
        batch.requests.iter().map(|request| self.answer(request, batch.timestamp_us)).collect()
    }

    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request)? {
            Request::Read { election } => Ok(self.record(election).encode()),
            _ => Err(Rejection { code: MALFORMED, message: "that is no read: send it as a write".into() }),
        }
    }

    fn last_durable_decree(&self) -> Decree {
        self.checkpoints.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.checkpoints.write(self.applied, encode(&self.records))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        self.checkpoints.write_later(self.applied, || encode(&self.records))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.checkpoints.newest()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let records = self.checkpoints.take_over(mode, state, self.applied, decode)?;
        if mode == ApplyMode::Learn {
            (self.records, self.applied) = (records, state.decree);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        Digest::of(&encode(&self.records))
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.checkpoints.close(clean_up)
    }
}

/// Begins every checkpoint, so that one of another app or of a later format is told apart.
const FORMAT: &str = "election 1";

fn encode(records: &Records) -> Vec<u8> {
    postcard::to_stdvec(&(FORMAT, records)).expect("numbers and text can always be serialised")
}

fn decode(state: &[u8]) -> io::Result<Records> {
    match postcard::from_bytes::<(&str, Records)>(state) {
        // Where a version ends there is no next one.
        Ok((FORMAT, records)) if records.values().all(|record| record.version < u64::MAX) => Ok(records),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no checkpoint of elections")),
    }
}
