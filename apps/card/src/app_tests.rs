//! The card server without a cluster.

use std::path::Path;

use proptest::prelude::*;
use replicated_app::{AppInfo, Gpid};

use super::*;

fn open(folder: &Path) -> io::Result<Box<dyn ReplicatedApp>> {
    CardType.open(&OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder })
}

fn rock(balance: u64) -> Card {
    Card { user_name: "rock".into(), user_id: 20_170_001, balance }
}

fn apply(app: &mut dyn ReplicatedApp, decree: u64, requests: &[Request]) -> Vec<Result<Bytes, u32>> {
    let requests: Vec<Bytes> = requests.iter().map(Request::encode).collect();
    let answers = app.apply(&Batch { decree: Decree(decree), timestamp_us: 0, requests: &requests });
    answers.into_iter().map(|answer| answer.map_err(|no| no.code)).collect()
}

fn balance(app: &dyn ReplicatedApp, id: u64) -> Result<u64, u32> {
    let answer = app.read(&Request::Select(id).encode()).map_err(|no| no.code)?;
    Ok(request::decode_card(&answer).unwrap().balance)
}

#[test]
fn it_does_what_certain_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    let none = || Ok(Bytes::new());
    let requests = [
        Request::Select(1),
        Request::Insert(1, rock(200)),
        Request::Insert(1, rock(5)),
        Request::Select(1),
        Request::Update(1, 10),
        Request::Update(1, -211),
        Request::Update(1, -210),
        Request::Update(2, 1),
        Request::Delete(1),
        Request::Delete(1),
    ];
    let answers = [
        Err(NO_CARD),
        none(),
        Err(CARD_EXISTS),
        Ok(encode_card(&rock(200))),
        Ok(request::encode_balance(210)),
        Err(NOT_ENOUGH),
        Ok(request::encode_balance(0)),
        Err(NO_CARD),
        none(),
        Err(NO_CARD),
    ];
    assert_eq!(apply(&mut *app, 1, &requests), answers);
}

#[test]
fn a_balance_stays_in_its_range() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[Request::Insert(1, rock(u64::MAX)), Request::Insert(2, rock(0))]);
    let before = app.digest();
    let updates = [Request::Update(1, 1), Request::Update(2, -1), Request::Update(2, i64::MIN)];
    assert_eq!(apply(&mut *app, 2, &updates), [Err(TOO_MUCH), Err(NOT_ENOUGH), Err(NOT_ENOUGH)]);
    assert_eq!(app.digest(), before);
    apply(&mut *app, 3, &[Request::Update(1, i64::MIN), Request::Update(2, i64::MAX)]);
    assert_eq!((balance(&*app, 1), balance(&*app, 2)), (Ok(i64::MAX as u64), Ok(i64::MAX as u64)));
}

#[test]
fn only_a_select_is_a_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = open(folder.path()).unwrap();
    apply(&mut *app, 1, &[Request::Insert(1, rock(200))]);
    for request in [Request::Insert(2, rock(1)), Request::Update(1, 1), Request::Delete(1)] {
        assert_eq!(app.read(&request.encode()).unwrap_err().code, MALFORMED);
    }
    assert_eq!(balance(&*app, 1), Ok(200));
}

#[test]
fn it_comes_back_and_hands_over() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut app = open(folders[0].path()).unwrap();
    apply(&mut *app, 1, &[Request::Insert(1, rock(200)), Request::Insert(2, rock(3))]);
    app.sync_checkpoint().unwrap();
    apply(&mut *app, 2, &[Request::Delete(1)]);

    let mut other = open(folders[1].path()).unwrap();
    other.apply_checkpoint(ApplyMode::Learn, &app.get_checkpoint().unwrap()).unwrap();
    apply(&mut *other, 2, &[Request::Delete(1)]);
    assert_eq!((other.digest(), other.last_durable_decree()), (app.digest(), Decree(1)));

    app.close(false).unwrap();
    let app = open(folders[0].path()).unwrap();
    assert_eq!((balance(&*app, 1), balance(&*app, 2)), (Ok(200), Ok(3)));
    assert_ne!(app.digest(), other.digest());
}

proptest! {
    /// Whatever is added and taken by however many: each update that is not refused counts, and nothing else.
    #[test]
    fn no_balance_falls_below_zero_and_each_update_counts(
        first in 0..1000_u64,
        deltas in prop::collection::vec(prop_oneof![-300..300_i64, any::<i64>()], 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut app = open(folder.path()).unwrap();
        apply(&mut *app, 1, &[Request::Insert(1, rock(first))]);
        let updates: Vec<Request> = deltas.iter().map(|&delta| Request::Update(1, delta)).collect();
        let answers = apply(&mut *app, 2, &updates);
        let mut expected = i128::from(first);
        for (delta, answer) in deltas.into_iter().zip(answers) {
            let sum = expected + i128::from(delta);
            match u64::try_from(sum) {
                Ok(balance) => {
                    prop_assert_eq!(answer, Ok(request::encode_balance(balance)));
                    expected = sum;
                }
                Err(_) => prop_assert_eq!(answer, Err(if delta < 0 { NOT_ENOUGH } else { TOO_MUCH })),
            }
        }
        prop_assert_eq!(balance(&*app, 1).map(i128::from), Ok(expected));
    }
}
