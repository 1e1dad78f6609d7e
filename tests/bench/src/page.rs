//! `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::Plan;
use crate::cell::{Cell, Median, Mix, Results};
use crate::learning::{Learned, Meanwhile};
use crate::load::{KEYS, Measured};
use crate::machine::Machine;
use crate::restart::Restart;
use crate::shape::{self, Shape, Shaped};
use crate::system::Kind;
use crate::{etcd, plots};

/// All that was measured, and how.
pub(crate) struct Page {
    pub(crate) machine: Machine,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) missing: Vec<Kind>,
    pub(crate) plan: Plan,
    pub(crate) results: Results,
    pub(crate) failovers: Vec<(Kind, Vec<Duration>)>,
    pub(crate) restarts: Vec<Restart>,
    pub(crate) learning: Vec<Learned>,
    pub(crate) shapes: Vec<(Shape, Vec<Shaped>)>,
}

impl Page {
    /// A page with nothing measured yet.
    pub(crate) fn new(machine: Machine, kinds: Vec<Kind>, missing: Vec<Kind>, plan: Plan) -> Self {
        Self {
            machine,
            kinds,
            missing,
            plan,
            results: Results::default(),
            failovers: Vec::new(),
            restarts: Vec::new(),
            learning: Vec::new(),
            shapes: Vec::new(),
        }
    }

    /// Writes the page and its plots.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn write(&self, docs: &Path) -> io::Result<()> {
        let folder = docs.join("benchmarks");
        fs::create_dir_all(&folder)?;
        let plots = plots::draw(self, &folder).map_err(io::Error::other)?;
        let mut text = self.text();
        if !plots.is_empty() {
            text += "\n## Curves\n\n";
            for (name, title) in plots {
                let _ = writeln!(text, "![{title}](benchmarks/{name})\n");
            }
        }
        fs::write(docs.join("benchmarks.md"), text.trim_end().to_owned() + "\n")
    }

    /// The page without its plots.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("# Benchmarks\n\n");
        text += &self.conditions();
        for &mix in &self.plan.mixes {
            for &bytes in &self.plan.bytes {
                let _ = writeln!(text, "\n## {}, {bytes} bytes\n", capital(mix.name()));
                text += &self.throughput(mix, bytes);
                text.push('\n');
                text += &self.latency(mix, bytes);
            }
        }
        if !self.failovers.is_empty() {
            text += &self.failover();
        }
        if !self.restarts.is_empty() {
            text += &self.restart();
        }
        if !self.learning.is_empty() {
            text += &self.learned();
        }
        if !self.shapes.is_empty() {
            text += &self.shaped();
        }
        text
    }

    fn conditions(&self) -> String {
        let Machine { processors, model, memory_gib, kernel, file_system, commit } = &self.machine;
        let Plan { rounds, seconds, .. } = &self.plan;
        let etcd = etcd::version().unwrap_or_default();
        let tonic = locked_version("tonic");
        let mut text = format!(
            "Written by `make bench`, which anyone can repeat; what it takes is `{command}`. Everything runs on one \
             machine, the load too: {processors} processors ({model}), {memory_gib} GiB of memory, Linux {kernel}, \
             data on {file_system}. Medians of {rounds} rounds of {seconds} s each, with the lowest and the highest in \
             brackets; in each round every system is started anew on an empty folder, one after the other, so that a \
             machine that gets slower gets slower for all.\n\n\
             | system | version | what an answer to a write promises | called by |\n| --- | --- | --- | --- |\n",
            command = "cargo build --release --workspace --all-targets, then target/release/bench",
        );
        for kind in &self.kinds {
            let (version, promise, caller) = match kind {
                Kind::Kv | Kind::Counter | Kind::KvInOne | Kind::CounterInOne => (
                    commit.clone(),
                    "`fdatasync` on all three replica servers",
                    "its client library: one stream a server for all clients",
                ),
                Kind::Etcd => (
                    etcd.clone(),
                    "`fdatasync` on two of three members, its default",
                    "unary calls to the leader, over as many connections as clients, 16 at most",
                ),
                Kind::Echo => (
                    format!("tonic {tonic}"),
                    "nothing: it answers with what it was sent, and keeps nothing",
                    "unary calls, over as many connections as clients, 16 at most",
                ),
            };
            let _ = writeln!(text, "| {} | {version} | {promise} | {caller} |", kind.name());
        }
        let _ = writeln!(
            text,
            "\nEach client has one operation at a time and begins the next when it is answered, on one of {KEYS} keys by \
             chance. All have their defaults. Reads are linearizable. Holdfast has one meta server, three replica \
             servers and {} partitions; or one, where it says so, as etcd is one group. The app kv keeps values in \
             RocksDB, with versions as etcd's; the counter shows what is left when an app does next to nothing: it adds \
             to numbers in memory, by requests of that many bytes, and can't have large ones. The echo is not a store: \
             it is what a call costs before anything is done.",
            self.plan.partitions
        );
        for kind in &self.missing {
            let _ = writeln!(text, "\n{} was not installed, and is left out.", kind.name());
        }
        for kind in self.kinds.iter().filter(|kind| self.results.errors(**kind) > 0) {
            let _ = writeln!(text, "\n{}: {} operations failed.", kind.name(), self.results.errors(*kind));
        }
        text
    }

    fn throughput(&self, mix: Mix, bytes: usize) -> String {
        let disk = mix == Mix::Writes;
        let mut text = String::from("Operations a second:\n\n| clients |");
        for kind in &self.kinds {
            let _ = write!(text, " {} |", kind.name());
        }
        if disk {
            text += " the disk alone |";
        }
        text += &rule(1 + self.kinds.len() + usize::from(disk));
        for &clients in &self.plan.clients {
            let _ = write!(text, "| {clients} |");
            for &kind in &self.kinds {
                let median = self.median(kind, Cell { bytes, mix, clients }, |it| it.ops_per_s);
                let _ = write!(text, " {} |", shown(median, 0));
            }
            if disk {
                let _ = write!(text, " {} |", shown(self.results.disk(clients, bytes), 0));
            }
            text.push('\n');
        }
        if disk {
            text += "\nThe disk alone: the same values appended and synced three times, to three files at once, as many \
                     in one append as there are clients.\n";
        }
        text
    }

    fn latency(&self, mix: Mix, bytes: usize) -> String {
        let mut text = String::from(
            "Latency in milliseconds, half and 99 of a hundred are faster; and microseconds of processor time an \
             operation, of the load and the servers together:\n\n| clients |",
        );
        for kind in &self.kinds {
            let _ = write!(text, " {0} p50 | {0} p99 | {0} µs |", kind.name());
        }
        text += &rule(1 + 3 * self.kinds.len());
        for &clients in &self.plan.clients {
            let _ = write!(text, "| {clients} |");
            for &kind in &self.kinds {
                let cell = Cell { bytes, mix, clients };
                let p50 = shown(self.median(kind, cell, |it| it.p50_ms), 2);
                let p99 = shown(self.median(kind, cell, |it| it.p99_ms), 2);
                let cpu = shown(self.median(kind, cell, |it| it.cpu_us), 1);
                let _ = write!(text, " {p50} | {p99} | {cpu} |");
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn median(&self, kind: Kind, cell: Cell, figure: impl Fn(&Measured) -> f64) -> Option<Median> {
        self.results.median(kind, cell, figure)
    }

    fn restart(&self) -> String {
        let mut text = String::from(
            "\n## Restart\n\n`kill -9` of a replica server of the app kv whose log has so much that no checkpoint holds \
             (values of 16 KiB), started again; until every replica has its role again. The disk's rate is what it gave just \
             before to one who only read another server's log, for 10 s at most:\n\n\
             | log, MiB | the disk's rate, MiB/s | seconds | memory before, MiB | memory after, MiB | at most, MiB |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        for Restart { log_mib, read_mib, took, memory_before_mib, memory_after_mib, peak_mib } in
            &self.restarts
        {
            let seconds = took.as_secs_f64();
            let _ = writeln!(
                text,
                "| {log_mib} | {read_mib:.0} | {seconds:.1} | {memory_before_mib} | {memory_after_mib} | {peak_mib} |"
            );
        }
        text
    }

    fn learned(&self) -> String {
        let mut text = String::from(
            "\n## Learning\n\n`kill -9` of a replica server of the app kv, its data taken away, started again: from that start \
             until it has all of its replicas again, from checkpoints, with nothing else to do and while 64 clients \
             write to keys of their own; beside plain copying of the same files on the same disk, synced as often, when \
             that was over. What anybody has to wait for this disk is the slowest sync of a process that has nothing to \
             do with it, and writes 4 KiB over itself each 5 ms; and standstill is the longest time for which the disk \
             completed nothing though it had something to do, as the kernel counts it:\n\n\
             | MiB | seconds | MiB a second | copied in seconds | MiB a second | bytes written | writes a second | failed | \
             slowest write, ms | slowest sync, ms | standstill, ms |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for Learned { mib, took, copied_in, meanwhile } in &self.learning {
            let (took, copied_in) = (took.as_secs_f64(), copied_in.as_secs_f64());
            let rate = |seconds: f64| *mib as f64 / seconds;
            let (learned, copied) = (rate(took), rate(copied_in));
            let writes = meanwhile.as_ref().map_or_else(
                || "- | - | - | - | - | -".to_owned(),
                |Meanwhile { bytes, writes_per_s, failed, slowest, disk }| {
                    let writes_per_s = thousands(*writes_per_s);
                    let (slowest, slowest_sync) = (slowest.as_millis(), disk.slowest_sync.as_millis());
                    let standstill = disk.standstill.map_or("-".to_owned(), |it| it.as_millis().to_string());
                    format!("{bytes} | {writes_per_s} | {failed} | {slowest} | {slowest_sync} | {standstill}")
                },
            );
            let _ = writeln!(
                text,
                "| {mib} | {took:.1} | {learned:.0} | {copied_in:.1} | {copied:.0} | {writes} |"
            );
        }
        text
    }

    fn shaped(&self) -> String {
        let mut text = format!(
            "\n## Shapes\n\nThe app counter under {}, in clusters that differ in one thing at a time; all servers share \
             the processors and the disk, so more of them have less each. Memory and idle cost are those of the \
             replica server that had most.\n\n\
             | servers | partitions | replicas | operations a second | p50 ms | p99 ms | µs an operation | idle, % of a \
             processor | memory idle, MiB | loaded, MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
            shape::CELL
        );
        for (Shape { servers, partitions, replicas }, rounds) in &self.shapes {
            let figure = |of: &dyn Fn(&Shaped) -> f64, digits| {
                shown(Median::of(rounds.iter().map(of).collect()), digits)
            };
            let figures = [
                figure(&|it| it.load.ops_per_s, 0),
                figure(&|it| it.load.p50_ms, 2),
                figure(&|it| it.load.p99_ms, 2),
                figure(&|it| it.load.cpu_us, 1),
                figure(&|it| it.idle_percent, 1),
                figure(&|it| it.memory_idle_mib as f64, 0),
                figure(&|it| it.memory_mib as f64, 0),
            ];
            let _ = writeln!(text, "| {servers} | {partitions} | {replicas} | {} |", figures.join(" | "));
        }
        text
    }

    fn failover(&self) -> String {
        let mut text = String::from(
            "\n## Failover\n\n`kill -9` of the server that takes the writes (the primary of the one partition under load, \
             etcd's leader) while 16 clients write 100 bytes; the longest time in which none of them succeeded, in \
             milliseconds:\n\n| system | kills | median | worst |\n| --- | --- | --- | --- |\n",
        );
        for (kind, gaps) in &self.failovers {
            let gaps: Vec<f64> = gaps.iter().map(|gap| gap.as_secs_f64() * 1000.0).collect();
            if let Some(Median { median, highest, .. }) = Median::of(gaps.clone()) {
                let _ = writeln!(text, "| {} | {} | {median:.0} | {highest:.0} |", kind.name(), gaps.len());
            }
        }
        text
    }
}

fn rule(columns: usize) -> String {
    format!("\n|{}\n", " --- |".repeat(columns))
}

fn shown(median: Option<Median>, digits: usize) -> String {
    let number = |figure: f64| if digits == 0 { thousands(figure) } else { format!("{figure:.digits$}") };
    median.map_or_else(
        || "-".to_owned(),
        |it| format!("{} ({} to {})", number(it.median), number(it.lowest), number(it.highest)),
    )
}

fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Which version of a package this was built with.
fn locked_version(package: &str) -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let entry = lock.split(&format!("\nname = \"{package}\"\nversion = \"")).nth(1);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            [7.0, 812.4, 1000.0, 46_800.0, 1_234_567.0].map(thousands),
            ["7", "812", "1,000", "46,800", "1,234,567"]
        );
        let median = Median { lowest: 1.0, median: 2.5, highest: 1000.0 };
        assert_eq!(shown(Some(median), 2), "2.50 (1.00 to 1000.00)");
        assert_eq!(shown(None, 2), "-");
    }

    #[test]
    fn the_locked_version_is_found() {
        assert!(locked_version("tonic").starts_with("0."));
    }
}
