//! A network of our own: each host a network namespace with an address of its own, all of them joined by one
//! that routes, and is where packets are lost. Needs root; [`Network::for_test`] says what is missing.
//!
//! The namespaces are called `hfPID-N-HOST`, so that what a dead test run left behind is known and removed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{requirement, run};

/// Where `ip netns` keeps the names of namespaces.
const NAMES: &str = "/run/netns";

/// The host that joins the others.
const ROUTER: &str = "router";

/// What happens to the packets of a link, which has a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// None arrives.
    Silent,
    /// So many of a hundred are lost.
    Lossy(u8),
    /// Each is answered with a reset.
    Reset,
    /// New connections are refused; what is connected stays so.
    Refused,
}

/// Harm that was done, to be healed with [`Network::heal`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Wound(u32);

/// Hosts that can reach each other, until they are hurt. Dropping it removes it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    hosts: Vec<&'static str>,
    harms: Mutex<BTreeMap<u32, Vec<String>>>,
}

impl Network {
    /// A network of these hosts; `None` if this machine has not what it takes, which is said by the test's name.
    ///
    /// # Panics
    /// If nothing may be skipped here (`requirement`), or a tool fails.
    #[must_use]
    pub fn for_test(test: &str, hosts: &[&'static str]) -> Option<Self> {
        requirement::is_met(test, "network namespaces", &["ip", "nft", "nsenter"])
            .then(|| Self::new(hosts.to_vec()))
    }

    fn new(hosts: Vec<&'static str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let prefix = format!("hf{}-{}-", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let network = Self { prefix, hosts, harms: Mutex::default() };
        let router = network.namespace(ROUTER);
        ip(&["netns", "add", &router]);
        for (index, host) in network.hosts.iter().enumerate() {
            network.join(index, &network.namespace(host), &router);
        }
        let forward = format!("--net={NAMES}/{router}");
        feed("nsenter", &[&forward, "tee", "/proc/sys/net/ipv4/ip_forward"], "1");
        network
    }

    /// Gives a host its namespace, its address and its way to the others.
    fn join(&self, index: usize, namespace: &str, router: &str) {
        let end = format!("to-{index}");
        ip(&["netns", "add", namespace]);
        ip(&[
            "link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", &end, "netns", router,
        ]);
        let subnet = format!("10.77.{index}");
        let setup = format!(
            "addr add {subnet}.2/24 dev eth0\nlink set eth0 up\nlink set lo up\nroute add default via {subnet}.1\n"
        );
        feed("ip", &["-n", namespace, "-batch", "-"], &setup);
        let setup = format!("addr add {subnet}.1/24 dev {end}\nlink set {end} up\n");
        feed("ip", &["-n", router, "-batch", "-"], &setup);
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> &[&'static str] {
        &self.hosts
    }

    /// A host's address.
    ///
    /// # Panics
    /// If there is no such host.
    #[must_use]
    pub fn address(&self, host: &str) -> String {
        let index = self.hosts.iter().position(|known| *known == host);
        format!("10.77.{}.2", index.unwrap_or_else(|| panic!("no host {host}")))
    }

    /// A command that runs a program on a host. The process that it starts is the program's own.
    #[must_use]
    pub fn command(&self, host: &str, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path(host).display())).arg("--").arg(program);
        command
    }

    /// Moves the calling thread, and the threads that it starts, to a host.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn enter(&self, host: &str) {
        let namespace: OwnedFd = fs::File::open(self.path(host)).expect("a namespace").into();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
            .expect("to enter a namespace");
    }

    /// Harms the ways from each of `from` to each of `to`.
    pub fn hurt(&self, from: &[&str], to: &[&str], harm: Harm) -> Wound {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let wound = NEXT.fetch_add(1, Ordering::Relaxed);
        let ways = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
        let rules = ways.filter(|(from, to)| from != to).map(|(from, to)| {
            let way = format!("ip saddr {} ip daddr {}", self.address(from), self.address(to));
            match harm {
                Harm::Silent => format!("{way} counter drop"),
                Harm::Lossy(percent) => format!("{way} numgen random mod 100 < {percent} counter drop"),
                Harm::Reset => format!("{way} meta l4proto tcp counter reject with tcp reset"),
                Harm::Refused => {
                    format!("{way} tcp flags & (syn | ack) == syn counter reject with tcp reset")
                }
            }
        });
        let rules = rules.collect();
        let mut harms = self.lock();
        harms.insert(wound, rules);
        self.apply(&harms);
        Wound(wound)
    }

    /// Harms the ways between `one` and each of `others`, both ways.
    pub fn hurt_both_ways(&self, one: &str, others: &[&str], harm: Harm) -> [Wound; 2] {
        [self.hurt(&[one], others, harm), self.hurt(others, &[one], harm)]
    }

    /// Takes one harm away.
    pub fn heal(&self, wounds: impl IntoIterator<Item = Wound>) {
        let mut harms = self.lock();
        for wound in wounds {
            harms.remove(&wound.0);
        }
        self.apply(&harms);
    }

    /// How many packets what hurts now has struck, since the last change.
    ///
    /// # Panics
    /// If the system doesn't say.
    #[must_use]
    pub fn struck(&self) -> u64 {
        let mut command = self.command(ROUTER, Path::new("nft"));
        command.args(["list", "table", "ip", "harm"]);
        let rules = run(command);
        assert_eq!(rules.code, 0, "{rules:?}");
        let counts = rules.stdout.split("counter packets ").skip(1).filter_map(|rest| rest.split(' ').next());
        counts.map(|count| count.parse::<u64>().expect("a number of packets")).sum()
    }

    /// Sends new connections to `port` of a host to its port `instead`; `None`: no longer.
    pub(crate) fn redirect(&self, host: &str, port: u16, instead: Option<u16>) {
        let rule = instead.map(|instead| format!("iifname eth0 tcp dport {port} redirect to :{instead}"));
        self.replace_table(host, "type nat hook prerouting priority dstnat;", rule.as_slice());
    }

    /// All rules at once, in one step.
    fn apply(&self, harms: &BTreeMap<u32, Vec<String>>) {
        let rules: Vec<String> = harms.values().flatten().cloned().collect();
        self.replace_table(ROUTER, "type filter hook forward priority 0;", &rules);
    }

    fn replace_table(&self, host: &str, chain: &str, rules: &[String]) {
        let mut script = String::from("table ip harm {}\ndelete table ip harm\n");
        let _ = writeln!(script, "table ip harm {{\nchain harm {{\n{chain}\n{}\n}}\n}}", rules.join("\n"));
        let namespace = format!("--net={}", self.path(host).display());
        feed("nsenter", &[&namespace, "nft", "-f", "-"], &script);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<String>>> {
        self.harms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    fn path(&self, host: &str) -> PathBuf {
        Path::new(NAMES).join(self.namespace(host))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().chain([&ROUTER]) {
            remove(&self.namespace(host));
        }
    }
}

/// Removes the namespaces, and ends the processes, of test runs that are dead.
fn remove_leftovers() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let run = name.strip_prefix("hf").and_then(|rest| rest.split('-').next()).map(str::parse::<u32>);
        if let Some(Ok(run)) = run
            && !Path::new(&format!("/proc/{run}")).exists()
        {
            remove(&name);
        }
    }
}

/// Removes a namespace and whatever still runs in it. While panicking too, so that it must not panic.
fn remove(namespace: &str) {
    if let Ok(pids) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
    }
    let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
}

fn ip(arguments: &[&str]) {
    feed("ip", arguments, "");
}

/// Runs a tool to its end with that on its standard input.
fn feed(tool: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{tool}: {error}"));
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("a tool that reads");
    let output = child.wait_with_output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{tool} {arguments:?}: {said}\n{input}");
}
