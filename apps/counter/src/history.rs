//! What every operation of a run was and how it ended, a JSON line each.
//!
//! [`check`](crate::check::check) judges such a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use client::Outcome;
use serde::{Deserialize, Serialize};

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<'a> {
    /// Who asked; one operation at a time.
    pub client: u32,
    /// Which counter.
    pub key: Cow<'a, str>,
    /// What.
    pub op: Op,
    /// The operand of an add; 0 for a read.
    pub arg: i64,
    /// The value that was answered, if one was.
    pub answer: Option<i64>,
    /// How it ended.
    pub outcome: End,
    /// When it was asked, in nanoseconds since the run began, on one clock for all clients.
    pub start_ns: u64,
    /// When its end was known, on the same clock.
    pub end_ns: u64,
    /// The decree at which it was applied or read, if it was done.
    pub decree: Option<u64>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Adds.
    Add,
    /// Reads.
    Read,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It took effect once.
    Done,
    /// It took no effect.
    Failed,
    /// It may take effect, once.
    Unknown,
}

impl Row<'_> {
    /// The same operation, ended like this.
    #[must_use]
    pub fn ended(self, outcome: &Outcome<i64>) -> Self {
        match outcome {
            Outcome::Done { decree, answer } => {
                Self { outcome: End::Done, answer: Some(*answer), decree: Some(decree.0), ..self }
            }
            Outcome::Failed(_) => Self { outcome: End::Failed, ..self },
            Outcome::Unknown => Self { outcome: End::Unknown, ..self },
        }
    }
}

/// A history that is being written.
#[derive(Debug)]
pub struct Writer(Mutex<BufWriter<File>>);

impl Writer {
    /// Begins a file; one that is there is replaced.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(BufWriter::with_capacity(1 << 20, File::create(path)?))))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the file system says.
    pub fn record(&self, row: &Row<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// All lines are in the file when this returns.
    ///
    /// # Errors
    /// What the file system says.
    pub fn finish(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Reads a whole history.
///
/// # Errors
/// `InvalidData` with the line's number if a line is no operation; otherwise what the file system says.
pub fn load(path: &Path) -> io::Result<Vec<Row<'static>>> {
    let parse = |(index, line): (usize, io::Result<String>)| {
        serde_json::from_str(&line?).map_err(|error| {
            let message = format!("line {} is no operation: {error}", index + 1);
            io::Error::new(io::ErrorKind::InvalidData, message)
        })
    };
    BufReader::new(File::open(path)?).lines().enumerate().map(parse).collect()
}
