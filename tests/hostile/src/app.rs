//! What any app has to withstand: requests from any client, and checkpoints from any node.

use std::io;
use std::path::Path;

use bytes::Bytes;
use replicated_app::{
    AppAnswer, AppInfo, AppType, Batch, Checkpoints, Decree, Gpid, OpenContext, ReplicatedApp,
};

use crate::{justified, peak};

/// The app, in a folder of its own.
///
/// # Errors
/// If what is in the folder is no state of such an app.
pub fn open(app_type: &dyn AppType, folder: &Path) -> io::Result<Box<dyn ReplicatedApp>> {
    app_type.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

fn empty(app_type: &dyn AppType) -> (tempfile::TempDir, Box<dyn ReplicatedApp>) {
    let folder = tempfile::tempdir().expect("a folder");
    let app = open(app_type, folder.path()).expect("an app opens on nothing");
    (folder, app)
}

fn apply(app: &mut dyn ReplicatedApp, decree: u64, requests: &[Bytes]) -> Vec<AppAnswer> {
    app.apply(&Batch { decree: Decree(decree), timestamp_us: decree, requests })
}

/// Asks an app these as reads and then as writes, and returns what it says to the writes.
///
/// # Panics
/// If the app does, if a read changed it or took more memory than its bytes justify, or if a request has no answer.
pub fn answers_to(app_type: &dyn AppType, requests: Vec<Vec<u8>>) -> Vec<AppAnswer> {
    let (_folder, mut app) = empty(app_type);
    let before = app.digest();
    let length = requests.iter().map(Vec::len).sum();
    let requests: Vec<Bytes> = requests.into_iter().map(Bytes::from).collect();
    let (read, peak) = peak(|| requests.iter().map(|request| app.read(request)).collect::<Vec<_>>());
    assert!(peak <= justified(length), "{peak} bytes for {length}");
    assert_eq!(app.digest(), before, "a read changes nothing");
    let answers = apply(&mut *app, 1, &requests);
    assert_eq!(answers.len(), read.len());
    answers
}

/// What an app of those that keep [`Checkpoints`] writes after these requests, without the framework's trailer.
///
/// # Panics
/// If it does not.
pub fn state_after(app_type: &dyn AppType, requests: &[Bytes]) -> Vec<u8> {
    let (folder, mut app) = empty(app_type);
    apply(&mut *app, 1, requests);
    app.sync_checkpoint().expect("an app writes its checkpoint");
    let (_, state) = Checkpoints::open(folder.path()).expect("the folder is as the app left it");
    state.expect("it has a checkpoint")
}

/// Opens an app on a checkpoint of these bytes, whose checksum is right: whoever wrote it meant it. If it is taken,
/// the app goes on with these requests, and its answers are returned.
///
/// # Panics
/// If the app does, or takes more memory than the bytes justify, or can't go on.
pub fn refuses_or_takes(app_type: &dyn AppType, state: &[u8], requests: &[Bytes]) -> Option<Vec<AppAnswer>> {
    let folder = tempfile::tempdir().expect("a folder");
    let (checkpoints, _) = Checkpoints::open(folder.path()).expect("opens");
    checkpoints.write(Decree(1), state.to_vec()).expect("writes");
    let (opened, peak) = peak(|| open(app_type, folder.path()));
    assert!(peak <= justified(state.len()), "{peak} bytes for {}", state.len());
    let mut app = opened.ok()?;
    let answers = apply(&mut *app, 2, requests);
    app.sync_checkpoint().expect("an app writes its checkpoint");
    Some(answers)
}
