//! The counter without a cluster: what `docs/write-an-app.md` asks an app's author to test.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use replicated_app::{AppInfo, Gpid};

use super::*;

fn open(folder: &Path) -> io::Result<Box<dyn ReplicatedApp>> {
    CounterType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

fn apply(app: &mut dyn ReplicatedApp, decree: u64, adds: &[(&str, i64)]) -> Vec<Result<i64, u32>> {
    let requests: Vec<Bytes> =
        adds.iter().map(|&(name, operand)| Request::Add { name, operand }.encode()).collect();
    app.apply(&Batch { decree: Decree(decree), timestamp_us: 0, requests: &requests })
        .into_iter()
        .map(|answer| answer.map(|b| request::decode_value(&b).unwrap()).map_err(|r| r.code))
        .collect()
}

fn read(app: &dyn ReplicatedApp, name: &str) -> i64 {
    request::decode_value(&app.read(&Request::Read { name }.encode()).unwrap()).unwrap()
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    assert_eq!(apply(&mut *app, 1, &[("a", 2), ("b", 5), ("a", 3)]), [Ok(2), Ok(5), Ok(5)]);
    assert_eq!(apply(&mut *app, 2, &[]), []);
    assert_eq!((read(&*app, "a"), read(&*app, "b"), read(&*app, "c")), (5, 5, 0));
}

#[test]
fn what_it_refuses_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[("a", i64::MAX)]);
    let before = app.digest();
    assert_eq!(apply(&mut *app, 2, &[("a", 1), ("", 1)]), [Err(OVERFLOW), Err(request::MALFORMED)]);
    let add = Request::Add { name: "a", operand: 1 }.encode();
    assert_eq!(app.read(&add).unwrap_err().code, request::MALFORMED);
    assert_eq!((app.digest(), read(&*app, "a")), (before, i64::MAX));
}

#[test]
fn the_same_decrees_give_the_same_state_and_files() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = folders.each_ref().map(|folder| {
        let mut app = open(folder.path()).unwrap();
        for decree in 1..100 {
            apply(&mut *app, decree, &[(&format!("k{}", decree % 7), 1), ("all", 1)]);
        }
        app.sync_checkpoint().unwrap();
        (app.digest(), fs::read(folder.path().join("checkpoint.99")).unwrap())
    });
    assert_eq!(first, second);
}

#[test]
fn it_comes_back_with_what_was_durable() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    assert_eq!(app.last_durable_decree(), Decree(0));
    assert_eq!(app.get_checkpoint().unwrap_err().kind(), io::ErrorKind::NotFound);
    apply(&mut *app, 1, &[("a", 1)]);
    app.sync_checkpoint().unwrap();
    apply(&mut *app, 2, &[("a", 10)]);
    app.close(false).unwrap();

    fs::write(folder.path().join("checkpoint.2.unfinished"), "torn").unwrap();
    let mut app = open(folder.path()).unwrap();
    assert_eq!((app.last_durable_decree(), read(&*app, "a")), (Decree(1), 1));
    assert_eq!(file_names(folder.path()), ["checkpoint.1"]);
    assert_eq!(apply(&mut *app, 2, &[("a", 10)]), [Ok(11)]);
    app.close(true).unwrap();
    assert!(file_names(folder.path()).is_empty());
}

#[test]
fn a_slow_checkpoint_holds_the_state_of_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[("a", 1)]);
    let job = app.async_checkpoint().unwrap().unwrap();
    apply(&mut *app, 2, &[("a", 1)]);
    assert_eq!(app.last_durable_decree(), Decree(0));
    assert_eq!(job().unwrap(), Decree(1));
    assert_eq!(app.last_durable_decree(), Decree(1));

    // What was handed over stays readable until the next call, also while a newer one is finished.
    let handed_over = app.get_checkpoint().unwrap();
    app.async_checkpoint().unwrap().unwrap()().unwrap();
    assert!(handed_over.folder.join(&handed_over.files[0]).exists());
    assert!(app.async_checkpoint().unwrap().is_none(), "nothing new");
    app.sync_checkpoint().unwrap();
    assert_eq!(file_names(folder.path()), ["checkpoint.2"]);
    assert_eq!(read(&*open(folder.path()).unwrap(), "a"), 2);
}

#[test]
fn a_damaged_checkpoint_is_refused_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[("a", 1)]);
    app.sync_checkpoint().unwrap();
    apply(&mut *app, 2, &[("a", 1)]);
    app.async_checkpoint().unwrap().unwrap()().unwrap();
    // The older one is there too: it never stands in for a damaged newer one.
    assert_eq!(file_names(folder.path()), ["checkpoint.1", "checkpoint.2"]);
    let newest = folder.path().join("checkpoint.2");
    let whole = fs::read(&newest).unwrap();
    let refused = |content: &[u8]| {
        fs::write(&newest, content).unwrap();
        open(folder.path()).err().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
    };
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        assert!(refused(&flipped), "byte {position} flipped");
        assert!(refused(&whole[..position]), "cut to {position} bytes");
    }
    assert!(!refused(&whole));
    // Content of an older decree under a newer name is less than was durable.
    assert!(refused(&fs::read(folder.path().join("checkpoint.1")).unwrap()));
}

#[test]
fn learning_takes_over_and_copying_only_stores() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut teacher, mut learner] = folders.each_ref().map(|folder| open(folder.path()).unwrap());
    for decree in 1..=5 {
        apply(&mut *teacher, decree, &[("a", 1)]);
    }
    teacher.sync_checkpoint().unwrap();
    let state = teacher.get_checkpoint().unwrap();

    assert!(learner.apply_checkpoint(ApplyMode::Copy, &state).is_err(), "not applied there yet");
    learner.apply_checkpoint(ApplyMode::Learn, &state).unwrap();
    assert_eq!((learner.digest(), learner.last_durable_decree()), (teacher.digest(), Decree(5)));
    apply(&mut *learner, 6, &[("a", 1)]);

    apply(&mut *teacher, 6, &[("a", 1)]);
    teacher.sync_checkpoint().unwrap();
    apply(&mut *learner, 7, &[("a", 1)]);
    learner.apply_checkpoint(ApplyMode::Copy, &teacher.get_checkpoint().unwrap()).unwrap();
    assert_eq!((learner.last_durable_decree(), read(&*learner, "a")), (Decree(6), 7));
    assert_eq!(read(&*open(folders[1].path()).unwrap(), "a"), 6);
}

#[test]
fn learning_an_older_state_is_not_undone_by_a_checkpoint_on_its_way() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [mut teacher, mut learner] = folders.each_ref().map(|folder| open(folder.path()).unwrap());
    apply(&mut *teacher, 1, &[("a", 100)]);
    teacher.sync_checkpoint().unwrap();
    for decree in 1..=3 {
        apply(&mut *learner, decree, &[("a", 1)]);
    }
    learner.sync_checkpoint().unwrap();
    apply(&mut *learner, 4, &[("a", 1)]);
    let job = learner.async_checkpoint().unwrap().unwrap();

    learner.apply_checkpoint(ApplyMode::Learn, &teacher.get_checkpoint().unwrap()).unwrap();
    assert!(job().is_err());
    assert_eq!(file_names(folders[1].path()), ["checkpoint.1"]);
    assert_eq!((learner.last_durable_decree(), read(&*learner, "a")), (Decree(1), 100));
    assert_eq!(apply(&mut *learner, 2, &[("a", 1)]), [Ok(101)]);
}

#[test]
fn a_checkpoint_that_makes_no_sense_leaves_the_app_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[("a", 1)]);
    app.sync_checkpoint().unwrap();
    let good = app.get_checkpoint().unwrap();
    let before = app.digest();
    let wrong_decree = LearnState { decree: Decree(9), ..good.clone() };
    let no_file = LearnState { files: vec![], ..good };
    for state in [wrong_decree, no_file] {
        let error = app.apply_checkpoint(ApplyMode::Learn, &state).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!((app.digest(), app.last_durable_decree()), (before, Decree(1)));
}
