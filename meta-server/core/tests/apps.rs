//! What operators do with whole apps: dropped and recalled, renamed, given an environment.

mod cluster;

use cluster::{Cluster, gpid, node, seconds};
use meta_core::{AdminReply, AdminRequest, EnvChange, RefusalKind, WallTime};
use words::{AppId, MetaToNode, RoleName};

fn drop_app(hold_seconds: Option<u64>) -> AdminRequest {
    AdminRequest::DropApp { name: "a".to_owned(), hold_seconds }
}

fn recall(new_name: Option<&str>) -> AdminRequest {
    AdminRequest::RecallApp { id: AppId(1), new_name: new_name.map(str::to_owned) }
}

fn env(key: &str, value: &str) -> AdminRequest {
    let change = EnvChange::Set { key: key.to_owned(), value: value.to_owned() };
    AdminRequest::ChangeEnvs { name: "a".to_owned(), change }
}

fn refused(reply: AdminReply) -> (RefusalKind, String) {
    let AdminReply::Refused(refusal) = reply else { panic!("{reply:?}") };
    (refusal.kind, refusal.message)
}

/// Replicas of the app on the three nodes.
fn replicas(cluster: &mut Cluster) -> [usize; 3] {
    [1, 2, 3].map(|number| cluster.node(number).replicas.len())
}

/// Partitions that each node leads, and in which it follows.
fn load(cluster: &Cluster) -> Vec<(u32, u32)> {
    cluster.meta.list_nodes(cluster.now).iter().map(|status| (status.primaries, status.secondaries)).collect()
}

#[test]
fn a_dropped_app_keeps_its_replicas_and_comes_back_as_it_was() {
    let mut cluster = Cluster::healthy(3, 3);
    let before: Vec<String> = (0..3).map(|partition| cluster.configuration(partition)).collect();
    let led = load(&cluster);
    cluster.down(3);
    let reply = cluster.admin(drop_app(None));
    let AdminReply::Dropped { app, expires } = reply else { panic!("{reply:?}") };
    assert_eq!((app.id, expires), (AppId(1), WallTime(cluster.now.0 / 1_000_000 + 604_800_000)));
    assert!(cluster.told(1).contains(&format!("1.0 {} dropped", before[0])));
    // One that was away reports its role, and is told; nobody is cured, counted or collected.
    cluster.up(3);
    cluster.pass(seconds(60));
    assert_eq!(replicas(&mut cluster), [3, 3, 3]);
    assert!((0..3).all(|p| cluster.node(3).replicas[&gpid(p)].role == RoleName::Inactive));
    assert_eq!(load(&cluster), [(0, 0), (0, 0), (0, 0)]);
    let route = cluster.meta.query("a", AppId(1)).map(|route| route.app.id);
    assert_eq!(route, Err("app `a` was dropped; `admin recall 1` brings it back".to_owned()));
    assert_eq!(cluster.meta.list_apps(false), []);
    assert_eq!(cluster.meta.list_apps(true)[0].expires, Some(expires));
    // So it is for whoever leads the meta servers later.
    cluster.restart_meta();
    for number in [1, 2, 3] {
        cluster.up(number);
    }
    cluster.pass(seconds(60));
    let reply = cluster.admin(recall(None));
    assert_eq!(reply, AdminReply::Recalled(app));
    let after: Vec<String> = (0..3).map(|partition| cluster.configuration(partition)).collect();
    assert_eq!(after, before);
    assert_eq!(load(&cluster), led);
    cluster.pass(seconds(60));
    assert_eq!(replicas(&mut cluster), [3, 3, 3]);
    assert_eq!(cluster.decision(0), "healthy");
    assert!(cluster.meta.query("a", AppId(0)).is_ok());
}

/// §4.8: never empty in place of what was lost.
#[test]
fn who_lost_its_replica_meanwhile_is_no_member_that_counts() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.admin(drop_app(None));
    cluster.node(2).replicas.clear();
    cluster.pass(seconds(5));
    cluster.admin(recall(None));
    assert_eq!(cluster.configuration(0), "{3,r1,[r2,r3]}");
    cluster.pass(seconds(10));
    assert_eq!(cluster.configuration(0), "{5,r1,[r3,r2]}", "it left and learned afresh");
}

#[test]
fn a_dropped_app_is_collected_everywhere_once_its_time_is_over() {
    let mut cluster = Cluster::healthy(3, 4);
    cluster.down(3);
    cluster.admin(drop_app(Some(100)));
    cluster.pass(seconds(50));
    // Whoever leads the meta servers from here on does not know how late it is before it asks.
    cluster.restart_meta();
    for number in [1, 2] {
        cluster.up(number);
    }
    cluster.pass(seconds(49));
    assert_eq!(replicas(&mut cluster), [4, 4, 4]);
    cluster.pass(seconds(2));
    assert_eq!(replicas(&mut cluster), [0, 0, 4]);
    cluster.up(3);
    cluster.pass(seconds(1));
    assert_eq!(replicas(&mut cluster), [0, 0, 0]);
    assert_eq!(cluster.meta.list_apps(true), []);
    let gone = "app 1 (`a`) can't be recalled any more: its time is over, and its data is gone";
    assert_eq!(refused(cluster.admin(recall(None))), (RefusalKind::NotFound, gone.to_owned()));
    // The name is free again, the number is not.
    cluster.create("a", 4, 3);
    assert_eq!(cluster.meta.query("a", AppId(0)).expect("the app").app.id, AppId(2));
    assert!(cluster.meta.query("a", AppId(1)).is_err(), "another one of that name");
}

#[test]
fn nothing_expires_while_all_is_stopped() {
    let mut cluster = Cluster::healthy(3, 1);
    cluster.admin(drop_app(Some(1)));
    cluster.admin(AdminRequest::SetLevel { level: meta_core::Level::Stopped });
    cluster.pass(seconds(10));
    assert_eq!(replicas(&mut cluster), [1, 1, 1]);
    cluster.admin(AdminRequest::SetLevel { level: meta_core::Level::Lively });
    cluster.pass(seconds(2));
    assert_eq!(replicas(&mut cluster), [0, 0, 0]);
}

#[test]
fn a_renamed_app_is_found_by_its_number_and_its_old_name_says_where() {
    let mut cluster = Cluster::healthy(3, 1);
    let rename = AdminRequest::RenameApp { name: "a".to_owned(), new_name: "b".to_owned() };
    let reply = cluster.admin(rename.clone());
    assert_eq!(reply, AdminReply::Accepted("`a` is called `b` now".to_owned()));
    assert_eq!(cluster.meta.query("a", AppId(1)).expect("the app").app.name, "b");
    assert_eq!(cluster.meta.query("a", AppId(0)), Err("app `a` is called `b` now".to_owned()));
    let missing = (RefusalKind::NotFound, "no app `a`; `admin ls` lists the apps".to_owned());
    assert_eq!(refused(cluster.admin(rename)), missing);
    cluster.create("a", 1, 1);
    let taken = AdminRequest::RenameApp { name: "a".to_owned(), new_name: "b".to_owned() };
    let exists = "app `b` exists already; choose another name or drop it first";
    assert_eq!(refused(cluster.admin(taken)), (RefusalKind::AlreadyExists, exists.to_owned()));
}

#[test]
fn an_environment_reaches_the_members_now_and_later() {
    let mut cluster = Cluster::healthy(3, 1);
    for number in [1, 2, 3] {
        cluster.node(number).told.clear();
    }
    let (key, value) = ("replica.write_throttling", "20*delay*100");
    let reply = cluster.admin(env(key, value));
    let AdminReply::Envs(envs) = reply else { panic!("{reply:?}") };
    assert_eq!(envs.iter().collect::<Vec<_>>(), [(key, value)]);
    let told = |cluster: &mut Cluster, number| {
        let mut terms = cluster.node(number).told.iter().filter_map(|message| match message {
            MetaToNode::Configuration(partition) => Some(partition.terms.clone()),
            _ => None,
        });
        terms.next_back()
    };
    for number in [1, 2, 3] {
        let terms = told(&mut cluster, number).expect("it is told");
        assert_eq!((terms.envs, terms.dropped), (envs.clone(), false), "{}", node(number));
    }
    cluster.down(1);
    cluster.up(1);
    assert_eq!(told(&mut cluster, 1).map(|terms| terms.envs), Some(envs), "a new session begins");
    assert_eq!(cluster.meta.describe_app("a").expect("the app").envs.iter().count(), 1);
    let remove = EnvChange::Remove { key: key.to_owned() };
    for change in [remove, EnvChange::Clear] {
        let reply = cluster.admin(AdminRequest::ChangeEnvs { name: "a".to_owned(), change });
        assert_eq!(reply, AdminReply::Envs(words::AppEnvs::default()));
    }
    let (kind, message) = refused(cluster.admin(env("replica.write_throttling", "fast")));
    assert_eq!(kind, RefusalKind::InvalidArgument);
    assert!(
        message.starts_with("replica.write_throttling = `fast` makes no sense: write `UNITS*delay*MS`"),
        "{message}"
    );
}
