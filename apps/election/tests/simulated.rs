//! Elections on simulated clusters with faults, held against a plain model; and candidates on clocks that drift and
//! stop, with messages that are late, lost and answered for nothing, of whom never two may be master at once.

mod leases;

use std::collections::BTreeMap;
use std::io;

use election::ElectionType;
use election::request::{Answer, MALFORMED, Master, Record, Request};
use replicated_app::{AppAnswer, AppType, Bytes, Rejection, ReplicatedApp};
use simulator::{Dice, Home, Model, Sometimes, Subject, check};

/// What elections should do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Elections(BTreeMap<String, Record>);

fn no() -> Rejection {
    Rejection { code: MALFORMED, message: String::new() }
}

impl Model for Elections {
    fn apply(&mut self, bytes: &[u8], timestamp_us: u64) -> AppAnswer {
        let request = Request::decode(bytes).map_err(|_| no())?;
        let before = self.0.get(request.election()).cloned().unwrap_or_default();
        let version = before.version + 1;
        let after = match (request, before.master.clone()) {
            (Request::Read { .. }, _) => return Ok(before.encode()),
            (Request::Take { version: seen, nonce, lease_ms, name, .. }, master)
                if seen == before.version =>
            {
                match master.filter(|master| master.nonce == nonce) {
                    Some(Master { revoked: true, .. }) => None,
                    same => {
                        let (token, since_us) =
                            same.map_or((version, timestamp_us), |master| (master.token, master.since_us));
                        let name = name.to_owned();
                        Some(Some(Master { nonce, token, lease_ms, since_us, revoked: false, name }))
                    }
                }
            }
            (Request::Resign { version: seen, nonce, .. }, Some(master))
                if seen == before.version && master.nonce == nonce =>
            {
                Some(None)
            }
            (Request::Revoke { version: seen, .. }, Some(master @ Master { revoked: false, .. }))
                if seen == before.version =>
            {
                Some(Some(Master { revoked: true, ..master }))
            }
            _ => None,
        };
        let accepted = after.is_some();
        let record = after.map_or(before, |master| Record { version, master });
        if accepted {
            self.0.insert(request.election().to_owned(), record.clone());
        }
        Ok(Answer { accepted, record }.encode())
    }

    fn read(&self, bytes: &[u8]) -> AppAnswer {
        match Request::decode(bytes) {
            Ok(Request::Read { election }) => Ok(self.0.get(election).cloned().unwrap_or_default().encode()),
            _ => Err(no()),
        }
    }
}

struct Candidates;

impl Subject for Candidates {
    type Model = Elections;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        ElectionType.open(&home.context())
    }

    /// Guesses: of the low versions one is right now and then.
    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        let election = &format!("e{key}");
        let (version, nonce) = (dice.between(0, 30), dice.between(1, 3));
        match dice.between(0, 9) {
            0 => Request::Resign { version, nonce, election },
            1 => Request::Revoke { version, election },
            _ => Request::Take { version, nonce, lease_ms: 1000, name: "n", election },
        }
        .encode()
    }

    fn read(&self, key: u8, _: &mut Dice) -> Bytes {
        Request::Read { election: &format!("e{key}") }.encode()
    }

    fn show_request(&self, request: &[u8]) -> String {
        Request::decode(request).map_or_else(|no| no.message, |request| format!("{request:?}"))
    }

    fn show_answer(&self, answer: &AppAnswer) -> String {
        match answer {
            Ok(bytes) => Answer::decode(bytes).map_or_else(
                || format!("{:?}", Record::decode(bytes)),
                |Answer { accepted, record }| format!("{accepted}: {record:?}"),
            ),
            Err(no) => format!("no ({})", no.code),
        }
    }
}

#[test]
fn an_election_does_what_its_model_does() {
    let tally = check(&Candidates, 0..200);
    for what in [Sometimes::WriteDone, Sometimes::ReadDone] {
        assert!(tally.of(what) > 100, "{what:?} happened only {} times", tally.of(what));
    }
    for what in [Sometimes::WatchMoved, Sometimes::LearnByCheckpoint, Sometimes::AppLost] {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}
