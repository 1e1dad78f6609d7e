//! What a page says.

use std::fs;
use std::path::{Path, PathBuf};

/// Stands for any text in a line, and alone in a line for any number of lines.
pub(crate) const ANYTHING: &str = "...";

/// One thing to do, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Command(Command),
    Session(Session),
}

/// A command that ends by itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// The line of the page that it is in, from 1.
    pub(crate) at: usize,
    pub(crate) typed: String,
    pub(crate) printed: Vec<String>,
    pub(crate) code: i32,
}

/// A part of what happens with a program that goes on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    /// The line of the page that it begins after.
    pub(crate) at: usize,
    pub(crate) name: String,
    /// What starts it, in its first part.
    pub(crate) command: Option<String>,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Typed(String),
    Printed(String),
    Code(i32),
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/apps")
}

/// The pages that there are.
pub(crate) fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("docs/apps");
    let files = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> =
        files.filter_map(|file| file.strip_suffix(".md").map(str::to_owned)).collect();
    names.sort();
    names
}

/// What a page asks to be done.
pub(crate) fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(tag) = line.strip_prefix("```") else { continue };
        let block: Vec<(usize, &str)> = lines
            .by_ref()
            .map(|(index, line)| (index + 1, line))
            .take_while(|(_, line)| *line != "```")
            .collect();
        match tag.split(' ').collect::<Vec<_>>()[..] {
            ["console"] => steps.extend(commands(&block)),
            ["console", "session"] => steps.push(session(index + 1, "", &block)),
            ["console", "session", name] => steps.push(session(index + 1, name, &block)),
            _ => {}
        }
    }
    steps
}

/// The files that a page writes down: blocks whose tag is a language and a path.
pub(crate) fn files(text: &str) -> Vec<(&str, &str)> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let named = blocks.filter_map(|block| {
        let (tag, content) = block.split_once('\n')?;
        let (_, path) = tag.split_once(' ').filter(|(language, _)| *language != "console")?;
        Some((path, content))
    });
    named.collect()
}

fn commands(block: &[(usize, &str)]) -> Vec<Step> {
    let mut commands: Vec<Command> = Vec::new();
    for &(at, line) in block {
        if let Some(typed) = line.strip_prefix("$ ") {
            commands.push(Command { at, typed: typed.to_owned(), printed: Vec::new(), code: 0 });
            continue;
        }
        let last = commands.last_mut().unwrap_or_else(|| panic!("line {at}: what printed that?"));
        match code(line) {
            Some(code) => last.code = code,
            None => last.printed.push(line.to_owned()),
        }
    }
    commands.into_iter().map(Step::Command).collect()
}

fn session(at: usize, name: &str, block: &[(usize, &str)]) -> Step {
    let mut session = Session { at, name: name.to_owned(), ..Session::default() };
    for &(at, line) in block {
        if let Some(command) = line.strip_prefix("$ ") {
            assert!(session.command.is_none() && session.lines.is_empty(), "line {at}: a second command");
            session.command = Some(command.to_owned());
        } else if let Some(typed) = line.strip_prefix("> ") {
            session.lines.push(Line::Typed(typed.to_owned()));
        } else {
            session.lines.push(code(line).map_or_else(|| Line::Printed(line.to_owned()), Line::Code));
        }
    }
    Step::Session(session)
}

fn code(line: &str) -> Option<i32> {
    line.strip_prefix("[exit code ")?.strip_suffix(']')?.parse().ok()
}

/// Whether a line is what a page says that it is.
pub(crate) fn fits(said: &str, line: &str) -> bool {
    let mut parts = said.split(ANYTHING);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    true
}

/// The same for all that was printed.
pub(crate) fn all_fit(said: &[String], lines: &[String]) -> bool {
    match said.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == ANYTHING => {
            (0..=lines.len()).any(|skipped| all_fit(rest, &lines[skipped..]))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| fits(first, line) && all_fit(rest, lines))
        }
    }
}

#[test]
fn a_page_is_taken_apart() {
    let text = "prose\n```sh\n$ no\n```\n```console\n$ a b\nout\n[exit code 2]\n$ c\n```\n\
                ```console session left\n$ d\n> typed\nout\n> ^D\n[exit code 1]\n```\n";
    let command = |at, typed: &str, printed: &[&str], code| {
        let printed = printed.iter().map(|&line| line.to_owned()).collect();
        Step::Command(Command { at, typed: typed.to_owned(), printed, code })
    };
    let lines = vec![
        Line::Typed("typed".to_owned()),
        Line::Printed("out".to_owned()),
        Line::Typed("^D".to_owned()),
        Line::Code(1),
    ];
    let session = Session { at: 11, name: "left".to_owned(), command: Some("d".to_owned()), lines };
    assert_eq!(
        parse(text),
        [command(6, "a b", &["out"], 2), command(9, "c", &[], 0), Step::Session(session)]
    );
}

#[test]
fn files_are_found() {
    let text = "prose\n```toml Cargo.toml\na = 1\n\nb = 2\n```\nprose\n```sh\nno\n```\n```console session a\nno\n```\n";
    assert_eq!(files(text), [("Cargo.toml", "a = 1\n\nb = 2")]);
}

#[test]
fn what_is_printed_is_compared() {
    for (said, line, does) in [
        ("a b", "a b", true),
        ("a b", "a b c", false),
        ("a ... c", "a b c", true),
        ("a ... c", "a b d", false),
        ("... c", "b c", true),
        ("a ...", "a", false),
        ("1...2...3", "1 2 3 2 3", true),
        ("1...2...3", "1 3 3", false),
        ("", "x", false),
    ] {
        assert_eq!(fits(said, line), does, "`{said}` and `{line}`");
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (said, printed, does) in [
        ("a\nb", "a\nb", true),
        ("a", "a\nb", false),
        ("a\nb", "a", false),
        ("...\nb", "a\na\nb", true),
        ("...\nb", "b", true),
        ("a\n...\nb", "a\nb\nc", false),
    ] {
        assert_eq!(all_fit(&lines(said), &lines(printed)), does, "{said:?} and {printed:?}");
    }
}
