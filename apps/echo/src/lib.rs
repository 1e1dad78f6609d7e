//! Echo, replicated: the counterpart of PhxPaxos's phxecho. What is sent comes back, once it has a place in the order
//! of all that was sent. The smallest app there can be, to see a cluster stall and go on.
//!
//! * [`EchoType`] is what a replica server registers.
//! * [`Echo`] is what a caller uses.
//! * The binary `echo-app` is the interactive loop (docs/apps/echo.md).
//!
//! A request is any bytes, and the answer to a write is the same bytes. A read answers the ones that were written
//! last, or none.

mod app;
mod client;

pub use app::{EchoApp, EchoType};
pub use client::Echo;
