//! What a test needs of the machine beside our programs. A machine without it skips the test by name, but for CI.

use std::env;

use crate::report;

/// Set where a test that can't run is a test that failed.
const CI: &str = "HOLDFAST_CI";

/// Whether this is root's process and the tools are here; if not, the test's name and what is missing are printed.
///
/// # Panics
/// If something is missing where nothing may be skipped.
#[must_use]
pub(crate) fn is_met(test: &str, what_for: &str, tools: &[&str]) -> bool {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root");
    }
    missing.extend(tools.iter().filter(|tool| !is_installed(tool)));
    is_there(test, what_for, &missing.join(", "), missing.is_empty())
}

/// The same of something that the caller looked for.
///
/// # Panics
/// If it is missing where nothing may be skipped.
#[must_use]
pub(crate) fn is_there(test: &str, what_for: &str, missing: &str, is_there: bool) -> bool {
    if is_there {
        return true;
    }
    let line = format!("{test}: SKIPPED, for {what_for} it needs {missing}");
    assert!(env::var_os(CI).is_none(), "{line}, and {CI} is set");
    report(&line);
    false
}

fn is_installed(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(tool).exists())
}
