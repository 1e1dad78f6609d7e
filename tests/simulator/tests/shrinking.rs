//! A failing run is made smaller, and what is left fails for the same reason.

use std::time::Duration;

use simulator::{Mask, Outcome, Sometimes, Trace, Violation, run, run_without, shrink};

/// A run of `seed` that counts as failed if a mid-way crash and a promotion came together: a checker that fails on
/// what takes the right troubles, in the right order, under load.
fn planted(seed: u64, mask: &Mask) -> Outcome {
    let mut outcome = run_without(seed, mask, &mut Trace::silent());
    let both = [Sometimes::CrashMidway, Sometimes::Promotion].iter().all(|&what| outcome.tally.of(what) > 0);
    let found = both.then(|| Violation { rule: "planted", what: format!("seed {seed}") });
    outcome.violation = outcome.violation.or(found);
    outcome
}

#[test]
fn what_is_left_is_small_and_still_fails() {
    let failing: Vec<Outcome> = (0..40)
        .map(|seed| planted(seed, &Mask::default()))
        .filter(|outcome| outcome.violation.is_some() && outcome.struck.len() >= 10)
        .take(6)
        .collect();
    assert_eq!(failing.len(), 6, "the planted checker fails now and then");
    for failed in failing {
        let seed = failed.seed;
        let before = failed.struck.len();
        let mut runs = 0;
        let shrunken = shrink(failed, Mask::default(), 400, &mut |mask| {
            runs += 1;
            planted(seed, mask)
        });
        assert!(runs <= 400 && runs == shrunken.runs, "the bound is kept and the runs are counted");
        let left = shrunken.outcome.struck.len();
        assert!(left <= 4.max(before / 3), "seed {seed}: {left} of {before} troubles are left");
        assert!(shrunken.mask.calm.is_some(), "seed {seed}: some of the time was not needed");
        // The command that is printed repeats it.
        let again = planted(seed, &shrunken.mask);
        assert_eq!(again, shrunken.outcome);
        assert_eq!(again.violation.expect("it fails").rule, "planted");
    }
}

#[test]
fn another_rule_is_another_failure() {
    let failed = Outcome {
        violation: Some(Violation { rule: "V1", what: "a stale read".to_owned() }),
        ..run(4, &mut Trace::silent())
    };
    let other = Outcome {
        violation: Some(Violation { rule: "L1", what: "no recovery".to_owned() }),
        struck: Vec::new(),
        ..failed.clone()
    };
    let shrunken = shrink(failed.clone(), Mask::default(), 50, &mut |_| other.clone());
    assert_eq!((shrunken.mask, shrunken.outcome), (Mask::default(), failed));
}

#[test]
fn a_trouble_that_is_left_out_does_not_renumber_the_others() {
    let whole = run(4, &mut Trace::silent());
    let numbers: Vec<u32> = whole.struck.iter().map(|struck| struck.number).filter(|&n| n < 10_000).collect();
    assert!(numbers.len() > 4, "seed 4 has troubles: {numbers:?}");
    let left = numbers.iter().copied().filter(|&number| number != numbers[1]);
    let mask = Mask { only: Some(simulator::Numbers(left.clone().collect())), ..Mask::default() };
    let without = run_without(4, &mask, &mut Trace::silent());
    let struck: Vec<u32> = without.struck.iter().map(|struck| struck.number).collect();
    assert_eq!(struck, left.collect::<Vec<_>>());
}

#[test]
fn silence_and_an_early_calm_shorten_a_run() {
    let wholes = (1..).map(|seed| run(seed, &mut Trace::silent()));
    // Of several: where the recovery takes long most of what happens is in that.
    let (mut before, mut after) = (0, 0);
    for whole in wholes.filter(|outcome| outcome.operations > 2_000).take(5) {
        let silent = simulator::Numbers((0..whole.clients as u32).collect());
        let mask = Mask { silent, calm: Some(Duration::from_secs(3)), ..Mask::default() };
        let short = run_without(whole.seed, &mask, &mut Trace::silent());
        assert_eq!(short.violation, None, "who was silent serves the recovery all the same");
        assert_eq!(short.calm, Duration::from_secs(3));
        (before, after) = (before + whole.operations, after + short.operations);
    }
    assert!(after < before / 2, "{after} of {before}");
}
