//! 1,000 nodes and 100,000 partitions: a node's death is decided on for all of its partitions, a balance plan is
//! made. What is counted is asserted; what it took is printed, and stated in docs/verification.md.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use meta_core::{
    AdminReply, AdminRequest, AppRecord, Change, Command, MetaCore, MetaEvent, MetaOutput, MetaSettings,
    MetaState, SessionId, WallTime,
};
use words::{
    AppId, AppInfo, Ballot, Command as Order, Configuration, Decree, DiskSpace, Gpid, Life, MetaToNode,
    NodeAddress, NodeId, NodeToMeta, Proposal, ReplicaReport, RoleName, Time,
};

const APPS: u32 = 25;
const PARTITIONS: u32 = 4_000;
const NODES: usize = 1_000;
const REPLICAS: usize = 3;

fn node(index: usize) -> NodeId {
    NodeId(index as u128 + 1)
}

fn address(index: usize) -> NodeAddress {
    NodeAddress { node: node(index), name: format!("replica{index}"), address: format!("host{index}:34801") }
}

/// Every node holds 300 replicas, 12 of each app, and leads 100 of them; who shares a partition with whom looks random.
fn members(number: usize) -> Vec<usize> {
    let (first, round) = (number % NODES, number / NODES);
    let apart = [0, 1 + round * 7 % 333, 400 + round * 13 % 333];
    apart.map(|apart| (first + apart) % NODES).to_vec()
}

fn gpid(number: usize) -> Gpid {
    let number = u32::try_from(number).expect("few enough");
    Gpid::new(1 + number / PARTITIONS, number % PARTITIONS)
}

fn state() -> MetaState {
    let mut state = MetaState::default();
    (0..NODES).for_each(|index| state.put(Change::Node(address(index))));
    for id in 1..=APPS {
        let (name, app_type) = (format!("app{id}"), "counter".to_owned());
        let info = AppInfo {
            id: AppId(id),
            name,
            app_type,
            partition_count: PARTITIONS,
            replica_count: REPLICAS as u32,
        };
        state.put(Change::App(AppRecord::new(info)));
    }
    for number in 0..(APPS * PARTITIONS) as usize {
        let mut members = members(number).into_iter().map(node);
        let configuration =
            Configuration { ballot: Ballot(3), primary: members.next(), secondaries: members.collect() };
        state.put(Change::Configuration { gpid: gpid(number), configuration });
    }
    state
}

struct Cluster {
    meta: MetaCore,
    now: Time,
    out: MetaOutput,
    reports: Vec<Vec<ReplicaReport>>,
}

impl Cluster {
    fn step(&mut self, event: MetaEvent) {
        self.meta.step(self.now, event, &mut self.out);
    }

    fn say(&mut self, index: usize, message: NodeToMeta) {
        self.step(MetaEvent::Message { session: index as SessionId + 1, message });
    }

    fn beacon(&mut self, index: usize) {
        let NodeAddress { node, name, address } = address(index);
        let (life, leaving, disk) = (Life(1), false, DiskSpace::default());
        self.say(index, NodeToMeta::Beacon { node, life, name, address, leaving, disk });
    }

    fn report(&mut self, index: usize) {
        let replicas = self.reports.get(index).cloned().unwrap_or_default();
        self.say(index, NodeToMeta::Report { node: node(index), life: Life(1), replicas });
    }

    fn connect(&mut self, index: usize) {
        self.step(MetaEvent::SessionOpened { session: index as SessionId + 1 });
        self.beacon(index);
        self.report(index);
    }

    /// What is to be made durable is, and what follows from that.
    fn commit(&mut self) -> usize {
        let mut count = 0;
        while !self.out.commit.is_empty() {
            for command in std::mem::take(&mut self.out.commit) {
                count += usize::from(matches!(command, Command::SetConfiguration { .. }));
                self.step(MetaEvent::Committed { command, at: WallTime(0) });
            }
        }
        count
    }
}

fn reports() -> Vec<Vec<ReplicaReport>> {
    let mut reports = vec![Vec::new(); NODES];
    for number in 0..(APPS * PARTITIONS) as usize {
        for (place, index) in members(number).into_iter().enumerate() {
            reports[index].push(ReplicaReport {
                gpid: gpid(number),
                role: if place == 0 { RoleName::Primary } else { RoleName::Secondary },
                ballot: Ballot(3),
                last_committed: Decree(1000),
                last_prepared: Decree(1000),
                last_durable: Decree(900),
                learners: vec![],
                copying: None,
            });
        }
    }
    reports
}

/// Memory of this process in MiB, where the system tells.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096 / (1 << 20)
}

/// Time of one core that this thread has used, whatever else runs on the machine; where the system does not tell,
/// the time since it was first asked.
fn spent() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let spent = stat.split_whitespace().next().and_then(|spent| spent.parse().ok());
    spent.map_or_else(|| BEGAN.elapsed(), Duration::from_nanos)
}

fn said(what: &str, since: Duration) {
    println!("{what}: {:.2} s", (spent() - since).as_secs_f64());
}

#[test]
fn a_thousand_nodes_and_a_hundred_thousand_partitions() {
    let before = resident();
    let (state, reports) = (state(), reports());
    let given = resident();
    let began = spent();
    let now = Time(1_000_000_000);
    let meta = MetaCore::new(state, MetaSettings::default(), now);
    let mut cluster = Cluster { meta, now, out: MetaOutput::default(), reports };
    (0..NODES).for_each(|index| cluster.connect(index));
    assert_eq!(cluster.commit(), 0);
    said("a meta server starts, and all nodes report", began);
    println!("memory: {} MiB for the state, {} MiB for the rest", given - before, resident() - given);

    let began = spent();
    cluster.now = cluster.now + Duration::from_millis(300);
    for index in 0..NODES {
        cluster.beacon(index);
        cluster.report(index);
    }
    said("each node beacons and reports once", began);
    let began = spent();
    for _ in 0..4 {
        cluster.now = cluster.now + Duration::from_millis(500);
        (0..NODES).for_each(|index| cluster.beacon(index));
        cluster.step(MetaEvent::Tick);
    }
    said("two seconds in which nothing happens", began);

    a_node_dies(&mut cluster);
    a_plan_is_made(&mut cluster);
}

/// 100 partitions get another primary, of 200 the primaries propose to leave the secondary out, and after the
/// delay 300 get another member.
fn a_node_dies(cluster: &mut Cluster) {
    let dead = node(0);
    let of_dead: Vec<usize> =
        (0..(APPS * PARTITIONS) as usize).filter(|&number| members(number).contains(&0)).collect();
    assert_eq!(of_dead.len(), 300);
    cluster.out = MetaOutput::default();
    let mut sum = Duration::ZERO;
    let mut timed = |cluster: &mut Cluster, what: &dyn Fn(&mut Cluster)| {
        let began = spent();
        what(cluster);
        sum += spent() - began;
    };
    timed(cluster, &|cluster| {
        cluster.step(MetaEvent::SessionClosed { session: 1 });
        cluster.now = cluster.now + Duration::from_millis(101);
        cluster.step(MetaEvent::Tick);
        assert_eq!(cluster.commit(), 100, "as many have another primary");
        for &number in of_dead.iter().filter(|&&number| members(number)[0] != 0) {
            let proposed =
                cluster.meta.state().configuration(gpid(number)).expect("it").without_secondary(dead);
            let primary = members(number)[0];
            let proposal = Proposal { gpid: gpid(number), node: node(primary), proposed };
            cluster.say(primary, NodeToMeta::Propose(proposal));
        }
        assert_eq!(cluster.commit(), 200, "as many go on without it");
    });
    cluster.out = MetaOutput::default();
    let mut added = BTreeSet::new();
    for _ in 0..11 {
        cluster.now = cluster.now + Duration::from_secs(1);
        (1..NODES).for_each(|index| cluster.beacon(index));
        timed(cluster, &|cluster| cluster.step(MetaEvent::Tick));
        let asked =
            std::mem::take(&mut cluster.out.send).into_iter().filter_map(|(_, message)| match message {
                MetaToNode::Command { gpid, command: Order::AddSecondary(_), .. } => Some(gpid),
                _ => None,
            });
        added.extend(asked);
    }
    assert_eq!(added, of_dead.iter().map(|&number| gpid(number)).collect());
    println!(
        "a node's death is decided on for its 300 partitions, in three steps: {:.2} s",
        sum.as_secs_f64()
    );
}

fn a_plan_is_made(cluster: &mut Cluster) {
    let plan = |cluster: &mut Cluster, what: &str| {
        let began = spent();
        cluster.step(MetaEvent::Admin { token: 1, request: AdminRequest::BalancePlan });
        let Some((_, AdminReply::BalancePlan(plan))) = cluster.out.replies.pop() else { panic!("no plan") };
        said(&format!("{what}, {} moves planned", plan.count), began);
        plan.count
    };
    let after_death = plan(cluster, "after the death of one node");
    assert!(after_death <= 1000, "only what was promoted can be uneven");
    (NODES..NODES + 10).for_each(|index| cluster.connect(index));
    cluster.commit();
    // 299,700 replicas on 1,009 nodes.
    let joined = plan(cluster, "ten nodes more");
    assert!((2970..2 * 2970).contains(&joined));
    cluster.step(MetaEvent::Admin {
        token: 2,
        request: AdminRequest::Drain { node: "replica7".to_owned(), drained: true },
    });
    cluster.commit();
    let drained = plan(cluster, "and one that is drained");
    assert!(drained >= 300, "what it has goes");
}
