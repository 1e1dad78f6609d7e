//! A whole cluster in one thread, in virtual time, with faults from a seed.
//!
//! The replica core, the prepare log, the sessions and the meta core are the real ones. The network, the disks,
//! the clocks, the shells around the cores, the app and the clients are simulated, and everything random comes
//! from the seed: the same seed gives the same trace, to the byte. After every step the invariants of
//! PROTOCOL.md §2 are checked; after the last fault the cluster must recover by itself.
//!
//! | module | what |
//! | --- | --- |
//! | `plan` | what a seed decides: size, settings, weather, which faults how often |
//! | `world` | everything there is, and the loop that drives it |
//! | `machine`, `shell`, `logging`, `work`, `power` | a node's disk and process; carrying out what the core owes; crashes |
//! | `meta_server` | the meta server's disk, sessions and operator |
//! | `subject`, `tally_app` | what the cluster hosts: an app, its model, its requests; the one built in |
//! | `home`, `witness` | where an app keeps its files; who watches what it does |
//! | `clients`, `operation`, `history` | operations, their retries and outcomes; V1 to V4 by their decrees |
//! | `watching` | what apps publish, and a watcher that sees it (V5) |
//! | `search`, `picture` | V1 again, by a search that knows no decrees; what contradicts what, drawn |
//! | `invariants`, `states`, `shadow` | S1 to S12; what is durable, kept apart from the code under test |
//! | `bounds`, `log_bounds` | what nodes hold in memory and on disk stays bounded (L2) |
//! | `faults`, `ending`, `convergence` | what goes wrong; recovery after the last fault (L1); equal to the byte |
//! | `balance` | whether everything is spread evenly in the end |
//! | `crash_points` | a run in which the power of one machine goes after its n-th disk operation |
//! | `mask`, `shrink` | what of a failing run can be left out while it still fails |
//! | `scenario` | the language of tests/scenarios: whoever writes one decides what goes wrong, and when |
//! | `sometimes` | what must have happened at least once, or nothing was tested |

mod agenda;
mod apps;
mod balance;
mod bounds;
mod checksum;
mod clients;
mod clock;
mod convergence;
mod crash_points;
mod declared_loss;
mod dice;
mod ending;
mod faults;
mod history;
mod home;
mod ills;
mod invariants;
mod log_bounds;
mod logging;
mod machine;
mod mask;
mod meta_server;
mod network;
mod operation;
mod picture;
mod plan;
mod power;
mod rot;
mod run;
mod scenario;
mod search;
mod shadow;
mod shell;
mod shrink;
mod sometimes;
mod states;
mod subject;
mod tally_app;
mod trace;
mod violation;
mod watching;
mod witness;
mod work;
mod world;

pub use clock::Moment;
pub use crash_points::{disk_operations, run_with_cuts};
pub use mask::{Mask, Numbers, Struck};
pub use operation::{End, Kind, Operation};
pub use run::{Outcome, check, keep_panics, run, run_subject, run_without, search};
pub use scenario::{Scenario, ScenarioFailure, run_scenario, scenario_files};
pub use search::{Contradiction, Searched};
pub use shrink::{Shrunken, shrink};
pub use sometimes::{Sometimes, Tally};
pub use subject::{Dice, Home, Model, Subject};
pub use tally_app::TallySubject;
pub use trace::Trace;
pub use violation::Violation;
