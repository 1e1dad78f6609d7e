//! `meta-server --config config.ini --name meta1`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use meta_server::{Options, ServeError, StorageError, run};
use settings::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The meta server of a Holdfast cluster: knows the apps, their partitions and the replica servers.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The file that configures every process.
    #[arg(long, default_value = "config.ini")]
    config: PathBuf,
    /// Which server of that file this is.
    #[arg(long, default_value = "meta1")]
    name: String,
    /// A setting that counts instead of the file's.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// What the caller did wrong.
const USAGE: u8 = 2;
/// What went wrong here.
const FAILED: u8 = 1;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=off"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match serve(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, problem)) => {
            eprintln!("meta-server: {problem}");
            ExitCode::from(code)
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), (u8, String)> {
    let settings = Settings::load(&arguments.config, &arguments.overrides).map_err(usage)?;
    let server = settings.server(&arguments.name).map_err(usage)?;
    if !settings.meta_servers().contains(&server) {
        let name = &server.name;
        return Err(usage(format!(
            "{name} is not a meta server; start it with `replica-server --name {name}`"
        )));
    }
    let options = Options::from_settings(&settings, &server.name).map_err(usage)?;
    let listener = TcpListener::bind(&server.address).await.map_err(|error| {
        usage(format!(
            "{}: {error}; another process may be there, see `ports` in [apps.meta]",
            server.address
        ))
    })?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| (FAILED, error.to_string()))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| (FAILED, error.to_string()))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    run(listener, options, shutdown).await.map_err(|error| (exit_code(&error), error.to_string()))
}

fn usage(problem: impl ToString) -> (u8, String) {
    (USAGE, problem.to_string())
}

/// A data directory that can't be used is for the caller to put right.
fn exit_code(error: &ServeError) -> u8 {
    match error {
        ServeError::Storage(
            StorageError::InUse(_)
            | StorageError::Foreign { .. }
            | StorageError::Format { .. }
            | StorageError::Damaged { .. }
            | StorageError::Directory { .. },
        ) => USAGE,
        _ => FAILED,
    }
}
