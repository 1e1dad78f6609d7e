//! An independent check that histories are linearizable (V1): a search for an order that explains every answer.
//!
//! It knows what clients know: what they asked, when they asked, and what they were told when. It uses no decree
//! and nothing else that the servers say of themselves, and neither its algorithm nor its code is ours.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use porcupine_rs::CheckResult;
use words::{AppAnswer, Gpid};

use crate::operation::{End, Kind, Operation};
use crate::picture;
use crate::subject::{AnySubject, Model, agree};
use crate::violation::Violation;

/// Longer histories of one key are searched up to here.
pub(crate) const MOST_OPERATIONS: usize = 1000;
/// The most clients that may ask about one key at once: each one more doubles what there is to search.
pub(crate) const MOST_AT_ONCE: usize = 8;
/// A history is searched up to where so many outcomes are unknown: each one, being open for ever, doubles it too.
const MOST_UNKNOWN: usize = 8;
/// No search within the limits takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Histories, each of one key of one partition.
    pub histories: u64,
    /// Operations in them.
    pub operations: u64,
    /// Operations in the longest.
    pub longest: u64,
}

impl Searched {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.histories += other.histories;
        self.operations += other.operations;
        self.longest = self.longest.max(other.longest);
    }
}

/// What a search found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The rule and the place.
    pub violation: Violation,
    /// The operations that contradict each other.
    pub picture: String,
}

/// Searches each key of each partition for an order.
pub(crate) fn search<M: Model>(
    subject: &dyn AnySubject,
    operations: &[Operation],
) -> Result<Searched, Box<Contradiction>> {
    let mut searched = Searched::default();
    for ((gpid, key), history) in by_key(operations) {
        let wrong =
            |rule, what, picture| Box::new(Contradiction { violation: Violation { rule, what }, picture });
        let at_once = most_at_once(&history);
        if at_once > MOST_AT_ONCE {
            let what =
                format!("{at_once} operations on k{key} of {gpid} at once are more than can be searched");
            return Err(wrong("test", what, String::new()));
        }
        let count = history.len();
        let steps: Vec<_> = history.iter().map(Step::of::<M>).collect();
        match porcupine_rs::check_operations_timeout(&steps, PATIENCE) {
            CheckResult::Ok => {
                let (operations, longest) = (count as u64, count as u64);
                searched.add(&Searched { histories: 1, operations, longest });
            }
            CheckResult::Illegal => {
                let what =
                    format!("no order of the {count} operations on k{key} of {gpid} explains every answer");
                return Err(wrong("V1", what, picture::of_search::<M>(subject, &history)));
            }
            CheckResult::Unknown => {
                let what =
                    format!("the search for an order of {count} operations on k{key} of {gpid} did not end");
                return Err(wrong("test", what, String::new()));
            }
        }
    }
    Ok(searched)
}

/// What can be told from outside about each key, cut to what can be searched: whatever ended after the cut may
/// have taken effect or not. A history that has an order has one after that too.
fn by_key(operations: &[Operation]) -> BTreeMap<(Gpid, u8), Vec<Operation>> {
    let mut keys: BTreeMap<_, Vec<Operation>> = BTreeMap::new();
    for operation in operations {
        let says_something = !operation.kind.is_read() || operation.answered().is_some();
        if operation.kind != Kind::Open && says_something && !operation.has_failed() {
            keys.entry((operation.gpid, operation.key)).or_default().push(operation.clone());
        }
    }
    for history in keys.values_mut() {
        history.sort_by_key(|operation| operation.began);
        let unknown = history.iter().enumerate().filter(|(_, operation)| operation.answered().is_none());
        let most = unknown
            .map(|(index, _)| index)
            .nth(MOST_UNKNOWN)
            .map_or(MOST_OPERATIONS, |index| index.min(MOST_OPERATIONS));
        if let Some(cut) = history.get(most).map(|operation| operation.began) {
            history.truncate(most);
            for operation in history.iter_mut().filter(|operation| ended_by(operation) >= cut.0) {
                operation.end = Some((cut, End::Unknown));
            }
            history.retain(|operation| !operation.kind.is_read() || operation.answered().is_some());
        }
    }
    keys
}

/// When an operation has surely taken effect; never, for one that nobody knows of.
fn ended_by(operation: &Operation) -> u64 {
    operation.answered().map_or(i64::MAX.cast_unsigned(), |(at, ..)| at.0)
}

/// Of operations with a known outcome.
fn most_at_once(history: &[Operation]) -> usize {
    let mut ends: Vec<u64> = Vec::new();
    let mut most = 0;
    for operation in history.iter().filter(|operation| operation.answered().is_some()) {
        ends.retain(|&end| end >= operation.began.0);
        ends.push(ended_by(operation));
        most = most.max(ends.len());
    }
    most
}

#[derive(Clone)]
struct Searchable<M>(PhantomData<M>);

/// One operation, as the search sees it.
#[derive(Clone, Debug)]
struct Step {
    is_read: bool,
    request: Bytes,
    timestamp_us: u64,
    answer: Option<AppAnswer>,
}

impl Step {
    fn of<M: Model>(operation: &Operation) -> porcupine_rs::Operation<Searchable<M>> {
        porcupine_rs::Operation {
            client_id: None,
            call_time: operation.began.0.cast_signed(),
            return_time: ended_by(operation).cast_signed(),
            op: Self {
                is_read: operation.kind.is_read(),
                request: operation.request.clone(),
                timestamp_us: operation.timestamp_us,
                answer: operation.answered().map(|(_, _, answer)| answer.clone()),
            },
            metadata: None,
        }
    }
}

impl<M: Model> porcupine_rs::Model for Searchable<M> {
    type State = M;
    type Op = Step;
    type Metadata = ();

    fn init() -> M {
        M::default()
    }

    fn step(state: &M, step: &Step) -> (bool, M) {
        let mut next = state.clone();
        let answer = if step.is_read {
            next.read(&step.request)
        } else {
            next.apply(&step.request, step.timestamp_us)
        };
        (step.answer.as_ref().is_none_or(|told| agree(told, &answer)), next)
    }
}

#[cfg(test)]
mod tests {
    use words::Decree;

    use super::*;
    use crate::clock::Moment;
    use crate::tally_app::{Request, TallyModel, TallySubject};

    const MS: u64 = 1_000_000;

    /// An operation on k1 that was under way from `from` to `to`, in milliseconds.
    fn operation(client: usize, request: Request, from: u64, to: u64) -> Operation {
        let kind = if matches!(request, Request::Read { .. }) { Kind::Read } else { Kind::Write };
        let began = Moment(from * MS);
        let new = Operation::new(client, Gpid::new(1, 0), kind, (1, request.encode()), began);
        new.ended(Moment(to * MS), End::Unknown)
    }

    /// The decree says nothing to the search; here it is always the same.
    fn told(sum: i64, operation: Operation) -> Operation {
        let answer = Ok(Bytes::copy_from_slice(&sum.to_le_bytes()));
        let at = operation.end.as_ref().map_or(Moment::NEVER, |(at, _)| *at);
        operation.ended(at, End::Done(Decree(7), answer))
    }

    fn add(client: usize, amount: i64, from: u64, to: u64) -> Operation {
        operation(client, Request::Add { key: 1, amount }, from, to)
    }

    fn read(client: usize, from: u64, to: u64) -> Operation {
        operation(client, Request::Read { key: 1 }, from, to)
    }

    fn judge(history: &[Operation]) -> Result<Searched, Box<Contradiction>> {
        search::<TallyModel>(&TallySubject, history)
    }

    fn picture(history: &[Operation]) -> String {
        let found = judge(history).expect_err("nothing explains this");
        assert_eq!(found.violation.rule, "V1");
        found.picture
    }

    #[test]
    fn what_can_be_explained_passes() {
        let unknown = || add(3, 5, 0, 1);
        let late = told(6, read(0, 8, 9));
        for history in [
            vec![],
            vec![told(1, add(0, 1, 0, 5)), told(0, read(1, 2, 6))],
            vec![told(2, add(0, 1, 0, 5)), told(1, add(1, 1, 0, 5)), told(1, read(2, 0, 5))],
            // What nobody knows of took effect, or not, or late.
            vec![unknown(), told(1, add(0, 1, 2, 3))],
            vec![unknown(), told(6, add(0, 1, 2, 3))],
            vec![unknown(), told(1, add(0, 1, 2, 3)), told(1, read(0, 4, 5)), late],
            // What surely was not done is not there.
            vec![unknown().ended(Moment(9), End::Failed), told(0, read(0, 4, 5))],
        ] {
            assert!(judge(&history).is_ok(), "{history:?}");
        }
    }

    #[test]
    fn what_can_not_be_explained_is_found() {
        for (history, what) in [
            (vec![told(1, add(0, 1, 0, 1)), told(0, read(0, 2, 3))], "a lost write, or a stale read"),
            (vec![told(1, add(0, 1, 0, 1)), told(2, read(0, 2, 3))], "a doubled write"),
            (vec![told(1, read(0, 0, 1)), add(1, 1, 2, 3)], "an effect before its cause"),
            (vec![add(1, 1, 0, 1).ended(Moment(MS), End::Failed), told(1, read(0, 2, 3))], "a revived write"),
            (vec![add(1, 3, 0, 1), told(3, read(0, 2, 3)), told(0, read(0, 4, 5))], "a write seen and lost"),
            (vec![told(1, add(0, 1, 0, 9)), told(1, add(1, 1, 0, 9))], "two writes that were the first"),
        ] {
            assert!(judge(&history).is_err_and(|found| found.violation.rule == "V1"), "{what}");
        }
    }

    #[test]
    fn what_is_too_much_is_said() {
        let crowd: Vec<Operation> = (0..9).map(|client| told(0, read(client, 0, 9))).collect();
        assert_eq!(judge(&crowd).map_err(|found| found.violation.rule), Err("test"));
        assert!(judge(&crowd[..8]).is_ok());
    }

    #[test]
    fn of_a_long_history_the_beginning_is_searched() {
        let mut history: Vec<Operation> =
            (0..1500).map(|n| told(n as i64 + 1, add(0, 1, 2 * n, 2 * n + 1))).collect();
        assert_eq!(judge(&history).map(|searched| searched.longest), Ok(1000));
        history[1200] = told(0, history[1200].clone());
        assert!(judge(&history).is_ok());
        history[900] = told(0, history[900].clone());
        assert!(judge(&history).is_err());
    }

    #[test]
    fn a_stale_read_is_drawn_with_what_it_should_have_seen() {
        let mut history: Vec<Operation> =
            (0..40).map(|n| told(n as i64 + 1, add(0, 1, 2 * n, 2 * n + 1))).collect();
        history.push(told(45, add(2, 5, 81, 90)));
        history.push(told(40, read(3, 82, 88)));
        history.push(told(40, read(1, 100, 104)));
        let drawn = "\
before: TallyModel({1: 40})
                           0.081000 s                    0.104000 s
c2 1.0 k1     add 5 to k1  |==============|                          45 at 7
c1 1.0 k1     read k1                                      |======|  40 at 7
c1's `read k1` is answered `40`; wherever it can stand, the answer is `45`
";
        assert_eq!(picture(&history), drawn);
    }

    #[test]
    fn what_is_under_way_is_counted_and_not_drawn() {
        let history = [
            told(1, add(0, 1, 0, 10)),
            add(1, 5, 5, 90),
            told(3, add(2, 2, 20, 40)),
            told(4, read(3, 50, 60)),
        ];
        let drawn = "\
before: TallyModel({1: 1})
                           0.020000 s                    0.060000 s
c2 1.0 k1     add 2 to k1  |==================|                      3 at 7
c3 1.0 k1     read k1                                   |=========|  4 at 7
(and 1 more under way, whatever became of them)
c3's `read k1` is answered `4`; wherever it can stand, the answer is `3` or `8`
";
        assert_eq!(picture(&history), drawn);
    }
}
