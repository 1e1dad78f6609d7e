//! Reads that wait for the disk do so elsewhere, and see one state.

use std::sync::mpsc;
use std::thread;

use replicated_app::{Decree, ReadJob, Reading, ReplicatedApp};

use super::*;
use crate::app::tests as store;
use crate::request::{Condition, Write};
use crate::states::LARGE_VALUE_BYTES;

const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

/// Gives all keys the same value, which is the decree's: two small ones, two large ones.
fn put_all(app: &mut dyn ReplicatedApp, decree: u64) {
    let length = if decree % 4 < 2 { 1 } else { LARGE_VALUE_BYTES };
    let value = vec![decree as u8; length];
    let pairs = KEYS.iter().map(|&key| (key, &value[..])).collect();
    store::apply(app, decree, &[Write::MultiPut { pairs }]);
}

fn get_a() -> Bytes {
    Read::Get { key: KEYS[0] }.encode()
}

fn scan_all() -> Bytes {
    Read::Scan { limit: 9, from: b"", to: None }.encode()
}

fn later(app: &dyn ReplicatedApp, request: &Bytes) -> ReadJob {
    match app.start_read(request) {
        Reading::Later(job) => job,
        Reading::Answered(answer) => panic!("it did not have to wait for the disk: {answer:?}"),
    }
}

#[test]
fn only_what_is_not_in_memory_is_read_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = store::open(folder.path()).unwrap();
    // Else all is in the block that is looked at when a store is opened.
    let pairs = vec![(&b"Y"[..], &[b'y'; 4_000][..]), (&b"Z"[..], &[b'z'; 4_000])];
    for decree in [2, 4] {
        store::apply(&mut *app, decree - 1, &[Write::MultiPut { pairs: pairs.clone() }]);
        put_all(&mut *app, decree);
        let expected = app.read(&get_a());
        let now = |app: &dyn ReplicatedApp| match app.start_read(&get_a()) {
            Reading::Answered(answer) => answer == expected,
            Reading::Later(_) => false,
        };
        assert!(now(&*app), "not written to a file yet");
        app.sync_checkpoint().unwrap();
        app = store::open(folder.path()).unwrap();
        assert_eq!(later(&*app, &get_a())().unwrap(), (Decree(decree), expected.clone()));
        assert!(now(&*app), "it is in the cache now");
    }
    let no_read = Write::Delete { key: b"a", condition: Condition::None }.encode();
    assert!(matches!(app.start_read(&no_read), Reading::Answered(Err(_))));
}

#[test]
fn a_late_read_sees_the_state_after_the_decree_that_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = store::open(folder.path()).unwrap();
    let (jobs, take) = mpsc::sync_channel::<(u64, ReadJob)>(1);
    let reader = thread::spawn(move || {
        let mut newer = 0;
        for (started_at, job) in take {
            let (decree, answer) = job().unwrap();
            assert!(decree.0 >= started_at);
            newer += u64::from(decree.0 > started_at);
            let entries = Page::decode(&answer.unwrap()).unwrap().entries;
            assert_eq!(entries.len(), KEYS.len());
            for entry in entries {
                assert_eq!((entry.version, entry.value.bytes[0]), (decree.0, decree.0 as u8));
            }
        }
        newer
    });
    for decree in 1..=2_000 {
        put_all(&mut *app, decree);
        jobs.send((decree, later(&*app, &scan_all()))).unwrap();
        if decree.is_multiple_of(500) {
            app.sync_checkpoint().unwrap();
        }
    }
    drop(jobs);
    assert!(reader.join().unwrap() > 0, "nothing was written between the start of a read and its end");
}

#[test]
fn damage_that_a_late_read_meets_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = store::open(folder.path()).unwrap();
    for decree in [1, 2] {
        put_all(&mut *app, decree);
    }
    app.sync_checkpoint().unwrap();
    drop(app);
    let blob = store::blobs(&folder.path().join("checkpoint.2")).remove(0);
    store::flip(&blob, std::fs::metadata(&blob).unwrap().len() as usize / 2);
    let app = store::open(folder.path()).unwrap();
    assert_eq!(app.failure(), None);
    later(&*app, &scan_all())().expect_err("a large value is damaged");
    assert!(app.failure().is_some_and(|why| why.contains("database")));
}
