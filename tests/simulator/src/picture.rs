//! What contradicts what, drawn so that it can be seen: a line an operation, their intervals on a common scale.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

use words::AppAnswer;

use crate::clock::Moment;
use crate::operation::Operation;
use crate::subject::{AnySubject, Model, agree};

/// Columns of the scale.
const WIDTH: u64 = 40;

/// The operations, in the order in which they began: who, which key, what, when, with what answer and decree.
pub(crate) fn timeline(subject: &dyn AnySubject, operations: &[&Operation]) -> String {
    let mut sorted = operations.to_vec();
    sorted.sort_by_key(|operation| operation.began);
    let Some(first) = sorted.first().map(|operation| operation.began) else { return String::new() };
    let known = sorted.iter().filter_map(|operation| operation.answered().map(|(at, ..)| at));
    let last = known.chain(sorted.last().map(|operation| operation.began)).max().unwrap_or(first);
    let span = (last.0 - first.0).max(1);
    let column = |moment: Moment| (moment.0 - first.0) * (WIDTH - 1) / span;
    let what = |operation: &Operation| subject.show_request(&operation.request);
    let widest = sorted.iter().map(|operation| what(operation).chars().count()).max().unwrap_or(0);

    let from = format!("{} s", first.to_string().trim());
    let to = format!("{} s", last.to_string().trim());
    let mut text = format!("{:14}{:widest$}  {from:<20}{to:>20}\n", "", "");
    for operation in sorted {
        let begin = column(operation.began);
        let (bar, answer) = match operation.answered() {
            Some((at, decree, answer)) => {
                let length = column(at).saturating_sub(begin + 1);
                let bar = format!("|{}|", "=".repeat(length as usize));
                (bar, format!("{} at {decree}", subject.show_answer(answer)))
            }
            None => (format!("|{}>", "=".repeat((WIDTH - begin).saturating_sub(2) as usize)), "?".to_owned()),
        };
        let who = format!("c{} {} k{}", operation.client, operation.gpid, operation.key);
        let line = format!(
            "{who:<14}{:<widest$}  {:begin$}{bar:<rest$} {answer}",
            what(operation),
            "",
            begin = begin as usize,
            rest = (WIDTH + 1 - begin) as usize,
        );
        writeln!(text, "{}", line.trim_end()).expect("a string takes every line");
    }
    text
}

/// The part of a history that can't be explained, and why; the history is of one key and sorted by beginning.
///
/// An order is sought as time passes, so that the first answer that nothing explains is found together with all
/// that could be true before. It is told from the last write on that had ended before; and what is not needed
/// for the contradiction is left out.
pub(crate) fn of_search<M: Model>(subject: &dyn AnySubject, history: &[Operation]) -> String {
    let all: Vec<usize> = (0..history.len()).collect();
    let new = Cases::from([Case { state: M::default(), done: Vec::new() }]);
    let Ok(Some(wrong)) = follow(history, &all, new, Moment::default()) else {
        let last: Vec<&Operation> = history.iter().rev().take(10).collect();
        return format!("too much is open to say more; the last of it:\n{}", timeline(subject, &last));
    };
    let begin = last_before(history, wrong.index).unwrap_or(wrong.index);
    let before = wrong.when_begun.iter().find(|(index, _)| *index == begin);
    let before = before.map(|(_, cases)| cases.clone()).unwrap_or_default();
    let (shown, hidden, possible) = necessary(history, &before, begin, wrong.index);
    let lines: Vec<&Operation> = shown.iter().map(|&index| &history[index]).collect();
    let operation = &history[wrong.index];
    let told = operation.answered().map_or(String::new(), |(_, _, answer)| subject.show_answer(answer));
    format!(
        "before: {}\n{}{}c{}'s `{}` is answered `{told}`; wherever it can stand, the answer is {}\n",
        either(before.iter().map(|case| format!("{:?}", case.state))),
        timeline(subject, &lines),
        if hidden > 0 {
            format!("(and {hidden} more under way, whatever became of them)\n")
        } else {
            String::new()
        },
        operation.client,
        subject.show_request(&operation.request),
        either(possible.iter().map(|answer| format!("`{}`", subject.show_answer(answer)))),
    )
}

/// `a or b or c`, each once.
fn either(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ")
}

/// The write that began last among those that had ended when `wrong` began.
fn last_before(history: &[Operation], wrong: usize) -> Option<usize> {
    let began = history[wrong].began;
    let ended = |operation: &Operation| operation.answered().is_some_and(|(at, ..)| at < began);
    (0..wrong).rev().find(|&index| !history[index].kind.is_read() && ended(&history[index]))
}

/// Of what happens from `begin` until `wrong` ends: what can't be left out, how many writes are under way beside
/// that, and what could be answered.
fn necessary<M: Model>(
    history: &[Operation],
    before: &Cases<M>,
    begin: usize,
    wrong: usize,
) -> (Vec<usize>, usize, Vec<AppAnswer>) {
    let (from, mut history) = (history[begin].began, history.to_vec());
    let until = history[wrong].answered().map_or(Moment::NEVER, |(at, ..)| at);
    let ends_by = |operation: &Operation| operation.answered().is_none_or(|(at, ..)| at >= from);
    let mut which: Vec<usize> = (0..history.len())
        .filter(|&index| ends_by(&history[index]) && history[index].began <= until)
        .collect();
    let contradicts =
        |history: &[Operation], which: &[usize]| match follow(history, which, before.clone(), from) {
            Ok(Some(found)) if found.index == wrong => Some(found.possible),
            _ => None,
        };
    let mut possible = contradicts(&history, &which).unwrap_or_default();
    for index in which.clone().into_iter().filter(|&index| index != begin && index != wrong) {
        // A read that is left out takes no explanation away. A write would; it may take effect or not instead.
        let (mut fewer, mut weaker) = (which.clone(), history.clone());
        if history[index].kind.is_read() {
            fewer.retain(|&kept| kept != index);
        } else {
            weaker[index].end = None;
        }
        if let Some(still) = contradicts(&weaker, &fewer) {
            (which, history, possible) = (fewer, weaker, still);
        }
    }
    let (shown, hidden): (Vec<usize>, Vec<usize>) =
        which.into_iter().partition(|&index| history[index].answered().is_some());
    (shown, hidden.len(), possible)
}

/// What may be true at one moment: a state, and which of the operations under way made it so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Case<M> {
    state: M,
    done: Vec<usize>,
}

type Cases<M> = HashSet<Case<M>>;

/// An operation whose answer nothing explains.
struct Wrong<M> {
    index: usize,
    /// What it could have been answered.
    possible: Vec<AppAnswer>,
    /// What could be true when each operation began.
    when_begun: Vec<(usize, Cases<M>)>,
}

/// There are too many cases to follow.
struct TooMuch;

const MOST_CASES: usize = 50_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begins,
    Ends,
}

/// Follows these operations from a moment on, and returns the first one that is wrong.
fn follow<M: Model>(
    history: &[Operation],
    which: &[usize],
    mut cases: Cases<M>,
    from: Moment,
) -> Result<Option<Wrong<M>>, TooMuch> {
    let mut events: Vec<(Moment, Event, usize)> = Vec::new();
    for &index in which {
        events.push((history[index].began, Event::Begins, index));
        events.extend(history[index].answered().map(|(at, ..)| (at, Event::Ends, index)));
    }
    events.retain(|(at, ..)| *at >= from);
    events.sort();
    let mut when_begun = Vec::new();
    for (now, event, index) in events {
        if event == Event::Begins {
            when_begun.push((index, cases.clone()));
            continue;
        }
        let is_under_way = |other: &usize| {
            let operation = &history[*other];
            let ended = operation.answered().is_some_and(|(at, ..)| (at, *other) < (now, index));
            operation.began <= now && !ended
        };
        let under_way: Vec<usize> = which.iter().copied().filter(is_under_way).collect();
        let (next, possible) = end(history, cases, &under_way, index)?;
        if next.is_empty() {
            return Ok(Some(Wrong { index, possible, when_begun }));
        }
        cases = next;
    }
    Ok(None)
}

/// What can be true once `index` has ended with its answer, and which answers it could have had.
fn end<M: Model>(
    history: &[Operation],
    cases: Cases<M>,
    under_way: &[usize],
    index: usize,
) -> Result<(Cases<M>, Vec<AppAnswer>), TooMuch> {
    let (mut after, mut possible) = (Cases::new(), Vec::new());
    let mut open: Vec<Case<M>> = cases.iter().cloned().collect();
    let mut seen = cases;
    while let Some(mut case) = open.pop() {
        if let Some(place) = case.done.iter().position(|&done| done == index) {
            case.done.remove(place);
            after.insert(case);
            continue;
        }
        for &other in under_way.iter().filter(|other| !case.done.contains(other)) {
            let (mut state, operation) = (case.state.clone(), &history[other]);
            let answer = if operation.kind.is_read() {
                state.read(&operation.request)
            } else {
                state.apply(&operation.request, operation.timestamp_us)
            };
            if other == index && !possible.contains(&answer) {
                possible.push(answer.clone());
            }
            if operation.answered().is_some_and(|(_, _, told)| !agree(told, &answer)) {
                continue;
            }
            let mut done = case.done.clone();
            done.insert(done.partition_point(|&before| before < other), other);
            let next = Case { state, done };
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
        if seen.len() > MOST_CASES {
            return Err(TooMuch);
        }
    }
    Ok((after, possible))
}
