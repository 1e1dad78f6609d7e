//! The prepare log and the apps' checkpoints on real folders, at every moment at which the power can go. The data
//! directory's identity and the folders of replicas are looked at in the same way beside their code, in
//! `replica-server`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forgetful::{Point, Recorder, can_mount, report, report_left_out};
use kv::request::{Condition, Read};
use replica_log::{Damage, Opened, Options, PrepareLog, RealFolder};
use replicated_app::{
    AppType, ApplyMode, Batch, Checkpoints, Decree, LearnState, OpenContext, ReplicatedApp,
};
use words::{AppId, AppInfo, Ballot, Gpid, Mutation, MutationId, Record, Write, WriteKind};

const GPID: Gpid = Gpid::new(1, 0);

/// What others rely on of a log of one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    created: bool,
    /// All prepares up to this decree are there ...
    synced: u64,
    /// ... but for those that were collected: up to this one.
    collected: u64,
}

fn created() -> Record {
    let app = AppInfo {
        id: AppId(1),
        name: "counter.test".into(),
        app_type: "counter".into(),
        partition_count: 1,
        replica_count: 3,
    };
    Record::Created { gpid: GPID, app }
}

/// Of another length each time, so that frames begin anywhere in a sector.
fn prepare(decree: u64) -> Record {
    let payload = Bytes::from(vec![decree as u8; 150 + 13 * decree as usize]);
    let writes = vec![Write { session: None, kind: WriteKind::Update, payload }].into();
    let id = MutationId { ballot: Ballot(3), decree: Decree(decree) };
    let mutation = Arc::new(Mutation { id, timestamp_us: decree, writes });
    let last_committed = Decree(decree - 1);
    Record::Prepare { gpid: GPID, ballot: Ballot(3), mutation, replaces: false, last_committed }
}

fn open_log(folder: &Path) -> (PrepareLog, Opened) {
    let files = RealFolder::open(folder.join("log")).expect("the log's folder");
    PrepareLog::open(Arc::new(files), Options { segment_bytes: 1500, ahead_bytes: 2500 })
        .expect("a log that opens")
}

/// The decrees of the prepares in an opened log, which follow on each other and are what was written.
fn decrees(opened: &Opened) -> Vec<u64> {
    assert_eq!(opened.damage, Damage::None);
    let mut decrees = Vec::new();
    for record in &opened.records {
        if let Record::Prepare { mutation, .. } = record {
            assert_eq!(*record, prepare(mutation.id.decree.0));
            decrees.push(mutation.id.decree.0);
        }
    }
    assert!(decrees.windows(2).all(|pair| pair[1] == pair[0] + 1), "{decrees:?}");
    decrees
}

fn check_log(folder: &Path, point: &Point<'_, Logged>) {
    let (_, opened) = open_log(folder);
    let decrees = decrees(&opened);
    let promised = point.promised.copied().unwrap_or_default();
    if promised.created {
        assert!(opened.records.contains(&created()), "{:?}", opened.records);
    }
    let collected = point.next.unwrap_or(&promised).collected.max(promised.collected);
    for decree in collected + 1..=promised.synced {
        assert!(decrees.contains(&decree), "decree {decree} is not in {decrees:?}");
    }
}

/// Writes and collects until that decree, from what is there.
fn go_on_with_log(recorder: &mut Recorder<Logged>, until: u64) {
    let mut logged = recorder.last_promise().copied().unwrap_or_default();
    let (mut log, opened) = open_log(recorder.path());
    let first = decrees(&opened).last().copied().unwrap_or(logged.synced) + 1;
    logged = Logged { synced: first - 1, ..logged };
    recorder.promise(logged);
    if !opened.records.contains(&created()) {
        log.append(&[created()]).expect("a write");
        log.sync().expect("a sync");
        logged.created = true;
        recorder.promise(logged);
    }
    for decree in (first..=until).step_by(2) {
        log.append(&[prepare(decree)]).expect("a write");
        log.append(&[prepare(decree + 1)]).expect("a write");
        log.sync().expect("a sync");
        logged.synced = decree + 1;
        recorder.promise(logged);
        if decree % 5 == 0 {
            // It is allowed from here on, and done at some time.
            logged.collected = decree - 2;
            recorder.promise(logged);
            log.collect(&[(GPID, Decree(decree - 2))]).expect("a collection");
        }
    }
}

#[test]
fn what_the_log_synced_is_there() {
    let test = "crash_points::what_the_log_synced_is_there";
    if !can_mount(test) {
        return;
    }
    let mut recorder = Recorder::start();
    go_on_with_log(&mut recorder, 30);
    let run = recorder.finish();
    let restart = |recorder: &mut Recorder<Logged>| {
        let begin = recorder.last_promise().map_or(0, |logged| logged.synced);
        go_on_with_log(recorder, begin + 3);
    };
    report(test, run.check_each_point(check_log), run.check_each_restart(restart, check_log));
    let (noticed, unnoticed) = run.check_without_each_sync(check_log);
    report_left_out(test, noticed, &unnoticed);
}

fn state(decree: u64) -> Vec<u8> {
    vec![decree as u8; 300 * decree as usize]
}

fn check_checkpoints(folder: &Path, point: &Point<'_, u64>) {
    let Some(&promised) = point.promised else { return };
    let (checkpoints, found) = Checkpoints::open(&folder.join("app")).expect("what was promised");
    let durable = checkpoints.durable().0;
    assert!(
        durable == promised || Some(&durable) == point.next,
        "durable at {durable}, not at {promised} or {:?}",
        point.next
    );
    assert_eq!(found, (durable > 0).then(|| state(durable)));
}

fn folder_for_app(recorder: &Recorder<u64>) -> std::path::PathBuf {
    let app = recorder.path().join("app");
    if !app.exists() {
        std::fs::create_dir(&app).expect("a folder");
    }
    // Whoever makes an app's folder makes its name durable (`replica-server/src/hosted/folder.rs`).
    std::fs::File::open(recorder.path()).and_then(|folder| folder.sync_all()).expect("a sync");
    app
}

#[test]
fn what_a_checkpoint_promised_holds() {
    let test = "crash_points::what_a_checkpoint_promised_holds";
    if !can_mount(test) {
        return;
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (other, _) = Checkpoints::open(elsewhere.path()).expect("an empty folder");
    other.write(Decree(9), state(9)).expect("a checkpoint");
    let learned: LearnState = other.newest().expect("it is there");

    let mut recorder = Recorder::start();
    let (checkpoints, _) = Checkpoints::open(&folder_for_app(&recorder)).expect("an empty folder");
    recorder.promise(0);
    for decree in [2, 5, 6] {
        let job =
            checkpoints.write_later(Decree(decree), || state(decree)).expect("room").expect("it is new");
        job().expect("a checkpoint");
        recorder.promise(decree);
    }
    let take_over = |mode, applied| {
        checkpoints
            .take_over(mode, &learned, Decree(applied), |bytes| Ok(bytes.to_vec()))
            .expect("a checkpoint");
    };
    take_over(ApplyMode::Copy, 10);
    recorder.promise(9);
    checkpoints.write(Decree(12), state(12)).expect("a checkpoint");
    recorder.promise(12);
    // Afresh, from a replica that is behind.
    take_over(ApplyMode::Learn, 12);
    recorder.promise(9);
    checkpoints.write(Decree(11), state(11)).expect("a checkpoint");
    recorder.promise(11);
    let run = recorder.finish();

    let restart = |recorder: &mut Recorder<u64>| {
        let (checkpoints, _) = Checkpoints::open(&folder_for_app(recorder)).expect("it opens");
        recorder.promise(checkpoints.durable().0);
        let next = checkpoints.durable().next();
        checkpoints.write(next, state(next.0)).expect("a checkpoint");
        recorder.promise(next.0);
    };
    report(test, run.check_each_point(check_checkpoints), run.check_each_restart(restart, check_checkpoints));
    let (noticed, unnoticed) = run.check_without_each_sync(check_checkpoints);
    report_left_out(test, noticed, &unnoticed);
}

/// A kv app at the decree that its one key holds.
fn open_kv(folder: &Path) -> Box<dyn ReplicatedApp> {
    let app = &AppInfo { id: AppId(1), name: "kv.test".into(), app_type: "kv".into(), ..AppInfo::default() };
    kv::KvType::default().open(&OpenContext { gpid: GPID, app, folder }).expect("it opens")
}

fn apply_to_kv(app: &mut dyn ReplicatedApp, decree: u64) {
    let (value, condition) = (decree.to_string(), Condition::None);
    let put = kv::request::Write::Put { key: b"k", value: value.as_bytes(), condition, ttl_us: 0 };
    app.apply(&Batch { decree: Decree(decree), timestamp_us: decree, requests: &[put.encode()] });
}

fn check_kv(folder: &Path, point: &Point<'_, u64>) {
    let Some(&promised) = point.promised else { return };
    let app = open_kv(&folder.join("app"));
    let durable = app.last_durable_decree().0;
    assert!(
        durable == promised || Some(&durable) == point.next,
        "{durable}, not {promised} or {:?}",
        point.next
    );
    let state = app.read(&Read::Get { key: b"k" }.encode()).expect("an answer");
    let value = kv::State::decode(&state).expect("a state").value.map(|value| value.bytes);
    assert_eq!(value, (durable > 0).then(|| durable.to_string().into()));
}

#[test]
fn what_kv_called_durable_is_there() {
    let test = "crash_points::what_kv_called_durable_is_there";
    if !can_mount(test) {
        return;
    }
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut other = open_kv(elsewhere.path());
    (1..=3).for_each(|decree| apply_to_kv(&mut *other, decree));
    other.sync_checkpoint().expect("a checkpoint");
    let learned = other.get_checkpoint().expect("it is there");

    let mut recorder = Recorder::start();
    let mut app = open_kv(&folder_for_app(&recorder));
    recorder.promise(0);
    for decree in 1..=4 {
        apply_to_kv(&mut *app, decree);
        if decree % 2 == 0 {
            app.sync_checkpoint().expect("a checkpoint");
            recorder.promise(decree);
        }
    }
    // Afresh, from a replica that is behind.
    app.apply_checkpoint(ApplyMode::Learn, &learned).expect("a checkpoint");
    recorder.promise(3);
    drop(app);
    let mut app = open_kv(&folder_for_app(&recorder));
    apply_to_kv(&mut *app, 4);
    app.sync_checkpoint().expect("a checkpoint");
    recorder.promise(4);
    drop(app);
    let run = recorder.finish().with_a_journal();
    report(test, run.check_each_point(check_kv), 0);
}
