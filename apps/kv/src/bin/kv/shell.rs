//! A prompt with history and completion.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use client::command_line::{EXIT_MISTAKE, complain};
use kv::Kv;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Context, Editor, Helper, Highlighter, Hinter, Validator};

use crate::commands::Command;
use crate::printed::Form;

const PROMPT: &str = "kv> ";

/// A line that was typed.
#[derive(Debug, Parser)]
#[command(name = "kv", no_binary_name = true, disable_version_flag = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Reads lines until their end, and does what they say. The exit code is that of the last one.
pub(crate) async fn run(kv: &Kv, form: Form) -> ExitCode {
    let mut editor = match Editor::<Completion, DefaultHistory>::new() {
        Ok(editor) => editor,
        Err(error) => return complain(EXIT_MISTAKE, format!("there is nothing to read lines from: {error}")),
    };
    editor.set_helper(Some(Completion { words: completions() }));
    let history = history_file();
    // None the first time.
    let _ = history.as_ref().map(|file| editor.load_history(file));
    let mut last = ExitCode::SUCCESS;
    loop {
        let line = match editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return complain(EXIT_MISTAKE, error),
        };
        match line.trim() {
            "" => continue,
            "exit" | "quit" => break,
            line => {
                // Only a line that is too long, or twice the same, is not taken.
                let _ = editor.add_history_entry(line);
                last = carry_out(line, kv, form).await;
            }
        }
    }
    let _ = history.as_ref().map(|file| editor.save_history(file));
    last
}

async fn carry_out(line: &str, kv: &Kv, form: Form) -> ExitCode {
    let words = match words(line) {
        Ok(words) => words,
        Err(what) => return complain(EXIT_MISTAKE, what),
    };
    match Line::try_parse_from(words) {
        Ok(Line { command }) => command.carry_out(kv, form).await,
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Err(error) => {
            let text = error.to_string();
            let what = text.split("\n\n").next().unwrap_or(&text);
            eprintln!("{} (help tells more)", what.split_whitespace().collect::<Vec<_>>().join(" "));
            ExitCode::from(EXIT_MISTAKE)
        }
    }
}

/// The words of a line: between blanks, or in quotes; a backslash takes what follows as it is.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => {
                let next = letters.next().ok_or("nothing follows the backslash at the end")?;
                word.get_or_insert_default().push(next);
            }
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// The commands, each with its options.
fn completions() -> Vec<(String, Vec<String>)> {
    let options = |command: &clap::Command| {
        command.get_opts().filter_map(|option| Some(format!("--{}", option.get_long()?))).collect()
    };
    let line = Line::command();
    let commands = line.get_subcommands().map(|command| (command.get_name().to_owned(), options(command)));
    let mut all: Vec<_> = commands.collect();
    all.extend(["help", "exit"].map(|word| (word.to_owned(), Vec::new())));
    all
}

/// Completes commands and their options.
#[derive(Helper, Hinter, Highlighter, Validator)]
struct Completion {
    words: Vec<(String, Vec<String>)>,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..position]))
    }
}

impl Completion {
    /// Where the word begins that is being typed, and what it can become.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        let start = typed.rfind(' ').map_or(0, |blank| blank + 1);
        let begun = &typed[start..];
        let known: Vec<&String> = match typed[..start].split_whitespace().next() {
            None => self.words.iter().map(|(command, _)| command).collect(),
            Some(command) => self
                .words
                .iter()
                .filter(|(name, _)| name == command)
                .flat_map(|(_, options)| options)
                .collect(),
        };
        let fitting = known.into_iter().filter(|word| word.starts_with(begun));
        (start, fitting.map(|word| format!("{word} ")).collect())
    }
}

/// `$XDG_STATE_HOME/holdfast/kv_history`, or the same in `~/.local/state`; `None` if there is no such place.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?;
    let folder = state.join("holdfast");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("kv_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_into_words_as_a_shell_does() {
        for (line, expected) in [
            ("  put a  b ", &["put", "a", "b"][..]),
            (r#"put "a b" 'c "d"'"#, &["put", "a b", r#"c "d""#]),
            (r#"put a\ b "c\"d" ''"#, &["put", "a b", r#"c"d"#, ""]),
            ("", &[]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("put 'a").is_err() && words("put a\\").is_err());
    }

    #[test]
    fn commands_and_their_options_are_completed() {
        let completion = Completion { words: completions() };
        assert_eq!(completion.candidates("getl"), (0, vec!["getlocal ".to_owned()]));
        assert_eq!(completion.candidates("put k v --v"), (8, vec!["--version ".to_owned()]));
        assert_eq!(completion.candidates("put k"), (4, vec![]));
        assert!(completion.candidates("").1.len() > 10);
    }

    #[test]
    fn every_command_can_be_typed() {
        for line in
            ["put k v --version 3", "getlocal k --node replica1", "multi-put a=1 b=2", "scan a..b --limit 9"]
        {
            assert!(Line::try_parse_from(words(line).unwrap()).is_ok(), "{line}");
        }
    }
}
