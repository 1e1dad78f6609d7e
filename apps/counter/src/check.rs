//! Whether a history of counters is linearizable (V1), in time `n log n` instead of a search.
//!
//! Every counter starts at 0 and every add adds 1, so values order the operations of a counter: the add that
//! answered 7 is the seventh, and a read that answered 7 comes after it and before the eighth. Reads of one
//! value are ordered by their decrees, and those of one decree, which nothing else tells apart, by when they were
//! asked. In that order, which is as good as any other that is possible,
//!
//! * no two adds answered the same value: each acknowledged add took effect once (V4);
//! * the values that no acknowledged add answered are accounted for by adds with an unknown outcome, each at
//!   most once and none before it was asked (V3); an add that failed never explains anything;
//! * decrees never fall, and no operation that ended before another was asked comes after it: nothing
//!   acknowledged is lost, no read is stale (V2).

use std::collections::BTreeMap;
use std::fmt;

use crate::history::{End, Op, Row};

/// What a history shows, if nothing is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Operations in it.
    pub operations: usize,
    /// Counters in it.
    pub keys: usize,
    /// Adds with an unknown outcome.
    pub unknown: usize,
    /// How many of those took effect as far as reads and later adds can tell.
    pub unknown_done: usize,
}

/// Why no order of the operations explains a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The counter.
    pub key: String,
    /// What is wrong, with the operations that show it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counter `{}`: {}", self.key, self.what)
    }
}

/// Judges a whole history, in which every counter started at 0.
///
/// # Errors
/// The first violation.
pub fn check(rows: &[Row<'_>]) -> Result<Checked, Violation> {
    let mut by_key: BTreeMap<&str, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        by_key.entry(&row.key).or_default().push(row);
    }
    let mut checked = Checked { operations: rows.len(), keys: by_key.len(), ..Checked::default() };
    for (key, rows) in by_key {
        let violation = |what| Violation { key: key.to_owned(), what };
        let (unknown, unknown_done) = check_key(&rows).map_err(violation)?;
        checked.unknown += unknown;
        checked.unknown_done += unknown_done;
    }
    Ok(checked)
}

/// A done operation, with what the check needs of it.
struct Done<'a> {
    row: &'a Row<'a>,
    value: i64,
    decree: u64,
    /// No operation from here on in the order ended before this.
    earliest_end_ns: u64,
}

/// Returns how many adds are unknown, and how many of them took effect.
fn check_key(rows: &[&Row<'_>]) -> Result<(usize, usize), String> {
    if let Some(row) = rows.iter().find(|row| row.op == Op::Add && row.arg != 1) {
        return Err(format!("only histories of adding 1 can be checked, and here is {}", print(row)));
    }
    let done = in_order(rows)?;
    let mut unknown: Vec<&Row<'_>> =
        rows.iter().filter(|row| row.op == Op::Add && row.outcome == End::Unknown).copied().collect();
    unknown.sort_by_key(|row| row.start_ns);

    let mut value = 0;
    let mut fillers = unknown.iter();
    let mut latest_start: Option<&Row<'_>> = None;
    for (index, operation) in done.iter().enumerate() {
        let row = operation.row;
        let before = if row.op == Op::Add { operation.value - 1 } else { operation.value };
        if before < value {
            return Err(format!("the value {value} was there before {}", print(row)));
        }
        for missing in value..before {
            // The one asked first fits wherever a later one does.
            match fillers.next() {
                Some(filler) if filler.start_ns <= operation.earliest_end_ns => {}
                _ => return Err(format!("nothing explains the value {} before {}", missing + 1, print(row))),
            }
        }
        value = operation.value;
        if let Some(previous) = index.checked_sub(1).map(|index| &done[index])
            && previous.decree > operation.decree
        {
            return Err(format!("decrees fall from {} to {}", print(previous.row), print(row)));
        }
        if let Some(late) = latest_start
            && row.end_ns < late.start_ns
        {
            return Err(format!("{} ended before {} was asked, and comes after it", print(row), print(late)));
        }
        if latest_start.is_none_or(|late| late.start_ns < row.start_ns) {
            latest_start = Some(row);
        }
    }
    Ok((unknown.len(), unknown.len() - fillers.len()))
}

/// The done operations in the only order that their values and decrees allow.
fn in_order<'a>(rows: &[&'a Row<'a>]) -> Result<Vec<Done<'a>>, String> {
    let mut done = Vec::new();
    for &row in rows.iter().filter(|row| row.outcome == End::Done) {
        let (Some(value), Some(decree)) = (row.answer, row.decree) else {
            return Err(format!("without an answer or a decree: {}", print(row)));
        };
        done.push(Done { row, value, decree, earliest_end_ns: row.end_ns });
    }
    done.sort_by_key(|operation| {
        (operation.value, operation.row.op, operation.decree, operation.row.start_ns)
    });
    let mut earliest = u64::MAX;
    for operation in done.iter_mut().rev() {
        earliest = earliest.min(operation.earliest_end_ns);
        operation.earliest_end_ns = earliest;
    }
    Ok(done)
}

fn print(row: &Row<'_>) -> String {
    serde_json::to_string(row).expect("a row is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `add 1 => 5 @ 3` style rows: what, answer, decree, start, end.
    fn row(op: Op, outcome: End, answer: i64, decree: u64, start_ns: u64, end_ns: u64) -> Row<'static> {
        let is_done = outcome == End::Done;
        Row {
            client: 0,
            key: "k".into(),
            op,
            arg: i64::from(op == Op::Add),
            answer: is_done.then_some(answer),
            outcome,
            start_ns,
            end_ns,
            decree: is_done.then_some(decree),
        }
    }

    fn add(answer: i64, decree: u64, start_ns: u64, end_ns: u64) -> Row<'static> {
        row(Op::Add, End::Done, answer, decree, start_ns, end_ns)
    }

    fn read(answer: i64, decree: u64, start_ns: u64, end_ns: u64) -> Row<'static> {
        row(Op::Read, End::Done, answer, decree, start_ns, end_ns)
    }

    fn unknown(start_ns: u64) -> Row<'static> {
        row(Op::Add, End::Unknown, 0, 0, start_ns, start_ns + 1000)
    }

    fn verdict(rows: &[Row<'_>]) -> Result<usize, String> {
        check(rows).map(|checked| checked.unknown_done).map_err(|violation| violation.what)
    }

    fn wrong(rows: &[Row<'_>], because: &str) {
        let what = verdict(rows).expect_err(because);
        assert!(what.contains(because), "{what}");
    }

    #[test]
    fn what_can_happen_passes() {
        assert_eq!(verdict(&[]), Ok(0));
        assert_eq!(verdict(&[read(0, 0, 0, 1), add(1, 1, 2, 3), add(2, 2, 4, 5), read(2, 2, 6, 7)]), Ok(0));
        // Concurrent operations in any order; two adds in one decree.
        assert_eq!(verdict(&[add(2, 1, 0, 9), add(1, 1, 0, 9), read(1, 1, 0, 9), read(0, 0, 0, 9)]), Ok(0));
        // Reads of one decree, in a file that has them in whatever order.
        assert_eq!(verdict(&[add(1, 1, 0, 1), read(1, 1, 4, 5), read(1, 1, 2, 3)]), Ok(0));
        // An add that failed, and a read that did, say nothing.
        assert_eq!(verdict(&[row(Op::Add, End::Failed, 0, 0, 0, 1), read(0, 0, 2, 3)]), Ok(0));
        // Adds of unknown outcome take effect, or not, or long after they were given up.
        assert_eq!(verdict(&[unknown(0), read(0, 0, 5, 6), read(1, 4, 2000, 2001)]), Ok(1));
        assert_eq!(verdict(&[unknown(0), unknown(1), add(2, 3, 5, 6), read(2, 3, 7, 8)]), Ok(1));
    }

    #[test]
    fn a_lost_add_is_found() {
        wrong(&[add(1, 1, 0, 9), read(0, 2, 0, 9)], "decrees fall");
        wrong(&[add(1, 1, 0, 1), read(0, 1, 2, 3)], "ended before");
        wrong(&[add(1, 1, 0, 1), read(0, 0, 2, 3)], "ended before");
        wrong(&[add(1, 1, 0, 1), add(1, 2, 2, 3)], "the value 1 was there before");
    }

    #[test]
    fn an_add_that_counted_twice_is_found() {
        wrong(&[add(1, 1, 0, 1), read(2, 2, 2, 3)], "nothing explains the value 2");
        wrong(&[add(2, 2, 0, 1)], "nothing explains the value 1");
        wrong(&[unknown(0), add(3, 3, 0, 9)], "nothing explains the value 2");
        // One that failed must not have counted.
        wrong(&[row(Op::Add, End::Failed, 0, 0, 0, 1), read(1, 1, 2, 3)], "nothing explains");
    }

    #[test]
    fn an_effect_before_its_cause_is_found() {
        wrong(&[read(1, 1, 0, 1), unknown(2)], "nothing explains");
        wrong(&[read(1, 1, 0, 1), add(1, 1, 2, 3)], "ended before");
        // The early unknown explains the early value, the late one can't.
        wrong(&[unknown(0), unknown(50), read(2, 2, 3, 4)], "nothing explains the value 2");
        assert_eq!(verdict(&[unknown(50), unknown(0), read(1, 1, 3, 4), read(2, 2, 60, 61)]), Ok(2));
    }

    #[test]
    fn a_stale_read_is_found_even_if_the_value_did_not_change() {
        wrong(&[add(1, 1, 0, 1), read(1, 9, 2, 3), read(1, 5, 4, 5)], "ended before");
        assert_eq!(verdict(&[add(1, 1, 0, 1), read(1, 9, 2, 6), read(1, 5, 4, 5)]), Ok(0));
    }

    #[test]
    fn what_it_can_not_judge_it_says() {
        let mut two = add(2, 1, 0, 1);
        two.arg = 2;
        wrong(&[two], "only histories of adding 1");
    }
}
