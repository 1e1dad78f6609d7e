//! Large values: their rows come and go with them, and are read by nobody who doesn't want them.

use std::io;
use std::sync::Arc;

use replicated_app::{Decree, ReplicatedApp};
use tempfile::TempDir;

use super::*;
use crate::Page;
use crate::answer::{Change, Value};
use crate::app::tests as store;
use crate::live::Live;
use crate::request::{Condition, Read, Write};
use crate::rows::Position;

const LARGE: [u8; LARGE_VALUE_BYTES] = [b'l'; LARGE_VALUE_BYTES];
const SMALL: [u8; LARGE_VALUE_BYTES - 1] = [b's'; LARGE_VALUE_BYTES - 1];

fn open(folder: &TempDir) -> Box<dyn ReplicatedApp> {
    store::open(folder.path()).unwrap()
}

fn apply(app: &mut dyn ReplicatedApp, decree: u64, writes: &[Write<'_>]) -> Vec<Change> {
    store::apply(app, decree, writes).iter().map(store::change).collect()
}

fn put<'a>(value: &'a [u8], condition: Condition<'a>, ttl_us: u64) -> Write<'a> {
    Write::Put { key: b"k", value, condition, ttl_us }
}

fn get(app: &dyn ReplicatedApp) -> State {
    State::decode(&app.read(&Read::Get { key: b"k" }.encode()).unwrap()).unwrap()
}

fn state(version: u64, value: &[u8]) -> State {
    let value = Value { bytes: Bytes::copy_from_slice(value), expires_us: None };
    State { version, value: Some(value) }
}

/// How long the values are that have rows of their own, after what is written was written to files.
fn value_rows(app: &mut dyn ReplicatedApp, folder: &TempDir) -> Vec<usize> {
    app.sync_checkpoint().unwrap();
    let checkpoint = folder.path().join(format!("checkpoint.{}", app.last_durable_decree()));
    let live = live_of(folder, Some(&checkpoint));
    let mut found = Vec::new();
    live.present()
        .each(|row, value| {
            found.extend(rows::is_value(row).then_some(value.len()));
            Ok(())
        })
        .unwrap();
    found
}

fn live_of(folder: &TempDir, checkpoint: Option<&std::path::Path>) -> Arc<Live> {
    let cache = rocksdb::Cache::new_lru_cache(1 << 20);
    Live::open(folder.path().join("live.look"), checkpoint, &cache).unwrap()
}

#[test]
fn a_large_value_has_a_row_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(&folder);
    let (none, delete) = (Condition::None, Write::Delete { key: b"k", condition: Condition::None });
    let of_one_mutation: [(&[Write<'_>], State, &[usize]); _] = [
        (&[put(&LARGE, none, 0)], state(1, &LARGE), &[LARGE.len()]),
        (&[put(&SMALL, none, 0)], state(2, &SMALL), &[]),
        (&[put(&SMALL, none, 0), put(&LARGE, none, 0)], state(4, &LARGE), &[LARGE.len()]),
        (std::slice::from_ref(&delete), State { version: 5, value: None }, &[]),
        (&[put(&LARGE, none, 0), put(&SMALL, none, 0)], state(7, &SMALL), &[]),
        (&[put(&LARGE, none, 0), delete.clone(), put(&LARGE, none, 0)], state(10, &LARGE), &[LARGE.len()]),
        (&[put(&LARGE, none, 0), put(b"", none, 0), delete.clone()], State { version: 13, value: None }, &[]),
    ];
    for (decree, (writes, expected, rows)) in (1..).zip(of_one_mutation) {
        apply(&mut *app, decree, writes);
        let [change] = &app.take_changes()[..] else { panic!("one key changed") };
        assert_eq!((&change.key[..], State::decode(&change.value)), (&b"k"[..], Some(expected.clone())));
        assert_eq!((get(&*app), &value_rows(&mut *app, &folder)[..]), (expected, rows), "decree {decree}");
    }
}

#[test]
fn conditions_and_times_hold_for_large_values_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(&folder);
    apply(&mut *app, 1, &[put(&LARGE, Condition::Absent, 0)]);
    let as_it_is = || Change::Refused(state(1, &LARGE));
    let (at_0, small) = (Condition::Version(0), Condition::Value(&SMALL));
    let refused = apply(&mut *app, 2, &[put(b"a", at_0, 0), put(b"b", small, 0)]);
    assert_eq!(refused, [as_it_is(), as_it_is()]);
    let made = apply(&mut *app, 3, &[put(&LARGE, Condition::Value(&LARGE), 0)]);
    assert_eq!((made, get(&*app)), (vec![Change::Made(2)], state(2, &LARGE)));

    let page = app.read(&Read::Scan { limit: 9, from: b"", to: None }.encode()).unwrap();
    let [entry] = &Page::decode(&page).unwrap().entries[..] else { panic!("one key") };
    assert_eq!((entry.version, &entry.value.bytes[..]), (2, &LARGE[..]));

    let made = apply(&mut *app, 4, &[Write::SetTtl { key: b"k", ttl_us: 3 }]);
    assert_eq!((made, get(&*app).value.unwrap().expires_us), (vec![Change::Made(3)], Some(7)));
    apply(&mut *app, 5, &[put(&LARGE, Condition::Version(3), 1)]);
    assert_eq!(get(&*app).value.unwrap().expires_us, Some(6));
    apply(&mut *app, 6, &[]);
    assert_eq!(get(&*app), State { version: 5, value: None });
    assert_eq!(value_rows(&mut *app, &folder), [], "it has expired");
}

/// Damage in a file with large values is met by who reads them: not by changes that want the version.
#[test]
fn a_change_reads_no_large_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(&folder);
    apply(&mut *app, 1, &[put(&LARGE, Condition::None, 0)]);
    app.sync_checkpoint().unwrap();
    drop(app);
    let blob = store::blobs(&folder.path().join("checkpoint.1")).remove(0);
    store::flip(&blob, std::fs::metadata(&blob).unwrap().len() as usize / 2);

    let mut app = open(&folder);
    let changes = apply(&mut *app, 2, &[put(b"a", Condition::Version(1), 0)]);
    assert_eq!((changes, get(&*app), app.failure()), (vec![Change::Made(2)], state(2, b"a"), None));
    drop(app);
    let app = open(&folder);
    assert!(app.read(&Read::Get { key: b"k" }.encode()).is_err(), "it is damaged");
    assert!(app.failure().is_some());
}

#[test]
fn what_was_stored_with_its_key_is_the_same_state() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut apart, _] = folders.each_ref().map(open);
    apply(&mut *apart, 1, &[put(&LARGE, Condition::None, 0)]);

    let old = live_of(&folders[1], None);
    let row = Head { version: 1, value: Some(None) }.encode_with(&LARGE);
    let rows = vec![(rows::state_row(b"k"), Some(row))];
    old.write(rows, Position { decree: Decree(1), now_us: 1 }).unwrap();
    let cache = rocksdb::Cache::new_lru_cache(1 << 20);
    old.freeze().link_into(&folders[1].path().join("checkpoint.1"), Decree(1), &cache).unwrap();
    drop(old);

    let mut together = open(&folders[1]);
    assert_eq!((get(&*together), together.digest()), (state(1, &LARGE), apart.digest()));
    apply(&mut *together, 2, &[put(&LARGE, Condition::Version(1), 0)]);
    assert_eq!(
        (get(&*together), value_rows(&mut *together, &folders[1])),
        (state(2, &LARGE), vec![LARGE.len()])
    );
}

#[test]
fn a_row_that_is_no_state_or_has_lost_its_value_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let live = live_of(&folder, None);
    let view = live.present();
    let refused = |row: &[u8]| {
        let read = Stored::in_row(&view, b"k", Some(row)).and_then(|stored| stored.with_value(<[u8]>::len));
        read.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
    };
    let lost = encode_apart(Head { version: 1, value: Some(None) });
    assert!(refused(&lost), "its value is nowhere");
    for length in 0..lost.len() {
        assert!(refused(&lost[..length]), "{length} bytes of a row");
    }
    assert!(refused(&[&lost[..], b"x"].concat()));
    assert!(refused(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
}
