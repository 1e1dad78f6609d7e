//! Why a command is not done, and the exit code that says so.

use client::command_line::EXIT_MISTAKE;
use client::meta::MetaError;

/// What ended a command. [`Failure::code`] is documented in `admin --help`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The meta server refuses, has no such thing, or was not reached.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// It is decided and durable, but was not complete when the wait ended.
    #[error("{0}")]
    NotYet(String),
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Meta(MetaError::Refused(_)) => 1,
            Self::Meta(MetaError::NotFound(_) | MetaError::Invalid(_)) => EXIT_MISTAKE,
            Self::Meta(MetaError::Unreachable(_)) => 3,
            Self::NotYet(_) => 4,
        }
    }

    /// Whether to look again can help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Meta(MetaError::Unreachable(_)))
    }
}
