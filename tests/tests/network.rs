//! A network that is hurt in one way at a time, under load: each server has an address of its own in a network
//! namespace of its own. That no read was stale, and that nothing was lost or doubled, is what `Load::finish`
//! checks; each test says what else must hold, and all of them that the cluster is whole again by itself.
//!
//! Needs root, `ip`, `nft` and `nsenter`; without them each test is skipped by its name.

use std::thread::sleep;
use std::time::Duration;

use tests::{CLIENT, Cluster, Dice, Harm, Load, Network, Pace, SlowLink, Summary, Wound, report, wait_for};

const META: &str = "meta1";
const REPLICAS: [&str; 3] = ["replica1", "replica2", "replica3"];
const HOSTS: [&str; 5] = [CLIENT, META, REPLICAS[0], REPLICAS[1], REPLICAS[2]];

const APP: &str = "counter.instance0";

/// How long the load is, in seconds, and when the network is hurt: longer than each of the protocol's time-outs.
const LOAD: u64 = 10;
const BEFORE: Duration = Duration::from_secs(2);
const HURT: Duration = Duration::from_secs(4);

/// A cluster of one partition under a load with many reads of few counters: a stale one would be seen.
struct Scene {
    test: &'static str,
    cluster: Cluster,
    load: Load,
    primary: &'static str,
    secondaries: Vec<&'static str>,
}

impl Scene {
    /// `None` if the test is skipped.
    fn new(test: &'static str) -> Option<Self> {
        let network = Network::for_test(test, &HOSTS)?;
        let mut cluster = Cluster::prepare_in(network);
        cluster.set("replication.app.partition_count=1");
        for server in [META].into_iter().chain(REPLICAS) {
            cluster.restart(server);
        }
        cluster.wait_until_whole(APP);
        let primary = primary(&cluster);
        let secondaries = REPLICAS.into_iter().filter(|name| *name != primary).collect();
        let load = Load::start(&cluster, APP, LOAD, &["--clients", "16", "--keys", "2", "--reads", "70"]);
        sleep(BEFORE);
        Some(Self { test, cluster, load, primary, secondaries })
    }

    /// All servers but the primary.
    fn others(&self) -> Vec<&'static str> {
        self.secondaries.iter().copied().chain([META]).collect()
    }

    fn network(&self) -> &Network {
        self.cluster.network()
    }

    /// Lets the wounds hurt for a while, and ends the scene.
    fn play(self, wounds: impl IntoIterator<Item = Wound>) -> Ending {
        sleep(HURT);
        assert!(self.network().struck() > 0, "nothing was hurt, so nothing was tried");
        self.network().heal(wounds);
        self.end()
    }

    fn end(self) -> Ending {
        let summary = self.load.finish();
        self.cluster.wait_until_whole(APP);
        report(&format!("{}: {summary:?}", self.test));
        let is_deposed = primary(&self.cluster) != self.primary;
        Ending { summary, is_deposed }
    }
}

/// What was seen when the cluster was whole again.
struct Ending {
    summary: Summary,
    /// The primary of the beginning is no longer primary.
    is_deposed: bool,
}

fn primary(cluster: &Cluster) -> &'static str {
    wait_for("a primary", || {
        let partitions = cluster.partitions(APP)?;
        let name = partitions.first().and_then(|partition| partition.primary.clone());
        let known = REPLICAS.into_iter().find(|replica| name.as_deref() == Some(replica));
        known.ok_or_else(|| format!("{partitions:?}"))
    })
}

/// The clients still reach it, so that it could answer what is no longer true (§5.4).
#[test]
fn a_primary_is_cut_off_from_the_servers() {
    let Some(scene) = Scene::new("a_primary_is_cut_off_from_the_servers") else { return };
    let wounds = scene.network().hurt_both_ways(scene.primary, &scene.others(), Harm::Silent);
    assert!(scene.play(wounds).is_deposed, "it was never deposed");
}

/// It goes on granting what it is asked for, and thinks that all is well; nobody hears its heartbeats.
#[test]
fn a_primary_hears_but_is_not_heard() {
    let Some(scene) = Scene::new("a_primary_hears_but_is_not_heard") else { return };
    let wound = scene.network().hurt(&[scene.primary], &scene.others(), Harm::Silent);
    assert!(scene.play([wound]).is_deposed, "it was never deposed");
}

/// Its heartbeats arrive, the acknowledgements do not: no lease, no read.
#[test]
fn a_primary_is_heard_but_does_not_hear() {
    let Some(scene) = Scene::new("a_primary_is_heard_but_does_not_hear") else { return };
    let wound = scene.network().hurt(&scene.others(), &[scene.primary], Harm::Silent);
    scene.play([wound]);
}

/// The secondary is proposed out, and comes back (§4.2).
#[test]
fn a_secondary_does_not_hear_the_primary() {
    let Some(scene) = Scene::new("a_secondary_does_not_hear_the_primary") else { return };
    let wound = scene.network().hurt(&[scene.primary], &scene.secondaries[..1], Harm::Silent);
    assert!(!scene.play([wound]).is_deposed, "a primary that the meta server hears stays");
}

#[test]
fn a_primary_does_not_hear_a_secondary() {
    let Some(scene) = Scene::new("a_primary_does_not_hear_a_secondary") else { return };
    let wound = scene.network().hurt(&scene.secondaries[..1], &[scene.primary], Harm::Silent);
    assert!(!scene.play([wound]).is_deposed, "a primary that the meta server hears stays");
}

/// The primary and the meta server reach everybody, the secondaries not each other: nobody minds.
#[test]
fn secondaries_are_cut_from_each_other() {
    let Some(scene) = Scene::new("secondaries_are_cut_from_each_other") else { return };
    let wounds = scene.network().hurt_both_ways(scene.secondaries[0], &scene.secondaries[1..], Harm::Silent);
    sleep(HURT);
    scene.network().heal(wounds);
    let ending = scene.end();
    assert_eq!(ending.summary.errors, 0, "{:?}", ending.summary);
    assert!(!ending.is_deposed);
}

/// §5: while the members stay as they are the meta server is not needed.
#[test]
fn the_meta_server_is_cut_off() {
    let Some(scene) = Scene::new("the_meta_server_is_cut_off") else { return };
    let wounds = scene.network().hurt_both_ways(META, &HOSTS, Harm::Silent);
    let ending = scene.play(wounds);
    assert_eq!(ending.summary.errors, 0, "{:?}", ending.summary);
}

/// Two halves that each hold a secondary; only the one with the meta server may go on.
#[test]
fn a_primary_and_a_secondary_are_cut_from_the_rest() {
    let Some(scene) = Scene::new("a_primary_and_a_secondary_are_cut_from_the_rest") else { return };
    let rest = [scene.secondaries[1], META];
    let mut wounds = Vec::from(scene.network().hurt_both_ways(scene.primary, &rest, Harm::Silent));
    wounds.extend(scene.network().hurt_both_ways(scene.secondaries[0], &rest, Harm::Silent));
    scene.play(wounds);
}

/// Retries of what was done must not be done again (§8.2).
#[test]
fn the_clients_do_not_hear_the_primary() {
    let Some(scene) = Scene::new("the_clients_do_not_hear_the_primary") else { return };
    let wound = scene.network().hurt(&[scene.primary], &[CLIENT], Harm::Silent);
    assert!(!scene.play([wound]).is_deposed, "a primary that the servers hear stays");
}

#[test]
fn a_third_of_all_packets_is_lost() {
    let Some(scene) = Scene::new("a_third_of_all_packets_is_lost") else { return };
    let wound = scene.network().hurt(&HOSTS, &HOSTS, Harm::Lossy(30));
    scene.play([wound]);
}

#[test]
fn all_connections_are_reset_again_and_again() {
    let Some(scene) = Scene::new("all_connections_are_reset_again_and_again") else { return };
    for _ in 0..8 {
        let wound = scene.network().hurt(&HOSTS, &HOSTS, Harm::Reset);
        sleep(HURT / 40);
        assert!(scene.network().struck() > 0, "nothing was hurt, so nothing was tried");
        scene.network().heal([wound]);
        sleep(HURT / 10);
    }
    scene.end();
}

/// The primary is suspected as a process that is gone would be (§5.6); it is alive, and clients reach it.
#[test]
fn a_living_primary_is_taken_for_gone() {
    let Some(scene) = Scene::new("a_living_primary_is_taken_for_gone") else { return };
    let servers = [META, REPLICAS[0], REPLICAS[1], REPLICAS[2]];
    let refused = scene.network().hurt_both_ways(scene.primary, &servers, Harm::Refused);
    let reset = scene.network().hurt_both_ways(scene.primary, &servers, Harm::Reset);
    sleep(HURT / 10);
    scene.network().heal(reset);
    assert!(scene.play(refused).is_deposed, "it was never deposed");
}

#[test]
fn a_primary_is_slow_to_reach() {
    let Some(scene) = Scene::new("a_primary_is_slow_to_reach") else { return };
    let pace = Pace { delay_ms: 5..60, stall: Duration::ZERO };
    let slow = SlowLink::new(scene.cluster.network(), scene.primary, pace, &mut Dice::new(1));
    sleep(HURT);
    assert!(slow.carried() > 0, "nothing was hurt, so nothing was tried");
    drop(slow);
    scene.end();
}

/// Nothing moves for a second, then all of it at once: longer than a lease, shorter than what makes a member lost.
#[test]
fn a_secondary_is_reached_in_fits_and_starts() {
    let Some(scene) = Scene::new("a_secondary_is_reached_in_fits_and_starts") else { return };
    let pace = Pace { delay_ms: 0..20, stall: Duration::from_secs(2) };
    let slow = SlowLink::new(scene.cluster.network(), scene.secondaries[0], pace, &mut Dice::new(2));
    sleep(HURT);
    assert!(slow.carried() > 0, "nothing was hurt, so nothing was tried");
    drop(slow);
    scene.end();
}
