//! Every file of tests/scenarios is a test of its own; `cargo test -p simulator --test scenarios 201` runs those
//! whose names contain `201`.

use std::path::Path;
use std::process::ExitCode;

use simulator::{Scenario, Trace, keep_panics, run_scenario, scenario_files};

/// Lines of the trace of a failing scenario.
const TAIL: usize = 60;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    keep_panics();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = match scenario_files(&folder) {
        Ok(files) => files,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in files {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word)) {
            skipped += 1;
            continue;
        }
        match pass(&file) {
            Ok(()) => {
                passed += 1;
                println!("scenario {name} ... ok");
            }
            Err(what) => {
                failed += 1;
                println!("scenario {name} ... FAILED\n{what}");
            }
        }
    }
    println!("\n{passed} passed; {failed} failed; {skipped} left out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A failing scenario is run again, traced this time.
fn pass(file: &Path) -> Result<(), String> {
    let scenario = Scenario::open(file)?;
    if run_scenario(&scenario, &mut Trace::silent()).is_ok() {
        return Ok(());
    }
    let mut trace = Trace::kept();
    let outcome = run_scenario(&scenario, &mut trace);
    let failure = outcome.expect_err("the same scenario takes the same course");
    Err(format!("... the last {TAIL} lines of the trace:\n{}{failure}", trace.tail(TAIL)))
}
