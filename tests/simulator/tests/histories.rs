//! Histories are checked twice: by their decrees in every run, and here by a search that knows none.

use std::path::Path;

use simulator::{Mask, Operation, Searched, TallySubject, Trace, run_without, search};

/// `simulator --search --seeds 3000` does the same for more.
#[test]
fn a_sample_of_histories_is_searched() {
    let mask = Mask { searchable: true, ..Mask::default() };
    let (mut asked, mut searched) = (0, Searched::default());
    for seed in 0..150 {
        let outcome = run_without(seed, &mask, &mut Trace::silent());
        if let Some(violation) = &outcome.violation {
            panic!("{}{violation}; see: simulator --seed {seed} --search --trace", outcome.picture);
        }
        asked += outcome.operations as u64;
        searched.add(&outcome.searched);
    }
    assert!(asked > 20_000, "too little was asked to mean anything");
    assert!(searched.operations * 10 > asked * 8, "of {asked} operations only {searched:?}");
}

/// What clients saw of primaries that read without a lease (`mistakes/reads-without-a-lease.patch`): each file
/// ends with the read that the decrees had shown to be stale.
#[test]
fn stale_reads_that_decrees_found_are_found_by_the_search() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let mut history: Vec<Operation> =
            text.lines().map(|line| line.parse().expect("an operation a line")).collect();
        let contradiction = search(&TallySubject, &history).expect_err("this read is stale");
        assert_eq!(contradiction.violation.rule, "V1", "{}", path.display());
        assert!(contradiction.picture.contains("wherever it can stand"), "{}", contradiction.picture);
        // Without it there is nothing wrong.
        let last = history.iter().filter_map(|operation| operation.answered().map(|(at, ..)| at)).max();
        history.retain(|operation| operation.answered().map(|(at, ..)| at) != last);
        assert!(search(&TallySubject, &history).is_ok(), "{}", path.display());
        found += 1;
    }
    assert_eq!(found, 3);
}
