//! The command line: `replica-server --config config.ini --name replica1`, `replica-server dev`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use replicated_app::Registry;
use settings::Settings;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::{Options, StartError};

/// The file that is read if none is named.
const CONFIG: &str = "config.ini";

/// A replica server: hosts replicas of partitioned apps.
#[derive(Parser)]
#[command(name = "replica-server", version, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The file that configures every process of the cluster [default: config.ini].
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Which of the replica servers in it this is, for example replica1.
    #[arg(long, required = true)]
    name: Option<String>,
    /// Counts instead of what the file says, for example replication.lease_ms=300.
    #[arg(long, value_name = "SECTION.KEY=VALUE", global = true)]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a whole cluster in this process: a meta server and all replica servers of the settings.
    #[cfg(feature = "dev")]
    Dev(crate::dev::Arguments),
}

/// The whole of a server's `main`: reads the command line, serves until SIGTERM or Ctrl-C, and answers the exit
/// code; 2 for whatever keeps it from starting, with one line on standard error.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let runtime = match Builder::new_multi_thread().worker_threads(threads()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&StartError::new(format!("can't start threads: {error}"))),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            #[cfg(feature = "dev")]
            Some(Command::Dev(dev)) => serve_all(dev, arguments.config, arguments.set, registry).await,
            #[cfg(not(feature = "dev"))]
            Some(never) => match never {},
            None => {
                let name = arguments.name.unwrap_or_default();
                serve(name, arguments.config, &arguments.set, registry).await
            }
        }
    });
    // A checkpoint that is being written may be left: it counts only once it is whole.
    runtime.shutdown_background();
    result.map_or_else(|error| refuse(&error), |()| ExitCode::SUCCESS)
}

/// Threads that serve streams: one for each two processors. More would wake each other for every request that one of
/// them could have finished, and the prepare log, checkpoints and transfers have threads of their own.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

async fn serve(
    name: String,
    config: Option<PathBuf>,
    overrides: &[String],
    registry: Registry,
) -> Result<(), StartError> {
    let settings = Settings::load(&config.unwrap_or_else(|| CONFIG.into()), overrides)?;
    let address = settings.server(&name)?.address;
    if settings.meta_servers().iter().any(|server| server.name == name) {
        return Err(StartError::new(format!(
            "{name} is no replica server; start it with `meta-server --name {name}`"
        )));
    }
    let listener = listen(&address, &name).await?;
    let shutdown = asked_to_stop()?;
    crate::run(listener, Options { settings, name, registry: Arc::new(registry) }, shutdown).await
}

/// Without a file the defaults do: a first look needs none.
#[cfg(feature = "dev")]
async fn serve_all(
    arguments: crate::dev::Arguments,
    config: Option<PathBuf>,
    mut overrides: Vec<String>,
    registry: Registry,
) -> Result<(), StartError> {
    overrides.extend(arguments.data.map(|data| format!("core.data_dir={}", data.display())));
    let config = config.or_else(|| Some(PathBuf::from(CONFIG)).filter(|file| file.exists()));
    let settings = match config {
        Some(file) => Settings::load(&file, &overrides)?,
        None => Settings::from_defaults(&overrides)?,
    };
    crate::dev::run(settings, Arc::new(registry), asked_to_stop()?).await
}

/// Listens at a server's address.
///
/// # Errors
/// One line, for a port that is in use above all.
pub(crate) async fn listen(address: &str, name: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        StartError::new(format!(
            "{name} can't listen at {address}: {error}; stop what uses the port, or change `ports` in its section"
        ))
    })
}

/// Done when the process is asked to stop. Signals are taken from now on, not only once this is awaited.
///
/// # Errors
/// If the system refuses.
pub(crate) fn asked_to_stop() -> Result<impl Future<Output = ()>, StartError> {
    let failed = |error: std::io::Error| StartError::new(format!("can't wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
}

fn refuse(error: &StartError) -> ExitCode {
    eprintln!("replica-server: {error}");
    ExitCode::from(2)
}
