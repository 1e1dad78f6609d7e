//! docs/scenarios.md says the truth about the language of scenarios.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use simulator::{Scenario, Trace, run_scenario, scenario_files};

/// What stands above the table of all scenarios.
const INDEX: &str = "## All of them\n";

fn page_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenarios.md")
}

fn page() -> String {
    std::fs::read_to_string(page_path()).expect("the page is there")
}

/// `UPDATE_EXPECT=1 cargo test --release -p simulator --test scenario_language` writes the table anew.
#[test]
fn every_scenario_is_on_the_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut table = "\n| file | what it is about |\n| --- | --- |\n".to_owned();
    for file in scenario_files(&folder).expect("there are some") {
        let scenario = Scenario::open(&file).expect("it can be read");
        let (name, title) = (&scenario.name, &scenario.title);
        writeln!(table, "| [{name}](../tests/scenarios/{name}) | {title} |").expect("a string takes it");
    }
    let page = page();
    let (before, is) = page.split_once(INDEX).expect("the page has an index");
    if is != table && std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(page_path(), format!("{before}{INDEX}{table}")).expect("it can be written");
    }
    assert!(
        is == table,
        "the index of docs/scenarios.md is not that of tests/scenarios; UPDATE_EXPECT=1 mends it"
    );
}

/// The first column of the page's tables: statements.
fn statements(page: &str) -> Vec<String> {
    let page = page.split(INDEX).next().unwrap_or_default();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(statement, _)| statement.to_owned()).collect()
}

#[test]
fn every_statement_of_the_page_is_one() {
    let statements = statements(&page());
    assert!(statements.len() > 50, "only {} statements are on the page", statements.len());
    for statement in &statements {
        // An ellipsis stands for what was said before.
        let text = format!("# An example.\n{statement}\nsettle\n");
        if let Err(what) = Scenario::parse("the page", &text) {
            panic!("`{statement}` is on the page and is no statement: {what}");
        }
    }
}

#[test]
fn every_verb_and_setting_is_on_the_page() {
    let page = page();
    let statements = statements(&page);
    for verb in Scenario::verbs() {
        let there = statements.iter().any(|it| it.split_whitespace().next() == Some(verb));
        assert!(there, "the verb `{verb}` is not on the page");
    }
    for setting in Scenario::settings() {
        assert!(
            page.contains(&format!("`{setting}`")) || page.contains(&format!("`{setting} ")),
            "{setting}"
        );
    }
}

#[test]
fn the_examples_of_the_page_run() {
    let page = page();
    let examples: Vec<&str> =
        page.split("```scn\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty(), "the page has an example");
    for example in examples {
        let scenario = Scenario::parse("example", example).expect("it is a scenario");
        run_scenario(&scenario, &mut Trace::silent()).expect("it passes");
    }
}

/// What a scenario that is wrong is told. Each of these must fail, and say this.
#[test]
fn a_scenario_can_fail() {
    let cases = [
        ("expect config {4,r1,[r2,r3]} within 2s", "after 2s it is {3,r1,[r2,r3]}"),
        ("expect config {2,r1,[r2]}", "it is {3,r1,[r2,r3]}"),
        ("expect state {r1,pri,3,0}", "r1 is {pri,3,1}"),
        ("expect committed of all = 0", "r1 has 1"),
        ("expect readers = none for 1s", "readers are r1"),
        ("write a +1 = 2", "the answer is 1@2"),
        ("write a +1 at r2 = ok", "the answer is refused not_primary"),
        ("kill r1\nread a at r1 = 0", "the answer is refused no_process"),
        ("expect sent prepare r1 -> r2 = 1 within 1s", "0 were sent"),
        ("release x", "nothing is held as `x`"),
        ("start r9", "there are only 3 nodes"),
        ("admin propose remove r2 refused", "not refused"),
    ];
    for (line, what) in cases {
        let scenario = Scenario::parse("wrong", &format!("# t\nform r1 r2 r3\n{line}\n")).expect("it parses");
        let failure = run_scenario(&scenario, &mut Trace::silent()).expect_err(line);
        assert_eq!(failure.violation.rule, "expected", "{line}: {failure}");
        assert!(failure.violation.what.contains(what), "{line}: {failure}");
    }
}

#[test]
fn a_broken_rule_is_told_with_its_line() {
    // All of a partition's data are gone, and an end that is whole is wanted all the same.
    let text = "# t\nset replicas 1\nform r1\nwrite a +1\nkill r1\nadvance 1s\nwrite a +1\n";
    let scenario = Scenario::parse("wrong", text).expect("it parses");
    let failure = run_scenario(&scenario, &mut Trace::silent()).expect_err("nobody is there");
    assert_eq!((failure.number, failure.line.as_str()), (7, "write a +1"));
}
