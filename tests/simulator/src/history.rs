//! What clients asked for and were told, held against what took effect (V1 to V4), in linear time.
//!
//! Every answer carries its decree, so no search is needed: the sum after each decree is known from the first
//! replica that applies it, and real time is checked by one number a partition, the highest decree of any
//! operation that has ended.

use std::collections::BTreeMap;

use words::{AppAnswer, Decree, Gpid};

use crate::clock::Moment;
use crate::tally_app::{OpId, answered};
use crate::violation::{Checked, Violation, check};

/// What an operation is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a session.
    Open,
    /// Add to the sum of this key.
    Add(u8, i64),
    /// Read the sum of this key, under the primary's lease.
    Read(u8),
    /// Read the sum of this key as if it were a write.
    ReadAsWrite(u8),
}

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Unknown,
}

#[derive(Debug)]
struct Operation {
    gpid: Gpid,
    action: Action,
    began: Moment,
    /// The highest decree of an operation of the partition that had ended when this one began.
    floor: Decree,
    end: Option<End>,
    /// Where an addition took effect, and the sum after it.
    effect: Option<(Decree, i64)>,
}

#[derive(Debug, Default)]
struct Partition {
    applied: Decree,
    sums: BTreeMap<u8, i64>,
    /// For each key its sums, each with the decree that made it.
    changes: BTreeMap<u8, Vec<(Decree, i64)>>,
    /// The highest decree of any operation that has ended.
    ended: Decree,
}

impl Partition {
    /// The sum of `key` after `decree`.
    fn sum(&self, key: u8, decree: Decree) -> i64 {
        let Some(changes) = self.changes.get(&key) else { return 0 };
        let count = changes.partition_point(|&(at, _)| at <= decree);
        count.checked_sub(1).map_or(0, |last| changes[last].1)
    }
}

/// Every operation of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    operations: Vec<Operation>,
    partitions: BTreeMap<Gpid, Partition>,
}

impl History {
    /// A client begins an operation.
    pub(crate) fn begin(&mut self, gpid: Gpid, action: Action, now: Moment) -> OpId {
        let floor = self.partitions.entry(gpid).or_default().ended;
        self.operations.push(Operation { gpid, action, began: now, floor, end: None, effect: None });
        OpId(self.operations.len() as u64 - 1)
    }

    /// The first replica applied `decree`; these additions took effect, in this order.
    ///
    /// # Errors
    /// V3, V4.
    pub(crate) fn apply(&mut self, gpid: Gpid, decree: Decree, additions: &[(OpId, u8, i64)]) -> Checked {
        let partition = self.partitions.entry(gpid).or_default();
        partition.applied = decree;
        for &(op, key, amount) in additions {
            let sum = partition.sums.entry(key).or_insert(0);
            *sum += amount;
            partition.changes.entry(key).or_default().push((decree, *sum));
            let operation = &mut self.operations[op.0 as usize];
            check(operation.action == Action::Add(key, amount), "V4", || {
                format!("{op} took effect as another addition in {gpid} at {decree}")
            })?;
            check(operation.end != Some(End::Failed), "V3", || {
                format!("{op} was reported as surely not done and took effect in {gpid} at {decree}")
            })?;
            if let Some((before, _)) = operation.effect {
                let what = format!("{op} took effect twice in {gpid}: at {before} and at {decree}");
                return Err(Violation { rule: "V4", what });
            }
            operation.effect = Some((decree, *sum));
        }
        Ok(())
    }

    /// A node answered one of an operation's requests: it is done. True if the client hears it first now.
    ///
    /// # Errors
    /// V1, V2, V4.
    pub(crate) fn done(&mut self, op: OpId, decree: Decree, answer: &AppAnswer) -> Result<bool, Violation> {
        let operation = &mut self.operations[op.0 as usize];
        let partition = self.partitions.entry(operation.gpid).or_default();
        let gpid = operation.gpid;
        check(decree <= partition.applied, "V2", || {
            format!("{op} of {gpid} is answered at {decree}, which nobody has applied")
        })?;
        let (expected, is_read) = match operation.action {
            Action::Open => (answered(answer), false),
            Action::Add(..) => {
                let (at, sum) = operation.effect.ok_or_else(|| Violation {
                    rule: "V2",
                    what: format!("{op} of {gpid} is answered at {decree} and took no effect"),
                })?;
                check(at == decree, "V4", || {
                    format!("{op} of {gpid} took effect at {at} and is answered at {decree}")
                })?;
                (Some(sum), false)
            }
            Action::Read(key) => (Some(partition.sum(key, decree)), true),
            Action::ReadAsWrite(key) => (Some(partition.sum(key, decree)), false),
        };
        check(answered(answer) == expected, "V1", || {
            let given = answered(answer);
            format!("{op} of {gpid} is answered {given:?} at {decree}, right is {expected:?}")
        })?;
        if operation.end.is_some() {
            return Ok(false);
        }
        let floor = operation.floor;
        let follows = if is_read { decree >= floor } else { decree > floor };
        check(follows, "V1", || {
            let began = operation.began;
            format!("{op} of {gpid} began at {began} when {floor} had ended, and is answered at {decree}")
        })?;
        operation.end = Some(End::Done);
        partition.ended = partition.ended.max(decree);
        Ok(true)
    }

    /// The client is sure that an operation was not done and never will be.
    ///
    /// # Errors
    /// V3.
    pub(crate) fn failed(&mut self, op: OpId) -> Checked {
        let operation = &mut self.operations[op.0 as usize];
        operation.end = Some(End::Failed);
        check(operation.effect.is_none(), "V3", || {
            format!("{op} of {} is reported as surely not done and took effect", operation.gpid)
        })
    }

    /// The client gave up and can't know.
    pub(crate) fn unknown(&mut self, op: OpId) {
        self.operations[op.0 as usize].end = Some(End::Unknown);
    }

    /// The highest decree that a client was told of.
    #[must_use]
    pub(crate) fn ended(&self, gpid: Gpid) -> Decree {
        self.partitions.get(&gpid).map_or(Decree::ZERO, |partition| partition.ended)
    }

    /// The last decree that anybody applied.
    #[must_use]
    pub(crate) fn applied(&self, gpid: Gpid) -> Decree {
        self.partitions.get(&gpid).map_or(Decree::ZERO, |partition| partition.applied)
    }

    /// Number of operations that were begun.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const GPID: Gpid = Gpid::new(1, 0);

    fn sum(value: i64) -> AppAnswer {
        Ok(Bytes::copy_from_slice(&value.to_le_bytes()))
    }

    fn broken<T: std::fmt::Debug>(result: Result<T, Violation>) -> &'static str {
        result.expect_err("this breaks a rule").rule
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut history = History::default();
        let add = history.begin(GPID, Action::Add(1, 5), Moment(1));
        history.apply(GPID, Decree(1), &[(add, 1, 5)]).expect("it is new");
        assert_eq!(history.done(add, Decree(1), &sum(5)), Ok(true));
        let read = history.begin(GPID, Action::Read(1), Moment(2));
        assert_eq!(broken(history.done(read, Decree(0), &sum(0))), "V1");
        assert_eq!(broken(history.done(read, Decree(1), &sum(0))), "V1");
        assert_eq!(history.done(read, Decree(1), &sum(5)), Ok(true));
    }

    #[test]
    fn a_lost_a_doubled_and_a_revived_addition_are_found() {
        let mut history = History::default();
        let [lost, doubled, revived] =
            [0, 1, 2].map(|key| history.begin(GPID, Action::Add(key, 1), Moment(1)));
        assert_eq!(broken(history.done(lost, Decree(0), &sum(1))), "V2");
        history.apply(GPID, Decree(1), &[(doubled, 1, 1)]).expect("it is new");
        assert_eq!(broken(history.apply(GPID, Decree(2), &[(doubled, 1, 1)])), "V4");
        history.failed(revived).expect("it took no effect");
        assert_eq!(broken(history.apply(GPID, Decree(3), &[(revived, 2, 1)])), "V3");
    }
}
