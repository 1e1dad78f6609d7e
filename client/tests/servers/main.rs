//! The client library against servers that refuse, break off and fall silent.

mod fake;
mod outcomes;
mod watches;
