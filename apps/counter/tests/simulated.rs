//! The counter on simulated clusters with faults, held against a plain model (docs/test-your-app.md); and proof
//! that mistakes which an app's author could make would have been found.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::SystemTime;

use counter::CounterType;
use counter::request::{MALFORMED, OVERFLOW, Request, decode_value, encode_value};
use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, Bytes, CheckpointJob, Checkpoints, Decree, LearnState, Rejection,
    ReplicatedApp,
};
use simulator::{Dice, Home, Model, Sometimes, Subject, Trace, check, run_subject};

/// What a counter should do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Sums(BTreeMap<String, i64>);

fn no(code: u32) -> Rejection {
    Rejection { code, message: String::new() }
}

impl Model for Sums {
    fn apply(&mut self, request: &[u8], _: u64) -> AppAnswer {
        let Ok(Request::Add { name, operand }) = Request::decode(request) else { return Err(no(MALFORMED)) };
        let sum = self.0.get(name).copied().unwrap_or(0).checked_add(operand).ok_or_else(|| no(OVERFLOW))?;
        self.0.insert(name.to_owned(), sum);
        Ok(encode_value(sum))
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        let Ok(Request::Read { name }) = Request::decode(request) else { return Err(no(MALFORMED)) };
        Ok(encode_value(self.0.get(name).copied().unwrap_or(0)))
    }
}

/// Which app is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// The one that ships.
    Shipped,
    /// One that takes the time from the clock of the machine that it runs on.
    LocalClock,
    /// One that goes through a `HashMap`.
    HashOrder,
    /// One that leaves out a field when it takes over a checkpoint.
    ForgetsAField,
    /// One that says that it has made durable what it has only applied.
    DurableTooEarly,
}

impl Subject for Counter {
    type Model = Sums;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        let context = home.context();
        if *self == Self::Shipped {
            CounterType.open(&context)
        } else {
            Careless::open(*self, context.folder)
        }
    }

    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        let operand = dice.pick(&[1, 2, -3, i64::MAX]);
        Request::Add { name: &format!("k{key}"), operand }.encode()
    }

    fn read(&self, key: u8, _: &mut Dice) -> Bytes {
        Request::Read { name: &format!("k{key}") }.encode()
    }

    fn show_request(&self, request: &[u8]) -> String {
        Request::decode(request).map_or_else(|no| no.message, |request| format!("{request:?}"))
    }

    fn show_answer(&self, answer: &AppAnswer) -> String {
        match answer {
            Ok(bytes) => decode_value(bytes).map_or("no number".to_owned(), |value| value.to_string()),
            Err(no) => format!("no ({})", no.code),
        }
    }
}

#[test]
fn the_counter_does_what_its_model_does() {
    let tally = check(&Counter::Shipped, 0..200);
    for what in [Sometimes::WriteDone, Sometimes::ReadDone, Sometimes::RetryAnswered] {
        assert!(tally.of(what) > 100, "{what:?} happened only {} times", tally.of(what));
    }
    for what in
        [Sometimes::LearnByCheckpoint, Sometimes::CheckpointDone, Sometimes::AppLost, Sometimes::Wiped]
    {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}

/// What broke in the first seed in which anything did, of so many.
fn found(counter: Counter, seeds: u64) -> String {
    let run = |seed| run_subject(&counter, seed, &mut Trace::silent()).violation;
    let violation = (0..seeds).find_map(run);
    let violation = violation.unwrap_or_else(|| panic!("{counter:?} was not found in {seeds} seeds"));
    println!("{counter:?}: {violation}");
    violation.to_string()
}

fn assert_differs_in_an_add(what: &str) {
    let parts = ["its app has the digest", "; it applied `Add"];
    assert!(what.starts_with("S12: ") && parts.iter().all(|part| what.contains(part)), "{what}");
}

#[test]
fn a_local_clock_is_found() {
    assert_differs_in_an_add(&found(Counter::LocalClock, 20));
}

#[test]
fn the_order_of_a_hash_map_is_found() {
    assert_differs_in_an_add(&found(Counter::HashOrder, 100));
}

#[test]
fn a_field_that_a_checkpoint_does_not_bring_is_found() {
    let what = found(Counter::ForgetsAField, 100);
    assert!(what.starts_with("S12: ") && what.contains("took over a checkpoint"), "{what}");
}

#[test]
fn what_is_called_durable_and_is_not_is_found() {
    let what = found(Counter::DurableTooEarly, 20);
    assert!(what.contains("its app had said that it is durable to decree"), "{what}");
}

/// What a careless counter keeps.
#[derive(Clone, Debug, Default)]
struct State {
    sums: Sums,
    /// Requests so far.
    requests: u64,
    /// When the last one was applied.
    latest_us: u64,
    /// The counter that was added to last.
    latest: String,
}

/// A counter as somebody in a hurry would write it.
struct Careless {
    mistake: Counter,
    state: State,
    applied: Decree,
    checkpoints: Checkpoints,
}

impl Careless {
    fn open(mistake: Counter, folder: &std::path::Path) -> io::Result<Box<dyn ReplicatedApp>> {
        let (checkpoints, state) = Checkpoints::open(folder)?;
        let state = state.map_or(Ok(State::default()), |state| decode(&state))?;
        Ok(Box::new(Self { mistake, state, applied: checkpoints.durable(), checkpoints }))
    }
}

impl ReplicatedApp for Careless {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        self.applied = batch.decree;
        let answers: Vec<AppAnswer> =
            batch.requests.iter().map(|request| self.state.sums.apply(request, 0)).collect();
        self.state.requests += answers.len() as u64;
        if !answers.is_empty() {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
            let local_us = since.as_micros() as u64;
            let local = self.mistake == Counter::LocalClock;
            self.state.latest_us = if local { local_us } else { batch.timestamp_us };
        }
        let names: Vec<String> = batch.requests.iter().filter_map(name).collect();
        let latest = if self.mistake == Counter::HashOrder {
            let each_once: HashMap<&String, ()> = names.iter().map(|name| (name, ())).collect();
            each_once.into_keys().last()
        } else {
            names.last()
        };
        self.state.latest = latest.unwrap_or(&self.state.latest).clone();
        answers
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        self.state.sums.read(request)
    }

    fn last_durable_decree(&self) -> Decree {
        if self.mistake == Counter::DurableTooEarly { self.applied } else { self.checkpoints.durable() }
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.checkpoints.write(self.applied, encode(&self.state))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        self.checkpoints.write_later(self.applied, || encode(&self.state))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.checkpoints.newest()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, checkpoint: &LearnState) -> io::Result<()> {
        let mut state = self.checkpoints.take_over(mode, checkpoint, self.applied, decode)?;
        if self.mistake == Counter::ForgetsAField {
            state.requests = self.state.requests;
        }
        if mode == ApplyMode::Learn {
            (self.state, self.applied) = (state, checkpoint.decree);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        encode(&self.state).iter().fold(0, |hash: u64, &byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.checkpoints.close(clean_up)
    }
}

fn name(request: &Bytes) -> Option<String> {
    match Request::decode(request) {
        Ok(Request::Add { name, .. }) => Some(name.to_owned()),
        _ => None,
    }
}

fn encode(state: &State) -> Vec<u8> {
    let mut text = format!("{} {} {}\n", state.requests, state.latest_us, state.latest);
    state.sums.0.iter().for_each(|(name, sum)| text.push_str(&format!("{name} {sum}\n")));
    text.into_bytes()
}

fn decode(bytes: &[u8]) -> io::Result<State> {
    parse(bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(bytes: &[u8]) -> Option<State> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    let mut words = lines.next()?.splitn(3, ' ');
    let mut state = State {
        requests: words.next()?.parse().ok()?,
        latest_us: words.next()?.parse().ok()?,
        latest: words.next()?.to_owned(),
        sums: Sums::default(),
    };
    for line in lines {
        let (name, sum) = line.rsplit_once(' ')?;
        state.sums.0.insert(name.to_owned(), sum.parse().ok()?);
    }
    Some(state)
}
