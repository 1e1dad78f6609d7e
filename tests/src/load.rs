//! A load on a cluster: `counter bench` in a process of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Process, program};
use crate::{Cluster, run};

/// How long a bench may take beyond what it was asked for: the last operations' deadlines, and its read-back.
const GRACE: Duration = Duration::from_secs(90);

/// With fewer successes than that, a second, a run says nothing.
const FEWEST_PER_S: u64 = 100;

/// A running bench.
#[derive(Debug)]
pub struct Load {
    process: Process,
    started: Instant,
    seconds: u64,
    output: PathBuf,
    history: PathBuf,
}

/// What became of a load.
#[derive(Debug)]
pub struct Summary {
    /// Operations that were done.
    pub done: u64,
    /// How long all but the slowest hundredth of those took at most.
    pub p99: Duration,
    /// How long the slowest of those took.
    pub slowest: Duration,
    /// Operations that were done, a second.
    pub ops_per_s: f64,
    /// Operations that were not, or whose outcome is unknown.
    pub errors: u64,
    /// The longest time without a success, in milliseconds.
    pub longest_gap_ms: f64,
}

impl Load {
    /// Starts a bench on an app. `options` are those of `counter bench`.
    #[must_use]
    pub fn start(cluster: &Cluster, app: &str, seconds: u64, options: &[&str]) -> Self {
        let output = cluster.folder().join("bench.out");
        let history = cluster.folder().join("history.jsonl");
        let mut command = cluster.command("counter");
        command.args(["--app", app, "bench", "--seconds", &seconds.to_string(), "--json"]);
        command.args(options).arg("--history").arg(&history);
        let process = Process::start("counter bench", command, &output);
        Self { process, started: Instant::now(), seconds, output, history }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits for its end, which checks its sums, and checks that its history is linearizable.
    ///
    /// # Panics
    /// If a sum or the history is wrong, or it did too little to say anything.
    #[must_use]
    pub fn finish(self) -> Summary {
        self.judge().unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// As [`finish`](Self::finish), and its end is now.
    ///
    /// # Panics
    /// As [`finish`](Self::finish) does.
    #[must_use]
    pub fn stop(mut self) -> Summary {
        self.process.signal(Signal::INT);
        self.seconds = self.seconds.min(self.started.elapsed().as_secs());
        self.finish()
    }

    /// As [`finish`](Self::finish), for a test in which something has to be wrong.
    ///
    /// # Errors
    /// What is wrong.
    ///
    /// # Panics
    /// If it does not end.
    pub fn judge(mut self) -> Result<Summary, String> {
        let status = self.process.wait(Duration::from_secs(self.seconds) + GRACE);
        let output = fs::read_to_string(&self.output).expect("the bench's output");
        if !status.success() {
            return Err(format!("the bench ended with {status}:\n{output}"));
        }

        let mut check = program("counter");
        check.arg("check").arg(&self.history);
        let check = run(check);
        if check.code != 0 {
            return Err(format!("the history is not linearizable: {check:?}"));
        }

        let line = output.lines().rev().find(|line| line.starts_with('{')).expect("a line of JSON");
        let shown = parse(line);
        let number = |key: &str| shown[key].as_f64().unwrap_or_else(|| panic!("no `{key}` in {line}"));
        let spans = self.successes();
        let done = spans.len() as u64;
        if done < FEWEST_PER_S * self.seconds {
            return Err(format!("void: only {done} operations were done in {} s", self.seconds));
        }
        Ok(Summary {
            done,
            p99: spans.get(spans.len() * 99 / 100).copied().unwrap_or_default(),
            slowest: spans.last().copied().unwrap_or_default(),
            ops_per_s: number("ops_per_s"),
            errors: number("errors") as u64,
            longest_gap_ms: number("longest_gap_ms"),
        })
    }

    /// How long each operation of the history took that was done, the slowest last.
    fn successes(&self) -> Vec<Duration> {
        let history = BufReader::new(File::open(&self.history).expect("the bench's history"));
        let lines = history.lines().map(|line| parse(&line.expect("the bench's history")));
        let operations = lines.filter(|operation| operation["outcome"] == "done");
        let spans = operations.map(|operation| {
            let number = |key: &str| operation[key].as_u64().expect("a number of nanoseconds");
            Duration::from_nanos(number("end_ns") - number("start_ns"))
        });
        let mut spans: Vec<Duration> = spans.collect();
        spans.sort_unstable();
        spans
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}
