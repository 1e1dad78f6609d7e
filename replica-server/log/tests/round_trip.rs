//! What is appended comes back.

use std::sync::Arc;

use bytes::Bytes;
use replica_log::{Damage, MemoryFolder, Options, PrepareLog, RealFolder};
use words::{AppInfo, Ballot, Decree, Gpid, Mutation, MutationId, Record, Write, WriteKind};

fn prepare(gpid: Gpid, ballot: u64, decree: u64) -> Record {
    let id = MutationId { ballot: Ballot(ballot), decree: Decree(decree) };
    let write = Write { session: None, kind: WriteKind::Update, payload: Bytes::from(format!("write {id}")) };
    Record::Prepare {
        gpid,
        ballot: Ballot(ballot),
        mutation: Arc::new(Mutation { id, timestamp_us: 7, writes: vec![write] }),
        last_committed: Decree(decree - 1),
    }
}

#[test]
fn what_is_appended_comes_back_over_many_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let real: Arc<RealFolder> = Arc::new(RealFolder::open(folder.path().join("log")).expect("made"));
    let memory = Arc::new(MemoryFolder::new());
    let gpid = Gpid::new(1, 0);
    let options = Options { segment_bytes: 200 };
    let mut appended = vec![Record::Created { gpid, app: AppInfo::default() }];
    appended.extend((1..=20).map(|decree| prepare(gpid, 1, decree)));
    for files in [real as Arc<dyn replica_log::FileSystem>, memory] {
        let (mut log, opened) = PrepareLog::open(files.clone(), options).expect("opens");
        assert_eq!((opened.records, opened.damage), (vec![], Damage::None));
        for record in &appended {
            log.append(std::slice::from_ref(record)).expect("appends");
        }
        log.sync().expect("syncs");
        assert!(log.segments() > 3);
        let read = log.reader().read(gpid, Decree(3), Decree(5), usize::MAX).expect("reads");
        assert_eq!(read.iter().map(|m| m.id.decree.0).collect::<Vec<_>>(), [3, 4, 5]);
        drop(log);
        let (mut log, opened) = PrepareLog::open(files, options).expect("opens again");
        assert_eq!((&opened.records, opened.damage), (&appended, Damage::None));
        let before = log.segments();
        let removed = log.collect(&[(gpid, Decree(10))]).expect("collects");
        assert_eq!(log.segments(), before - removed);
        assert!(removed > 1 && log.lowest(gpid).is_some_and(|lowest| lowest <= Decree(11)));
    }
}
