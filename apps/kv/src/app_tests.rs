//! The store without a cluster: what survives what, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use replicated_app::{AppInfo, Gpid};

use super::*;
use crate::answer::{Change, Decided, Page, State};
use crate::request::{Condition, Read, TOO_LONG, Write};

pub(crate) fn open(folder: &Path) -> io::Result<Box<dyn ReplicatedApp>> {
    KvType::default().open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

fn apply_at(
    app: &mut dyn ReplicatedApp,
    decree: u64,
    timestamp_us: u64,
    writes: &[Write<'_>],
) -> Vec<AppAnswer> {
    let requests: Vec<Bytes> = writes.iter().map(Write::encode).collect();
    app.apply(&Batch { decree: Decree(decree), timestamp_us, requests: &requests })
}

pub(crate) fn apply(app: &mut dyn ReplicatedApp, decree: u64, writes: &[Write<'_>]) -> Vec<AppAnswer> {
    apply_at(app, decree, decree, writes)
}

fn put<'a>(key: &'a str, value: &'a str) -> Write<'a> {
    let (key, value) = (key.as_bytes(), value.as_bytes());
    Write::Put { key, value, condition: Condition::None, ttl_us: 0 }
}

fn get(app: &dyn ReplicatedApp, key: &str) -> (u64, Option<String>) {
    let state = State::decode(&app.read(&Read::Get { key: key.as_bytes() }.encode()).unwrap()).unwrap();
    (state.version, state.value.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap()))
}

pub(crate) fn change(answer: &AppAnswer) -> Change {
    Change::decode(answer.as_ref().unwrap()).unwrap()
}

fn some(version: u64, value: &str) -> (u64, Option<String>) {
    (version, Some(value.to_owned()))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The same, without the database that is worked on.
fn checkpoints(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| !name.starts_with("live.")).collect()
}

fn tables(folder: &Path) -> Vec<PathBuf> {
    files(folder, "sst")
}

/// Where large values are.
pub(crate) fn blobs(folder: &Path) -> Vec<PathBuf> {
    files(folder, "blob")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn versions_grow_by_one_with_each_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    let with =
        |version, value| Write::Put { key: b"k", value, condition: Condition::Version(version), ttl_us: 0 };
    let delete = |version| Write::Delete { key: b"k", condition: Condition::Version(version) };
    let answers =
        apply(&mut *app, 1, &[with(0, b"a"), with(0, b"b"), delete(1), with(1, b"c"), with(2, b"d")]);
    let answers: Vec<Change> = answers.iter().map(change).collect();
    let at_1 = State { version: 1, value: Some(crate::Value { bytes: "a".into(), expires_us: None }) };
    let at_2 = State { version: 2, value: None };
    let expected =
        [Change::Made(1), Change::Refused(at_1), Change::Made(2), Change::Refused(at_2), Change::Made(3)];
    assert_eq!(answers, expected);
    assert_eq!((get(&*app, "k"), get(&*app, "l")), (some(3, "d"), (0, None)));
}

#[test]
fn what_it_refuses_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[put("k", "a")]);
    let before = app.digest();
    let long = vec![b'x'; crate::request::MAX_VALUE_BYTES + 1];
    let none = Condition::None;
    let writes = [
        (Write::Put { key: b"k", value: &long, condition: none, ttl_us: 0 }, TOO_LONG),
        (Write::Delete { key: b"", condition: none }, MALFORMED),
        (Write::MultiPut { pairs: vec![(b"k", b"b"), (b"", b"c")] }, MALFORMED),
    ];
    for (decree, (write, code)) in (2..).zip(writes) {
        let answers = apply_at(&mut *app, decree, 1, &[write]);
        assert_eq!(answers[0].as_ref().unwrap_err().code, code);
    }
    assert_eq!(app.digest(), before);
    assert_eq!(app.read(&put("k", "b").encode()).unwrap_err().code, MALFORMED);
}

#[test]
fn a_key_and_version_is_decided_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    let once = |version, value| Write::SetOnce { key: b"foo", version, value };
    let answers = apply(&mut *app, 1, &[once(0, b"5"), once(0, b"6"), once(1, b"6")]);
    let answers: Vec<_> =
        answers.iter().map(|answer| Decided::decode(answer.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(answers, [Decided::Now, Decided::Before("5".into()), Decided::Now]);
    let at = |version| app.read(&Read::GetAt { key: b"foo", version }.encode()).unwrap();
    assert_eq!([at(0), at(1), at(2)], ["\u{1}5", "\u{1}6", "\0"]);
    assert_eq!(get(&*app, "foo"), (0, None), "these keys are apart");
}

#[test]
fn what_expired_is_gone_by_the_time_of_the_mutations() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    let short = Write::Put { key: b"k", value: b"a", condition: Condition::None, ttl_us: 100 };
    apply_at(&mut *app, 1, 1_000, &[short]);
    apply_at(&mut *app, 2, 1_099, &[]);
    assert_eq!(get(&*app, "k"), some(1, "a"));
    // A restart on the way, so that it is not memory that makes it expire.
    app.sync_checkpoint().unwrap();
    drop(app);
    let mut app = open(folder.path()).unwrap();
    assert_eq!(get(&*app, "k"), some(1, "a"));
    apply_at(&mut *app, 3, 1_100, &[]);
    assert_eq!(get(&*app, "k"), (2, None), "that it expired is a change");
    let answers = apply_at(&mut *app, 4, 1_200, &[put("k", "b")]);
    assert_eq!(change(&answers[0]), Change::Made(3));
    apply_at(&mut *app, 5, 9_999, &[]);
    assert_eq!(get(&*app, "k"), some(3, "b"));
}

#[test]
fn many_values_that_expire_at_once_need_no_room_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    let keys: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
    let value = [b'v'; 100];
    let writes: Vec<Write<'_>> = keys
        .iter()
        .map(|key| Write::Put { key: key.as_bytes(), value: &value, condition: Condition::None, ttl_us: 10 })
        .collect();
    apply_at(&mut *app, 1, 1, &writes);
    for decree in 2..20 {
        apply_at(&mut *app, decree, 100, &[]);
        assert_eq!(get(&*app, "k999"), (2, None));
    }
    let mut bytes = 0;
    app.sync_checkpoint().unwrap();
    let live = Live::open(
        folder.path().join("live.look"),
        Some(&folder.path().join("checkpoint.19")),
        &KvType::default().cache,
    );
    let count = |row: &[u8], value: &[u8]| {
        bytes += row.len() + value.len();
        Ok(())
    };
    live.unwrap().present().each(count).unwrap();
    assert!(bytes < 1000 * 20, "{bytes} bytes of what is gone");
}

#[test]
fn a_scan_goes_from_page_to_page() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[put("a", "1"), put("b", "2"), put("c", "3"), put("d", "4")]);
    apply(&mut *app, 2, &[Write::Delete { key: b"c", condition: Condition::None }]);
    let page = |limit, from: &[u8], to: Option<&[u8]>| {
        let page = Page::decode(&app.read(&Read::Scan { limit, from, to }.encode()).unwrap()).unwrap();
        let keys: Vec<String> =
            page.entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into()).collect();
        (keys.concat(), page.next)
    };
    assert_eq!(page(9, b"", None), ("abd".to_owned(), None));
    assert_eq!(page(2, b"", None), ("ab".to_owned(), Some("c".into())));
    assert_eq!(page(2, b"c", None), ("d".to_owned(), None));
    assert_eq!(page(9, b"b", Some(b"d")), ("b".to_owned(), None));
    assert_eq!(page(9, b"x", Some(b"b")), (String::new(), None));
    assert_eq!(page(0, b"", None), (String::new(), Some("a".into())));
}

#[test]
fn it_comes_back_with_what_was_durable() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    assert_eq!(app.last_durable_decree(), Decree(0));
    assert_eq!(app.get_checkpoint().unwrap_err().kind(), io::ErrorKind::NotFound);
    apply(&mut *app, 1, &[put("k", "a")]);
    app.sync_checkpoint().unwrap();
    apply(&mut *app, 2, &[put("k", "b")]);
    let before = app.digest();
    app.close(false).unwrap();

    fs::create_dir(folder.path().join("checkpoint.2.unfinished")).unwrap();
    fs::create_dir(folder.path().join("live.77")).unwrap();
    let mut app = open(folder.path()).unwrap();
    assert_eq!((app.last_durable_decree(), get(&*app, "k")), (Decree(1), some(1, "a")));
    assert_eq!(checkpoints(folder.path()), ["checkpoint.1"]);
    assert_eq!(names(folder.path()).len(), 2, "one live database");
    apply(&mut *app, 2, &[put("k", "b")]);
    assert_eq!(app.digest(), before);
    app.close(true).unwrap();
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_slow_checkpoint_holds_the_state_of_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[put("k", "a")]);
    let job = app.async_checkpoint().unwrap().unwrap();
    // More than a layer, which would get into files in between.
    let large = "x".repeat(1 << 20);
    for decree in 2..80 {
        apply(&mut *app, decree, &[put("k", &large), put(&format!("k{decree}"), &large)]);
    }
    assert_eq!(app.last_durable_decree(), Decree(0));
    assert_eq!(job().unwrap(), Decree(1));
    assert_eq!(app.last_durable_decree(), Decree(1));
    let copy = tempfile::tempdir().unwrap();
    fs::rename(folder.path().join("checkpoint.1"), copy.path().join("checkpoint.1")).unwrap();
    assert_eq!(get(&*open(copy.path()).unwrap(), "k"), some(1, "a"));
}

#[test]
fn what_was_handed_over_stays_until_another_checkpoint_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[put("k", "a")]);
    app.sync_checkpoint().unwrap();
    apply(&mut *app, 2, &[put("k", "b")]);
    let job = app.async_checkpoint().unwrap().unwrap();
    let handed_over = app.get_checkpoint().unwrap();
    assert_eq!(handed_over.decree, Decree(1));
    job().unwrap();
    assert!(handed_over.files.iter().all(|name| handed_over.folder.join(name).exists()));
    assert!(app.async_checkpoint().unwrap().is_none(), "nothing new");
    apply(&mut *app, 3, &[put("k", "c")]);
    app.sync_checkpoint().unwrap();
    assert_eq!(checkpoints(folder.path()), ["checkpoint.2", "checkpoint.3"]);
}

#[test]
fn learning_takes_over_and_copying_only_stores() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut teacher, mut learner] = folders.each_ref().map(|folder| open(folder.path()).unwrap());
    for decree in 1..=5 {
        apply(&mut *teacher, decree, &[put("k", &decree.to_string())]);
    }
    teacher.sync_checkpoint().unwrap();
    let state = teacher.get_checkpoint().unwrap();
    assert!(learner.apply_checkpoint(ApplyMode::Copy, &state).is_err(), "not applied there yet");
    learner.apply_checkpoint(ApplyMode::Learn, &state).unwrap();
    assert_eq!((learner.digest(), learner.last_durable_decree()), (teacher.digest(), Decree(5)));
    apply(&mut *learner, 6, &[put("k", "6")]);

    apply(&mut *teacher, 6, &[put("k", "6")]);
    teacher.sync_checkpoint().unwrap();
    apply(&mut *learner, 7, &[put("k", "7")]);
    learner.apply_checkpoint(ApplyMode::Copy, &teacher.get_checkpoint().unwrap()).unwrap();
    assert_eq!((learner.last_durable_decree(), get(&*learner, "k")), (Decree(6), some(7, "7")));
    drop(learner);
    assert_eq!(get(&*open(folders[1].path()).unwrap(), "k"), some(6, "6"));
    // The teacher's files are its own: what the learner does with its links changes nothing.
    drop(teacher);
    assert_eq!(get(&*open(folders[0].path()).unwrap(), "k"), some(6, "6"));
}

#[test]
fn learning_an_older_state_is_not_undone_by_a_checkpoint_on_its_way() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut teacher, mut learner] = folders.each_ref().map(|folder| open(folder.path()).unwrap());
    apply(&mut *teacher, 1, &[put("k", "teacher")]);
    teacher.sync_checkpoint().unwrap();
    for decree in 1..=3 {
        apply(&mut *learner, decree, &[put("k", "learner")]);
    }
    learner.sync_checkpoint().unwrap();
    apply(&mut *learner, 4, &[put("k", "learner")]);
    let job = learner.async_checkpoint().unwrap().unwrap();
    learner.apply_checkpoint(ApplyMode::Learn, &teacher.get_checkpoint().unwrap()).unwrap();
    assert!(job().is_err());
    assert_eq!((learner.last_durable_decree(), get(&*learner, "k")), (Decree(1), some(1, "teacher")));
    assert_eq!(change(&apply(&mut *learner, 2, &[put("k", "b")])[0]), Change::Made(2));
}

#[test]
fn a_checkpoint_that_makes_no_sense_leaves_the_app_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[put("k", "a")]);
    app.sync_checkpoint().unwrap();
    let good = app.get_checkpoint().unwrap();
    apply(&mut *app, 2, &[put("k", "b")]);
    let before = app.digest();
    let wrong_decree = LearnState { decree: Decree(9), ..good.clone() };
    let no_file = LearnState { decree: Decree(9), files: vec![], ..good.clone() };
    let mut one_less = LearnState { decree: Decree(9), ..good };
    one_less.files.retain(|name| name.extension().is_none_or(|extension| extension != "sst"));
    for state in [wrong_decree, no_file, one_less] {
        let error = app.apply_checkpoint(ApplyMode::Learn, &state).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }
    assert_eq!((app.digest(), app.last_durable_decree()), (before, Decree(1)));
    assert_eq!(checkpoints(folder.path()), ["checkpoint.1"]);
    assert_eq!(names(folder.path()).len(), 2, "one live database");
}

/// What is stored at a key: each tenth value is a large one.
fn value_at(key: &str) -> String {
    if key.ends_with('0') { key.repeat(1000) } else { key.to_owned() }
}

/// A checkpoint with many blocks and large values, and the folder that it is in.
fn stored() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    for decree in 1..=20 {
        let rows = (0..100).map(|number| format!("key {decree} {number}"));
        let rows: Vec<_> = rows.map(|key| (value_at(&key), key)).collect();
        let writes: Vec<Write<'_>> = rows.iter().map(|(value, key)| put(key, value)).collect();
        apply(&mut *app, decree, &writes);
    }
    app.sync_checkpoint().unwrap();
    app.close(false).unwrap();
    let checkpoint = folder.path().join("checkpoint.20");
    (folder, checkpoint)
}

pub(crate) fn flip(file: &Path, position: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[position] ^= 0x10;
    // Not in place: its links are other files then.
    fs::remove_file(file).unwrap();
    fs::write(file, bytes).unwrap();
}

/// Reads all keys: each must be right or refused. Returns whether the app says that it is broken.
fn all_right_or_broken(app: &mut dyn ReplicatedApp) -> bool {
    for decree in 1..=20 {
        for number in 0..100 {
            let key = format!("key {decree} {number}");
            match app.read(&Read::Get { key: key.as_bytes() }.encode()) {
                Ok(answer) => {
                    let state = State::decode(&answer).unwrap();
                    assert_eq!(
                        state.value.map(|value| value.bytes),
                        Some(value_at(&key).into_bytes().into())
                    );
                }
                Err(rejection) => {
                    assert_eq!(rejection.code, BROKEN);
                    return app.failure().is_some();
                }
            }
        }
    }
    app.failure().is_some()
}

/// Changes a byte here and there in a file. Returns how often that was refused when opening, and said when met.
fn damage(folder: &Path, file: &Path) -> (usize, usize) {
    let length = fs::metadata(file).unwrap().len() as usize;
    let (mut refused, mut said) = (0, 0);
    for position in (0..length).step_by(length / 200) {
        flip(file, position);
        match open(folder) {
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                refused += 1;
            }
            Ok(mut app) => said += usize::from(all_right_or_broken(&mut *app)),
        }
        flip(file, position);
    }
    assert!(!all_right_or_broken(&mut *open(folder).unwrap()));
    (refused, said)
}

#[test]
fn damage_is_refused_when_opening_or_said_when_met_and_never_answered() {
    let (folder, checkpoint) = stored();
    let ([table], [blob]) = (&tables(&checkpoint)[..], &blobs(&checkpoint)[..]) else {
        panic!("one of each")
    };
    let (refused, said) = damage(folder.path(), table);
    assert!(refused > 0 && said > 100, "{refused} refused, {said} said");
    let (refused, said) = damage(folder.path(), blob);
    assert!(refused + said > 150, "{refused} refused, {said} said");
}

#[test]
fn a_broken_app_says_so_when_it_applies_and_keeps_nothing_of_that() {
    let (folder, checkpoint) = stored();
    let table = tables(&checkpoint).remove(0);
    let length = fs::metadata(&table).unwrap().len() as usize;
    flip(&table, length / 2);
    let mut app = open(folder.path()).unwrap();
    let keys: Vec<String> = (1..=20).map(|decree| format!("key {decree} 50")).collect();
    let writes: Vec<Write<'_>> = keys.iter().flat_map(|key| [put("new", "x"), put(key, "y")]).collect();
    let answers = apply(&mut *app, 21, &writes);
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|rejection| rejection.code == BROKEN)));
    assert_eq!(get(&*app, "new"), (0, None));
    assert!(app.failure().unwrap().contains("database"));
}

#[test]
fn a_damaged_or_incomplete_checkpoint_is_refused() {
    let (folder, checkpoint) = stored();
    let is_refused = || match open(folder.path()) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            true
        }
    };
    for name in names(&checkpoint).iter().filter(|name| !name.starts_with("LOG") && !name.ends_with(".log")) {
        let file = checkpoint.join(name);
        let whole = fs::read(&file).unwrap();
        if name.starts_with("MANIFEST") {
            for position in (0..whole.len()).step_by(7) {
                flip(&file, position);
                // Its last records can say nothing that matters.
                let refused = is_refused();
                assert!(
                    refused || !all_right_or_broken(&mut *open(folder.path()).unwrap()),
                    "byte {position}"
                );
                flip(&file, position);
            }
        }
        if !name.starts_with("OPTIONS") {
            fs::remove_file(&file).unwrap();
            assert!(is_refused(), "{name} is missing");
            fs::write(&file, &whole[..whole.len() / 2]).unwrap();
            assert!(is_refused(), "half of {name} is missing");
            fs::write(&file, &whole).unwrap();
        }
    }
    assert!(!is_refused());
}

#[test]
fn a_damaged_checkpoint_is_not_learned() {
    let (folder, checkpoint) = stored();
    let teacher = open(folder.path()).unwrap();
    let learner_folder = tempfile::tempdir().unwrap();
    let mut learner = open(learner_folder.path()).unwrap();
    for file in [tables(&checkpoint).remove(0), blobs(&checkpoint).remove(0)] {
        let length = fs::metadata(&file).unwrap().len() as usize;
        // What is behind the rows makes reading fast; damage there is found when it is used.
        for position in (0..length / 2).step_by(length / 50) {
            flip(&file, position);
            let learned = learner.apply_checkpoint(ApplyMode::Learn, &teacher.get_checkpoint().unwrap());
            let refused = learned.expect_err("it is damaged");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{}, byte {position}", file.display());
            assert_eq!(learner.last_durable_decree(), Decree(0));
            flip(&file, position);
        }
    }
    learner.apply_checkpoint(ApplyMode::Learn, &teacher.get_checkpoint().unwrap()).unwrap();
    assert_eq!(learner.digest(), teacher.digest());
}
