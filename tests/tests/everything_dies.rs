//! Three meta servers, three replica servers, and one of the six killed every five seconds while clients write.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tests::{Cluster, Dice, Load, METAS, REPLICAS, report, short_or_full};

const APP: &str = "counter.instance0";

const BETWEEN_KILLS: Duration = Duration::from_secs(5);
/// A server that was killed is started again after this.
const DOWN: Duration = Duration::from_secs(1);

#[test]
fn one_of_six_servers_is_killed_every_five_seconds() {
    let test = "one_of_six_servers_is_killed_every_five_seconds";
    let seconds = short_or_full(test, 40, 300);
    let seed = Dice::seed();
    report(&format!("{test}: HOLDFAST_SEED={seed}"));
    let mut dice = Dice::new(seed);
    let mut cluster = Cluster::prepare_metas(3);
    cluster.set("replication.app.partition_count=16");
    cluster.start_all();
    let servers: Vec<&'static str> = METAS[..3].iter().copied().chain(REPLICAS).collect();

    let mut load = Load::start(&cluster, APP, seconds, &["--clients", "64", "--keys", "256"]);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut killed = vec![];
    let mut last_kill = Instant::now();
    while Instant::now() + BETWEEN_KILLS < end && load.runs() {
        sleep(BETWEEN_KILLS - DOWN);
        let victim = *dice.one_of(&servers);
        cluster.kill(victim);
        last_kill = Instant::now();
        sleep(DOWN);
        cluster.restart(victim);
        killed.push(victim);
    }
    cluster.wait_until_serving(&[APP]);
    let whole = last_kill.elapsed();
    let summary = load.finish();
    report(&format!(
        "{test}: {} kills; whole {whole:?} after the last; {summary:?}; {}",
        killed.len(),
        killed.join(" ")
    ));
}
