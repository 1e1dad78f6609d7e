//! The log as its users see it: what comes back after crashes, damage and collection.

mod ahead;
mod collect;
mod crash_points;
mod damage;
mod failures;
mod ledger;
mod memory_folder;
mod model;
mod reader;
mod round_trip;
mod torn;
