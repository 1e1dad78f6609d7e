//! Does what a page says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tests::{Answer, Cluster, METAS, REPLICAS, run};

use crate::page::{self, Step, all_fit};
use crate::session::Running;

/// How long a command may take, in seconds; and one that may build something.
const TO_END: &str = "60";
const TO_BUILD: &str = "900";
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
    let shipped = fs::read_to_string(root().join("config.ini")).expect("config.ini");
    fs::write(cluster.folder().join("config.ini"), with(&shipped, cluster.overrides())).expect("a file");
    cluster.start_all();
    let mut stage = Stage::new(cluster, TO_END);
    // Where programs keep what they remember of their user.
    stage.environment.push(("HOME", stage.folder.clone().into()));
    stage.replay(&page::folder().join(format!("{name}.md")));
}

/// Does what docs/write-an-app.md says, in an empty folder.
///
/// # Panics
/// If it does not build, or something else is printed than the page says, with all that was.
pub(crate) fn template() {
    let mut cluster = Cluster::prepare();
    let folder = cluster.folder().to_owned();
    let file = root().join("docs/write-an-app.md");
    let text = with_our_root(&fs::read_to_string(&file).expect("the page"));
    for (path, content) in page::files(&text) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let is_config = path.ends_with("config.ini");
        let content = if is_config { with(content, cluster.overrides()) } else { content.to_owned() };
        fs::write(path, content).expect("a file");
    }
    // What was built stays from one run to the next.
    let built = programs().parent().expect("a target folder").join("template");
    fs::create_dir_all(&built).expect("a folder");
    std::os::unix::fs::symlink(&built, folder.join("target")).expect("a link");
    cluster.run_from(folder.join("config.ini"), folder.join("target/release/scores-server"));
    let mut stage = Stage::new(cluster, TO_BUILD);
    stage.environment.push(("CARGO_NET_OFFLINE", "true".into()));
    stage.replay(&file);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// The clone is elsewhere.
fn with_our_root(text: &str) -> String {
    text.replace("../holdfast", root().to_str().expect("UTF-8"))
}

/// The folder that the programs were built into.
fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    test.ancestors().nth(2).expect("a target folder").to_owned()
}

/// A `config.ini` with other settings, each as `section.key=value`.
fn with(config: &str, settings: &[String]) -> String {
    let mut lines: Vec<String> = config.lines().map(str::to_owned).collect();
    for setting in settings {
        let (name, value) = setting.split_once('=').expect("a setting");
        let (section, key) = name.rsplit_once('.').expect("a section and a key");
        let (section, prefix) = (format!("[{section}]"), format!("{key} ="));
        let begin = lines.iter().position(|line| *line == section).unwrap_or_else(|| {
            lines.push(section);
            lines.len() - 1
        });
        let end = lines[begin + 1..].iter().position(|line| line.starts_with('['));
        let end = end.map_or(lines.len(), |length| begin + 1 + length);
        let line = format!("{prefix} {value}");
        match lines[begin..end].iter().position(|line| line.starts_with(&prefix)) {
            Some(at) => lines[begin + at] = line,
            None => lines.insert(begin + 1, line),
        }
    }
    lines.join("\n")
}

#[test]
fn settings_get_into_a_file() {
    let with =
        |config, settings: &[&str]| with(config, &settings.iter().map(|&it| it.into()).collect::<Vec<_>>());
    assert_eq!(
        with("[a.b]\nc = 1\n[d]\nc = 2", &["a.b.c=3", "d.e=4", "f.g=5"]),
        "[a.b]\nc = 3\n[d]\ne = 4\nc = 2\n[f]\ng = 5"
    );
}

/// Where a page is played.
struct Stage {
    cluster: Cluster,
    folder: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    /// How long a command may take, in seconds.
    patience: &'static str,
    sessions: BTreeMap<String, Running>,
}

impl Stage {
    fn new(cluster: Cluster, patience: &'static str) -> Self {
        let folder = cluster.folder().to_owned();
        Self { cluster, folder, environment: Vec::new(), patience, sessions: BTreeMap::new() }
    }

    fn replay(mut self, file: &Path) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let steps = page::parse(&with_our_root(&self.with_our_ports(text)));
        assert!(!steps.is_empty(), "{} has nothing to replay", file.display());
        let wrong: Vec<String> = steps.into_iter().filter_map(|step| self.play(step).err()).collect();
        assert!(wrong.is_empty(), "{}:\n{}", file.display(), self.with_its_ports(wrong.join("\n")));
        let open: Vec<&String> = self.sessions.keys().collect();
        assert!(open.is_empty(), "{}: sessions that did not end: {open:?}", file.display());
    }

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
            None => run(self.shell(&["timeout", self.patience, "bash", "-c"], &typed)),
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
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(typed)
            .current_dir(&self.folder)
            .envs(self.environment.iter().cloned());
        command.env("PATH", format!("{}:{path}", programs().display())).env_remove("CARGO_TARGET_DIR");
        command
    }
}
