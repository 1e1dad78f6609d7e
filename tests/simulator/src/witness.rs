//! Stands between the framework and the app, and notes which operation had which effect.

use std::cell::RefCell;
use std::fmt;
use std::io;

use bytes::Bytes;
use replicated_app::{
    AppAnswer, ApplyMode, Batch, Change, CheckpointJob, Decree, LearnState, Reading, ReplicatedApp,
};

/// Names one operation of one client, once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OpId(pub(crate) u64);

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op{}", self.0)
    }
}

/// A request as it travels: the operation's number, then what the app gets to see.
#[must_use]
pub(crate) fn tagged(op: OpId, request: &[u8]) -> Bytes {
    [&op.0.to_le_bytes(), request].concat().into()
}

fn untagged(bytes: &[u8]) -> (OpId, &[u8]) {
    let (number, request) = bytes.split_first_chunk().expect("every client tags its requests");
    (OpId(u64::from_le_bytes(*number)), request)
}

/// One thing that an app was asked, and what it said.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) op: OpId,
    pub(crate) is_read: bool,
    pub(crate) request: Bytes,
    pub(crate) answer: AppAnswer,
}

impl Act {
    /// What a read was answered that a job has ended.
    pub(crate) fn late_read(bytes: &Bytes, answer: &AppAnswer) -> Self {
        let (op, request) = untagged(bytes);
        Self { op, is_read: true, request: bytes.slice_ref(request), answer: answer.clone() }
    }
}

/// An app that is watched. It knows nothing of that: its requests come without the numbers.
pub(crate) struct Witness {
    app: Box<dyn ReplicatedApp>,
    /// Reads only have `&self`, and those that a mutation carries are asked here as well.
    acts: RefCell<Vec<Act>>,
    /// The last batch's.
    timestamp_us: u64,
}

impl Witness {
    pub(crate) fn new(app: Box<dyn ReplicatedApp>) -> Self {
        Self { app, acts: RefCell::default(), timestamp_us: 0 }
    }

    /// What was asked since this was last called, in order.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(self.acts.get_mut())
    }

    /// What the app answers a scenario that looks at it; nobody asked.
    pub(crate) fn look(&self, request: &[u8]) -> AppAnswer {
        self.app.read(request)
    }

    /// The time that the last batch carried.
    pub(crate) fn timestamp_us(&self) -> u64 {
        self.timestamp_us
    }
}

impl ReplicatedApp for Witness {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        let acts = self.acts.get_mut();
        self.timestamp_us = batch.timestamp_us;
        let requests: Vec<Bytes> =
            batch.requests.iter().map(|bytes| bytes.slice_ref(untagged(bytes).1)).collect();
        let answers = self.app.apply(&Batch { requests: &requests, ..*batch });
        for ((bytes, request), answer) in batch.requests.iter().zip(requests).zip(&answers) {
            acts.push(Act { op: untagged(bytes).0, is_read: false, request, answer: answer.clone() });
        }
        answers
    }

    fn take_changes(&mut self) -> Vec<Change> {
        self.app.take_changes()
    }

    fn read(&self, bytes: &[u8]) -> AppAnswer {
        let (op, request) = untagged(bytes);
        let answer = self.app.read(request);
        let request = Bytes::copy_from_slice(request);
        self.acts.borrow_mut().push(Act { op, is_read: true, request, answer: answer.clone() });
        answer
    }

    /// One that is answered later is the world's to note.
    fn start_read(&self, bytes: &Bytes) -> Reading {
        let (op, request) = untagged(bytes);
        let request = bytes.slice_ref(request);
        let reading = self.app.start_read(&request);
        if let Reading::Answered(answer) = &reading {
            self.acts.borrow_mut().push(Act { op, is_read: true, request, answer: answer.clone() });
        }
        reading
    }

    fn last_durable_decree(&self) -> Decree {
        self.app.last_durable_decree()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.app.sync_checkpoint()
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        self.app.async_checkpoint()
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.app.get_checkpoint()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        self.app.apply_checkpoint(mode, state)
    }

    fn digest(&self) -> u64 {
        self.app.digest()
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.app.close(clean_up)
    }
}
