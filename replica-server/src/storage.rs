//! Recovery at start: the prepare log is read, the apps that it says are here are opened, and what both hold is put
//! together by `replica_core::Replay`. What apps lack is applied here, in batches, before the node takes part in
//! anything.

use std::sync::Arc;

use replica_core::{ApplyTask, Event, Lacking, Recovered, Replay};
use replica_log::{Damage, LogReader, PrepareLog, RealFolder};
use replicated_app::Registry;
use words::MutationId;

use crate::StartError;
use crate::hosted::Apps;
use crate::identity::DataFolder;

/// Bytes of mutations that are read back at once.
const BATCH_BYTES: usize = 4 << 20;

/// Opens the prepare log of a data directory, replays it, opens the apps, and answers what this node's replicas are.
///
/// # Errors
/// The log can't be read or written, or is of another version; damaged records are no error, they cost the partitions
/// that they may have touched (§7.2). Or there is a replica of an app type that this server does not host: to go on
/// without it would have other nodes replace it, and its data here deleted.
pub(crate) fn recover(
    data: &DataFolder,
    options: replica_log::Options,
    settings: &replica_core::Settings,
    apps: &mut Apps,
    registry: &Registry,
) -> Result<(PrepareLog, Recovered), StartError> {
    let path = data.path.join("log");
    let failed =
        |error: &dyn std::fmt::Display| StartError::new(format!("prepare log {}: {error}", path.display()));
    let folder = RealFolder::open(&path).map_err(|error| failed(&error))?;
    let mut replay = Replay::new(settings);
    let (log, damage) =
        PrepareLog::replay(Arc::new(folder), options, &mut |record| replay.on_record(&record))
            .map_err(|error| failed(&error))?;
    match &damage {
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
    let opened = apps.recover(&noted);
    let mut recovered = replay.finish(opened);
    let reader = log.reader();
    for lacking in recovered.lacking() {
        if let Err(reason) = catch_up(&lacking, &reader, apps) {
            recovered.give_up(lacking.gpid, reason);
        }
    }
    Ok((log, recovered))
}

/// Applies what an app lacks, a batch at a time: the log may be larger than memory.
fn catch_up(lacking: &Lacking, reader: &LogReader, apps: &mut Apps) -> Result<(), String> {
    let Lacking { gpid, mut from, upto } = *lacking;
    let mut last = MutationId::ZERO;
    while from <= upto.decree {
        let read = reader.read(gpid, from, upto.decree, BATCH_BYTES);
        let mutations = read.map_err(|error| format!("{from} can't be read back: {error}"))?;
        last = mutations.last().ok_or_else(|| format!("{from} is not in the log any more"))?.id;
        for mutation in mutations {
            if let Event::ReplicaFailed { reason, .. } = apps.apply(&ApplyTask { gpid, mutation }) {
                return Err(reason);
            }
        }
        from = last.decree.next();
    }
    if last == upto { Ok(()) } else { Err(format!("the log has {last} where {upto} was committed")) }
}
