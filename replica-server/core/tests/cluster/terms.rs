//! On what terms an app's replicas serve: dropped and recalled, slowed down, denied.

use std::time::Duration;

use words::{AppTerms, Ballot, Refusal, Reply, RoleName};

use crate::harness::Cluster;
use crate::{R1, R2, R3, three, three_with};

const NO_PRIMARY: Refusal = Refusal::NotPrimary { ballot: Ballot(3), primary: None };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn with_env(key: &str, value: &str) -> Cluster {
    let mut cluster = three();
    cluster.change_terms(|terms| terms.envs.set(key, value).expect("it makes sense"));
    cluster
}

/// How many are done, refused as throttled, and not answered.
fn count(replies: &[Option<Reply>]) -> [usize; 3] {
    let is_done = |reply: &&Option<Reply>| matches!(reply, Some(Reply::Done { .. }));
    let throttled = Some(Reply::Refused(Refusal::Throttled));
    [
        replies.iter().filter(is_done).count(),
        replies.iter().filter(|&reply| *reply == throttled).count(),
        replies.iter().filter(|reply| reply.is_none()).count(),
    ]
}

#[test]
fn a_dropped_app_serves_nobody_and_goes_on_where_it_was_when_recalled() {
    let mut cluster = three();
    cluster.write(R1, 5);
    cluster.pass(ms(200));
    cluster.change_terms(|terms| terms.dropped = true);
    for node in [R1, R2, R3] {
        assert_eq!((cluster.role(node), cluster.total(node)), (RoleName::Inactive, 5));
    }
    assert!(matches!(cluster.write(R1, 5), Some(Reply::Refused(Refusal::NotPrimary { .. }))));
    assert!(cluster.read(R1).is_err());
    cluster.pass(Duration::from_secs(60));
    assert_eq!(cluster.configuration.to_string(), "{3,r1,[r2,r3]}", "nobody is proposed out meanwhile");
    // What says otherwise and is older, say from a meta server that was deposed, changes nothing.
    let newer = std::mem::replace(&mut cluster.terms, AppTerms { revision: 0, ..AppTerms::default() });
    cluster.push_configuration();
    assert_eq!(cluster.role(R1), RoleName::Inactive);
    cluster.terms = newer;
    // One is started again meanwhile: it has to be told, and is.
    cluster.restart(R2);
    cluster.push_configuration();
    assert_eq!(cluster.role(R2), RoleName::Inactive);
    cluster.change_terms(|terms| terms.dropped = false);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.configuration.to_string(), "{4,r1,[r2,r3]}", "as after a restart (§7.4)");
    assert!(matches!(cluster.write(R1, 2), Some(Reply::Done { .. })));
    assert_eq!(cluster.read(R1), Ok(7));
}

#[test]
fn who_lost_its_replica_while_the_app_was_dropped_is_in_error_when_it_is_recalled() {
    let mut cluster = three();
    cluster.write(R1, 5);
    cluster.change_terms(|terms| terms.dropped = true);
    cluster.lose_everything(R3);
    cluster.push_configuration();
    assert!(!cluster.has(R3), "nobody asks for it");
    cluster.change_terms(|terms| terms.dropped = false);
    assert_eq!(cluster.role(R3), RoleName::Error, "never empty in place of what was lost (§4.8)");
}

#[test]
fn writes_beyond_the_limits_wait_and_then_are_refused() {
    let mut cluster = with_env("replica.write_throttling", "10*delay*100,15*reject*300");
    let patience = Duration::from_secs(5);
    assert_eq!(count(&cluster.write_many(R1, 20, patience, ms(90))), [10, 0, 10]);
    assert_eq!(cluster.total(R1), 10);
    cluster.pass(ms(10));
    assert_eq!(cluster.total(R1), 15, "what waited is done, what is refused is not");
    cluster.pass(Duration::from_secs(2));
    assert_eq!(count(&cluster.write_many(R1, 20, patience, ms(100))), [15, 0, 5]);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(count(&cluster.write_many(R1, 20, patience, ms(310))), [15, 5, 0]);
    // Whoever has less time waits less: half of it is left for the write.
    cluster.pass(Duration::from_secs(2));
    assert_eq!(count(&cluster.write_many(R1, 20, ms(100), ms(50))), [15, 5, 0]);
    cluster.change_terms(|terms| terms.envs = words::AppEnvs::default());
    assert_eq!(count(&cluster.write_many(R1, 100, patience, ms(0))), [100, 0, 0]);
}

#[test]
fn what_waits_is_refused_when_the_role_moves() {
    let mut cluster = with_env("replica.write_throttling", "1*delay*5000");
    let replies = cluster.write_many(R1, 10, Duration::from_secs(60), ms(0));
    assert_eq!(count(&replies), [1, 0, 9]);
    cluster.promote(R2);
    let refused = cluster.replies.values().filter(|reply| matches!(reply, Reply::Refused(_))).count();
    assert_eq!(refused, 9, "surely not done, and nobody is left waiting");
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.total(R2), 1);
}

#[test]
fn no_more_waits_than_the_queue_takes() {
    let mut cluster = three_with(|settings| settings.queue = 5);
    cluster.change_terms(|terms| {
        terms.envs.set("replica.write_throttling", "1*delay*1000").expect("it makes sense");
    });
    let replies = cluster.write_many(R1, 10, Duration::from_secs(60), ms(0));
    let busy = replies.iter().filter(|&reply| *reply == Some(Reply::Refused(Refusal::Busy))).count();
    assert_eq!((count(&replies), busy), ([1, 0, 5], 4));
}

#[test]
fn what_is_denied_is_refused_whatever_else_is_so() {
    let mut cluster = with_env("replica.deny_client_request", "reject*write");
    assert_eq!(cluster.write(R1, 1), Some(Reply::Refused(Refusal::Denied)));
    assert_eq!(cluster.read(R1), Ok(0));
    cluster.change_terms(|terms| {
        terms.envs.set("replica.deny_client_request", "reconfig*all").expect("it makes sense");
    });
    assert_eq!(cluster.write(R1, 1), Some(Reply::Refused(NO_PRIMARY)));
    assert_eq!(cluster.read(R1), Err(Some(Reply::Refused(NO_PRIMARY))));
    cluster.change_terms(|terms| {
        terms.envs.set("replica.deny_client_request", "timeout*read").expect("it makes sense");
    });
    assert_eq!(cluster.read(R1), Err(None), "no answer");
    cluster.pass(Duration::from_secs(11));
    assert_eq!(cluster.replies.values().collect::<Vec<_>>(), [&Reply::Refused(Refusal::Denied)]);
    assert!(matches!(cluster.write(R1, 1), Some(Reply::Done { .. })));
    // The rules go with the role.
    cluster.promote(R2);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.read(R2), Err(None));
}
