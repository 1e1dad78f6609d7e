//! A checkpoint that came from another node, or from a disk that changes bits.

use std::fs;
use std::path::PathBuf;

use hostile::{flips, harmed, justified, noise, peak};
use proptest::prelude::*;
use replicated_app::{ApplyMode, Checkpoints, Decree, LearnState};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

const STATE: &[u8] = b"all that the app knows";
const AT: Decree = Decree(17);

/// The file of a checkpoint of [`STATE`].
fn written() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (checkpoints, _) = Checkpoints::open(folder.path()).expect("opens");
    checkpoints.write(AT, STATE.to_vec()).expect("writes");
    fs::read(folder.path().join("checkpoint.17")).expect("there")
}

/// What an app would start with, and what a learner would take over, if this were the file of decree 17; and the
/// memory that reading it took.
fn read(bytes: &[u8]) -> ([Option<Vec<u8>>; 2], usize) {
    let [own, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let file = PathBuf::from("checkpoint.17");
    fs::write(other.path().join(&file), bytes).expect("writes");
    let (checkpoints, _) = Checkpoints::open(own.path()).expect("opens");
    let learned = LearnState {
        decree: AT,
        folder: other.path().to_owned(),
        files: vec![file],
        ..LearnState::default()
    };
    let ((started, taken), peak) = peak(|| {
        let started = Checkpoints::open(other.path()).ok().and_then(|(_, state)| state);
        let copy = |state: &[u8]| Ok(state.to_vec());
        (started, checkpoints.take_over(ApplyMode::Learn, &learned, Decree::ZERO, copy).ok())
    });
    ([started, taken], peak)
}

#[test]
fn every_bit_counts() {
    let written = written();
    assert_eq!(read(&written).0, [Some(STATE.to_vec()), Some(STATE.to_vec())]);
    for (bit, changed) in flips(&written).enumerate() {
        assert_eq!(read(&changed).0, [None, None], "bit {bit}");
    }
}

proptest! {
    #[test]
    fn what_is_not_whole_is_refused(bytes in prop_oneof![noise(), harmed(Just(written()))]) {
        let (states, peak) = read(&bytes);
        if bytes != written() {
            prop_assert_eq!(states, [None, None]);
        }
        prop_assert!(peak <= justified(bytes.len()), "{peak} bytes for {}", bytes.len());
    }
}
