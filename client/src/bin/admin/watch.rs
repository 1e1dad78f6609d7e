//! `--watch`: look again and again.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;

/// The flag, for commands that show what moves.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// Look again every so many seconds, 2 if none are given, until you interrupt it
    #[arg(long = "watch", value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = seconds)]
    pub(crate) every: Option<Duration>,
}

fn seconds(given: &str) -> Result<Duration, String> {
    let seconds: f64 = given.parse().unwrap_or_default();
    if (0.1..=86_400.0).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err("write a number of seconds, from 0.1 to 86400".to_owned())
}

/// Shows one look in the place of the one before, or below it where that can't be. False once nobody reads any more.
pub(crate) fn show(look: &str, as_json: bool) -> bool {
    let mut out = io::stdout().lock();
    let written = match (as_json, out.is_terminal()) {
        (true, _) => writeln!(out, "{look}"),
        (false, true) => writeln!(out, "\x1b[H\x1b[2J{look}"),
        (false, false) => writeln!(out, "{look}\n"),
    };
    written.and_then(|()| out.flush()).is_ok()
}
