//! Meta servers and three replica servers, in a folder and on ports of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use settings::Settings;
use tempfile::TempDir;

use crate::netns::Network;
use crate::process::built;
use crate::{Answer, Process, free_ports, report, run, wait_for};

/// The replica servers of `config.ini`.
pub const REPLICAS: [&str; 3] = ["replica1", "replica2", "replica3"];

/// Meta servers that a cluster can have.
pub const METAS: [&str; 5] = ["meta1", "meta2", "meta3", "meta4", "meta5"];

/// The host of a [`Network`] that commands and loads run on.
pub const CLIENT: &str = "client";

/// The app that `config.ini` names.
const APP: &str = "counter.instance0";

/// How long a server may take to hand its primaries over and end.
const TO_STOP: Duration = Duration::from_secs(30);

/// One cluster at a time: two at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// The processes. Dropping it kills them; the folder stays if the test fails.
#[derive(Debug)]
pub struct Cluster {
    servers: BTreeMap<&'static str, Process>,
    /// Meta servers to begin with.
    metas: usize,
    overrides: Vec<String>,
    /// What all processes read.
    config: PathBuf,
    /// What replica servers are.
    server: PathBuf,
    /// The folders for data of servers that don't keep it in the cluster's.
    places: BTreeMap<&'static str, PathBuf>,
    folder: Option<TempDir>,
    network: Option<Arc<Network>>,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Four running processes that serve the app with all its replicas.
    ///
    /// # Panics
    /// If they don't within a minute.
    #[must_use]
    pub fn start() -> Self {
        let mut cluster = Self::prepare();
        cluster.start_all();
        cluster
    }

    /// Starts all processes of a cluster that was prepared, and waits until they serve the app.
    ///
    /// # Panics
    /// If they don't within a minute.
    pub fn start_all(&mut self) {
        // The first meta server last: the others have to wait for it.
        for name in METAS[..self.metas].iter().rev().copied().chain(REPLICAS) {
            self.restart(name);
        }
        self.wait_until_whole(APP);
    }

    /// A folder and ports, and nothing started.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn prepare() -> Self {
        Self::prepare_metas(1)
    }

    /// The same with so many meta servers. There are ports for all of [`METAS`], and for seven replica servers.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn prepare_metas(count: usize) -> Self {
        let port = free_ports(12);
        let overrides = vec![
            format!("apps.meta.ports={port}"),
            format!("apps.meta.count={count}"),
            format!("apps.replica.ports={}", port + 5),
        ];
        let mut cluster = Self::with(overrides, None);
        cluster.metas = count;
        cluster
    }

    /// A folder, and nothing started: `meta1` and the replica servers will each be on the host of its name, and
    /// what asks them on [`CLIENT`].
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn prepare_in(network: Network) -> Self {
        let replicas = network.hosts().iter().filter(|host| host.starts_with("replica"));
        let addresses: Vec<_> = replicas.map(|host| network.address(host)).collect();
        let overrides = vec![
            format!("apps.meta.host={}", network.address("meta1")),
            format!("apps.replica.host={}", addresses.join(",")),
            format!("apps.replica.count={}", addresses.len()),
        ];
        Self::with(overrides, Some(network))
    }

    /// Nothing moves by itself: a test that moves something by hand finds it where it put it.
    fn with(mut overrides: Vec<String>, network: Option<Network>) -> Self {
        overrides.push("meta_server.balancer_moves_in_flight=0".to_owned());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new().prefix("holdfast-test-").tempdir().expect("a folder");
        Self {
            servers: BTreeMap::new(),
            metas: 1,
            overrides,
            config: config(),
            server: built("replica-server"),
            places: BTreeMap::new(),
            folder: Some(folder),
            network: network.map(Arc::new),
            _alone: alone,
        }
    }

    /// The network that it runs in.
    ///
    /// # Panics
    /// If it has none of its own.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        self.network.as_ref().expect("a cluster in a network of its own")
    }

    /// One setting more for what is started from now on, as `section.key=value`.
    pub fn set(&mut self, setting: &str) {
        self.overrides.push(setting.to_owned());
    }

    /// From now on its processes read that file, and replica servers are that program.
    pub fn run_from(&mut self, config: PathBuf, server: PathBuf) {
        (self.config, self.server) = (config, server);
    }

    /// What this cluster's processes are started with after `--set`.
    #[must_use]
    pub fn overrides(&self) -> &[String] {
        &self.overrides
    }

    /// The settings that its processes have.
    ///
    /// # Panics
    /// If an override makes no sense.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings::load(&config(), &self.overrides).expect("settings that make sense")
    }

    /// The folder that the processes run in.
    ///
    /// # Panics
    /// Never while the cluster lives.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("there till the end").path()
    }

    /// From now on a server keeps its data in that folder, in one of its name.
    pub fn place(&mut self, name: &'static str, folder: PathBuf) {
        self.places.insert(name, folder);
    }

    /// The data of one server.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.places.get(name).map_or_else(|| self.folder().join("data"), PathBuf::clone).join(name)
    }

    /// What a server has said since it was started for the first time.
    ///
    /// # Panics
    /// If it never was.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let log = fs::read(self.folder().join(format!("{name}.log"))).expect("a server that was started");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A command that runs one of our programs on this cluster.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        self.command_on(CLIENT, &built(name))
    }

    /// The same, on a host of its network, if it has one.
    fn command_on(&self, host: &str, program: &Path) -> Command {
        let on_host = |network: &Arc<Network>| network.command(host, program);
        let mut command = self.network.as_ref().map_or_else(|| Command::new(program), on_host);
        command.current_dir(self.folder()).arg("--config").arg(&self.config);
        for setting in &self.overrides {
            command.arg("--set").arg(setting);
        }
        command
    }

    /// Starts a server that is not running.
    ///
    /// # Panics
    /// If it is running.
    pub fn restart(&mut self, name: &'static str) {
        assert!(!self.servers.contains_key(name), "{name} runs already");
        let program = if name.starts_with("meta") { built("meta-server") } else { self.server.clone() };
        let mut command = self.command_on(name, &program);
        command.arg("--name").arg(name);
        if let Some(place) = self.places.get(name) {
            command.arg("--set").arg(format!("core.data_dir={}", place.display()));
        }
        let process = Process::start(name, command, &self.folder().join(format!("{name}.log")));
        self.servers.insert(name, process);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it is not running.
    pub fn kill(&mut self, name: &str) {
        drop(self.take(name));
    }

    /// SIGTERM; waits for the end.
    ///
    /// # Panics
    /// If it is not running, or does not end.
    pub fn terminate(&mut self, name: &str) -> ExitStatus {
        let mut server = self.take(name);
        server.signal(Signal::TERM);
        server.wait(TO_STOP)
    }

    /// Sends a signal to a server that goes on running.
    ///
    /// # Panics
    /// If it is not running.
    pub fn signal(&self, name: &str, signal: Signal) {
        self.servers.get(name).unwrap_or_else(|| panic!("{name} does not run")).signal(signal);
    }

    fn take(&mut self, name: &str) -> Process {
        let mut server = self.servers.remove(name).unwrap_or_else(|| panic!("{name} does not run"));
        if let Some(status) = server.ended() {
            panic!("{name} ended by itself with {status}; its log is in {}", self.folder().display());
        }
        server
    }

    /// The servers that should run, and do not.
    pub fn ended(&mut self) -> Vec<&'static str> {
        let ended = self.servers.iter_mut().filter_map(|(name, server)| server.ended().map(|_| *name));
        ended.collect()
    }

    /// Runs the `counter` command line.
    #[must_use]
    pub fn counter(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command("counter");
        command.args(arguments);
        run(command)
    }

    /// Runs the `admin` command line.
    #[must_use]
    pub fn admin(&self, arguments: &[&str]) -> Answer {
        let mut command = self.command("admin");
        command.args(arguments);
        run(command)
    }

    /// Reads a counter, whatever it takes.
    ///
    /// # Panics
    /// If it can't be read within a minute.
    #[must_use]
    pub fn read(&self, name: &str) -> i64 {
        wait_for(&format!("a read of {name}"), || {
            let answer = self.counter(&["read", name]);
            answer.stdout.trim().parse().map_err(|_| format!("{answer:?}"))
        })
    }

    /// Adds to a counter and returns its new value.
    ///
    /// # Panics
    /// If it is not done.
    pub fn add(&self, name: &str, operand: i64) -> i64 {
        let answer = self.counter(&["add", name, &operand.to_string()]);
        assert_eq!(answer.code, 0, "{answer:?}");
        answer.stdout.trim().parse().expect("the value alone on standard output")
    }

    /// What a server has used of the processors so far.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn cpu_time(&self, name: &str) -> Duration {
        self.servers[name].cpu_time()
    }

    /// The id of a server's process.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn process(&self, name: &str) -> u32 {
        self.servers[name].id()
    }

    /// Bytes of memory that a server holds.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn memory(&self, name: &str) -> u64 {
        self.servers[name].memory()
    }

    /// The most bytes of memory that a server ever held, in its present life.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn peak_memory(&self, name: &str) -> u64 {
        self.servers[name].peak_memory()
    }

    /// Creates an app of three replicas, and waits until all are there; returns its name. With one partition one
    /// server is primary of all of it.
    ///
    /// # Panics
    /// If it is refused, or takes more than a minute.
    pub fn create<'a>(&self, app: &'a str, app_type: &str, partitions: u32) -> &'a str {
        let partitions = partitions.to_string();
        let create = ["create", app, "--type", app_type, "--partitions", &partitions, "--replicas", "3"];
        let answer = self.admin(&create);
        assert_eq!(answer.code, 0, "{answer:?}");
        self.wait_until_whole(app);
        app
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.clear();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            report(&format!("logs and data are kept in {}", folder.keep().display()));
        }
    }
}

/// The `config.ini` that ships.
fn config() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config.ini");
    fs::canonicalize(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
