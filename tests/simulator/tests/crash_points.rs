//! The power of a node goes at each of its disk operations, with every outcome, and again during the recovery: the
//! cluster recovers, and no invariant is broken meanwhile.

use replica_log::Crash;
use simulator::{Sometimes, Tally, Trace, disk_operations, run_with_cuts};

fn pass(machine: usize, cuts: &[(u64, Crash)], tally: &mut Tally) {
    let outcome = run_with_cuts(machine, cuts, &mut Trace::silent());
    if let Some(violation) = outcome.violation {
        let mut trace = Trace::kept();
        run_with_cuts(machine, cuts, &mut trace);
        panic!("{}{violation}\nmachine {machine}, power cuts {cuts:?}", trace.tail(150));
    }
    tally.add(&outcome.tally);
}

fn outcomes(number: u64) -> [Crash; 4] {
    [Crash::Lose, Crash::Keep, Crash::Torn(number), Crash::Scattered(number)]
}

#[test]
fn at_every_disk_operation_of_every_node() {
    let operations = disk_operations();
    let mut tally = Tally::default();
    let (mut points, mut again) = (0, 0);
    for (machine, &operations) in operations.iter().enumerate() {
        for point in 0..operations {
            points += 1;
            for outcome in outcomes(point) {
                pass(machine, &[(point, outcome)], &mut tally);
            }
            // What a recovery does takes fewer operations than that.
            let second = point % 12;
            for outcome in outcomes(point) {
                again += 1;
                pass(machine, &[(point, outcome), (second, outcome)], &mut tally);
            }
        }
    }
    println!(
        "{points} crash points of whole nodes x 3 outcomes (each torn in two ways); {again} with a second cut"
    );
    for what in [Sometimes::LogCollected, Sometimes::CheckpointDone, Sometimes::LearnByCheckpoint] {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}
