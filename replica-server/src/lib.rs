//! The replica server's shell: it hosts apps, moves bytes and keeps files, and decides nothing about the protocol.
//! That is `replica-core`'s; the words that pass between the two are its events and outputs.
//!
//! A server that hosts an app of yours is five lines:
//!
//! ```no_run
//! # fn my_app() -> impl replicated_app::AppType { counter::CounterType }
//! use replicated_app::Registry;
//!
//! fn main() -> std::process::ExitCode {
//!     replica_server::main(Registry::new().with(my_app()))
//! }
//! ```
//!
//! | thread | what it does |
//! | --- | --- |
//! | shard | owns the core and the apps (`shard`, `hosted`) |
//! | prepare log | one append and one sync for all that waits (`log_thread`) |
//! | tokio's | streams to peers, clients and the meta server |
//! | tokio's blocking ones | checkpoints, transfers, reads of the log (`workers`) |
//!
//! Between them are bounded queues, drained in batches (`mailbox`); nothing on the way of a write takes a lock.

mod client_service;
mod clock;
mod command_line;
#[cfg(feature = "dev")]
mod dev;
mod disk;
mod durable;
mod hosted;
mod identity;
mod jitter;
mod log_thread;
mod mailbox;
mod meta_session;
mod peer_service;
mod peers;
mod replies;
mod server;
mod shard;
mod start_error;
mod storage;
mod trace;
mod watch_service;
mod watchers;
mod wire;
mod workers;

pub use command_line::main;
pub use server::{Options, run};
pub use start_error::StartError;
