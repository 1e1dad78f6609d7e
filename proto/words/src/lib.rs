//! The protocol's vocabulary as types: what docs/protocol.md §1 calls "words", and every message that
//! nodes and the meta server exchange.
//!
//! This crate decides nothing and does nothing. It is the one thing that the cores, the log, the wire
//! and the apps agree on, and it depends on none of them.
//!
//! | message | from | to | section |
//! | --- | --- | --- | --- |
//! | [`PeerMessage::Hello`], [`PeerMessage::Welcome`] | any node | any node | §1 (life) |
//! | [`Prepare`] | primary | secondary, learner | §3.1 |
//! | [`PrepareAck`], [`PrepareRefused`] | secondary, learner | primary | §3.2 |
//! | [`Heartbeat`] | primary's node | secondary's node | §5.1 |
//! | [`HeartbeatAck`] | secondary's node | primary's node | §5.2 |
//! | [`StepDown`] | old primary | all members | §5.5 |
//! | [`AddLearner`] | primary | learner | §6.1 |
//! | [`Learn`], [`LearnFailed`] | learner | primary | §6.1 |
//! | [`LearnMutations`], [`LearnCheckpoint`], [`LearnFromList`], [`LearnStartOver`] | primary | learner | §6.1 |
//! | [`NodeToMeta`] | node | meta server | §4, §5.6 |
//! | [`MetaToNode`] | meta server | node | §4 |

mod app;
mod change;
mod configuration;
mod envs;
mod ids;
mod meta_message;
mod mutation;
mod peer_message;
mod record;
mod reply;
mod time;
mod writes;

pub use app::{AppInfo, AppTerms, RoleName};
pub use change::{Change, ChangePage, KeyFilter, Watch};
pub use configuration::{Configuration, IllegalStep};
pub use envs::{AppEnvs, BadEnv, Denial, Denied, EnvRules, Limit, Throttle};
pub use ids::{AppId, Ballot, Decree, Gpid, HIGHEST_COUNT, Life, NodeId, Signature};
pub use meta_message::{
    Command, CopyProgress, DiskSpace, MetaToNode, NodeAddress, NodeToMeta, PartitionConfiguration, Proposal,
    ReplicaDescription, ReplicaReport,
};
pub use mutation::{Mutation, MutationId, SessionStamp, Write, WriteKind};
pub use peer_message::{
    AddLearner, Claim, Envelope, Heartbeat, HeartbeatAck, Learn, LearnCheckpoint, LearnFailed, LearnFromList,
    LearnMutations, LearnStartOver, PeerMessage, Prepare, PrepareAck, PrepareRefused, StepDown,
};
pub use record::Record;
pub use reply::{AppAnswer, Refusal, Rejection, Reply};
pub use time::{Now, Time};
pub use writes::{DamagedWrites, Writes};
