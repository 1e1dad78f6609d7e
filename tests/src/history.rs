//! What every client of a bench saw.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// When the operations that were done began and ended; nanoseconds on the bench's clock.
#[derive(Debug)]
pub struct History {
    spans: Vec<(u64, u64)>,
}

impl History {
    /// Reads a file that `counter bench --history` wrote.
    pub(crate) fn read(file: &Path) -> Self {
        let lines = BufReader::new(File::open(file).expect("a history")).lines();
        let mut spans = Vec::new();
        for line in lines {
            let line = line.expect("a line");
            let operation: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            if operation["outcome"] == "done" {
                let number =
                    |key: &str| operation[key].as_u64().unwrap_or_else(|| panic!("no `{key}` in {line}"));
                spans.push((number("start_ns"), number("end_ns")));
            }
        }
        spans.sort_unstable_by_key(|(_, end)| *end);
        Self { spans }
    }

    /// How many operations were done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.spans.len() as u64
    }

    /// How long the slowest one took.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        let slowest = self.spans.iter().map(|(start, end)| end - start).max();
        Duration::from_nanos(slowest.unwrap_or_default())
    }

    /// The longest times without a success, longest first.
    #[must_use]
    pub fn gaps(&self, count: usize) -> Vec<Duration> {
        let mut gaps: Vec<u64> = self.spans.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        gaps.into_iter().take(count).map(Duration::from_nanos).collect()
    }
}
