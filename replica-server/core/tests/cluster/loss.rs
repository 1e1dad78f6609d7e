//! A member that was given up by an admin returns: what it has and the new history does not is set aside (§6.4),
//! also when the new primary has written more than that meanwhile.

use std::time::Duration;

use words::RoleName;

use crate::harness::Cluster;
use crate::{R1, R2};

/// r1 and r2 shared `shared`; then r1 alone wrote `lost` and was given up, and r2, which leads alone since, wrote
/// `written`.
fn after_a_loss(shared: &[u8], lost: &[u8], written: &[u8]) -> Cluster {
    let mut cluster = Cluster::of(2);
    cluster.settings.mutation_2pc_min_replica_count = 1;
    cluster.settings.window = 1;
    cluster.settings.list_tail = 3;
    for node in [R1, R2] {
        cluster.restart(node);
    }
    cluster.create(R1);
    cluster.add(R2);
    write_all(&mut cluster, shared);
    cluster.pass(Duration::from_millis(200));
    cluster.kill(R2);
    cluster.unreachable(R2);
    assert_eq!(cluster.configuration.to_string(), "{3,r1,[]}");
    write_all(&mut cluster, lost);
    cluster.kill(R1);
    cluster.restart(R2);
    cluster.configuration = cluster.configuration.after_loss(R2);
    cluster.push_configuration();
    cluster.pass(Duration::from_secs(1));
    write_all(&mut cluster, written);
    cluster
}

fn write_all(cluster: &mut Cluster, amounts: &[u8]) {
    let primary = cluster.configuration.primary.expect("somebody leads");
    for &amount in amounts {
        let reply = cluster.write(primary, amount);
        assert!(matches!(reply, Some(words::Reply::Done { .. })), "{reply:?}");
    }
}

/// r1 returns and becomes a member again: both have `total`.
fn r1_returns(mut cluster: Cluster, total: u64) {
    cluster.restart(R1);
    cluster.push_configuration();
    cluster.add(R1);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.configuration.to_string(), "{6,r2,[r1]}");
    assert_eq!(cluster.role(R1), RoleName::Secondary);
    assert_eq!([cluster.total(R1), cluster.total(R2)], [total, total]);
}

#[test]
fn one_that_is_ahead_starts_over() {
    r1_returns(after_a_loss(&[1, 2], &[4, 8, 16, 32], &[]), 3);
}

#[test]
fn one_that_was_ahead_and_was_overtaken_starts_over() {
    // What it has last is in the primary's list, as another mutation.
    r1_returns(after_a_loss(&[1, 2], &[4, 8], &[64, 64]), 131);
    // ... is in its log only.
    r1_returns(after_a_loss(&[1, 2], &[4, 8], &[16; 12]), 195);
}

#[test]
fn one_that_has_nothing_else_goes_on_from_there() {
    r1_returns(after_a_loss(&[1, 2], &[], &[16; 12]), 195);
}
