//! What `--help` says, and the tests that hold it: each command has an example, and docs/admin.md says the same.

use std::fmt::Write;

use clap::CommandFactory;

use crate::Cli;
use crate::commands::GROUPS;

/// The command line, its commands in groups.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let mut groups = String::new();
    for (group, names) in GROUPS {
        writeln!(groups, "{group}:").expect("a string takes all");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            writeln!(groups, "  {name:<12} {about}").expect("a string takes all");
        }
        groups.push('\n');
    }
    command.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use clap::Parser;

    use super::*;

    const BEGIN: &str = "<!-- The commands: written by a test, see client/src/bin/admin/commands.rs -->\n";
    const END: &str = "<!-- End of the commands -->\n";

    /// Every command that does something, with its full name.
    fn leaves(command: &clap::Command, name: &str) -> Vec<(String, clap::Command)> {
        if !command.has_subcommands() {
            return vec![(name.to_owned(), command.clone())];
        }
        let below = |sub: &clap::Command| leaves(sub, &format!("{name} {}", sub.get_name()));
        command.get_subcommands().flat_map(below).collect()
    }

    /// The lines below a heading of a command's help, up to an empty one.
    fn section<'a>(help: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
        let from = help.lines().skip_while(move |line| !line.starts_with(heading)).skip(1);
        from.take_while(|line| !line.is_empty())
    }

    /// What `--help` says of a command, without what goes with all of them.
    fn help(name: &str, command: &clap::Command) -> String {
        let mut command = command.clone().bin_name(name).display_name(name).disable_help_flag(true);
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    #[test]
    fn each_command_has_an_example_that_parses_and_names_its_fields() {
        for (name, command) in leaves(&Cli::command(), "admin") {
            let help = help(&name, &command);
            let examples: Vec<&str> = section(&help, "Examples:").collect();
            assert!(!examples.is_empty(), "`{name} --help` has no example");
            for example in examples {
                assert!(example.trim().starts_with(&name), "`{name} --help`: {example}");
                let parsed = Cli::try_parse_from(example.split_whitespace());
                assert!(parsed.is_ok(), "`{name} --help`: {example}: {}", parsed.unwrap_err());
            }
            let fields = section(&help, "Fields of --json").count();
            assert!(fields > 0, "`{name} --help` does not say what `--json` prints");
        }
    }

    #[test]
    fn what_the_docs_tell_operators_to_type_is_taken() {
        for page in ["operate.md", "admin.md"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
            let text = std::fs::read_to_string(&path).unwrap();
            let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
            let lines: Vec<&str> =
                blocks.flat_map(str::lines).filter(|line| line.starts_with("admin ")).collect();
            assert!(lines.len() > 2, "{page}");
            for line in lines {
                let words = line.split(" #").next().unwrap_or(line).split_whitespace();
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{page}: {line}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn each_command_is_in_one_group() {
        let root = Cli::command();
        let names: Vec<&str> = root.get_subcommands().map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        assert_eq!(
            grouped.len(),
            grouped.iter().collect::<BTreeSet<_>>().len(),
            "one of {grouped:?} is there twice"
        );
        grouped.sort_unstable();
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(sorted, grouped, "commands, and those in groups");
        command().debug_assert();
    }

    fn reference() -> String {
        let all = leaves(&Cli::command(), "admin");
        let mut text = String::new();
        for (group, names) in GROUPS {
            write!(text, "\n### {group}\n").unwrap();
            for (name, command) in &all {
                if names.iter().any(|group_name| name.split(' ').nth(1) == Some(group_name)) {
                    write!(text, "\n#### {name}\n\n```text\n{}\n```\n", help(name, command)).unwrap();
                }
            }
        }
        text.push('\n');
        text
    }

    /// `HOLDFAST_UPDATE=1` writes the page instead of comparing.
    #[test]
    fn docs_admin_md_says_what_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/admin.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the line where the commands begin");
        let (_, after) = rest.split_once(END).expect("the line where they end");
        let expected = format!("{before}{BEGIN}{}{END}{after}", reference());
        if std::env::var_os("HOLDFAST_UPDATE").is_some() {
            std::fs::write(&path, expected).unwrap();
            return;
        }
        assert!(
            page == expected,
            "docs/admin.md is behind `admin --help`; HOLDFAST_UPDATE=1 with this test writes it"
        );
    }
}
