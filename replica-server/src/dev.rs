//! `replica-server dev`: a meta server and all replica servers in one process, for a first look and for tests. They
//! talk through sockets as they do elsewhere, and each has its own folder.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use replicated_app::Registry;
use settings::Settings;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::command_line::listen;
use crate::{Options, StartError};

/// What `dev` can be told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The folder for everything that is stored; counts instead of `core.data_dir`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Runs the cluster until `shutdown` is done: replica servers end first, so that they can hand over.
///
/// # Errors
/// Whatever keeps one of its servers from starting.
pub(crate) async fn run(
    settings: Settings,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let mut listeners = Vec::new();
    for server in settings.meta_servers().into_iter().take(1).chain(settings.replica_servers()) {
        listeners.push((listen(&server.address, &server.name).await?, server.name));
    }
    let (stop_replicas, replicas_stop) = watch::channel(false);
    let (stop_meta, meta_stop) = watch::channel(false);
    let mut replicas = JoinSet::new();
    let mut listeners = listeners.into_iter();
    let (listener, name) =
        listeners.next().ok_or_else(|| StartError::new("the settings name no meta server"))?;
    let options = meta_server::Options::alone(&settings, &name)?;
    let mut meta = tokio::spawn(meta_server::run(listener, options, told(meta_stop)));
    for (listener, name) in listeners {
        let options = Options { settings: settings.clone(), name, registry: Arc::clone(&registry) };
        replicas.spawn(crate::run(listener, options, told(replicas_stop.clone())));
    }

    let mut result = tokio::select! {
        () = shutdown => Ok(()),
        ended = &mut meta => return Err(meta_ended(ended)),
        Some(ended) = replicas.join_next() => flat(ended),
    };
    let _ = stop_replicas.send(true);
    while let Some(ended) = replicas.join_next().await {
        result = result.and(flat(ended));
    }
    let _ = stop_meta.send(true);
    match meta.await {
        Ok(Ok(())) => result,
        ended => result.and(Err(meta_ended(ended))),
    }
}

async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn flat(ended: Result<Result<(), StartError>, tokio::task::JoinError>) -> Result<(), StartError> {
    ended.unwrap_or_else(|panic| Err(StartError::new(format!("a replica server failed: {panic}"))))
}

fn meta_ended(ended: Result<Result<(), meta_server::ServeError>, tokio::task::JoinError>) -> StartError {
    match ended {
        Ok(Ok(())) => StartError::new("the meta server ended by itself"),
        Ok(Err(error)) => StartError::new(format!("meta server: {error}")),
        Err(panic) => StartError::new(format!("the meta server failed: {panic}")),
    }
}
