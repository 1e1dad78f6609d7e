//! A card server, replicated: the counterpart of Certain's example. Cards by id, each with a user and a balance that
//! never falls below zero.
//!
//! * [`CardType`] is what a replica server registers.
//! * [`Cards`] is what a caller uses.
//! * The binary `card` is the command line (docs/apps/card.md).

mod app;
mod client;
pub mod request;

pub use app::{CardApp, CardType};
pub use client::Cards;
pub use request::Card;
