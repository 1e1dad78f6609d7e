//! A Python of its own for programs that drive a cluster by gRPC, with what they need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::programs;
use crate::requirement::is_there;

/// The folder with the programs and what they need.
#[must_use]
pub fn python_programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// An interpreter that has what `tests/python/requirements.txt` names: in a virtual environment in the target folder,
/// made once. `None` where there is no Python or no network; the test's name and what is missing are printed.
///
/// # Panics
/// If something is missing where nothing may be skipped.
#[must_use]
pub fn python(test: &str) -> Option<PathBuf> {
    // Tests run beside each other, and the first one makes it for all.
    static INTERPRETER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let interpreter = INTERPRETER.get_or_init(make).clone();
    let missing = "python3 with venv, and a network for its packages";
    let is_met = is_there(test, "a client in Python", missing, interpreter.is_some());
    interpreter.filter(|_| is_met)
}

fn make() -> Option<PathBuf> {
    let requirements = python_programs().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the requirements");
    let folder = programs().join("python");
    let interpreter = folder.join("bin/python");
    let note = folder.join("installed");
    if fs::read_to_string(&note).is_ok_and(|installed| installed == wanted) {
        return Some(interpreter);
    }
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&folder);
    let mut install = Command::new(&interpreter);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    install.arg(&requirements);
    if !succeeds(environment) || !succeeds(install) {
        return None;
    }
    fs::write(&note, &wanted).expect("the target folder can be written");
    Some(interpreter)
}

fn succeeds(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
