//! The log as its users see it: what comes back after crashes, damage and collection.

mod collect;
mod crash;
mod damage;
mod failures;
mod memory_folder;
mod model;
mod reader;
mod round_trip;
