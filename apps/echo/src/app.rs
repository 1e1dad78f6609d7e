//! The replicated echo.

use std::io;

use bytes::Bytes;
use replicated_app::{
    AppAnswer, AppType, ApplyMode, Batch, CheckpointJob, Checkpoints, Decree, Digest, LearnState,
    OpenContext, ReplicatedApp,
};
use serde::{Deserialize, Serialize};

/// The app type `echo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoType;

impl AppType for EchoType {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn open(&self, context: &OpenContext<'_>) -> io::Result<Box<dyn ReplicatedApp>> {
        let (checkpoints, state) = Checkpoints::open(context.folder)?;
        let heard = state.map_or(Ok(Heard::default()), |state| decode(&state))?;
        Ok(Box::new(EchoApp { heard, applied: checkpoints.durable(), checkpoints }))
    }
}

/// What an echo remembers, so that replicas can be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    /// How many requests there were.
    count: u64,
    /// The last one.
    last: Bytes,
}

/// One partition's echo.
#[derive(Debug)]
pub struct EchoApp {
    heard: Heard,
    /// The last decree whose effect is in `heard`.
    applied: Decree,
    checkpoints: Checkpoints,
}

impl ReplicatedApp for EchoApp {
    fn apply(&mut self, batch: &Batch<'_>) -> Vec<AppAnswer> {
        assert_eq!(batch.decree, self.applied.next(), "decrees come in order, without gaps (S11)");
        self.applied = batch.decree;
        if let Some(last) = batch.requests.last() {
            self.heard = Heard { count: self.heard.count + batch.requests.len() as u64, last: last.clone() };
        }
        batch.requests.iter().map(|request| Ok(request.clone())).collect()
    }

    fn read(&self, _request: &[u8]) -> AppAnswer {
        Ok(self.heard.last.clone())
    }

    fn last_durable_decree(&self) -> Decree {
        self.checkpoints.durable()
    }

    fn sync_checkpoint(&mut self) -> io::Result<()> {
        self.checkpoints.write(self.applied, encode(&self.heard))
    }

    fn async_checkpoint(&mut self) -> io::Result<Option<CheckpointJob>> {
        self.checkpoints.write_later(self.applied, || encode(&self.heard))
    }

    fn get_checkpoint(&self) -> io::Result<LearnState> {
        self.checkpoints.newest()
    }

    fn apply_checkpoint(&mut self, mode: ApplyMode, state: &LearnState) -> io::Result<()> {
        let heard = self.checkpoints.take_over(mode, state, self.applied, decode)?;
        if mode == ApplyMode::Learn {
            (self.heard, self.applied) = (heard, state.decree);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        Digest::of(&encode(&self.heard))
    }

    fn close(self: Box<Self>, clean_up: bool) -> io::Result<()> {
        self.checkpoints.close(clean_up)
    }
}

/// Begins every checkpoint, so that one of another app or of a later format is told apart.
const FORMAT: &str = "echo 1";

fn encode(heard: &Heard) -> Vec<u8> {
    postcard::to_stdvec(&(FORMAT, heard)).expect("numbers and bytes can always be serialised")
}

fn decode(state: &[u8]) -> io::Result<Heard> {
    match postcard::from_bytes::<(&str, Heard)>(state) {
        Ok((FORMAT, heard)) => Ok(heard),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "this is no checkpoint of an echo")),
    }
}

#[cfg(test)]
mod tests {
    use replicated_app::{AppInfo, Gpid};

    use super::*;

    #[test]
    fn it_answers_what_was_said_and_remembers_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let info = AppInfo::default();
        let context = OpenContext { gpid: Gpid::new(1, 0), app: &info, folder: folder.path() };
        let mut app = EchoType.open(&context).unwrap();
        assert_eq!(app.read(b""), Ok(Bytes::new()));
        let said = ["hello", "", "a\nb"].map(Bytes::from);
        let answers = app.apply(&Batch { decree: Decree(1), timestamp_us: 0, requests: &said });
        assert_eq!(answers, said.map(Ok));
        assert!(app.apply(&Batch { decree: Decree(2), timestamp_us: 0, requests: &[] }).is_empty());
        assert_eq!(app.read(b""), Ok("a\nb".into()));
        app.sync_checkpoint().unwrap();

        let before = app.digest();
        let again = [Bytes::from("a\nb")];
        app.apply(&Batch { decree: Decree(3), timestamp_us: 0, requests: &again });
        assert_ne!(app.digest(), before, "how often it was said counts");
        let app = EchoType.open(&context).unwrap();
        assert_eq!((app.digest(), app.last_durable_decree()), (before, Decree(2)));
    }
}
