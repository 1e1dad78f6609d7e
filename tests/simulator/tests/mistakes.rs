//! The planted mistakes can still be made, and docs/verification.md lists them as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every patch, by name.
fn patches() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("mistakes");
    let paths = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("listed").path());
    let patches = paths.filter(|path| path.extension().is_some_and(|extension| extension == "patch"));
    let name = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    patches.map(|path| (name(&path), path)).collect()
}

#[test]
fn each_can_still_be_made() {
    let patches = patches();
    assert!(patches.len() >= 90, "only {} mistakes are left", patches.len());
    for path in patches.values() {
        let check = Command::new("git").current_dir(root()).args(["apply", "--check"]).arg(path).status();
        assert!(check.expect("git is there").success(), "{} does not apply any more", path.display());
    }
}

/// What a patch's head says, as the table's first columns.
fn row(name: &str, path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a patch is text");
    let head = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{name}: no `{key}` in its head")).trim().to_owned()
    };
    format!("| `{name}` | {} | {} | {} |", head("rule:"), head("story:"), head("caught by:"))
}

#[test]
fn the_docs_list_each_as_it_is() {
    let docs = fs::read_to_string(root().join("docs/verification.md")).expect("docs/verification.md");
    let patches = patches();
    for (name, path) in &patches {
        let row = row(name, path);
        assert!(docs.lines().any(|line| line.starts_with(&row)), "docs/verification.md lacks: {row}");
    }
    let begin = docs.find("## Planted mistakes").expect("the section is there");
    let section = docs[begin + 2..].split("\n## ").next().expect("it ends somewhere");
    let listed = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, patches.len(), "the table has rows of mistakes that are not there");
}
