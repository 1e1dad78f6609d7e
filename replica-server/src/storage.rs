//! Recovery at start: the prepare log is read, the apps that it says are here are opened, and what both hold is put
//! together by `replica_core::Replay`.

use std::sync::Arc;

use replica_core::{Recovered, Replay};
use replica_log::{Damage, Opened, PrepareLog, RealFolder};
use replicated_app::Registry;

use crate::StartError;
use crate::hosted::Apps;
use crate::identity::DataFolder;

/// Opens the prepare log of a data directory.
///
/// # Errors
/// It can't be read or written, or is of another version. Damaged records are no error: they cost the partitions
/// that they may have touched (§7.2).
pub(crate) fn open_log(data: &DataFolder, segment_bytes: u64) -> Result<(PrepareLog, Opened), StartError> {
    let path = data.path.join("log");
    let failed =
        |error: &dyn std::fmt::Display| StartError::new(format!("prepare log {}: {error}", path.display()));
    let folder = RealFolder::open(&path).map_err(|error| failed(&error))?;
    PrepareLog::open(Arc::new(folder), replica_log::Options { segment_bytes }).map_err(|error| failed(&error))
}

/// Replays the log, opens the apps, and answers what this node's replicas are.
///
/// # Errors
/// There is a replica of an app type that this server does not host: to go on without it would have other nodes
/// replace it, and its data here deleted.
pub(crate) fn recover(
    opened: &Opened,
    apps: &mut Apps,
    registry: &Registry,
) -> Result<Recovered, StartError> {
    let mut replay = Replay::new();
    for record in &opened.records {
        replay.on_record(record);
    }
    match &opened.damage {
        Damage::None => {}
        Damage::Partitions(partitions) => {
            for (&gpid, reason) in partitions {
                tracing::error!(%gpid, reason, "the replica can't be trusted: it is to be learned afresh");
                replay.damaged(gpid, reason);
            }
        }
        Damage::All => {
            tracing::error!("the prepare log is damaged: all replicas of this node are to be learned afresh");
            replay.damaged_all();
        }
    }
    if let Some((gpid, app)) = replay.replicas().find(|(_, app)| registry.get(&app.app_type).is_none()) {
        let hosted: Vec<_> = registry.names().collect();
        return Err(StartError::new(format!(
            "there is a replica of {} ({gpid}) here, whose type `{}` this server does not host (it hosts {}): start \
             one that does",
            app.name,
            app.app_type,
            hosted.join(", ")
        )));
    }
    let noted: Vec<_> = replay.replicas().collect();
    let recovered = apps.recover(&noted);
    Ok(replay.finish(recovered))
}
