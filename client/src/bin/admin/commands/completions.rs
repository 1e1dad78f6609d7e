//! Completions for shells.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::answer::Answer;

/// Completions for a shell, to be sourced by it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin completions bash
  admin completions zsh
  admin completions fish

Bash takes them at once by `source <(admin completions bash)`, and for good from a file in
~/.local/share/bash-completion/completions/admin.

Fields of --json:
  script  what the shell reads")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn script(&self) -> Answer {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::help::command(), "admin", &mut script);
        let script = String::from_utf8_lossy(&script).trim_end().to_owned();
        Answer::new(json!({ "script": script }), script)
    }
}
