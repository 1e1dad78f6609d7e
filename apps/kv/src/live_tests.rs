//! The database with what is above it: one state, whatever settles when.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

type Model = BTreeMap<Bytes, Bytes>;

fn cache() -> Cache {
    Cache::new_lru_cache(1 << 20)
}

fn open(folder: &TempDir, checkpoint: Option<Decree>) -> Arc<Live> {
    let checkpoint = checkpoint.map(|decree| folder.path().join(format!("checkpoint.{decree}")));
    let live = folder.path().join(format!("live.{}", checkpoint.is_some()));
    Live::open(live, checkpoint.as_deref(), &cache()).unwrap()
}

fn at(decree: u64) -> Position {
    Position { decree: Decree(decree), now_us: decree }
}

/// The name of a row of any key.
fn row(number: u16) -> Bytes {
    rows::state_row(&number.to_be_bytes())
}

/// A mutation that changes one row to a MiB.
fn mebibyte(number: u64) -> Rows {
    static VALUE: [u8; 1 << 20] = [7; 1 << 20];
    vec![(row(number as u16), Some(Bytes::from_static(&VALUE)))]
}

fn all(view: &View<'_>) -> Model {
    let mut found = Model::new();
    view.each(|row, value| {
        assert!(
            found.insert(Bytes::copy_from_slice(row), Bytes::copy_from_slice(value)).is_none(),
            "a row twice"
        );
        Ok(())
    })
    .unwrap();
    found
}

fn link(folder: &TempDir, frozen: Frozen, decree: u64) -> io::Result<()> {
    let into = folder.path().join(format!("checkpoint.{decree}"));
    frozen.link_into(&into, Decree(decree), &cache())
}

/// Waits until no thread is at it any more.
fn wait_until_settled(live: &Live) {
    let waited = live.settled.wait_timeout_while(live.above(), PATIENCE, |above| above.settling).unwrap();
    assert!(!waited.1.timed_out());
}

#[derive(Clone, Debug)]
enum Step {
    Write(BTreeMap<u16, Option<u8>>),
    /// A checkpoint begins, and is linked after so many more steps.
    Checkpoint(usize),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => btree_map(0..40_u16, proptest::option::of(any::<u8>()), 0..12).prop_map(Step::Write),
        1 => (0..3_usize).prop_map(Step::Checkpoint),
        2 => Just(Step::Look),
    ]
}

#[test]
fn what_has_settled_is_still_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let live = open(&folder, None);
    // Too large for many to be in one block.
    let value = Bytes::from_static(&[7; 2000]);
    for decree in 1..=100 {
        live.write(vec![(row(decree as u16), Some(value.clone()))], at(decree)).unwrap();
    }
    link(&folder, live.freeze(), 100).unwrap();
    assert!(live.above().layers.get(&row(50)).is_none(), "it is in the database alone");
    let read = |live: &Live| {
        live.memory().with(&row(50), |found| found.map(<[u8]>::len)).map_err(|error| error.kind())
    };
    assert_eq!(read(&live), Ok(Some(value.len())));
    assert_eq!(
        read(&open(&folder, Some(Decree(100)))),
        Err(io::ErrorKind::WouldBlock),
        "and was read by nobody"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_view_is_the_state_of_its_moment(steps in vec(step(), 1..30)) {
        let folder = tempfile::tempdir().unwrap();
        let live = open(&folder, None);
        let (mut model, mut decree) = (Model::new(), 0);
        let (mut looks, mut checkpoints) = (Vec::new(), Vec::new());
        let mut frozen: Option<(Frozen, usize, u64)> = None;
        for (now, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(rows) => {
                    decree += 1;
                    let changed = rows.iter().map(|(number, value)| {
                        (row(*number), value.map(|value| Bytes::copy_from_slice(&[value])))
                    });
                    let changed: Rows = changed.collect();
                    for (row, value) in changed.clone() {
                        match value {
                            Some(value) => model.insert(row, value),
                            None => model.remove(&row),
                        };
                    }
                    live.write(changed, at(decree)).unwrap();
                }
                Step::Checkpoint(steps) if frozen.is_none() && checkpoints.last().is_none_or(|(last, _)| *last < decree) => {
                    checkpoints.push((decree, model.clone()));
                    frozen = Some((live.freeze(), now + steps, decree));
                }
                Step::Checkpoint(_) => {}
                Step::Look => looks.push((live.moment(), model.clone(), decree)),
            }
            if let Some((checkpoint, _, of)) = frozen.take_if(|(_, then, _)| *then <= now) {
                link(&folder, checkpoint, of).unwrap();
            }
            let view = live.present();
            prop_assert_eq!((all(&view), view.position().decree), (model.clone(), Decree(decree)));
            for number in 0..40 {
                let found = view.get(&row(number)).unwrap();
                prop_assert_eq!(found.as_ref(), model.get(&row(number)));
            }
        }
        for (view, then, decree) in looks {
            prop_assert_eq!((all(&view), view.position().decree), (then, Decree(decree)));
        }
        if let Some((checkpoint, _, of)) = frozen {
            link(&folder, checkpoint, of).unwrap();
        }
        if let Some((decree, then)) = checkpoints.pop() {
            let again = open(&folder, Some(Decree(decree)));
            prop_assert_eq!((all(&again.present()), again.present().position()), (then, at(decree)));
        }
    }
}

#[test]
fn what_is_large_settles_by_itself_and_checkpoints_are_of_their_decree() {
    let folder = tempfile::tempdir().unwrap();
    let live = open(&folder, None);
    for decree in 1..=100 {
        live.write(mebibyte(decree), at(decree)).unwrap();
    }
    let frozen = live.freeze();
    for decree in 101..=150 {
        live.write(mebibyte(decree), at(decree)).unwrap();
    }
    wait_until_settled(&live);
    let settled = files::position(&live.db).unwrap().decree;
    assert!((Decree(90)..=Decree(100)).contains(&settled), "layers up to {settled}");
    link(&folder, frozen, 100).unwrap();
    // The next one finds that there is enough.
    live.write(mebibyte(151), at(151)).unwrap();
    wait_until_settled(&live);
    assert_eq!(files::position(&live.db).unwrap().decree, Decree(151));
    assert_eq!(live.above().layers.bytes(), 0);
    assert_eq!(all(&live.present()).len(), 151);
    assert_eq!(all(&open(&folder, Some(Decree(100))).present()).len(), 100);
}

#[test]
fn a_checkpoint_that_takes_too_long_fails_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let live = open(&folder, None);
    live.write(mebibyte(1), at(1)).unwrap();
    let frozen = live.freeze();
    let many = (MOST_BYTES >> 20) as u64 + 10;
    for decree in 2..=many {
        live.write(mebibyte(decree), at(decree)).unwrap();
    }
    wait_until_settled(&live);
    assert_eq!(link(&folder, frozen, 1).unwrap_err().kind(), io::ErrorKind::InvalidData);
    let all_there = || all(&live.present()).len() as u64 == many;
    assert!(all_there());
    link(&folder, live.freeze(), many).unwrap();
    assert!(all_there());
    assert_eq!(all(&open(&folder, Some(Decree(many))).present()).len() as u64, many);
}

#[test]
fn who_writes_is_told_that_what_was_before_could_not_settle() {
    let folder = tempfile::tempdir().unwrap();
    let live = open(&folder, None);
    fs::remove_dir_all(folder.path().join("live.false")).unwrap();
    let layers_that_get_nowhere = 10 * (LAYER_BYTES >> 20) as u64;
    let refused = (1..layers_that_get_nowhere).find_map(|decree| {
        let written = live.write(mebibyte(decree), at(decree));
        wait_until_settled(&live);
        written.err()
    });
    assert!(refused.is_some());
}
