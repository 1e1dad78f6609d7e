//! The log and the state on a disk: what openraft expects of them, and what a power cut leaves.

use std::path::Path;
use std::sync::Arc;

use forgetful::{Recorder, can_mount};
use meta_core::{Command, WallTime};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite, log_id};
use openraft::{Entry, EntryPayload, RaftLogReader, RaftSnapshotBuilder, StorageError, Vote};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use words::{NodeAddress, NodeId};

use super::log::LogStore;
use super::machine::{Committed, Machine, View};
use super::{Batch, MemberId, Types};
use crate::storage::Storage;

struct Opened {
    storage: Arc<Storage>,
    log: LogStore,
    machine: Machine,
    view: watch::Receiver<View>,
    committed: mpsc::Receiver<Committed>,
}

fn open(folder: &Path) -> Opened {
    let (storage, _) = Storage::open(folder, "meta1").expect("it opens");
    let storage = Arc::new(storage);
    let (sender, committed) = mpsc::channel(64);
    let (machine, view) = Machine::open(Arc::clone(&storage), sender).expect("it is read");
    Opened { log: LogStore::new(Arc::clone(&storage)), storage, machine, view, committed }
}

struct InFolders;

impl StoreBuilder<Types, LogStore, Machine, (TempDir, mpsc::Receiver<Committed>)> for InFolders {
    async fn build(
        &self,
    ) -> Result<((TempDir, mpsc::Receiver<Committed>), LogStore, Machine), StorageError<MemberId>> {
        let folder = tempfile::tempdir().expect("a folder");
        let Opened { log, machine, committed, .. } = open(folder.path());
        Ok(((folder, committed), log, machine))
    }
}

#[test]
fn it_is_what_openraft_expects() {
    Suite::test_all(InFolders).expect("openraft's tests pass");
}

/// Entry number `index`: the node of that number is there.
fn entry(term: u64, index: u64) -> Entry<Types> {
    let (name, address) = (format!("replica{index}"), format!("term{term}"));
    let address = NodeAddress { node: NodeId(index.into()), name, address };
    let batch = Batch { at: WallTime(index), commands: vec![Command::RegisterNode(address)] };
    Entry { log_id: log_id(term, 1, index), payload: EntryPayload::Normal(batch) }
}

fn names(view: &View) -> Vec<String> {
    view.state.nodes().map(|node| format!("{} {}", node.name, node.address)).collect()
}

#[tokio::test]
async fn a_snapshot_replaces_everything() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let mut teacher = open(folders[0].path());
    teacher.machine.apply([entry(1, 1), entry(1, 2)]).await.expect("it is applied");
    let snapshot = teacher.machine.get_snapshot_builder().await.build_snapshot().await.expect("a snapshot");

    let mut learner = open(folders[1].path());
    learner.machine.apply([entry(1, 1), entry(1, 7)]).await.expect("it is applied");
    learner.machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.expect("it is installed");
    assert_eq!(names(&learner.view.borrow()), ["replica1 term1", "replica2 term1"]);
    drop(learner);
    let learner = open(folders[1].path());
    assert_eq!(names(&learner.view.borrow()), ["replica1 term1", "replica2 term1"]);
    assert_eq!(learner.view.borrow().last, Some(log_id(1, 1, 2)));
}

#[tokio::test]
async fn what_was_applied_is_handed_out_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = open(folder.path());
    opened.machine.apply([entry(1, 1), entry(1, 2)]).await.expect("it is applied");
    opened.machine.apply([entry(2, 3)]).await.expect("it is applied");
    for log_id in [log_id(1, 1, 1), log_id(1, 1, 2), log_id(2, 1, 3)] {
        assert_eq!(opened.committed.try_recv().expect("it is handed out").log_id, log_id);
    }
}

/// One life of a server: it votes, gets entries in place of others, applies some, and forgets old ones.
async fn live(folder: &Path, term: u64, recorder: &mut Recorder<(u64, u64)>) {
    let Opened { storage, mut log, mut machine, .. } = open(folder);
    log.save_vote(&Vote::new(term, 1)).await.expect("the vote is saved");
    let first = term * 3 - 2;
    recorder.promise((term, first - 1));
    log.blocking_append((first..first + 5).map(|index| entry(term, index))).await.expect("it is appended");
    // The next life's log goes on from here, in a higher term.
    log.truncate(log_id(term, 1, first + 3)).await.expect("it is cut");
    recorder.promise((term, first + 2));
    machine.apply((first..first + 3).map(|index| entry(term, index))).await.expect("it is applied");
    if term.is_multiple_of(2) {
        log.purge(log_id(term, 1, first)).await.expect("it is purged");
    }
    storage.compact();
}

/// What one vote or one entry was acknowledged for is never lost; and the state never misses what the log forgot.
fn check(folder: &Path, promised: (u64, u64), most: (u64, u64)) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let Opened { mut log, view, .. } = open(folder);
        let vote = log.read_vote().await.expect("it is read").unwrap_or_default();
        assert!((promised.0..=most.0).contains(&vote.leader_id().term), "vote {vote}");
        let state = log.get_log_state().await.expect("it is read");
        let last = state.last_log_id.map_or(0, |last| last.index);
        assert!(last >= promised.1, "the log ends at {last}");
        let purged = state.last_purged_log_id.map_or(0, |purged| purged.index);
        let entries = log.try_get_log_entries(..).await.expect("they are read");
        let found: Vec<u64> = entries.iter().map(|entry| entry.log_id.index).collect();
        assert_eq!(found, (purged + 1..=last).collect::<Vec<_>>(), "no entry is missing");
        for found in entries.iter().filter(|found| found.log_id.index <= promised.1) {
            assert_eq!(*found, entry(found.log_id.index.div_ceil(3), found.log_id.index));
        }
        let view = view.borrow();
        let applied = view.last.map_or(0, |last| last.index);
        assert!((purged..=last).contains(&applied), "applied up to {applied}");
        assert_eq!(view.state.nodes().count() as u64, applied);
    });
}

#[test]
fn what_was_promised_stays_wherever_the_power_goes() {
    let test = "raft::what_was_promised_stays_wherever_the_power_goes";
    if !can_mount(test) {
        return;
    }
    let folder = |root: &Path| root.join("data/meta1");
    let mut recorder = Recorder::start();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for term in 1..=6 {
        let folder = folder(recorder.path());
        runtime.block_on(live(&folder, term, &mut recorder));
    }
    // RocksDB relies on a journal: it syncs a folder once for several new names in it, and does not open if the last
    // record of its manifest is there without its beginning.
    let run = recorder.finish().with_a_journal();
    let points = run.check_each_point(|root, point| {
        let promised = point.promised.copied().unwrap_or_default();
        let most = point.next.copied().unwrap_or(promised);
        check(&folder(root), promised, most);
    });
    forgetful::report(test, points, 0);
}
