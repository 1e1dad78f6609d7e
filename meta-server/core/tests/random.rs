//! Random schedules with lost messages, crashes and restarts keep what the meta server alone can keep: S3 (one
//! primary a ballot), S5 (legal steps only), S6 (a primary was a member); and once faults stop, all is healed.

mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, gpid, millis, seconds};
use meta_core::{AdminRequest, BalanceKind, ProposalKind};
use proptest::prelude::*;
use words::{Configuration, RoleName};

const NODES: u128 = 5;
const PARTITIONS: u32 = 4;

#[derive(Clone, Debug)]
enum Act {
    Up(u128),
    Down(u128),
    Silent(u128, bool),
    Leaving(u128, bool),
    Broken(u128, u32),
    Pass(u64),
    RestartMeta,
    Propose(ProposalKind, u32, u128),
    Balance(BalanceKind, u32, u128, u128),
    /// A proposal that makes no sense: members as given, on the ballot after the current one.
    Nonsense(u128, u32, Vec<u128>),
}

fn act() -> impl Strategy<Value = Act> {
    let node = || 1..=NODES;
    let partition = || 0..PARTITIONS;
    let kind = prop::sample::select(
        ["assign_primary", "upgrade_to_primary", "add_secondary", "downgrade_to_secondary", "remove"]
            .map(|kind| kind.parse::<ProposalKind>().expect("a type"))
            .to_vec(),
    );
    let action = prop::sample::select(
        ["move_pri", "copy_pri", "copy_sec"]
            .map(|kind| kind.parse::<BalanceKind>().expect("a type"))
            .to_vec(),
    );
    prop_oneof![
        3 => node().prop_map(Act::Up),
        3 => node().prop_map(Act::Down),
        1 => (node(), any::<bool>()).prop_map(|(node, silent)| Act::Silent(node, silent)),
        1 => (node(), any::<bool>()).prop_map(|(node, leaving)| Act::Leaving(node, leaving)),
        1 => (node(), partition()).prop_map(|(node, partition)| Act::Broken(node, partition)),
        6 => (1..4000u64).prop_map(Act::Pass),
        1 => Just(Act::RestartMeta),
        2 => (kind, partition(), node()).prop_map(|(kind, partition, node)| Act::Propose(kind, partition, node)),
        2 => (action, partition(), node(), node()).prop_map(|(kind, p, from, to)| Act::Balance(kind, p, from, to)),
        2 => (node(), partition(), prop::collection::vec(node(), 0..4)).prop_map(|(n, p, m)| Act::Nonsense(n, p, m)),
    ]
}

fn play(cluster: &mut Cluster, act: Act) {
    match act {
        Act::Up(number) if cluster.node(number).session.is_none() => cluster.up(number),
        Act::Up(_) => {}
        Act::Down(number) => cluster.down(number),
        Act::Silent(number, silent) => cluster.node(number).silent = silent,
        Act::Leaving(number, leaving) => cluster.node(number).leaving = leaving,
        Act::Broken(number, partition) => {
            if let Some(report) = cluster.node(number).replicas.get_mut(&gpid(partition)) {
                report.role = RoleName::Error;
            }
        }
        Act::Pass(span) => cluster.pass(millis(span)),
        Act::RestartMeta => {
            cluster.restart_meta();
            for number in 1..=NODES {
                if !cluster.node(number).configurations.is_empty() {
                    cluster.connect(number);
                }
            }
        }
        Act::Propose(kind, partition, number) => {
            let node = format!("replica{number}");
            cluster.admin(AdminRequest::Propose { gpid: gpid(partition), kind, node });
        }
        Act::Balance(kind, partition, from, to) => {
            let (from, to) = (format!("r{from}"), format!("r{to}"));
            cluster.admin(AdminRequest::Balance { gpid: gpid(partition), kind, from, to });
        }
        Act::Nonsense(number, partition, members) => {
            let replica = cluster.node(number).replicas.get(&gpid(partition));
            if replica.is_some_and(|report| report.role == RoleName::Error) {
                return; // a broken replica proposes nothing
            }
            let current = cluster.meta.state().configuration(gpid(partition)).expect("a partition");
            let mut members = members.into_iter().map(cluster::node);
            let proposed = Configuration {
                ballot: current.ballot.next(),
                primary: members.next(),
                secondaries: members.collect(),
            };
            cluster.propose(number, partition, proposed);
        }
    }
}

/// S3, S5, S6 over everything that ever took effect.
fn check_history(cluster: &Cluster) {
    let mut last: BTreeMap<_, Configuration> = BTreeMap::new();
    for (gpid, configuration) in &cluster.history {
        let before = last.insert(*gpid, configuration.clone()).unwrap_or_default();
        assert_eq!(before.check_step(configuration), Ok(()), "{gpid} {before} -> {configuration}");
        assert_eq!(configuration.ballot, before.ballot.next(), "S5, and with it S3");
        let primary = configuration.primary.expect("every configuration has a primary");
        assert!(before.is_empty() || before.is_member(primary), "S6: {before} -> {configuration}");
    }
    for (gpid, configuration) in last {
        assert_eq!(cluster.meta.state().configuration(gpid), Some(&configuration));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_is_legal_and_heals(
        acts in prop::collection::vec(act(), 1..60),
        lost in prop::collection::vec(any::<u8>(), 64),
        loss_percent in 0u8..40,
    ) {
        let mut cluster = Cluster::new();
        let mut turn = 0;
        cluster.arrives = Box::new(move || {
            turn += 1;
            u32::from(lost[turn % lost.len()]) * 100 / 256 >= u32::from(loss_percent)
        });
        for number in 1..=3 {
            cluster.up(number);
        }
        cluster.create("a", PARTITIONS, 3);
        for act in acts {
            play(&mut cluster, act);
            check_history(&cluster);
        }
        // Faults stop, and what broke is reported. A partition all of whose members are broken can't be healed.
        cluster.arrives = Box::new(|| true);
        cluster.nodes.values_mut().for_each(|node| node.silent = false);
        cluster.pass(seconds(2));
        let only_copy_broken = (0..PARTITIONS).any(|partition| {
            let configuration = cluster.meta.state().configuration(gpid(partition)).expect("a partition").clone();
            !configuration.is_empty() && !configuration.members().any(|node| {
                cluster.nodes.get(&node).and_then(|node| node.replicas.get(&gpid(partition)))
                    .is_some_and(|report| report.role != RoleName::Error)
            })
        });
        prop_assume!(!only_copy_broken);
        for number in 1..=NODES {
            cluster.node(number).leaving = false;
            cluster.down(number);
            cluster.up(number);
        }
        cluster.pass(seconds(60));
        check_history(&cluster);
        let app = &cluster.meta.list_apps(false)[0];
        let why: Vec<String> = (0..PARTITIONS)
            .map(|partition| format!("{} {}", cluster.configuration(partition), cluster.decision(partition)))
            .collect();
        prop_assert_eq!((app.healthy, app.readable), (PARTITIONS, PARTITIONS), "{:?} {:?}", why, cluster.history);
    }
}
