//! What the command lines of apps have in common.

use std::process::ExitCode;

use clap::Args;
use settings::Settings;

use super::{Common, EXIT_MISTAKE, EXIT_NOT_DONE, EXIT_UNKNOWN, complain};
use crate::meta::MetaError;
use crate::{Cluster, Failure};

/// Arguments of a command line that uses one app.
#[derive(Clone, Debug, Args)]
pub struct AppArgs {
    /// What every command line takes.
    #[command(flatten)]
    pub common: Common,
    /// How long an operation may take, all attempts together, in milliseconds [default: client.timeout_ms]
    #[arg(long, value_name = "MS", global = true, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

impl AppArgs {
    /// The cluster, and the settings with what the arguments change in them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// After a line that says what is wrong, the code to exit with.
    pub fn connect(&self) -> Result<(Cluster, Settings), ExitCode> {
        let mut settings = self.common.settings().map_err(|error| complain(EXIT_MISTAKE, error))?;
        if let Some(timeout_ms) = self.timeout {
            settings.client.timeout_ms = timeout_ms;
        }
        let cluster = Cluster::connect(&settings).map_err(|error| complain(EXIT_MISTAKE, error))?;
        Ok((cluster, settings))
    }
}

/// Runs a command line that waits for servers.
pub fn run(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => complain(EXIT_NOT_DONE, format!("no threads can be started: {error}")),
    }
}

/// Says why an app could not be opened, and returns the code to exit with.
#[must_use]
pub fn not_opened(error: MetaError) -> ExitCode {
    match error {
        MetaError::NotFound(why) => complain(EXIT_MISTAKE, Failure::UnknownApp(why)),
        MetaError::Invalid(_) => complain(EXIT_MISTAKE, error),
        MetaError::Refused(_) | MetaError::Unreachable(_) => complain(EXIT_NOT_DONE, error),
    }
}

/// Says why an operation was surely not done, and returns the code to exit with.
#[must_use]
pub fn not_done(why: &Failure) -> ExitCode {
    if why.is_callers_mistake() {
        return complain(EXIT_MISTAKE, why);
    }
    complain(EXIT_NOT_DONE, format!("surely not done: {why}"))
}

/// Says that nobody knows how an operation ended, and returns the code to exit with.
#[must_use]
pub fn unknown() -> ExitCode {
    let what = "the outcome is unknown: no answer in time; it counts at most once, now or later";
    complain(EXIT_UNKNOWN, what)
}

/// Ctrl-C while something runs that can be ended early: the first one ends it, and what was done can be reported; the
/// second one ends the process.
pub async fn stop_at_ctrl_c(stop: impl FnOnce()) {
    const INTERRUPTED: i32 = 130;
    if tokio::signal::ctrl_c().await.is_ok() {
        stop();
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    }
}
