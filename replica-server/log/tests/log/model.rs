//! Records to append, and what the log should make of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use replica_log::{FileSystem, MemoryFolder, Opened, Options, PrepareLog};
use words::{
    AppId, AppInfo, Ballot, Decree, Gpid, Mutation, MutationId, Record, SessionStamp, Write, WriteKind,
};

/// A partition of app 1.
pub(crate) fn partition(index: u32) -> Gpid {
    Gpid::new(1, index)
}

pub(crate) fn id(ballot: u64, decree: u64) -> MutationId {
    MutationId { ballot: Ballot(ballot), decree: Decree(decree) }
}

pub(crate) fn created(gpid: Gpid) -> Record {
    let name = format!("counter.instance{}", gpid.app);
    let app_type = "counter".to_owned();
    Record::Created {
        gpid,
        app: AppInfo { id: AppId(gpid.app.0), name, app_type, partition_count: 8, replica_count: 3 },
    }
}

pub(crate) fn ballot(gpid: Gpid, ballot: u64) -> Record {
    Record::Ballot { gpid, ballot: Ballot(ballot) }
}

/// A mutation `id`, proposed under `ballot`.
pub(crate) fn raised(gpid: Gpid, ballot: u64, id: MutationId) -> Record {
    let session = Some(SessionStamp { session: 9, sequence: id.decree.0, first_incomplete: 1 });
    let payload = Bytes::from(format!("{gpid} write {id}"));
    let writes = vec![Write { session, kind: WriteKind::Update, payload }].into();
    Record::Prepare {
        gpid,
        ballot: Ballot(ballot),
        mutation: Arc::new(Mutation { id, timestamp_us: 1_700_000_000_000_000 + id.decree.0, writes }),
        replaces: false,
        last_committed: Decree(id.decree.0.saturating_sub(1)),
    }
}

pub(crate) fn prepare(gpid: Gpid, ballot: u64, decree: u64) -> Record {
    raised(gpid, ballot, id(ballot, decree))
}

pub(crate) fn open(files: &MemoryFolder, segment_bytes: u64) -> (PrepareLog, Opened) {
    open_with(files, Options { segment_bytes, ahead_bytes: 0 })
}

pub(crate) fn open_with(files: &MemoryFolder, options: Options) -> (PrepareLog, Opened) {
    PrepareLog::open(Arc::new(files.clone()), options).expect("opens")
}

/// Number of segments.
pub(crate) fn segments(files: &dyn FileSystem) -> usize {
    let is_segment =
        |name: &String| name.strip_prefix("log.").is_some_and(|number| number.parse::<u64>().is_ok());
    files.list().expect("lists").iter().filter(|name| is_segment(name)).count()
}

/// The lowest decree from which on the log can be read; tests have fewer than so many.
pub(crate) fn lowest(log: &PrepareLog, gpid: Gpid) -> Option<Decree> {
    let reader = log.reader();
    (1..99).map(Decree).find(|&decree| !reader.read(gpid, decree, decree, 1).expect("reads").is_empty())
}

/// What follows a decree without a gap, and it itself.
pub(crate) fn run(
    mutations: &BTreeMap<Decree, Arc<Mutation>>,
    from: Decree,
) -> impl Iterator<Item = &Arc<Mutation>> {
    (from.0..).map_while(|decree| mutations.get(&Decree(decree)))
}

/// Says of each record whether it replaces another mutation (§4.6), given all that were appended before: whoever
/// appends knows that.
pub(crate) fn note_replacements(before: &[Record], records: &mut [Record]) {
    let mut all = before.to_vec();
    for record in records {
        if let Record::Prepare { gpid, mutation, replaces, .. } = record {
            let known = mutations(&all, *gpid);
            *replaces = known.get(&mutation.id.decree).is_some_and(|known| known.id != mutation.id);
        }
        all.push(record.clone());
    }
}

/// Appends each record by a write of its own, then syncs.
pub(crate) fn write(log: &mut PrepareLog, records: &[Record]) {
    for record in records {
        log.append(std::slice::from_ref(record)).expect("appends");
    }
    log.sync().expect("syncs");
}

pub(crate) fn of(records: &[Record], gpid: Gpid) -> Vec<Record> {
    records.iter().filter(|record| record.gpid() == gpid).cloned().collect()
}

/// A partition's mutations as raise or replace (§4.6) leaves them, written the plain way.
pub(crate) fn mutations(records: &[Record], gpid: Gpid) -> BTreeMap<Decree, Arc<Mutation>> {
    let mut kept: BTreeMap<Decree, Arc<Mutation>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.gpid() == gpid) {
        match record {
            Record::Prepare { mutation, replaces, .. } => {
                let decree = mutation.id.decree;
                if *replaces || kept.get(&decree).is_some_and(|known| known.id != mutation.id) {
                    kept.retain(|&other, _| other < decree);
                }
                kept.insert(decree, mutation.clone());
            }
            Record::Removed { .. } | Record::Installed { .. } => kept.clear(),
            _ => {}
        }
    }
    kept
}

/// What a new segment has to restate: each live partition's app and highest ballot.
pub(crate) fn noted(records: &[Record]) -> BTreeMap<Gpid, (AppInfo, Ballot)> {
    let mut noted: BTreeMap<Gpid, (AppInfo, Ballot)> = BTreeMap::new();
    for record in records {
        match record {
            Record::Created { gpid, app } => {
                noted.entry(*gpid).or_insert_with(|| (app.clone(), Ballot(0)));
            }
            Record::Ballot { gpid, ballot } | Record::Prepare { gpid, ballot, .. } => {
                if let Some((_, highest)) = noted.get_mut(gpid) {
                    *highest = (*highest).max(*ballot);
                }
            }
            Record::Removed { gpid, .. } => {
                noted.remove(gpid);
            }
            Record::Installed { .. } | Record::Broken { .. } => {}
        }
    }
    noted
}
