//! Plants mistakes, one at a time, and has the simulator, the scenarios or a test find each.
//!
//! ```sh
//! tests/simulator/mistakes/run                    # all; each until it is found
//! tests/simulator/mistakes/run NAME...            # these
//! tests/simulator/mistakes/run --within 1000      # those that so many seeds should find, or something quicker
//! tests/simulator/mistakes/run --count 2000       # how many of so many seeds find each
//! ```
//!
//! Each mistake is a patch in `tests/simulator/mistakes`. All are woven into one copy of the workspace, so that it
//! is compiled once, and an environment variable chooses; what is shipped has no such switch. One that is not
//! found, or does not apply any more, is a failure; so is a failure where none is planted.

mod patch;
mod weave;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use clap::Parser;
use patch::{CaughtBy, Mistake};

/// Where the patches are.
const PATCHES: &str = "tests/simulator/mistakes";
/// The crate that all others know.
const WORDS: &str = "proto/words/src/lib.rs";
/// Seeds that must pass, with all mistakes woven in and none made.
const SOUND_SEEDS: u64 = 300;
/// Seeds of the first try; each further one runs four times as many.
const FIRST_TRY: u64 = 50;

/// Plants mistakes and looks whether they are found.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The mistakes; all, if none is named.
    names: Vec<String>,
    /// Run so many seeds for each that seeds find, and count, instead of stopping at the first that finds it.
    #[arg(long)]
    count: Option<u64>,
    /// Leave out those that more seeds than this are needed for.
    #[arg(long, default_value_t = u64::MAX)]
    within: u64,
    /// Threads of the simulator.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// What was found of one mistake.
#[derive(Debug, Default)]
struct Found {
    seeds: u64,
    failing: u64,
    first: Option<u64>,
    /// The rules that broke, and how often.
    rules: BTreeMap<String, u64>,
}

impl Found {
    fn add(&mut self, more: Self) {
        self.seeds += more.seeds;
        self.failing += more.failing;
        self.first = self.first.or(more.first);
        for (rule, count) in more.rules {
            *self.rules.entry(rule).or_default() += count;
        }
    }

    fn rules(&self) -> String {
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|&(rule, count)| (std::cmp::Reverse(count), rule));
        rules.iter().map(|(rule, _)| rule.as_str()).collect::<Vec<_>>().join(", ")
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(missed) => {
            println!("{missed} not found");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// Returns how many were not found.
fn run(arguments: &Arguments) -> Result<usize, String> {
    // Where it is run, not where it was compiled: several clones share a target directory.
    let root = env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
    let mistakes = Mistake::read_all(&root.join(PATCHES))?;
    let unknown = arguments.names.iter().find(|name| mistakes.iter().all(|mistake| mistake.name != **name));
    if let Some(name) = unknown {
        return Err(format!("there is no mistake {name}"));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let bench = Bench::set_up(&root, target.join("mistakes"), &mistakes, arguments.threads)?;
    println!("| mistake | rule | caught by | seeds | failing | first | what broke |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut missed = 0;
    for (number, mistake) in (1..).zip(&mistakes).filter(|(_, mistake)| arguments.wants(mistake)) {
        missed += usize::from(!bench.show(number, mistake, arguments.count)?);
    }
    Ok(missed)
}

impl Arguments {
    fn wants(&self, mistake: &Mistake) -> bool {
        let named = self.names.is_empty() || self.names.contains(&mistake.name);
        named && !matches!(mistake.caught_by, CaughtBy::Seeds(budget) if budget > self.within)
    }
}

/// A copy of the workspace with all mistakes in it, compiled.
struct Bench {
    tree: PathBuf,
    target: PathBuf,
    threads: usize,
}

impl Bench {
    fn set_up(root: &Path, folder: PathBuf, mistakes: &[Mistake], threads: usize) -> Result<Self, String> {
        let bench = Self { tree: folder.join("tree"), target: folder.join("target"), threads };
        bench.copy(root, mistakes)?;
        bench.cargo(&["build", "--release", "-p", "simulator", "--bin", "simulator"])?;
        let sound = bench.seeds(0, 0, SOUND_SEEDS)?;
        if sound.failing > 0 {
            return Err(format!("without a mistake seed {:?} fails: {}", sound.first, sound.rules()));
        }
        Ok(bench)
    }

    /// Only what differs is written, so that only that is compiled again.
    fn copy(&self, root: &Path, mistakes: &[Mistake]) -> Result<(), String> {
        let listed = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output();
        let listed = listed.map_err(|error| format!("git ls-files: {error}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let files: BTreeSet<&str> = listed.split('\0').filter(|file| root.join(file).is_file()).collect();
        remove_others(&self.tree, Path::new(""), &files)?;
        for file in files {
            let from = root.join(file);
            let failed = |error| format!("{}: {error}", from.display());
            let mut content = fs::read(&from).map_err(failed)?;
            if Path::new(file).extension().is_some_and(|extension| extension == "rs") {
                let text = String::from_utf8(content).map_err(|error| format!("{file}: {error}"))?;
                content = with_mistakes(file, text, mistakes)?.into_bytes();
            }
            let to = self.tree.join(file);
            if fs::read(&to).is_ok_and(|there| there == content) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(failed)?;
            fs::write(&to, content).map_err(failed)?;
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(), String> {
        let output = self.command("cargo", 0).args(arguments).output().map_err(|error| error.to_string())?;
        let told = || String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{}\ncargo {arguments:?} failed", told())) }
    }

    fn command(&self, program: &str, mistake: u16) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        command.env("MISTAKE", mistake.to_string());
        command
    }

    /// Prints what is found of a mistake; whether it is.
    fn show(&self, number: u16, mistake: &Mistake, count: Option<u64>) -> Result<bool, String> {
        let Mistake { name, rule, caught_by, .. } = mistake;
        let (found, by) = match caught_by {
            CaughtBy::Seeds(budget) => {
                let found = match count {
                    Some(count) => self.seeds(number, 0, count.max(*budget))?,
                    None => self.first_seed(number, *budget)?,
                };
                (found, format!("seeds {budget}"))
            }
            CaughtBy::Scenario(file) => (self.scenario(number, file)?, format!("scenario {file}")),
            CaughtBy::Test(package, test) => {
                (self.test(number, package, test)?, format!("test {package} {test}"))
            }
        };
        let Found { seeds, failing, first, .. } = &found;
        let dash = || "-".to_owned();
        let (seeds, counted) = match caught_by {
            CaughtBy::Seeds(_) => (seeds.to_string(), failing.to_string()),
            _ => (dash(), dash()),
        };
        let first = first.map_or_else(dash, |first| first.to_string());
        let broke = if *failing > 0 { found.rules() } else { "**nothing**".to_owned() };
        println!("| `{name}` | {rule} | {by} | {seeds} | {counted} | {first} | {broke} |");
        Ok(*failing > 0)
    }

    /// Runs more and more seeds until one finds the mistake.
    fn first_seed(&self, mistake: u16, budget: u64) -> Result<Found, String> {
        let (mut found, mut step) = (Found::default(), FIRST_TRY);
        while found.failing == 0 && found.seeds < budget {
            let more = self.seeds(mistake, found.seeds, step.min(budget - found.seeds))?;
            found.add(more);
            step *= 4;
        }
        Ok(found)
    }

    fn seeds(&self, mistake: u16, from: u64, count: u64) -> Result<Found, String> {
        let (from, count_text, threads) = (from.to_string(), count.to_string(), self.threads.to_string());
        let mut command = self.command(&self.simulator(), mistake);
        command.args(["--keep-going", "--from", &from, "--seeds", &count_text, "--threads", &threads]);
        let output = command.output().map_err(|error| format!("the simulator: {error}"))?;
        let told = String::from_utf8_lossy(&output.stdout);
        if !told.contains(" seeds in ") {
            return Err(format!("the simulator did not finish: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let mut found = Found { seeds: count, ..Found::default() };
        for line in told.lines() {
            let failed = line.strip_prefix("seed ").and_then(|rest| rest.split_once(" FAILED: "));
            let Some((seed, violation)) = failed else { continue };
            let rule = violation.split(':').next().unwrap_or_default();
            found.failing += 1;
            found.first = found.first.or(seed.parse().ok());
            *found.rules.entry(rule.to_owned()).or_default() += 1;
        }
        Ok(found)
    }

    fn simulator(&self) -> String {
        self.target.join("release/simulator").display().to_string()
    }

    /// A scenario that passes, and fails with the mistake.
    fn scenario(&self, mistake: u16, file: &str) -> Result<Found, String> {
        let passes = |made| {
            let mut command = self.command(&self.simulator(), made);
            let output = command.args(["--scenario", &format!("tests/scenarios/{file}.scn")]).output();
            output.map(|output| output.status.success()).map_err(|error| error.to_string())
        };
        told_apart(file, passes(0)?, passes(mistake)?)
    }

    /// A test that passes, and fails with the mistake.
    fn test(&self, mistake: u16, package: &str, test: &str) -> Result<Found, String> {
        let passes = |made| {
            let mut command = self.command("cargo", made);
            let output = command.args(["test", "--release", "-p", package, test]).output();
            let output = output.map_err(|error| error.to_string())?;
            let told = String::from_utf8_lossy(&output.stdout);
            match (told.contains(" 1 passed;"), told.contains(" 1 failed;")) {
                (true, false) => Ok(true),
                (false, true) => Ok(false),
                _ => Err(format!(
                    "{test} of {package} did not run: {}",
                    String::from_utf8_lossy(&output.stderr)
                )),
            }
        };
        told_apart(test, passes(0)?, passes(mistake)?)
    }
}

/// Removes what an earlier copy left in a folder and that is not among the files any more.
fn remove_others(tree: &Path, folder: &Path, files: &BTreeSet<&str>) -> Result<(), String> {
    let here = tree.join(folder);
    let Ok(entries) = fs::read_dir(&here) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            remove_others(tree, &path, files)?;
        } else if !files.contains(path.to_string_lossy().as_ref()) {
            fs::remove_file(entry.path()).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// What a check that passes or fails says.
fn told_apart(what: &str, passes_without: bool, passes_with: bool) -> Result<Found, String> {
    if !passes_without {
        return Err(format!("{what} fails without a mistake"));
    }
    let rules = BTreeMap::from([("it".to_owned(), 1)]);
    Ok(if passes_with { Found::default() } else { Found { failing: 1, rules, ..Found::default() } })
}

/// A source file with all mistakes that are in it.
fn with_mistakes(file: &str, base: String, mistakes: &[Mistake]) -> Result<String, String> {
    let mut variants = Vec::new();
    for (number, mistake) in (1..).zip(mistakes) {
        if mistake.files().any(|changed| changed == file) {
            variants.push((number, mistake.make_in(file, &base)?));
        }
    }
    let mut woven = if variants.is_empty() {
        base
    } else {
        weave::weave(&base, &variants).map_err(|why| format!("{file}: {why}"))?
    };
    if file == WORDS {
        woven.push_str(weave::CHOICE);
    }
    Ok(woven)
}
