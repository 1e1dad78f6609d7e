//! What our command lines have in common: where the settings come from, one clear line for each mistake, and
//! exit codes.

pub mod app;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Command, FromArgMatches, Parser};
use settings::{Settings, SettingsError};

/// It was surely not done.
pub const EXIT_NOT_DONE: u8 = 1;
/// What was asked is wrong in itself: usage, settings, an unknown app.
pub const EXIT_MISTAKE: u8 = 2;
/// It is done once or not at all, now or later.
pub const EXIT_UNKNOWN: u8 = 3;

/// Arguments that every command line takes.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The file that describes the cluster
    #[arg(long, value_name = "FILE", default_value = "config.ini", global = true)]
    pub config: PathBuf,
    /// Another value for a setting, for example client.timeout_ms=1000; can be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", global = true)]
    pub overrides: Vec<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Common {
    /// The settings.
    ///
    /// # Errors
    /// One line that names the file, the key and the fix.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Settings::load(&self.config, &self.overrides)
    }
}

/// The arguments of this process; or, after a line that says what is wrong with them, the code to exit with.
///
/// # Errors
/// 0 after `--help` and `--version`, else [`EXIT_MISTAKE`].
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    parse_as(T::command())
}

/// The same, by a command line that was made different from what `T` says of itself.
///
/// # Errors
/// 0 after `--help` and `--version`, else [`EXIT_MISTAKE`].
pub fn parse_as<T: FromArgMatches>(command: Command) -> Result<T, ExitCode> {
    let parsed = command.try_get_matches().and_then(|matches| T::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // Nobody is there to be told if this fails.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(EXIT_MISTAKE) } else { ExitCode::SUCCESS }
        }
        _ => {
            eprintln!("{}", one_line(&error.to_string()));
            ExitCode::from(EXIT_MISTAKE)
        }
    })
}

/// Prints a line on standard output. If nobody reads it any more (`admin ls | head -1`) that is no mistake.
pub fn print_line(line: impl Display) {
    print_for_reader(line);
}

/// Prints a line on standard output, and says whether somebody may read the next one: for what goes on and on.
pub fn print_for_reader(line: impl Display) -> bool {
    let printed = writeln!(io::stdout().lock(), "{line}");
    if let Err(error) = &printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("error: standard output can't be written: {error}");
    }
    printed.is_ok()
}

/// Says on one line of standard error what is wrong, and returns the code to exit with.
pub fn complain(code: u8, problem: impl Display) -> ExitCode {
    eprintln!("error: {}", problem.to_string().replace('\n', " "));
    ExitCode::from(code)
}

/// The first part of what clap says, without the usage that follows it.
fn one_line(message: &str) -> String {
    let what = message.split("\n\nUsage:").next().unwrap_or(message);
    let what = what.split("\n\nFor more information").next().unwrap_or(what);
    let words: Vec<String> = what.split_whitespace().map(shortened).collect();
    format!("{} (--help tells more)", words.join(" "))
}

/// An argument can be very long.
fn shortened(word: &str) -> String {
    const LONGEST: usize = 80;
    let mut short: String = word.chars().take(LONGEST).collect();
    if short.len() < word.len() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        name: String,
        #[arg(value_parser = clap::value_parser!(u32))]
        number: u32,
    }

    #[test]
    fn a_mistake_is_one_line() {
        let line = |args: &[&str]| one_line(&Cli::try_parse_from(args).unwrap_err().to_string());
        let missing =
            "error: the following required arguments were not provided: <NAME> <NUMBER> (--help tells more)";
        assert_eq!(line(&["cli"]), missing);
        let wrong =
            "error: invalid value 'x' for '<NUMBER>': invalid digit found in string (--help tells more)";
        assert_eq!(line(&["cli", "n", "x"]), wrong);
    }
}
