//! Clusters of all sizes end balanced, with as few copies as there can be, and no node twice in a partition.

use std::collections::BTreeSet;

use words::{AppId, Ballot};

use super::board::Layer;
use super::*;
use crate::BalanceKind;

/// Apps with their partitions, as the meta server would hold them.
type Apps = Vec<Vec<(Gpid, Configuration)>>;

fn node(number: usize) -> NodeId {
    NodeId(number as u128 + 1)
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}

/// An app placed at random on the first `nodes` nodes.
fn scattered(
    id: u32,
    partitions: u32,
    replicas: usize,
    nodes: usize,
    numbers: &mut Numbers,
) -> Vec<(Gpid, Configuration)> {
    let place = |partition| {
        let mut all: Vec<usize> = (0..nodes).collect();
        let mut member = || all.swap_remove(numbers.below(all.len()));
        let members: Vec<NodeId> = (0..replicas.min(nodes)).map(|_| node(member())).collect();
        let configuration = Configuration {
            ballot: Ballot(3),
            primary: Some(members[0]),
            secondaries: members[1..].to_vec(),
        };
        (Gpid { app: AppId(id), partition }, configuration)
    };
    (0..partitions).map(place).collect()
}

fn snapshot<'a>(apps: &'a Apps, parts: &[Part]) -> Snapshot<'a> {
    let borrowed = |app: &'a Vec<(Gpid, Configuration)>| app.iter().map(|(gpid, c)| (*gpid, c)).collect();
    Snapshot {
        nodes: parts.iter().enumerate().map(|(number, &part)| (node(number), part)).collect(),
        apps: apps.iter().map(borrowed).collect(),
    }
}

/// Makes the moves one after the other, step by step as the meta server does.
fn carry_out(apps: &mut Apps, plan: &Plan) {
    for order in &plan.moves {
        let found = apps.iter_mut().flatten().find(|(gpid, _)| *gpid == order.gpid);
        let configuration = &mut found.expect("a partition that is there").1;
        let wanted = configuration.len();
        let mut steps: Vec<fn(&Configuration, NodeId, NodeId) -> Configuration> = Vec::new();
        if order.kind != BalanceKind::MovePrimary {
            steps.push(|now, _, to| now.with_secondary(to));
        }
        if order.kind != BalanceKind::CopySecondary {
            assert_eq!(configuration.primary, Some(order.from), "{order:?}");
            steps.push(|now, _, to| now.handed_over_to(to));
        }
        if order.kind != BalanceKind::MovePrimary {
            steps.push(|now, from, _| now.without_secondary(from));
        }
        for step in steps {
            let next = step(configuration, order.from, order.to);
            assert_eq!(configuration.check_step(&next), Ok(()), "{order:?}: {configuration} -> {next}");
            assert!(next.len() >= wanted, "never fewer members than before: {next}");
            *configuration = next;
        }
        assert_eq!(configuration.len(), wanted, "{order:?}");
    }
}

/// How many copies it takes at least: per app what is above the upper bounds, or below the lower ones.
fn least_copies(snapshot: &Snapshot<'_>) -> usize {
    let board = Board::new(snapshot);
    let count = board.count(Layer::Replicas);
    let of_app = |app: usize| {
        let over: u32 = board
            .takers
            .iter()
            .map(|&n| count.has(Some(app), n).saturating_sub(count.bounds(Some(app), n).1))
            .sum();
        let under: u32 = board
            .takers
            .iter()
            .map(|&n| count.bounds(Some(app), n).0.saturating_sub(count.has(Some(app), n)))
            .sum();
        over.max(under) as usize
    };
    (0..board.apps).map(of_app).sum()
}

fn copies(plan: &Plan) -> usize {
    plan.moves.iter().filter(|order| order.kind != BalanceKind::MovePrimary).count()
}

/// What is out of bounds: the layer, the app or none for the totals, the node.
fn out_of_bounds(apps: &Apps, parts: &[Part]) -> Vec<String> {
    let board = Board::new(&snapshot(apps, parts));
    let mut found = Vec::new();
    for layer in [Layer::Replicas, Layer::Primaries] {
        let count = board.count(layer);
        for app in (0..board.apps).map(Some).chain([None]) {
            for &node in &board.takers {
                let (has, (least, most)) = (count.has(app, node), count.bounds(app, node));
                if has < least || has > most {
                    found.push(format!("{layer:?} app {app:?} node {node}: {has} not in {least}..={most}"));
                }
            }
        }
    }
    found
}

fn balanced(mut apps: Apps, parts: &[Part]) -> (Apps, Plan) {
    let plan = plan(&snapshot(&apps, parts), Aim::Even);
    carry_out(&mut apps, &plan);
    for (gpid, configuration) in apps.iter().flatten() {
        let members: BTreeSet<NodeId> = configuration.members().collect();
        assert_eq!(members.len(), configuration.len(), "{gpid} {configuration}: nobody twice");
    }
    (apps, plan)
}

fn equal(nodes: usize) -> Vec<Part> {
    vec![Part::Takes(16); nodes]
}

/// A cluster in which some nodes joined after everything was placed.
fn cluster(nodes: usize, numbers: &mut Numbers) -> Apps {
    let old = 1 + numbers.below(nodes);
    let app = |id: usize, numbers: &mut Numbers| {
        let (partitions, replicas) = (1 + numbers.below(3 * nodes + 16), 1 + numbers.below(4));
        scattered(id as u32, partitions as u32, replicas, old, numbers)
    };
    (1..=1 + numbers.below(4)).map(|id| app(id, numbers)).collect()
}

#[test]
fn random_clusters_of_1_to_100_nodes_end_balanced() {
    let (mut made, mut least) = (0, 0);
    for nodes in 1..=100 {
        let mut numbers = Numbers(nodes as u64);
        let apps = cluster(nodes, &mut numbers);
        let parts = equal(nodes);
        least += least_copies(&snapshot(&apps, &parts));
        let (apps, plan) = balanced(apps, &parts);
        made += copies(&plan);
        assert_eq!(out_of_bounds(&apps, &parts), Vec::<String>::new(), "{nodes} nodes");
        assert_eq!(balanced(apps, &parts).1.moves, [], "what is balanced stays as it is");
    }
    // The bound knows nothing of the totals over all apps, nor of primaries that no handover reaches.
    assert!(made * 100 <= least * 102, "{made} copies, {least} at least");
}

#[test]
fn small_clusters_end_balanced_whatever_their_weights_and_drains() {
    let (mut made, mut least) = (0, 0);
    for seed in 0..3_000 {
        let mut numbers = Numbers(seed);
        let nodes = 1 + numbers.below(9);
        let apps = cluster(nodes, &mut numbers);
        let weighted = numbers.below(2) == 0;
        let mut part = || match numbers.below(8) {
            0 if seed % 3 == 0 => Part::Drained,
            _ if weighted => Part::Takes(1 + numbers.below(16) as u64),
            _ => Part::Takes(16),
        };
        let parts: Vec<Part> = (0..nodes).map(|_| part()).collect();
        least += least_copies(&snapshot(&apps, &parts));
        let (after, plan) = balanced(apps, &parts);
        made += copies(&plan);
        assert_eq!(out_of_bounds(&after, &parts), Vec::<String>::new(), "seed {seed}: {parts:?}");
        assert_eq!(left_on_drained(&after, &parts), plan.stuck, "seed {seed}: {parts:?}");
        assert_eq!(balanced(after, &parts).1.moves, [], "what is balanced stays as it is");
    }
    assert!(made * 100 <= least * 104, "{made} copies, {least} at least");
}

/// How many replicas stayed on drained nodes; each of them because every other node has one, too.
fn left_on_drained(apps: &Apps, parts: &[Part]) -> usize {
    let of = |wanted: fn(&Part) -> bool| {
        parts.iter().enumerate().filter(move |(_, part)| wanted(part)).map(|(number, _)| node(number))
    };
    let is_drained = |part: &Part| *part == Part::Drained;
    let mut left = 0;
    for (gpid, configuration) in apps.iter().flatten() {
        let here = of(is_drained).filter(|&node| configuration.is_member(node)).count();
        let could = of(|part| matches!(part, Part::Takes(_))).any(|node| !configuration.is_member(node));
        assert!(here == 0 || !could, "{gpid} {configuration} could leave");
        left += here;
    }
    left
}

/// One app, each partition as `{primary, secondaries}` in numbers from 0.
fn app(partitions: &[&[usize]]) -> Apps {
    let place = |(partition, members): (usize, &&[usize])| {
        let mut members = members.iter().map(|&number| node(number));
        let configuration =
            Configuration { ballot: Ballot(1), primary: members.next(), secondaries: members.collect() };
        (Gpid { app: AppId(1), partition: partition as u32 }, configuration)
    };
    vec![partitions.iter().enumerate().map(place).collect()]
}

fn print(plan: &Plan) -> Vec<String> {
    let print = |order: &Move| {
        let Move { gpid, kind, from, to, reason } = order;
        format!("{gpid} {kind:?} {from} {to}: {reason}")
    };
    plan.moves.iter().map(print).collect()
}

#[test]
fn after_a_restart_of_all_only_roles_move() {
    let (_, plan) = balanced(app(&[&[0, 1, 2], &[0, 1, 2], &[0, 2, 1]]), &equal(3));
    let why = "r1 leads 3 of the app, its share is 1.00";
    assert_eq!(
        print(&plan),
        [format!("1.0 MovePrimary r1 r2: {why}"), format!("1.1 MovePrimary r1 r3: {why}")]
    );
}

#[test]
fn a_new_node_gets_its_share_and_nothing_else_moves() {
    let members: Vec<Vec<usize>> = (0..16).map(|first| (0..3).map(|i| (first + i) % 3).collect()).collect();
    let apps = app(&members.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (_, plan) = balanced(apps, &equal(4));
    assert_eq!(copies(&plan), 12, "48 replicas on 4 nodes: {:#?}", print(&plan));
    assert!(plan.moves.iter().all(|order| order.kind == BalanceKind::MovePrimary || order.to == node(3)));
}

#[test]
fn twice_the_disk_holds_twice_as_much() {
    let members: Vec<Vec<usize>> = (0..20).map(|first| vec![first % 2]).collect();
    let apps = app(&members.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (after, _) = balanced(apps, &[Part::Takes(4), Part::Takes(4), Part::Takes(8)]);
    let on = |number| after.iter().flatten().filter(|(_, c)| c.is_member(node(number))).count();
    assert_eq!((on(0), on(1), on(2)), (5, 5, 10));
}

#[test]
fn who_has_most_of_the_disk_has_one_replica_of_each_partition_and_no_more() {
    let apps = app(&[&[0, 1], &[1, 2], &[2, 0], &[0, 1]]);
    let (after, _) = balanced(apps, &[Part::Takes(16), Part::Takes(1), Part::Takes(1)]);
    let on = |number| after.iter().flatten().filter(|(_, c)| c.is_member(node(number))).count();
    assert_eq!((on(0), on(1), on(2)), (4, 2, 2));
}

#[test]
fn what_leads_on_a_drained_node_is_handed_over_before_it_is_copied() {
    let apps = app(&[&[0, 1], &[1, 0], &[0, 2]]);
    let parts = [Part::Drained, Part::Takes(16), Part::Takes(16), Part::Takes(16)];
    let drained = plan(&snapshot(&apps, &parts), Aim::Drains);
    let why = "r1 is being drained";
    assert_eq!(
        print(&drained),
        [
            format!("1.0 MovePrimary r1 r2: {why}"),
            format!("1.2 MovePrimary r1 r3: {why}"),
            format!("1.0 CopySecondary r1 r4: {why}"),
            format!("1.1 CopySecondary r1 r3: {why}"),
            format!("1.2 CopySecondary r1 r4: {why}"),
        ]
    );
    let alone = app(&[&[0]]);
    let only = plan(&snapshot(&alone, &parts), Aim::Drains);
    assert_eq!(print(&only), [format!("1.0 CopyPrimary r1 r2: {why}")]);
}

#[test]
fn a_drain_without_another_node_says_so() {
    let apps = app(&[&[0, 1, 2], &[1, 0, 2]]);
    let plan = plan(&snapshot(&apps, &[Part::Drained, Part::Takes(16), Part::Takes(16)]), Aim::Even);
    assert_eq!(plan.stuck, 2);
    assert_eq!(print(&plan), ["1.0 MovePrimary r1 r3: r1 is being drained"]);
}
