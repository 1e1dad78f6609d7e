//! The app under test: what its author writes so that the simulator can run it.

use std::fmt::Debug;
use std::hash::Hash;
use std::io;

use bytes::Bytes;
use replicated_app::{AppAnswer, ReplicatedApp};

pub use crate::dice::Dice;
pub use crate::home::Home;
use crate::operation::Operation;
use crate::search::{Contradiction, Searched, search};

/// An app, what clients ask of it, and what it should answer.
///
/// Clients ask about a handful of keys, numbered from 0, so that their operations meet. Each client asks one
/// partition, as if its keys were there.
pub trait Subject: Sync {
    /// What the app should do, said as plainly as possible.
    type Model: Model;

    /// Opens the app of one partition with whatever is durable in its home, as
    /// [`AppType::open`](replicated_app::AppType::open) does; `home.context()` is what that takes.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>>;

    /// Some write about this key.
    fn write(&self, key: u8, dice: &mut Dice) -> Bytes;

    /// Some read about this key.
    fn read(&self, key: u8, dice: &mut Dice) -> Bytes;

    /// Whether no write about one key ever changes an answer about another. Then the search looks at each key
    /// by itself, and can look at longer histories. If not, there is one key only.
    fn keys_are_apart(&self) -> bool {
        true
    }

    /// Whether two apps with the same state write the same checkpoint, to the byte. Then those of all members are
    /// compared when a run ends; otherwise only their digests are.
    fn checkpoints_are_canonical(&self) -> bool {
        false
    }

    /// A request, in a few words.
    fn show_request(&self, request: &[u8]) -> String {
        request.escape_ascii().to_string()
    }

    /// An answer, in a few words.
    fn show_answer(&self, answer: &AppAnswer) -> String {
        match answer {
            Ok(bytes) => bytes.escape_ascii().to_string(),
            Err(rejection) => format!("no ({}): {}", rejection.code, rejection.message),
        }
    }
}

/// What one partition of an app should do, without anything that makes the app fast or durable. The default is
/// a new, empty partition.
pub trait Model: Clone + Debug + Default + Eq + Hash + Send + Sync + 'static {
    /// A write takes effect. `timestamp_us` is what the app sees as its batch's. Of a rejection only the code
    /// counts.
    fn apply(&mut self, request: &[u8], timestamp_us: u64) -> AppAnswer;

    /// A read.
    fn read(&self, request: &[u8]) -> AppAnswer;
}

/// Whether two answers say the same. What a rejection says to people is not the model's business.
pub(crate) fn agree(one: &AppAnswer, other: &AppAnswer) -> bool {
    match (one, other) {
        (Err(one), Err(other)) => one.code == other.code,
        (one, other) => one == other,
    }
}

/// A [`Subject`] without its type, for the world, which is the same for all.
pub(crate) trait AnySubject: Sync {
    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>>;
    fn write(&self, key: u8, dice: &mut Dice) -> Bytes;
    fn read(&self, key: u8, dice: &mut Dice) -> Bytes;
    fn keys_are_apart(&self) -> bool;
    fn checkpoints_are_canonical(&self) -> bool;
    fn show_request(&self, request: &[u8]) -> String;
    fn show_answer(&self, answer: &AppAnswer) -> String;
    fn model(&self) -> Box<dyn AnyModel>;
    fn search(&self, operations: &[Operation]) -> Result<Searched, Box<Contradiction>>;
}

/// A [`Model`] without its type.
pub(crate) trait AnyModel {
    fn apply(&mut self, request: &[u8], timestamp_us: u64) -> AppAnswer;
    fn read(&self, request: &[u8]) -> AppAnswer;
}

impl<S: Subject> AnySubject for S {
    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        Subject::open(self, home)
    }

    fn write(&self, key: u8, dice: &mut Dice) -> Bytes {
        Subject::write(self, key, dice)
    }

    fn read(&self, key: u8, dice: &mut Dice) -> Bytes {
        Subject::read(self, key, dice)
    }

    fn keys_are_apart(&self) -> bool {
        Subject::keys_are_apart(self)
    }

    fn checkpoints_are_canonical(&self) -> bool {
        Subject::checkpoints_are_canonical(self)
    }

    fn show_request(&self, request: &[u8]) -> String {
        Subject::show_request(self, request)
    }

    fn show_answer(&self, answer: &AppAnswer) -> String {
        Subject::show_answer(self, answer)
    }

    fn model(&self) -> Box<dyn AnyModel> {
        Box::new(S::Model::default())
    }

    fn search(&self, operations: &[Operation]) -> Result<Searched, Box<Contradiction>> {
        search::<S::Model>(self, operations)
    }
}

impl<M: Model> AnyModel for M {
    fn apply(&mut self, request: &[u8], timestamp_us: u64) -> AppAnswer {
        Model::apply(self, request, timestamp_us)
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        Model::read(self, request)
    }
}
