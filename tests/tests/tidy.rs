//! The invariants of docs/architecture.md that a look at the files can check.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 600;

/// What a crate may use of ours, in the order of the arrows. `tests` and `simulator` may use everything.
const ARROWS: [(&str, &[&str]); 16] = [
    ("proto/words", &[]),
    ("proto/settings", &["words"]),
    ("proto", &["words"]),
    ("replica-server/removal", &[]),
    ("apps/replicated-app", &["words", "removal"]),
    ("replica-server/core", &["words", "replicated-app"]),
    ("replica-server/log", &["words", "removal"]),
    ("meta-server/core", &["words"]),
    ("client", &["words", "proto", "settings"]),
    ("apps/counter", &["words", "replicated-app", "client", "settings"]),
    ("apps/kv", &["words", "replicated-app", "client", "settings"]),
    ("apps/card", &["words", "replicated-app", "client", "settings"]),
    ("apps/echo", &["words", "replicated-app", "client", "settings"]),
    ("apps/election", &["words", "replicated-app", "client", "settings"]),
    ("meta-server", &["words", "meta-core", "proto", "settings"]),
    (
        "replica-server",
        &[
            "words",
            "replicated-app",
            "replica-core",
            "replica-log",
            "removal",
            "proto",
            "settings",
            "counter",
            "kv",
            "card",
            "echo",
            "election",
            "meta-server",
        ],
    ),
];

const OURS: [&str; 17] = [
    "words",
    "removal",
    "settings",
    "proto",
    "replicated-app",
    "replica-core",
    "replica-log",
    "meta-core",
    "replica-server",
    "meta-server",
    "client",
    "counter",
    "kv",
    "card",
    "echo",
    "election",
    "simulator",
];

const CORES: [&str; 2] = ["replica-server/core", "meta-server/core"];

/// What decides nothing reproducibly, or waits, or reaches outside.
const NOT_IN_A_CORE: [&str; 13] = [
    "tokio",
    "tonic",
    "rocksdb",
    "async ",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "HashMap",
    "HashSet",
    "rand::",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// Every file below `folder` with that ending, but for what is built, stored or hidden.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "data" {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A line of Rust without its comment; good enough where no string holds `//`.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn cores_know_no_io_no_clock_and_no_order_that_is_not_reproducible() {
    let mut found = Vec::new();
    for file in CORES.iter().flat_map(|core| files(&root().join(core).join("src"), ".rs")) {
        for (index, line) in read(&file).lines().enumerate() {
            let words = NOT_IN_A_CORE.iter().filter(|word| code(line).contains(**word));
            found.extend(words.map(|word| format!("{}:{}: {word}", file.display(), index + 1)));
        }
    }
    assert_none("in a core", &found);
}

/// The names in `[dependencies]` of a crate's Cargo.toml.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = read(&root().join(folder).join("Cargo.toml"));
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

#[test]
fn arrows_point_one_way() {
    let mut found = Vec::new();
    for (folder, allowed) in ARROWS {
        for name in dependencies(folder) {
            if OURS.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                found.push(format!("{folder} uses {name}"));
            }
        }
    }
    assert_none("against the arrows", &found);
}

#[test]
fn every_crate_is_in_the_arrows() {
    let known: BTreeSet<PathBuf> = ARROWS
        .iter()
        .map(|(folder, _)| *folder)
        .chain(["tests", "tests/simulator", "tests/forgetful", "tests/hostile", "tests/bench"])
        .map(PathBuf::from)
        .collect();
    let manifests = files(root(), "Cargo.toml").into_iter();
    let folders = manifests.map(|file| file.parent().unwrap().strip_prefix(root()).unwrap().to_owned());
    let unknown: Vec<String> = folders
        .filter(|folder| !folder.as_os_str().is_empty() && !known.contains(folder))
        .map(|folder| folder.display().to_string())
        .collect();
    assert_none("no arrows are drawn for", &unknown);
}

#[test]
fn files_are_short() {
    let long: Vec<String> = files(root(), ".rs")
        .iter()
        .map(|file| (file.display(), read(file).lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert_none("a file has one subject and at most 600 lines", &long);
}

#[test]
fn nothing_is_left_open_or_skipped() {
    // Put together here, or this file would find itself.
    let marks = [
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
        ["#[ig", "nore"].concat(),
        ["dbg", "!("].concat(),
    ];
    let mut found = Vec::new();
    for file in files(root(), ".rs") {
        for (index, line) in read(&file).lines().enumerate() {
            if marks.iter().any(|mark| code(line).contains(mark)) {
                found.push(format!("{}:{}: {}", file.display(), index + 1, line.trim()));
            }
        }
    }
    assert_none("left open", &found);
}

/// `4` and `4.2` for every numbered rule of docs/protocol.md.
fn sections() -> BTreeSet<String> {
    let mut sections = BTreeSet::new();
    let mut section = String::new();
    for line in read(&root().join("docs/protocol.md")).lines() {
        let number = |text: &str| text.split_once(". ").map(|(number, _)| number.to_owned());
        if let Some(heading) = line.strip_prefix("## ") {
            section = number(heading).expect("a numbered section");
            sections.insert(section.clone());
        } else if let Some(rule) = number(line).filter(|text| text.parse::<u32>().is_ok()) {
            sections.insert(format!("{section}.{rule}"));
        }
    }
    sections
}

/// What stands after each `§` of a text.
fn references(text: &str) -> Vec<String> {
    let after = text.split('§').skip(1);
    let number = after.map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].trim_end_matches('.').to_owned()
    });
    number.collect()
}

#[test]
fn rules_that_are_pointed_at_exist() {
    let sections = sections();
    assert!(
        sections.contains("4.6") && sections.contains("8.3"),
        "docs/protocol.md could not be read: {sections:?}"
    );
    let mut found = Vec::new();
    for file in [".rs", ".md", ".proto", ".ini"].iter().flat_map(|ending| files(root(), ending)) {
        let text = read(&file);
        let wrong =
            references(&text).into_iter().filter(|number| !number.is_empty() && !sections.contains(number));
        found.extend(wrong.map(|number| format!("{}: §{number}", file.display())));
    }
    assert_none("no such rule in docs/protocol.md", &found);
}

/// The targets of a Markdown text's links that name a file.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|file| !file.is_empty() && !file.contains("://")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for file in files(root(), ".md") {
        let text = read(&file);
        let folder = file.parent().expect("a folder");
        let broken = links(&text).into_iter().filter(|link| !folder.join(link).exists());
        found.extend(broken.map(|link| format!("{}: {link}", file.display())));
    }
    assert_none("no such file", &found);
}

#[test]
fn every_word_of_the_docs_that_names_a_source_file_names_one_that_exists() {
    let mut found = Vec::new();
    for file in files(root(), ".md") {
        let text = read(&file);
        let quoted = text.split('`').skip(1).step_by(2);
        let paths =
            quoted.filter(|word| word.ends_with(".rs") && word.contains('/') && !word.contains(['*', '<']));
        found.extend(
            paths
                .filter(|path| !root().join(path).exists())
                .map(|path| format!("{}: {path}", file.display())),
        );
    }
    assert_none("no such source file", &found);
}
