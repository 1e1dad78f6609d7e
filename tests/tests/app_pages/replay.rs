//! Does what a page says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tests::{Answer, Cluster, METAS, REPLICAS, run};

use crate::page::{self, Step, all_fit};
use crate::session::Running;

/// How long a command may take, in seconds.
const TO_END: &str = "60";
/// The first ports of `config.ini`.
const PORTS: [(&str, u16); 2] = [("apps.meta.ports", 34601), ("apps.replica.ports", 34801)];
/// How many servers of a kind a page may name.
const OF_A_KIND: u16 = 3;

/// Replays docs/apps/`name`.md.
///
/// # Panics
/// If something else is printed than the page says, with all that was.
pub(crate) fn page(name: &str) {
    let mut cluster = Cluster::prepare();
    fs::write(cluster.folder().join("config.ini"), config(&cluster)).expect("a file");
    cluster.start_all();
    let mut stage = Stage { folder: cluster.folder().to_owned(), cluster, sessions: BTreeMap::new() };

    let file = page::folder().join(format!("{name}.md"));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let steps = page::parse(&stage.with_our_ports(text));
    assert!(!steps.is_empty(), "{name}.md has nothing to replay");
    let wrong: Vec<String> = steps.into_iter().filter_map(|step| stage.play(step).err()).collect();
    assert!(wrong.is_empty(), "docs/apps/{name}.md:\n{}", stage.with_its_ports(wrong.join("\n")));
    let open: Vec<&String> = stage.sessions.keys().collect();
    assert!(open.is_empty(), "docs/apps/{name}.md: sessions that did not end: {open:?}");
}

/// The `config.ini` that ships, with this cluster's ports.
fn config(cluster: &Cluster) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.ini");
    let mut lines: Vec<String> =
        fs::read_to_string(shipped).expect("config.ini").lines().map(str::to_owned).collect();
    for setting in cluster.overrides() {
        let (name, value) = setting.split_once('=').expect("a setting");
        let (section, key) = name.rsplit_once('.').expect("a section and a key");
        let section = format!("[{section}]");
        let from = lines.iter().position(|line| *line == section).expect("a section of config.ini");
        let prefix = format!("{key} =");
        let at =
            lines[from..].iter().position(|line| line.starts_with(&prefix)).expect("a key of config.ini");
        lines[from + at] = format!("{prefix} {value}");
    }
    lines.join("\n")
}

/// Where a page is played.
struct Stage {
    cluster: Cluster,
    folder: PathBuf,
    sessions: BTreeMap<String, Running>,
}

impl Stage {
    /// The page's ports, each with ours.
    fn ports(&self) -> Vec<(String, String)> {
        let pairs = PORTS.iter().flat_map(|(name, shipped)| {
            let ours =
                self.cluster.overrides().iter().find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
            let ours: u16 = ours.and_then(|port| port.parse().ok()).expect("a port");
            (0..OF_A_KIND).map(move |index| ((shipped + index).to_string(), (ours + index).to_string()))
        });
        pairs.collect()
    }

    fn with_our_ports(&self, text: String) -> String {
        self.ports().iter().fold(text, |text, (its, ours)| text.replace(its, ours))
    }

    fn with_its_ports(&self, text: String) -> String {
        self.ports().iter().fold(text, |text, (its, ours)| text.replace(ours, its))
    }

    fn play(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Command(command) => self.command(command),
            Step::Session(part) => {
                if let Some(command) = &part.command {
                    let started = Running::start(self.shell(&["bash", "-c"], &format!("exec {command}")));
                    let before = self.sessions.insert(part.name.clone(), started);
                    assert!(before.is_none(), "line {}: the one before has not ended", part.at);
                }
                let running = self.sessions.get_mut(&part.name);
                let running = running.unwrap_or_else(|| panic!("line {}: nothing was started", part.at));
                // What follows makes no sense after that.
                running.play(&part).unwrap_or_else(|wrong| panic!("{wrong}"));
                if running.has_ended() {
                    self.sessions.remove(&part.name);
                }
                Ok(())
            }
        }
    }

    fn command(&mut self, page::Command { at, typed, printed, code }: page::Command) -> Result<(), String> {
        let answer = match self.server(&typed) {
            Some(()) => Answer { code: 0, stdout: String::new(), stderr: String::new() },
            None => run(self.shell(&["timeout", TO_END, "bash", "-c"], &typed)),
        };
        let lines: Vec<String> =
            answer.stdout.lines().chain(answer.stderr.lines()).map(str::to_owned).collect();
        if answer.code == code && all_fit(&printed, &lines) {
            return Ok(());
        }
        let ended = if answer.code == 0 { String::new() } else { format!("\n[exit code {}]", answer.code) };
        Err(format!("line {at}, as it prints here:\n$ {typed}\n{}{ended}\n", lines.join("\n")))
    }

    /// What ends, stops or starts a server; this process is the parent of them all.
    fn server(&mut self, typed: &str) -> Option<()> {
        let named = |name: &str| METAS.into_iter().chain(REPLICAS).find(|known| *known == name);
        if let Some(name) = typed.strip_suffix(" &").and_then(|typed| typed.split_once("-server --name ")) {
            self.cluster.restart(named(name.1).unwrap_or_else(|| panic!("no server is called {}", name.1)));
            return Some(());
        }
        let (signal, place) = typed.strip_prefix("kill ")?.split_once("$(cat data/")?;
        let name = named(place.strip_suffix("/lock)")?)?;
        match signal.trim() {
            "" | "-TERM" => assert!(self.cluster.terminate(name).success(), "{name} did not end well"),
            "-9" | "-KILL" => self.cluster.kill(name),
            "-STOP" => self.cluster.signal(name, Signal::STOP),
            "-CONT" => self.cluster.signal(name, Signal::CONT),
            other => panic!("no such signal here: {other}"),
        }
        Some(())
    }

    fn shell(&self, program: &[&str], typed: &str) -> Command {
        let programs = std::env::current_exe().expect("the path of the test");
        let programs = programs.ancestors().nth(2).expect("a target folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(typed).current_dir(&self.folder).env("HOME", &self.folder);
        command.env("PATH", format!("{}:{path}", programs.display()));
        command
    }
}
