//! One process of ours: started from what was built, ended by its id.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program in `folder`, its output appended to a file.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Self { name: name.to_owned(), child }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used of the processors so far.
    ///
    /// # Panics
    /// If the system doesn't say.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.id())
    }

    /// Bytes of memory that it holds.
    ///
    /// # Panics
    /// If the system doesn't say.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.bytes_of("VmRSS:")
    }

    /// The most that it ever held.
    ///
    /// # Panics
    /// If the system doesn't say.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.bytes_of("VmHWM:")
    }

    fn bytes_of(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("of a running process");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a process has memory");
        let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("a number") << 10
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is gone already.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name));
    }

    /// Whether it has ended, and how.
    ///
    /// # Panics
    /// If the system doesn't say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within that time.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} has not ended within {within:?}", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process has used of the processors so far.
///
/// # Panics
/// If the system doesn't say.
#[must_use]
pub fn cpu_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("of a running process");
    // After its name, which can have anything in it: state is field 3, user and system time 14 and 15, in
    // hundredths of a second whatever the kernel's own clock does.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let hundredths: u64 = fields[11..13].iter().map(|it| it.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(hundredths * 10)
}

/// What a command that ended had to say.
#[derive(Debug)]
pub struct Answer {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
/// If it can't be started.
pub fn run(mut command: Command) -> Answer {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The folder that the programs were built into: this one's, without the `deps` of a test executable.
pub(crate) fn programs() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let folder = this.parent().expect("a folder");
    if folder.ends_with("deps") { folder.parent().expect("a target folder") } else { folder }.to_owned()
}

/// A command that runs one of our programs.
pub(crate) fn program(name: &str) -> Command {
    Command::new(built(name))
}

/// Where one of our programs is.
pub(crate) fn built(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(
        path.exists(),
        "{} is not built: `make build`, or cargo build --release --workspace",
        path.display()
    );
    path
}
