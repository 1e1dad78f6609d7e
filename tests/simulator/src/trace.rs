//! The story of a run, a line an event: written only when asked for, the same to the byte for the same seed.

use std::fmt::{Arguments, Write};

use crate::clock::Moment;

/// The lines, or nothing if they are not wanted.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    text: String,
    troubles: Vec<String>,
}

impl Trace {
    /// A trace that is kept.
    #[must_use]
    pub fn kept() -> Self {
        Self { on: true, ..Self::default() }
    }

    /// A trace that is thrown away as it is written: running without is an order of magnitude faster.
    #[must_use]
    pub fn silent() -> Self {
        Self::default()
    }

    /// Whether lines are kept.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// One line: who did what, and when. Nothing is formatted unless lines are kept.
    pub(crate) fn line(&mut self, now: Moment, who: Arguments<'_>, what: Arguments<'_>) {
        if self.on {
            let who = who.to_string();
            writeln!(self.text, "{now} {who:<8} {what}").expect("a string takes every line");
        }
    }

    /// All lines.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How much was written so far.
    #[must_use]
    pub(crate) fn mark(&self) -> usize {
        self.text.len()
    }

    /// A trouble struck; the first line that was written since `mark` says what it did, if any was.
    pub(crate) fn trouble(&mut self, now: Moment, number: u32, name: Arguments<'_>, mark: usize) {
        if self.on {
            let told = self.text[mark..].lines().next().unwrap_or_default();
            let told = told.trim_start().split_once(' ').map_or("", |(_, told)| told);
            self.troubles.push(format!("{now} s  #{number:<6} {name}: {told}"));
        }
    }

    /// The troubles of the run, a line each.
    #[must_use]
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// The last lines, `count` of them at most.
    #[must_use]
    pub fn tail(&self, count: usize) -> &str {
        let start = self.text.trim_end().rmatch_indices('\n').nth(count.saturating_sub(1));
        start.map_or(&self.text, |(at, _)| &self.text[at + 1..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_whole_lines() {
        let mut trace = Trace::kept();
        for index in 0..5 {
            trace.line(Moment(index), format_args!("r1"), format_args!("line {index}"));
        }
        assert_eq!(trace.tail(2).lines().count(), 2);
        assert!(trace.tail(2).trim_end().ends_with("line 4"));
        assert_eq!(trace.tail(9), trace.text());
    }
}
