//! Layers against one map, and copies of them against copies of that map.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use replicated_app::Decree;

use super::*;

/// So many that their tree has several levels.
const KEYS: u16 = 3000;

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(u16, Option<u8>)>),
    Seal,
    DropOldest,
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let row = (0..KEYS, proptest::option::of(any::<u8>()));
    prop_oneof![
        6 => vec(row, 0..300).prop_map(Step::Add),
        2 => Just(Step::Seal),
        1 => Just(Step::DropOldest),
        1 => Just(Step::Copy),
    ]
}

fn name_of(number: u16) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn value(number: Option<u8>) -> Row {
    number.map(|number| Bytes::copy_from_slice(&[number]))
}

/// What the layers and the database below them, which is a map here, say together.
fn all(layers: &Layers, below: &BTreeMap<Bytes, Row>, from: u16, to: u16) -> BTreeMap<Bytes, Row> {
    let mut rows: BTreeMap<_, _> =
        below.range(name_of(from)..name_of(to)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let mut above = layers.range(&name_of(from), &name_of(to));
    let mut last = None;
    while let Some((name, row)) = above.next_if(|_| true) {
        assert!(last < Some(name), "in order, each once");
        last = Some(name);
        assert_eq!(layers.get(name), Some(row));
        rows.insert(name.clone(), row.clone());
    }
    rows
}

proptest! {
    #[test]
    fn layers_are_one_map_and_copies_stay_as_they_were(steps in vec(step(), 1..60), from in 0..KEYS, length in 0..KEYS) {
        let to = from.saturating_add(length);
        let (mut layers, mut below, mut model) = (Layers::default(), BTreeMap::new(), BTreeMap::new());
        let mut copies = Vec::new();
        for (decree, step) in (1..).zip(steps) {
            match step {
                Step::Add(rows) => {
                    let position = Position { decree: Decree(decree), now_us: decree };
                    let rows: BTreeMap<_, _> = rows.into_iter().map(|(name, row)| (name_of(name), value(row))).collect();
                    model.extend(rows.clone());
                    layers.add(rows.into_iter().collect(), position);
                    prop_assert_eq!(layers.position(), position);
                }
                Step::Seal => layers.seal(),
                Step::DropOldest => {
                    if let Some(oldest) = layers.oldest_sealed() {
                        below.extend(oldest.rows().map(|(name, row)| (name.clone(), row.clone())));
                        layers.drop_oldest_sealed();
                    }
                }
                // What is below goes on, as it does without a snapshot; so these are compared without it.
                Step::Copy => copies.push((layers.clone(), all(&layers, &BTreeMap::new(), 0, KEYS))),
            }
            let expected: BTreeMap<Bytes, Row> =
                model.range(name_of(from)..name_of(to)).map(|(k, v): (&Bytes, &Row)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(all(&layers, &below, from, to), expected);
        }
        for (copy, then) in copies {
            prop_assert_eq!(all(&copy, &BTreeMap::new(), 0, KEYS), then);
        }
    }
}

#[test]
fn bytes_are_those_of_the_rows_that_are_left() {
    let mut layers = Layers::default();
    let row = |value: &'static [u8]| vec![("row".into(), Some(Bytes::from_static(value)))];
    layers.add(row(&[0; 1000]), Position::default());
    let large = layers.bytes();
    layers.add(row(&[0; 10]), Position::default());
    assert_eq!(layers.bytes(), large - 990);
    layers.seal();
    assert_eq!((layers.newest_bytes(), layers.bytes()), (0, large - 990));
    layers.add(vec![("row".into(), None)], Position::default());
    assert_eq!(layers.bytes(), large - 990 + large - 1000);
    layers.drop_oldest_sealed();
    assert_eq!(layers.bytes(), large - 1000);
}
