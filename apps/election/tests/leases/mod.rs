//! Candidates and one election. That the election is linearizable is what the simulated clusters say, so here it is
//! the app itself, and all that can happen happens between it and the candidates.

use std::collections::BinaryHeap;
use std::io;
use std::time::Duration;

use election::request::{Answer, Record, Request};
use election::{Candidate, ElectionType, Held, Moment, Step};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replicated_app::{AppInfo, AppType, Batch, Decree, Gpid, OpenContext, ReplicatedApp};

const RATIO_PERMILLE: u32 = 10;
const LEASE: Duration = Duration::from_millis(1000);

/// What is wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// A lease is counted from when the answer came.
    CountsFromTheAnswer,
    /// A challenger waits for the lease without the ratio of the clocks.
    ForgetsTheRatio,
    /// A lease ends by the replicated timestamp, as the clocks of the primaries have it.
    TrustsTimestamps,
}

/// What happens at a true instant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// A candidate's process looks what is to be done.
    Look(usize),
    /// A request arrives at the election.
    Arrives { from: usize, question: u64, request: Vec<u8> },
    /// Its answer arrives; `None`: the candidate gives up waiting.
    Answered { to: usize, question: u64, answer: Option<Vec<u8>> },
    /// A watcher sees a record.
    Seen { by: usize, record: Vec<u8> },
}

/// Sooner ones first; those of one instant in the order in which they were planned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Planned(Duration, u64, What);

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Process {
    candidate: Candidate,
    /// Thousandths above the slowest clock there may be.
    fast_permille: u64,
    /// What its clock said in the beginning.
    began: Duration,
    /// The question that it waits for.
    question: u64,
    /// It does nothing before; its clock goes on.
    frozen_until: Duration,
}

impl Process {
    fn clock(&self, now: Duration) -> Moment {
        let micros = now.as_micros() as u64;
        Moment(self.began + Duration::from_micros(micros + micros * self.fast_permille / 1000))
    }

    /// The true instant at which its clock says so.
    fn instant(&self, moment: Moment) -> Duration {
        let micros = (moment.0.saturating_sub(self.began)).as_micros() as u64;
        Duration::from_micros(micros * 1000 / (1000 + self.fast_permille) + 1)
    }
}

struct World {
    mistake: Mistake,
    dice: StdRng,
    now: Duration,
    planned: BinaryHeap<Planned>,
    count: u64,
    processes: Vec<Process>,
    app: Box<dyn ReplicatedApp>,
    decree: u64,
    /// How far the present primary's wall clock is ahead.
    ahead_us: u64,
    timestamp_us: u64,
    lease_over_us: u64,
    _folder: tempfile::TempDir,
    elections: u64,
    tokens: Vec<(u64, u64)>,
}

impl World {
    fn new(seed: u64, mistake: Mistake) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let info = AppInfo::default();
        let app =
            ElectionType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &info, folder: folder.path() })?;
        let mut world = Self {
            mistake,
            dice: StdRng::seed_from_u64(seed),
            now: Duration::ZERO,
            planned: BinaryHeap::new(),
            count: 0,
            processes: Vec::new(),
            app,
            decree: 0,
            ahead_us: 0,
            timestamp_us: 0,
            lease_over_us: 0,
            _folder: folder,
            elections: 0,
            tokens: Vec::new(),
        };
        for index in 0..world.dice.random_range(2..=5) {
            let process = world.process();
            world.processes.push(process);
            world.plan(0, What::Look(index));
        }
        Ok(world)
    }

    fn process(&mut self) -> Process {
        let ratio = if self.mistake == Mistake::ForgetsTheRatio { 0 } else { RATIO_PERMILLE };
        let candidate = Candidate::new(self.dice.random(), LEASE, ratio);
        let fast_permille = if self.dice.random() { u64::from(RATIO_PERMILLE) } else { 0 };
        let began = Duration::from_secs(self.dice.random_range(0..1_000_000));
        Process { candidate, fast_permille, began, question: 0, frozen_until: Duration::ZERO }
    }

    fn plan(&mut self, in_us: u64, what: What) {
        self.plan_at(self.now + Duration::from_micros(in_us), what);
    }

    fn plan_at(&mut self, at: Duration, what: What) {
        self.count += 1;
        self.planned.push(Planned(at.max(self.now), self.count, what));
    }

    /// How long something takes: mostly little, sometimes more than a lease.
    fn delay(&mut self) -> u64 {
        let most = if self.dice.random_ratio(1, 10) { 1_500_000 } else { 2_000 };
        self.dice.random_range(100..most)
    }

    /// Runs for so long; `Err`: two were master at once.
    fn run(&mut self, span: Duration) -> Result<(), String> {
        while let Some(Planned(at, _, what)) = self.planned.pop() {
            if at > span {
                break;
            }
            self.now = at;
            self.happens(what);
            self.check()?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), String> {
        let held: Vec<(usize, Held)> = (0..self.processes.len())
            .filter_map(|index| {
                let process = &self.processes[index];
                Some((index, process.candidate.held(process.clock(self.now))?))
            })
            .collect();
        for (index, held) in &held {
            let nonce = self.processes[*index].candidate.nonce();
            if self.tokens.last().is_none_or(|&(_, last)| last != nonce) {
                if self.tokens.last().is_some_and(|&(token, _)| held.token <= token) {
                    return Err(format!("token {} after {:?}", held.token, self.tokens.last()));
                }
                self.tokens.push((held.token, nonce));
                self.elections += 1;
            }
        }
        if held.len() > 1 { Err(format!("{held:?} at {:?}", self.now)) } else { Ok(()) }
    }

    fn happens(&mut self, what: What) {
        if self.dice.random_ratio(1, 200) {
            // Another primary leads, with another idea of what time it is.
            self.ahead_us = self.dice.random_range(0..3_600_000_000);
        }
        match what {
            What::Look(index) => self.look(index),
            What::Arrives { from, question, request } => self.arrives(from, question, &request),
            What::Answered { to, question, answer } => self.answered(to, question, answer),
            What::Seen { by, record } => {
                let record = Record::decode(&record).expect("a record");
                if !self.is_frozen(by, &What::Seen { by, record: record.encode().to_vec() }) {
                    let clock = self.processes[by].clock(self.now);
                    self.processes[by].candidate.sees(clock, record);
                    self.plan(0, What::Look(by));
                }
            }
        }
    }

    /// Whoever is frozen does it later.
    fn is_frozen(&mut self, index: usize, what: &What) -> bool {
        let until = self.processes[index].frozen_until;
        if self.now < until {
            self.plan_at(until, what.clone());
        }
        self.now < until
    }

    fn look(&mut self, index: usize) {
        if self.is_frozen(index, &What::Look(index)) {
            return;
        }
        if self.dice.random_ratio(1, 100) {
            let span = Duration::from_micros(self.dice.random_range(0..3_000_000));
            self.processes[index].frozen_until = self.now + span;
        }
        let clock = self.processes[index].clock(self.now);
        match self.processes[index].candidate.next(clock) {
            Step::Take { version } => {
                self.processes[index].candidate.asks(clock);
                self.processes[index].question += 1;
                self.ask(index, version);
            }
            Step::Wait(Moment::NEVER) => {
                // It reads what there is.
                let record = self.record().encode().to_vec();
                let delay = self.delay();
                self.plan(delay, What::Seen { by: index, record });
                if self.processes[index].question == 0 {
                    self.plan(2_000_000, What::Look(index));
                }
            }
            Step::Wait(until) => {
                let at = self.processes[index].instant(until);
                self.plan_at(at, What::Look(index));
            }
            Step::Over(_) => {
                self.processes[index] = self.process();
                self.plan(1000, What::Look(index));
            }
        }
    }

    fn ask(&mut self, from: usize, version: u64) {
        let Process { candidate, question, .. } = &self.processes[from];
        let (nonce, question) = (candidate.nonce(), *question);
        let lease_ms = LEASE.as_millis() as u32;
        let request = Request::Take { version, nonce, lease_ms, name: "n", election: "e" }.encode().to_vec();
        let delay = self.delay();
        if !self.dice.random_ratio(1, 20) {
            self.plan(delay, What::Arrives { from, question, request });
        }
        self.plan(1_000_000, What::Answered { to: from, question, answer: None });
    }

    fn record(&self) -> Record {
        let request = Request::Read { election: "e" }.encode();
        Record::decode(&self.app.read(&request).expect("a read")).expect("a record")
    }

    fn arrives(&mut self, from: usize, question: u64, request: &[u8]) {
        self.decree += 1;
        self.timestamp_us = self.timestamp_us.max(self.now.as_micros() as u64 + self.ahead_us);
        let mut request = request.to_vec();
        if self.mistake == Mistake::TrustsTimestamps
            && self.timestamp_us >= self.lease_over_us
            && let Ok(Request::Take { nonce, lease_ms, name, election, .. }) = Request::decode(&request)
        {
            let version = self.record().version;
            request = Request::Take { version, nonce, lease_ms, name, election }.encode().to_vec();
        }
        let requests = [request.into()];
        let batch =
            Batch { decree: Decree(self.decree), timestamp_us: self.timestamp_us, requests: &requests };
        let answer = self.app.apply(&batch).remove(0).expect("well formed").to_vec();
        if Answer::decode(&answer).is_some_and(|answer| answer.accepted) {
            self.lease_over_us = self.timestamp_us + LEASE.as_micros() as u64;
        }
        for change in self.app.take_changes() {
            for by in 0..self.processes.len() {
                let delay = self.delay();
                self.plan(delay, What::Seen { by, record: change.value.to_vec() });
            }
        }
        if !self.dice.random_ratio(1, 20) {
            let delay = self.delay();
            self.plan(delay, What::Answered { to: from, question, answer: Some(answer) });
        }
    }

    fn answered(&mut self, to: usize, question: u64, answer: Option<Vec<u8>>) {
        if self.processes[to].question != question {
            return; // it asked something else since, or it is another one
        }
        if self.is_frozen(to, &What::Answered { to, question, answer: answer.clone() }) {
            return;
        }
        let process = &mut self.processes[to];
        let clock = process.clock(self.now);
        if self.mistake == Mistake::CountsFromTheAnswer && answer.is_some() {
            process.candidate.asks(clock);
        }
        let answer = answer.map(|bytes| Answer::decode(&bytes).expect("an answer"));
        let heard = answer.map_or(election::Heard::Nothing, election::Heard::Answer);
        process.candidate.hears(clock, heard, Duration::from_millis(50));
        self.plan(0, What::Look(to));
    }
}

/// The first seed in which two were master at once; and how often anybody was elected.
fn run(mistake: Mistake, seeds: u64) -> (Option<(u64, String)>, u64) {
    let mut elections = 0;
    for seed in 0..seeds {
        let mut world = World::new(seed, mistake).expect("a folder");
        if let Err(two) = world.run(Duration::from_secs(60)) {
            return (Some((seed, two)), elections);
        }
        elections += world.elections;
    }
    (None, elections)
}

#[test]
fn never_two_masters_at_once() {
    let (two, elections) = run(Mistake::None, 300);
    assert_eq!(two, None);
    assert!(elections > 3000, "only {elections} elections in 300 minutes: nothing was tested");
}

#[test]
fn mistakes_about_time_are_found() {
    for mistake in [Mistake::CountsFromTheAnswer, Mistake::ForgetsTheRatio, Mistake::TrustsTimestamps] {
        let (two, _) = run(mistake, 300);
        let (seed, what) = two.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        println!("{mistake:?}: seed {seed}, {what}");
    }
}
