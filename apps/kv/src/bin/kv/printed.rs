//! How what came of an operation is told: lines as phxkv prints them, or JSON; and the code to exit with.

use std::fmt::Display;
use std::process::ExitCode;

use bytes::Bytes;
use client::command_line::app::{not_done, unknown};
use client::command_line::{EXIT_MISTAKE, EXIT_NOT_DONE, EXIT_UNKNOWN, print_for_reader};
use client::{Failure, Outcome};
use kv::{Change, Decided, Remaining, ScanEntry, State};
use serde_json::{Map, Value as Json};

/// Lines for people, or JSON for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Json,
}

/// A key at a version, as `set-once` and `get-at` name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) version: u64,
}

/// What is told of one operation.
#[must_use]
pub(crate) struct Told {
    verb: &'static str,
    end: End,
    fields: Map<String, Json>,
    /// After the verb and how it ended, but for the value and the version.
    subject: String,
    value: Option<String>,
    version: Option<u64>,
}

enum End {
    Done,
    /// What is there instead is told.
    Conflict(&'static str),
    NotExist,
    Failed(Failure),
    Unknown,
}

impl Told {
    fn new(verb: &'static str, end: End) -> Self {
        let (fields, subject) = (Map::new(), String::new());
        Self { verb, end, fields, subject, value: None, version: None }
    }

    fn about(verb: &'static str, key: &[u8], end: End) -> Self {
        let subject = format!(" key {}", shown(key));
        Self { subject, ..Self::new(verb, end) }.field("key", key)
    }

    /// An outcome without its answer, or what `told` makes of that.
    fn of<T>(outcome: &Outcome<T>, told: impl FnOnce(&T) -> Self) -> Self {
        match outcome {
            Outcome::Done { decree, answer } => told(answer).number("decree", decree.0),
            Outcome::Failed(failure) => Self::failed(failure),
            Outcome::Unknown => Self::unknown(),
        }
    }

    pub(crate) fn failed(failure: &Failure) -> Self {
        Self::new("", End::Failed(failure.clone()))
    }

    pub(crate) fn unknown() -> Self {
        Self::new("", End::Unknown)
    }

    /// What became of a change; `conflict` is what did not fit.
    pub(crate) fn change(
        verb: &'static str,
        conflict: &'static str,
        key: &[u8],
        outcome: &Outcome<Change>,
    ) -> Self {
        Self::of(outcome, |change| match change {
            Change::Made(version) => Self::about(verb, key, End::Done).at(*version),
            Change::Refused(state) => Self::about(verb, key, End::Conflict(conflict)).state_is(state),
        })
    }

    /// One of several changes that were made at once.
    pub(crate) fn made(verb: &'static str, key: &[u8], version: u64, decree: impl Display) -> Self {
        let outcome = Self::about(verb, key, End::Done).at(version);
        let decree = decree.to_string().parse().unwrap_or(0);
        outcome.number("decree", decree)
    }

    pub(crate) fn state(verb: &'static str, key: &[u8], outcome: &Outcome<State>) -> Self {
        Self::of(outcome, |state| {
            let end = if state.value.is_some() { End::Done } else { End::NotExist };
            Self::about(verb, key, end).state_is(state)
        })
    }

    pub(crate) fn entry(entry: &ScanEntry) -> Self {
        Self::about("Scan", &entry.key, End::Done).with_value(&entry.value.bytes).at(entry.version)
    }

    /// What a watch shows: a key as it is now.
    pub(crate) fn changed(key: &[u8], state: &State, decree: u64) -> Self {
        let end = if state.value.is_some() { End::Done } else { End::NotExist };
        Self::about("Scan", key, end).state_is(state).number("decree", decree)
    }

    pub(crate) fn remaining(key: &[u8], outcome: &Outcome<Remaining>) -> Self {
        Self::of(outcome, |remaining| match remaining {
            Remaining::NoValue => Self::about("Ttl", key, End::NotExist),
            Remaining::ForEver => Self::about("Ttl", key, End::Done).saying(" never expires"),
            Remaining::Micros(us) => {
                let seconds = *us as f64 / 1e6;
                let told = Self::about("Ttl", key, End::Done).saying(&format!(" expires in {seconds:.1} s"));
                told.number("expires_in_us", *us)
            }
        })
    }

    pub(crate) fn decided(what: Named<'_>, value: &[u8], outcome: &Outcome<Decided>) -> Self {
        Self::of(outcome, |decided| match decided {
            Decided::Before(before) if before != value => {
                Self::named("SetOnce", what, End::Conflict("decided")).with_value(before)
            }
            Decided::Now | Decided::Before(_) => Self::named("SetOnce", what, End::Done).with_value(value),
        })
    }

    pub(crate) fn decided_value(what: Named<'_>, outcome: &Outcome<Option<Bytes>>) -> Self {
        Self::of(outcome, |decided| match decided {
            Some(value) => Self::named("GetAt", what, End::Done).with_value(value),
            None => Self::named("GetAt", what, End::NotExist),
        })
    }

    fn named(verb: &'static str, Named { key, version }: Named<'_>, end: End) -> Self {
        Self::about(verb, key, end).saying(&format!(" version {version}")).number("version", version)
    }

    pub(crate) fn with_value(mut self, value: &[u8]) -> Self {
        // A refused change tells the value that is there.
        if matches!(self.end, End::Done | End::Conflict("decided")) {
            self.value = Some(shown(value));
            return self.field("value", value);
        }
        self
    }

    fn at(mut self, version: u64) -> Self {
        self.version = Some(version);
        self.number("version", version)
    }

    fn state_is(mut self, state: &State) -> Self {
        if let Some(value) = &state.value {
            self.value = Some(shown(&value.bytes));
            self = self.field("value", &value.bytes);
        }
        self.at(state.version)
    }

    fn saying(mut self, more: &str) -> Self {
        self.subject.push_str(more);
        self
    }

    fn number(mut self, name: &str, number: u64) -> Self {
        self.fields.insert(name.into(), number.into());
        self
    }

    /// Bytes as text if they are that; else `name_hex`.
    fn field(mut self, name: &str, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.fields.insert(name.into(), text.into()),
            Err(_) => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                self.fields.insert(format!("{name}_hex"), hex.into())
            }
        };
        self
    }

    /// Prints it, and returns the code to exit with.
    pub(crate) fn print(self, form: Form) -> ExitCode {
        ExitCode::from(self.print_code(form))
    }

    /// The same; the code as a number.
    pub(crate) fn print_code(self, form: Form) -> u8 {
        self.show(form);
        let code = match &self.end {
            End::Done => return 0,
            End::Conflict(_) | End::NotExist => return EXIT_NOT_DONE,
            End::Failed(failure) => (not_done(failure), failure.is_callers_mistake()),
            End::Unknown => {
                let _ = unknown();
                return EXIT_UNKNOWN;
            }
        };
        if code.1 { EXIT_MISTAKE } else { EXIT_NOT_DONE }
    }

    /// Prints it, and says whether somebody may read what comes after it.
    pub(crate) fn show(&self, form: Form) -> bool {
        match form {
            Form::Lines => self.line().is_none_or(print_for_reader),
            Form::Json => print_for_reader(self.json()),
        }
    }

    /// `None`: what there is to say goes to standard error.
    fn line(&self) -> Option<String> {
        let (verb, subject) = (self.verb, &self.subject);
        let value = self.value.as_ref().map_or(String::new(), |value| format!(" value {value}"));
        let missing = if self.value.is_none() { " not exist," } else { "" };
        let version = self.version.map_or(String::new(), |version| format!(" version {version}"));
        Some(match &self.end {
            End::Done if verb == "Scan" => format!("{}{value}{version}", &subject[1..]),
            End::Done => format!("{verb} ok,{subject}{value}{version}"),
            End::Conflict("decided") => format!("{verb} decided before,{subject}{value}"),
            End::Conflict(what) => {
                format!("{verb} {what} conflict,{subject}{value}{missing}{version}")
            }
            End::NotExist if verb == "Scan" => format!("{} not exist,{version}", &subject[1..]),
            End::NotExist if version.is_empty() => format!("{verb}{subject} not exist"),
            End::NotExist => format!("{verb}{subject} not exist,{version}"),
            End::Failed(_) | End::Unknown => return None,
        })
    }

    fn json(&self) -> Json {
        let mut fields = self.fields.clone();
        let outcome = match &self.end {
            End::Done => "done",
            End::Conflict(_) => "conflict",
            End::NotExist => "not_exist",
            End::Failed(failure) => {
                fields.insert("error".into(), failure.to_string().into());
                "failed"
            }
            End::Unknown => "unknown",
        };
        fields.insert("outcome".into(), outcome.into());
        Json::Object(fields)
    }
}

/// The code that says most: not known above not done above done.
pub(crate) fn worst(codes: &[u8]) -> ExitCode {
    let rank =
        |code: u8| [0, EXIT_NOT_DONE, EXIT_MISTAKE, EXIT_UNKNOWN].iter().position(|&known| known == code);
    ExitCode::from(codes.iter().copied().max_by_key(|&code| rank(code)).unwrap_or(0))
}

/// Bytes for people: text as it is, what is none with escapes.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}
