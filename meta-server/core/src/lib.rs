//! The meta server's decisions without any I/O: apps, partitions, nodes; commands in, changes out.
//!
//! # The contract with the shell
//! [`MetaCore`] owns everything. The shell passes what happens to [`MetaCore::step`] and then carries out the
//! [`MetaOutput`]:
//!
//! 1. **Commit** all of `output.commit`: give each the time of day ([`WallTime`]), make both durable, in order
//!    (later: replicate them by Raft), then hand each back as [`MetaEvent::Committed`]. Nothing of them has taken
//!    effect before.
//! 2. **Send** all of `output.send`. What can't be sent is dropped; the core says it again.
//! 3. **Refuse** all of `output.refuse`: tell why, and close the session.
//! 4. **Answer** all of `output.replies`.
//!
//! Then it sleeps until something arrives or [`MetaCore::deadline`] is due; due time is passed by
//! [`MetaEvent::Tick`].
//!
//! [`MetaState`] is the durable part and changes by [`MetaState::apply`] alone, deterministically. All else in
//! [`MetaCore`] can be lost at any time: nodes report again.

mod admin;
mod apps;
mod balancer;
mod command;
mod cure;
mod diagnosis;
mod drain;
mod event;
mod explain;
mod first_app;
mod guardian;
mod history;
mod inspect;
mod level;
mod loss;
mod machine;
mod messages;
mod nodes;
mod operator;
mod partition;
mod plan;
mod record;
mod recovery;
mod settings;
mod state;

pub use admin::{
    AdminRefusal, AdminReply, AdminRequest, AppDescription, AppRoute, AppSummary, BalanceKind, BalancePlan,
    BalancerStatus, NodeStatus, PartitionStatus, PastChange, PlannedMove, ProposalKind, RefusalKind,
    UnknownKind,
};
pub use command::{Change, Command, EnvChange, Refused, WallTime};
pub use diagnosis::{Diagnosis, LostPartition, ReplicaCopy, UnknownReplica};
pub use event::{AdminToken, MetaEvent, MetaOutput, SessionId};
pub use explain::{Explanation, NodeOpinion};
pub use history::{EVENTS_KEPT, Event, STEPS_KEPT, Step};
pub use level::{Level, LevelStatus};
pub use machine::MetaCore;
pub use record::{AppRecord, AppStatus};
pub use recovery::{PlannedApp, PlannedPartition, RecoveryPlan};
pub use settings::MetaSettings;
pub use state::{MAX_NAME_BYTES, MAX_PARTITIONS, MAX_REPLICAS, MetaState};
