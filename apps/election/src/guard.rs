//! Being master, and knowing for how long.

use std::time::Duration;

use client::{Failure, Outcome};
use rand::Rng;
use tokio::sync::{mpsc, watch};

use crate::candidate::Heard;
use crate::request::{Answer, LEASE_MS, Record, Request, check_name};
use crate::{Candidate, Election, Held, Lost, Moment, Observation, ObservationFailure, Step, now};

/// Between two questions of which the first had no answer, about.
const PAUSE: std::ops::Range<Duration> = Duration::from_millis(50)..Duration::from_millis(150);
/// No timer is set for longer than this: a timer does not run while its machine sleeps, the clock does.
const LOOK: Duration = Duration::from_millis(100);

/// Why a campaign did not lead to a mastership, and never will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CampaignFailure {
    /// The name or the lease makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The election can't be followed for good.
    #[error("{0}")]
    Observation(#[from] ObservationFailure),
    /// A request was refused for good.
    #[error("{0}")]
    Request(Failure),
}

/// What the task behind a guard says.
#[derive(Clone, Debug, Default)]
struct Status {
    held: Option<Held>,
    over: Option<Over>,
}

#[derive(Clone, Debug)]
enum Over {
    Lost(Lost),
    Failed(CampaignFailure),
}

/// A mastership. It is renewed in the background for as long as the guard lives; dropping it resigns.
///
/// Nobody else is master while [`is_held`](Self::is_held), provided that clocks run alike within
/// `[replication] clock_ratio_permille`. What was begun while it was held may end later: whoever is asked to do
/// something in a master's name should be given the [`token`](Self::token), and refuse one that is lower than another
/// that it has seen (docs/fencing.md).
#[derive(Debug)]
pub struct Guard {
    token: u64,
    status: watch::Receiver<Status>,
    /// The task resigns when this is dropped.
    _alive: mpsc::Sender<()>,
    /// Closed when the task has ended.
    ended: mpsc::Receiver<()>,
}

impl Guard {
    pub(crate) async fn campaign(
        election: Election,
        name: &str,
        lease: Duration,
    ) -> Result<Self, CampaignFailure> {
        let invalid = |why: String| CampaignFailure::Invalid(why);
        check_name(name.as_bytes()).map_err(|no| invalid(no.message))?;
        let lease_ms = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX);
        if !LEASE_MS.contains(&lease_ms) {
            let (least, most) = LEASE_MS.into_inner();
            return Err(invalid(format!("a lease has {least} to {most} ms, not {}", lease.as_millis())));
        }
        loop {
            let (sender, mut status) = watch::channel(Status::default());
            let (alive, holder) = mpsc::channel(1);
            let (ending, ended) = mpsc::channel(1);
            let candidate = Candidate::new(
                rand::rng().random(),
                Duration::from_millis(lease_ms.into()),
                election.clock_ratio_permille,
            );
            let observation = election.observe();
            // No question of a master is worth waiting for longer than its lease.
            let app = election.app.with_timeout(lease);
            let election = Election { app, ..election.clone() };
            let name = name.to_owned();
            let task = Campaign {
                candidate,
                election,
                observation,
                name,
                lease_ms,
                status: sender,
                holder,
                _ending: ending,
            };
            tokio::spawn(task.run());
            let news = status.wait_for(|status| status.held.is_some() || status.over.is_some()).await;
            // Without news its task has panicked.
            let Status { held, over } = news.map_or(Status::default(), |status| status.clone());
            match (held, over) {
                (Some(Held { token, .. }), None) => return Ok(Self { token, status, _alive: alive, ended }),
                (_, Some(Over::Failed(failure))) => return Err(failure),
                // Lost before it was any use. A new candidate waits until whoever that was is none any more.
                (_, Some(Over::Lost(_)) | None) => {}
            }
        }
    }

    /// Whether it is held at this moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held_for().is_some()
    }

    /// For how long it is held if it is not renewed, by a clock that counts time asleep; `None` if it is not held.
    #[must_use]
    pub fn held_for(&self) -> Option<Duration> {
        let status = self.status.borrow();
        let until = status.held.filter(|_| status.over.is_none())?.until;
        Some(now().until(until)).filter(|left| !left.is_zero())
    }

    /// The fencing token: larger than that of any master before.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Waits until it is not held any more, and says why.
    pub async fn lost(&mut self) -> Lost {
        match self.status.wait_for(|status| status.over.is_some()).await {
            Ok(status) => match status.over {
                Some(Over::Lost(lost)) => lost,
                _ => Lost::LeaseOver,
            },
            Err(_) => Lost::LeaseOver,
        }
    }

    /// Resigns, and waits until that is known to others or its lease would be over.
    pub async fn resign(self) {
        let Self { _alive: alive, mut ended, .. } = self;
        drop(alive);
        ended.recv().await;
    }
}

/// The task behind a guard.
struct Campaign {
    candidate: Candidate,
    election: Election,
    observation: Observation,
    name: String,
    lease_ms: u32,
    status: watch::Sender<Status>,
    /// Closed when the guard is dropped.
    holder: mpsc::Receiver<()>,
    _ending: mpsc::Sender<()>,
}

impl Campaign {
    async fn run(mut self) {
        let over = loop {
            let at = now();
            let step = self.candidate.next(at);
            self.status.send_modify(|status| status.held = self.candidate.held(at));
            let ended = match step {
                Step::Over(lost) => Err(Over::Lost(lost)),
                Step::Take { version } => self.take(version).await,
                Step::Wait(until) => self.wait(until).await,
            };
            match ended {
                Ok(true) => {}
                Ok(false) => return self.resign().await,
                Err(over) => break over,
            }
        };
        let was_revoked = matches!(over, Over::Lost(Lost::Revoked));
        self.status.send_modify(|status| status.over = Some(over));
        if was_revoked {
            // From here on it acts for nobody any more, so nobody has to wait for its lease.
            self.resign().await;
        }
    }

    /// Waits, and looks meanwhile. False: nobody wants it any more.
    async fn wait(&mut self, until: Moment) -> Result<bool, Over> {
        let span = now().until(until).min(LOOK);
        tokio::select! {
            _ = self.holder.recv() => return Ok(false),
            seen = self.observation.next() => self.candidate.sees(now(), seen.map_err(failed)?),
            () = tokio::time::sleep(span) => {}
        }
        Ok(true)
    }

    async fn take(&mut self, version: u64) -> Result<bool, Over> {
        let request = Request::Take {
            version,
            nonce: self.candidate.nonce(),
            lease_ms: self.lease_ms,
            name: &self.name,
            election: &self.election.name,
        };
        let request = request.encode();
        self.candidate.asks(now());
        let outcome = tokio::select! {
            outcome = self.election.change(request) => outcome,
            // It may be elected all the same: then that is resigned from, if it is known in time.
            _ = self.holder.recv() => return Ok(false),
        };
        let heard = match outcome {
            Outcome::Done { answer, .. } => Heard::Answer(answer),
            Outcome::Failed(failure) if failure.is_callers_mistake() => {
                return Err(Over::Failed(CampaignFailure::Request(failure)));
            }
            Outcome::Failed(_) | Outcome::Unknown => Heard::Nothing,
        };
        self.candidate.hears(now(), heard, rand::rng().random_range(PAUSE));
        Ok(true)
    }

    /// Says that it is none any more, for as long as that can help anybody.
    async fn resign(&mut self) {
        let nonce = self.candidate.nonce();
        let mut version = self.candidate.version();
        let tries = async {
            loop {
                let request = Request::Resign { version, nonce, election: &self.election.name };
                let record = match self.election.change(request.encode()).await {
                    Outcome::Done { answer: Answer { accepted: true, .. }, .. } => return,
                    Outcome::Done { answer: Answer { record, .. }, .. } => record,
                    Outcome::Failed(_) | Outcome::Unknown => {
                        tokio::time::sleep(PAUSE.start).await;
                        continue;
                    }
                };
                let Record { version: newest, master } = record;
                if master.is_none_or(|master| master.nonce != nonce) {
                    return;
                }
                version = newest;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(self.lease_ms.into()), tries).await;
    }
}

fn failed(failure: ObservationFailure) -> Over {
    Over::Failed(failure.into())
}
