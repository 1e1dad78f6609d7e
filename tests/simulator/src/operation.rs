//! One operation of one client: what was asked, when, and how it ended; and its form as a line of text.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use words::{AppAnswer, Decree, Gpid, Rejection};

use crate::clock::Moment;

/// What kind of thing an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opens a session; the app hears nothing of it.
    Open,
    /// A write.
    Write,
    /// A read under the primary's lease.
    Read,
    /// A read that takes its place in the order as a write does.
    ReadAsWrite,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Open, "open"), (Kind::Write, "write"), (Kind::Read, "read"), (Kind::ReadAsWrite, "ordered-read")];

impl Kind {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadAsWrite)
    }
}

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was answered at this decree.
    Done(Decree, AppAnswer),
    /// It surely took no effect and never will.
    Failed,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// Which partition.
    pub gpid: Gpid,
    /// What kind of thing.
    pub kind: Kind,
    /// About which key.
    pub key: u8,
    /// What for.
    pub request: Bytes,
    /// When it was asked for.
    pub began: Moment,
    /// When and how it ended, as far as its client knows.
    pub end: Option<(Moment, End)>,
    /// The time that its mutation carried, if it took effect.
    pub timestamp_us: u64,
    /// The highest decree of an operation of the partition that had ended when this one began.
    pub(crate) floor: Decree,
    /// Where it was carried out, and with what answer: a write once, a read once an attempt.
    pub(crate) given: Vec<(Decree, AppAnswer)>,
    /// It was under way, or its answers were, when a loss was declared.
    pub(crate) met_loss: bool,
}

impl Operation {
    /// An operation that a client begins.
    #[must_use]
    pub fn new(client: usize, gpid: Gpid, kind: Kind, (key, request): (u8, Bytes), began: Moment) -> Self {
        let (floor, given) = (Decree::ZERO, Vec::new());
        Self {
            client,
            gpid,
            kind,
            key,
            request,
            began,
            end: None,
            timestamp_us: 0,
            floor,
            given,
            met_loss: false,
        }
    }

    /// The same operation, ended.
    #[must_use]
    pub fn ended(self, at: Moment, end: End) -> Self {
        Self { end: Some((at, end)), ..self }
    }

    /// Whether its client is sure that it took no effect.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.end, Some((_, End::Failed)))
    }

    /// When it was answered, at which decree, and with what.
    #[must_use]
    pub fn answered(&self) -> Option<(Moment, Decree, &AppAnswer)> {
        match &self.end {
            Some((at, End::Done(decree, answer))) => Some((*at, *decree, answer)),
            _ => None,
        }
    }
}

/// All but what only the simulator can know, on one line: `c2 1.0 k1 write 3201000-3300000 <request> 0 51 <answer>`.
/// Times are in nanoseconds, bytes in hexadecimal; an end that is not known is a `?`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, gpid, key, began, .. } = self;
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("?", |(_, name)| name);
        let ended = self.end.as_ref().map_or("?".to_owned(), |(at, _)| at.0.to_string());
        write!(f, "c{client} {gpid} k{key} {kind} {}-{ended} {} ", began.0, hex(&self.request))?;
        write!(f, "{} ", self.timestamp_us)?;
        match &self.end {
            Some((_, End::Done(decree, Ok(answer)))) => write!(f, "{decree} {}", hex(answer)),
            Some((_, End::Done(decree, Err(no)))) => {
                write!(f, "{decree} no{} {}", no.code, hex(no.message.as_bytes()))
            }
            Some((_, End::Failed)) => write!(f, "failed"),
            Some((_, End::Unknown)) | None => write!(f, "unknown"),
        }
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        parse(line).ok_or_else(|| format!("this is no operation: {line}"))
    }
}

fn parse(line: &str) -> Option<Operation> {
    let mut words = line.split(' ');
    let client = words.next()?.strip_prefix('c')?.parse().ok()?;
    let gpid = words.next()?.parse().ok()?;
    let key = words.next()?.strip_prefix('k')?.parse().ok()?;
    let name = words.next()?;
    let kind = KINDS.iter().find(|(_, known)| *known == name)?.0;
    let (began, ended) = words.next()?.split_once('-')?;
    let request = unhex(words.next()?)?.into();
    let timestamp_us = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "failed" => End::Failed,
        "unknown" => End::Unknown,
        decree => End::Done(Decree(decree.parse().ok()?), parse_answer(words.next()?, words.next())?),
    };
    let end = if ended == "?" { None } else { Some((Moment(ended.parse().ok()?), end)) };
    let operation = Operation::new(client, gpid, kind, (key, request), Moment(began.parse().ok()?));
    Some(Operation { end, timestamp_us, ..operation })
}

fn parse_answer(first: &str, second: Option<&str>) -> Option<AppAnswer> {
    let Some(code) = first.strip_prefix("no") else { return Some(Ok(unhex(first)?.into())) };
    let message = String::from_utf8(unhex(second?)?).ok()?;
    Some(Err(Rejection { code: code.parse().ok()?, message }))
}

/// At least one character, so that words can be counted.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('x')?;
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_survives_as_text() {
        let new = |kind, request| Operation::new(2, Gpid::new(1, 0), kind, (1, request), Moment(3_201_000));
        let no = Rejection { code: 2, message: "too large".to_owned() };
        for operation in [
            new(Kind::Open, Bytes::new()),
            new(Kind::Write, Bytes::from_static(b"\x00ab")).ended(Moment(9), End::Unknown),
            new(Kind::Write, Bytes::from_static(b"ab")).ended(Moment(9), End::Failed),
            new(Kind::Read, Bytes::from_static(b"ab"))
                .ended(Moment(9), End::Done(Decree(4), Ok(Bytes::new()))),
            new(Kind::ReadAsWrite, Bytes::new()).ended(Moment(9), End::Done(Decree(4), Err(no))),
        ] {
            assert_eq!(operation.to_string().parse(), Ok(operation));
        }
        for line in
            ["", "c2 1.0 k1 write 1-2", "c2 1.0 k1 wrote 1-2 x 0 failed", "c2 1.0 k1 read 1-2 xä 0 failed"]
        {
            assert!(line.parse::<Operation>().is_err(), "{line}");
        }
    }
}
