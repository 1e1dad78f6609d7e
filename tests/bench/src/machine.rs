//! Where it was measured, and what its disk can do by itself.

use std::fs::{self, File};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::cell::{Cell, Mix, Results};

/// What is said about the machine.
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) model: String,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib: u64 =
            field(&meminfo, "MemTotal").split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        Self {
            processors: thread::available_parallelism().map_or(0, usize::from),
            model: field(&cpuinfo, "model name"),
            memory_gib: kib >> 20,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: said_by("stat", &["--file-system", "--format=%T", &temporary()]),
            commit: said_by("git", &["describe", "--always", "--dirty"]),
        }
    }
}

fn temporary() -> String {
    std::env::temp_dir().display().to_string()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let text =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// What bounds replicated writes on one disk: the same values appended and synced three times, to three files at
/// once, as many in one append as clients could have under way.
pub(crate) fn append_and_sync(cells: &[Cell], span: Duration, results: &mut Results) {
    for cell in cells.iter().filter(|cell| cell.mix == Mix::Writes) {
        let values_per_s = three_files(cell.clients, cell.bytes, span);
        results.add_disk(cell.clients, cell.bytes, values_per_s);
    }
}

/// # Panics
/// If the disk can't be written.
fn three_files(clients: usize, bytes: usize, span: Duration) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let append = |name: &'static str| {
        let mut file = File::create(folder.path().join(name)).expect("a file");
        let batch = vec![0x5a; clients * bytes];
        move || {
            let (began, mut batches) = (Instant::now(), 0_u32);
            while began.elapsed() < span {
                file.write_all(&batch).and_then(|()| file.sync_data()).expect("a disk that can be written");
                batches += 1;
            }
            f64::from(batches) / began.elapsed().as_secs_f64()
        }
    };
    let files = ["1", "2", "3"].map(append);
    let rates = thread::scope(|scope| {
        let threads = files.map(|file| scope.spawn(file));
        threads.map(|thread| thread.join().expect("a disk that can be written"))
    });
    // Each value is to be in all three.
    rates.iter().sum::<f64>() / 3.0 * clients as f64
}
