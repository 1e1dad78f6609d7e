//! What clients asked for and were told, held against what took effect (V1 to V4), in linear time.
//!
//! Every answer carries its decree, so no search is needed: a model takes the writes in the order in which the
//! first replica applies them, which says what each answer must be, and real time is checked by one number a
//! partition, the highest decree of any operation that has ended.

use std::collections::BTreeMap;

use words::{AppAnswer, Decree, Gpid, NodeId};

use crate::clock::Moment;
use crate::operation::{End, Kind, Operation};
use crate::picture::timeline;
use crate::subject::{AnyModel, AnySubject, agree};
use crate::violation::{Checked, Violation, check};
use crate::witness::{Act, OpId};

struct Partition {
    applied: Decree,
    /// What the app should be after `applied`.
    model: Box<dyn AnyModel>,
    /// All that made it so: at which decree, which write, at what time.
    writes: Vec<(Decree, OpId, u64)>,
    /// The highest decree of any operation that has ended.
    ended: Decree,
}

/// Every operation of a run.
pub(crate) struct History<'a> {
    subject: &'a dyn AnySubject,
    operations: Vec<Operation>,
    partitions: BTreeMap<Gpid, Partition>,
    /// What was looked at last: if that broke a rule, a picture of it is drawn.
    suspect: Option<OpId>,
}

impl<'a> History<'a> {
    pub(crate) fn new(subject: &'a dyn AnySubject) -> Self {
        Self { subject, operations: Vec::new(), partitions: BTreeMap::new(), suspect: None }
    }

    /// A client begins an operation.
    pub(crate) fn begin(&mut self, mut operation: Operation) -> OpId {
        operation.floor = self.ended(operation.gpid);
        self.operations.push(operation);
        OpId(self.operations.len() as u64 - 1)
    }

    /// A replica applied `decree`, the first one or another one, and its app was asked this meanwhile.
    ///
    /// # Errors
    /// V1, V3, V4, S12.
    pub(crate) fn on_applied(
        &mut self,
        node: NodeId,
        (gpid, decree): (Gpid, Decree),
        timestamp_us: u64,
        acts: &[Act],
    ) -> Checked {
        let subject = self.subject;
        let partition = partition(&mut self.partitions, subject, gpid);
        let is_first = decree > partition.applied;
        partition.applied = partition.applied.max(decree);
        for act in acts {
            self.suspect = Some(act.op);
            let operation = &mut self.operations[act.op.0 as usize];
            if !is_first {
                compare(subject, node, (gpid, decree), operation, act)?;
                continue;
            }
            check(operation.request == act.request, "V4", || {
                format!("{} took effect as another request in {gpid} at {decree}", act.op)
            })?;
            let expected = if act.is_read {
                partition.model.read(&act.request)
            } else {
                first_effect(operation, act.op, decree)?;
                operation.timestamp_us = timestamp_us;
                partition.writes.push((decree, act.op, timestamp_us));
                partition.model.apply(&act.request, timestamp_us)
            };
            operation.given.push((decree, act.answer.clone()));
            matches_model(subject, node, (gpid, decree), act, &expected)?;
        }
        Ok(())
    }

    /// A primary read its app under its lease, after `decree`.
    ///
    /// # Errors
    /// V1.
    pub(crate) fn on_read(&mut self, node: NodeId, gpid: Gpid, decree: Decree, acts: &[Act]) -> Checked {
        let partition = partition(&mut self.partitions, self.subject, gpid);
        for act in acts {
            self.suspect = Some(act.op);
            let expected = if decree == partition.applied {
                partition.model.read(&act.request)
            } else {
                // Only a replica that is behind reads an older state. Rare enough to make that anew.
                let mut model = self.subject.model();
                for &(_, op, timestamp_us) in partition.writes.iter().filter(|(at, ..)| *at <= decree) {
                    let _ = model.apply(&self.operations[op.0 as usize].request, timestamp_us);
                }
                model.read(&act.request)
            };
            self.operations[act.op.0 as usize].given.push((decree, act.answer.clone()));
            matches_model(self.subject, node, (gpid, decree), act, &expected)?;
        }
        Ok(())
    }

    /// A node answered one of an operation's requests: it is done. True if the client hears it first now.
    ///
    /// # Errors
    /// V1, V2, V4.
    pub(crate) fn done(
        &mut self,
        op: OpId,
        decree: Decree,
        answer: &AppAnswer,
        now: Moment,
    ) -> Result<bool, Violation> {
        self.suspect = Some(op);
        let operation = &mut self.operations[op.0 as usize];
        let gpid = operation.gpid;
        let given = |(at, expected): &(Decree, AppAnswer)| *at == decree && expected == answer;
        if operation.met_loss && !operation.given.iter().any(given) {
            return Ok(false); // it may be of what was given up
        }
        let is_news = operation.end.is_none();
        if is_news {
            operation.end = Some((now, End::Done(decree, answer.clone())));
        }
        let partition = partition(&mut self.partitions, self.subject, gpid);
        check(decree <= partition.applied, "V2", || {
            format!("{op} of {gpid} is answered at {decree}, which nobody has applied")
        })?;
        if operation.kind != Kind::Open {
            let told = |answer| self.subject.show_answer(answer);
            let Some((at, expected)) =
                operation.given.iter().rfind(|(at, _)| *at == decree).or(operation.given.last())
            else {
                let what = format!("{op} of {gpid} is answered at {decree} and took no effect");
                return Err(Violation { rule: "V2", what });
            };
            check(*at == decree, "V4", || {
                format!("{op} of {gpid} took effect at {at} and is answered at {decree}")
            })?;
            check(answer == expected, "V1", || {
                format!(
                    "{op} of {gpid} is answered `{}` at {decree}, right is `{}`",
                    told(answer),
                    told(expected)
                )
            })?;
        }
        if !is_news {
            return Ok(false);
        }
        let floor = operation.floor;
        let follows = if operation.kind == Kind::Read { decree >= floor } else { decree > floor };
        check(follows, "V1", || {
            let began = operation.began;
            format!("{op} of {gpid} began at {began} when {floor} had ended, and is answered at {decree}")
        })?;
        partition.ended = partition.ended.max(decree);
        Ok(true)
    }

    /// A loss was declared: what took effect from this decree on did not, and whoever was told otherwise knows
    /// nothing. The rest stays as it was.
    pub(crate) fn lose(&mut self, gpid: Gpid, from: Decree) {
        let last = from.previous();
        for operation in self.operations.iter_mut().filter(|operation| operation.gpid == gpid) {
            operation.given.retain(|&(at, _)| at < from);
            operation.floor = operation.floor.min(last);
            operation.met_loss = true;
            if let Some((_, end @ End::Done(..))) = &mut operation.end
                && matches!(end, End::Done(at, _) if *at >= from)
            {
                *end = End::Unknown;
            }
        }
        let partition = partition(&mut self.partitions, self.subject, gpid);
        partition.applied = partition.applied.min(last);
        partition.ended = partition.ended.min(last);
        partition.writes.retain(|&(at, ..)| at < from);
        partition.model = self.subject.model();
        for &(_, op, timestamp_us) in &partition.writes {
            let _ = partition.model.apply(&self.operations[op.0 as usize].request, timestamp_us);
        }
    }

    /// The client is sure that an operation was not done and never will be.
    ///
    /// # Errors
    /// V3.
    pub(crate) fn failed(&mut self, op: OpId, now: Moment) -> Checked {
        self.suspect = Some(op);
        let operation = &mut self.operations[op.0 as usize];
        operation.end = Some((now, End::Failed));
        check(operation.kind != Kind::Write || operation.given.is_empty(), "V3", || {
            format!("{op} of {} is reported as surely not done and took effect", operation.gpid)
        })
    }

    /// The client gave up and can't know.
    pub(crate) fn unknown(&mut self, op: OpId, now: Moment) {
        self.operations[op.0 as usize].end = Some((now, End::Unknown));
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

    /// The few operations that show what is wrong with the one that was looked at last: that one, the one that it
    /// has to come after, and the last write that it saw and the first that it did not.
    #[must_use]
    pub(crate) fn picture(&self) -> String {
        let Some(wrong) = self.suspect.map(|op| &self.operations[op.0 as usize]) else {
            return String::new();
        };
        let place = |operation: &Operation| match (operation.answered(), operation.given.first()) {
            (Some((_, decree, _)), _) | (None, Some(&(decree, _))) => Some(decree),
            (None, None) => None,
        };
        let here = place(wrong).unwrap_or(self.applied(wrong.gpid));
        let mut shown = vec![wrong];
        let mut writes = Vec::new();
        for operation in self.operations.iter().filter(|operation| operation.gpid == wrong.gpid) {
            let Some(decree) = place(operation) else { continue };
            let is_write = operation.kind == Kind::Write && operation.key == wrong.key;
            if decree == wrong.floor && wrong.floor >= here && shown.len() == 1 && operation != wrong {
                shown.push(operation);
            } else if is_write && decree <= here.max(wrong.floor) && operation != wrong {
                writes.push((decree, operation));
            }
        }
        writes.sort_by_key(|(decree, _)| *decree);
        let seen = writes.partition_point(|(decree, _)| *decree <= here);
        let near = seen.saturating_sub(1)..(seen + 1).min(writes.len());
        shown.extend(writes[near].iter().map(|(_, operation)| operation));
        timeline(self.subject, &shown)
    }

    /// All operations, in the order in which they began.
    pub(crate) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }

    /// Number of operations that were begun.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }
}

fn partition<'p>(
    partitions: &'p mut BTreeMap<Gpid, Partition>,
    subject: &dyn AnySubject,
    gpid: Gpid,
) -> &'p mut Partition {
    partitions.entry(gpid).or_insert_with(|| Partition {
        applied: Decree::ZERO,
        model: subject.model(),
        writes: Vec::new(),
        ended: Decree::ZERO,
    })
}

/// V3, V4: a write takes effect once, and not at all if its client was told so.
fn first_effect(operation: &Operation, op: OpId, decree: Decree) -> Checked {
    let gpid = operation.gpid;
    check(operation.kind == Kind::Write, "V4", || {
        format!("{op} is no write and took effect as one in {gpid} at {decree}")
    })?;
    check(!operation.has_failed(), "V3", || {
        format!("{op} was reported as surely not done and took effect in {gpid} at {decree}")
    })?;
    operation.given.first().map_or(Ok(()), |(before, _)| {
        let what = format!("{op} took effect twice in {gpid}: at {before} and at {decree}");
        Err(Violation { rule: "V4", what })
    })
}

/// V1: what an app says is what its model says.
fn matches_model(
    subject: &dyn AnySubject,
    node: NodeId,
    (gpid, decree): (Gpid, Decree),
    act: &Act,
    expected: &AppAnswer,
) -> Checked {
    check(agree(&act.answer, expected), "V1", || {
        format!(
            "{node}'s app of {gpid} answers `{}` with `{}` at {decree}, and the model with `{}`",
            subject.show_request(&act.request),
            subject.show_answer(&act.answer),
            subject.show_answer(expected),
        )
    })
}

/// S12: what another replica said at the same decree, every replica says.
fn compare(
    subject: &dyn AnySubject,
    node: NodeId,
    (gpid, decree): (Gpid, Decree),
    operation: &Operation,
    act: &Act,
) -> Checked {
    let first = operation.given.iter().find(|(at, _)| *at == decree).map(|(_, answer)| answer);
    check(first == Some(&act.answer), "S12", || {
        let first = first.map_or("nothing".to_owned(), |answer| format!("`{}`", subject.show_answer(answer)));
        format!(
            "the app of {gpid} answers `{}` at {decree} with `{}` on {node}, and with {first} where it was \
             applied first: `apply` depends on something besides state and request",
            subject.show_request(&act.request),
            subject.show_answer(&act.answer),
        )
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::tally_app::{Request, TallySubject};

    const GPID: Gpid = Gpid::new(1, 0);
    const NODE: NodeId = NodeId(1);

    fn sum(value: i64) -> AppAnswer {
        Ok(Bytes::copy_from_slice(&value.to_le_bytes()))
    }

    fn broken<T: std::fmt::Debug>(result: Result<T, Violation>) -> &'static str {
        result.expect_err("this breaks a rule").rule
    }

    fn begin(history: &mut History<'_>, kind: Kind, request: Request) -> OpId {
        history.begin(Operation::new(0, GPID, kind, (1, request.encode()), Moment(1)))
    }

    fn act(op: OpId, request: Request, answer: i64) -> [Act; 1] {
        let is_read = matches!(request, Request::Read { .. });
        [Act { op, is_read, request: request.encode(), answer: sum(answer) }]
    }

    #[test]
    fn a_stale_read_is_found() {
        let mut history = History::new(&TallySubject);
        let (add, read) = (Request::Add { key: 1, amount: 5 }, Request::Read { key: 1 });
        let written = begin(&mut history, Kind::Write, add);
        history.on_applied(NODE, (GPID, Decree(1)), 0, &act(written, add, 5)).expect("it is new");
        assert_eq!(history.done(written, Decree(1), &sum(5), Moment(2)), Ok(true));
        let [stale, wrong, right] = [(); 3].map(|()| begin(&mut history, Kind::Read, read));
        history.on_read(NODE, GPID, Decree(0), &act(stale, read, 0)).expect("so it was before the write");
        assert_eq!(broken(history.done(stale, Decree(0), &sum(0), Moment(3))), "V1");
        assert_eq!(broken(history.on_read(NODE, GPID, Decree(1), &act(wrong, read, 0))), "V1");
        history.on_read(NODE, GPID, Decree(1), &act(wrong, read, 5)).expect("so it is");
        assert_eq!(broken(history.done(wrong, Decree(1), &sum(0), Moment(3))), "V1");
        history.on_read(NODE, GPID, Decree(1), &act(right, read, 5)).expect("so it is");
        assert_eq!(history.done(right, Decree(1), &sum(5), Moment(3)), Ok(true));
    }

    #[test]
    fn what_is_wrong_is_drawn() {
        let mut history = History::new(&TallySubject);
        for number in 1..=4 {
            let (decree, add) = (Decree(number), Request::Add { key: 1, amount: 1 });
            let answer = number.cast_signed();
            let began = Moment(number * 2_000_000);
            let op = history.begin(Operation::new(0, GPID, Kind::Write, (1, add.encode()), began));
            history.on_applied(NODE, (GPID, decree), 0, &act(op, add, answer)).expect("it is new");
            let at = Moment(began.0 + 1_000_000);
            assert_eq!(history.done(op, decree, &sum(answer), at), Ok(true));
        }
        let read = Request::Read { key: 1 };
        let began = Moment(10_000_000);
        let op = history.begin(Operation::new(3, GPID, Kind::Read, (1, read.encode()), began));
        history.on_read(NODE, GPID, Decree(3), &act(op, read, 3)).expect("so it was");
        assert_eq!(broken(history.done(op, Decree(3), &sum(3), Moment(12_000_000))), "V1");
        let drawn = [
            "                           0.006000 s                    0.012000 s",
            "c0 1.0 k1     add 1 to k1  |=====|                                   3 at 3",
            "c0 1.0 k1     add 1 to k1               |=====|                      4 at 4",
            "c3 1.0 k1     read k1                                |============|  3 at 3",
        ];
        assert_eq!(history.picture().lines().collect::<Vec<_>>(), drawn);
    }

    #[test]
    fn a_lost_a_doubled_and_a_revived_write_are_found() {
        let mut history = History::new(&TallySubject);
        let add = Request::Add { key: 1, amount: 1 };
        let [lost, doubled, revived] = [(); 3].map(|()| begin(&mut history, Kind::Write, add));
        assert_eq!(broken(history.done(lost, Decree(0), &sum(1), Moment(2))), "V2");
        history.on_applied(NODE, (GPID, Decree(1)), 0, &act(doubled, add, 1)).expect("it is new");
        assert_eq!(broken(history.on_applied(NODE, (GPID, Decree(2)), 0, &act(doubled, add, 2))), "V4");
        history.failed(revived, Moment(2)).expect("it took no effect");
        assert_eq!(broken(history.on_applied(NODE, (GPID, Decree(3)), 0, &act(revived, add, 2))), "V3");
    }

    #[test]
    fn only_what_was_given_up_is_forgiven() {
        let mut history = History::new(&TallySubject);
        let (add, read) = (Request::Add { key: 1, amount: 1 }, Request::Read { key: 1 });
        let [kept, lost] = [(); 2].map(|()| begin(&mut history, Kind::Write, add));
        history.on_applied(NODE, (GPID, Decree(1)), 0, &act(kept, add, 1)).expect("it is new");
        history.on_applied(NODE, (GPID, Decree(2)), 0, &act(lost, add, 2)).expect("it is new");
        assert_eq!(history.done(kept, Decree(1), &sum(1), Moment(2)), Ok(true));
        assert_eq!(history.done(lost, Decree(2), &sum(2), Moment(2)), Ok(true));
        history.lose(GPID, Decree(2));
        assert_eq!((history.ended(GPID), history.applied(GPID)), (Decree(1), Decree(1)));
        let op = begin(&mut history, Kind::Read, read);
        assert_eq!(broken(history.on_read(NODE, GPID, Decree(1), &act(op, read, 0))), "V1");
        history.on_read(NODE, GPID, Decree(1), &act(op, read, 1)).expect("what was kept is there");
        assert_eq!(broken(history.on_applied(NODE, (GPID, Decree(2)), 0, &act(kept, add, 2))), "V4");
    }

    #[test]
    fn replicas_that_answer_differently_are_found() {
        let mut history = History::new(&TallySubject);
        let add = Request::Add { key: 1, amount: 1 };
        let op = begin(&mut history, Kind::Write, add);
        history.on_applied(NODE, (GPID, Decree(1)), 0, &act(op, add, 1)).expect("it is new");
        history.on_applied(NodeId(2), (GPID, Decree(1)), 0, &act(op, add, 1)).expect("it is the same");
        assert_eq!(broken(history.on_applied(NodeId(3), (GPID, Decree(1)), 0, &act(op, add, 2))), "S12");
        let other = begin(&mut history, Kind::Write, add);
        assert_eq!(broken(history.on_applied(NODE, (GPID, Decree(2)), 0, &act(other, add, 9))), "V1");
    }
}
