//! The echo on simulated clusters with faults, held against a plain model (docs/test-your-app.md).

use std::io;

use echo::EchoType;
use replicated_app::{AppAnswer, AppType, Bytes, ReplicatedApp};
use simulator::{Dice, Home, Model, Sometimes, Subject, check};

/// What an echo should do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Last(Vec<u8>);

impl Model for Last {
    fn apply(&mut self, request: &[u8], _: u64) -> AppAnswer {
        self.0 = request.to_vec();
        Ok(self.0.clone().into())
    }

    fn read(&self, _: &[u8]) -> AppAnswer {
        Ok(self.0.clone().into())
    }
}

struct Echo;

impl Subject for Echo {
    type Model = Last;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        EchoType.open(&home.context())
    }

    /// Any two differ, or nearly so: a read tells which one was last.
    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        let digits: Vec<char> = ('0'..='9').collect();
        let value: String = (0..6).map(|_| dice.pick(&digits)).collect();
        format!("{key} {value}").into()
    }

    fn read(&self, _: u8, _: &mut Dice) -> Bytes {
        Bytes::new()
    }

    fn keys_are_apart(&self) -> bool {
        false
    }

    fn checkpoints_are_canonical(&self) -> bool {
        true
    }
}

#[test]
fn the_echo_does_what_its_model_does() {
    let tally = check(&Echo, 0..200);
    for what in [Sometimes::WriteDone, Sometimes::ReadDone, Sometimes::RetryAnswered] {
        assert!(tally.of(what) > 100, "{what:?} happened only {} times", tally.of(what));
    }
    for what in [Sometimes::LearnByCheckpoint, Sometimes::CheckpointDone, Sometimes::Wiped] {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}
