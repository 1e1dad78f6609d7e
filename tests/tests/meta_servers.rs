//! Several meta servers, and what may happen to them while clients write: no client may notice.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use forgetful::{Disk, Forgetful, can_mount};
use rustix::process::Signal;
use tests::{Cluster, Load, METAS, MetaServer, REPLICAS, report, short_or_full, wait_for};

const APP: &str = "counter.instance0";

const LOAD: [&str; 6] = ["--clients", "16", "--keys", "64", "--reads", "50"];

fn name_of(name: &str) -> &'static str {
    METAS.into_iter().find(|meta| *meta == name).expect("one of the meta servers")
}

/// Waits until so many meta servers vote, all can be reached, and one of them leads. Returns that.
fn wait_until_well(cluster: &Cluster, count: usize) -> &'static str {
    wait_for("the meta servers", || {
        let servers = cluster.meta_servers()?;
        let leaders: Vec<&MetaServer> = servers.iter().filter(|server| server.role == "leader").collect();
        let well =
            |server: &MetaServer| server.votes && matches!(server.role.as_str(), "leader" | "follower");
        match leaders[..] {
            [leader] if servers.len() == count && servers.iter().all(well) => Ok(name_of(&leader.name)),
            _ => Err(format!("{servers:?}")),
        }
    })
}

/// Has an app created, however often it has to be asked for. Returns how long that took.
fn create(cluster: &Cluster, app: &str) -> Duration {
    let begin = Instant::now();
    wait_for("an app to be created", || {
        let answer = cluster.admin(&[
            "create",
            app,
            "--type",
            "counter",
            "--partitions",
            "1",
            "--replicas",
            "3",
            "--no-wait",
        ]);
        // What became of the attempt before may not have been known.
        let is_done = answer.code == 0 || answer.stderr.contains("exists already");
        if is_done { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    begin.elapsed()
}

fn start(count: usize) -> Cluster {
    let mut cluster = Cluster::prepare_metas(count);
    cluster.start_all();
    wait_until_well(&cluster, count);
    cluster
}

/// It answers nothing that has to be written, and the others can't know why.
#[test]
fn the_disk_of_the_one_that_leads_hangs() {
    let test = "meta_servers::the_disk_of_the_one_that_leads_hangs";
    if !can_mount(test) {
        return;
    }
    // Dropped in the opposite order: the processes end, the disks are unmounted, the folders go.
    let mountpoints = tempfile::Builder::new().prefix("holdfast-disks-").tempdir().expect("a folder");
    let disk = |name: &'static str| {
        let mountpoint = mountpoints.path().join(name);
        fs::create_dir(&mountpoint).expect("a mountpoint");
        (name, Forgetful::mount(&mountpoint, Disk::default()).expect("a mount"))
    };
    let disks = ["meta1", "meta2", "meta3"].map(disk);
    let mut cluster = Cluster::prepare_metas(3);
    disks.iter().for_each(|(name, disk)| cluster.place(name, disk.mountpoint().to_owned()));
    cluster.start_all();
    let leader = wait_until_well(&cluster, 3);
    let (_, disk) = disks.iter().find(|(name, _)| *name == leader).expect("one of them");
    let load = Load::start(&cluster, APP, 12, &LOAD);
    let hang = disk.hang();
    let time = create(&cluster, "app");
    drop(hang);
    wait_until_well(&cluster, 3);
    let summary = load.finish();
    report(&format!("{test}: until an app could be created: {time:?}; {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
    cluster.wait_until_whole("app");
}

#[test]
fn the_one_that_leads_is_killed_again_and_again() {
    let test = "meta_servers::the_one_that_leads_is_killed_again_and_again";
    let mut cluster = start(3);
    let kills = short_or_full(test, 4, 20);
    let load = Load::start(&cluster, APP, kills * 6 + 4, &LOAD);
    let mut times = vec![];
    for number in 0..kills {
        let leader = wait_until_well(&cluster, 3);
        cluster.kill(leader);
        times.push(create(&cluster, &format!("app{number}")));
        cluster.restart(leader);
        sleep(Duration::from_secs(1));
    }
    let summary = load.finish();
    report(&format!("{test}: until an app could be created: {times:?}; {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
    for number in 0..kills {
        cluster.wait_until_whole(&format!("app{number}"));
    }
}

#[test]
fn one_that_leads_sleeps_and_wakes_up() {
    let cluster = start(3);
    let load = Load::start(&cluster, APP, 14, &LOAD);
    let asleep = wait_until_well(&cluster, 3);
    cluster.signal(asleep, Signal::STOP);
    let took = create(&cluster, "while-it-sleeps");
    sleep(Duration::from_secs(4));
    cluster.signal(asleep, Signal::CONT);
    let leader = wait_until_well(&cluster, 3);
    assert_ne!(leader, asleep, "it was never deposed, so nothing was tried");
    cluster.wait_until_whole("while-it-sleeps");
    let summary = load.finish();
    report(&format!("one_that_leads_sleeps_and_wakes_up: created after {took:?}; {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
}

#[test]
fn a_minority_decides_nothing() {
    let mut cluster = start(3);
    let leader = wait_until_well(&cluster, 3);
    let others: Vec<&'static str> = METAS[..3].iter().copied().filter(|name| *name != leader).collect();
    let load = Load::start(&cluster, APP, 12, &LOAD);
    for name in &others {
        cluster.kill(name);
    }
    let create_alone = ["create", "alone", "--type", "counter", "--partitions", "1", "--replicas", "3"];
    let answer = cluster.admin(&create_alone);
    assert_eq!(answer.code, 3, "{answer:?}");
    let shown = cluster.meta_servers().expect("it says who is missing");
    assert_eq!(shown.iter().filter(|server| server.role.is_empty()).count(), 2, "{shown:?}");
    cluster.restart(others[0]);
    create(&cluster, "together");
    cluster.restart(others[1]);
    wait_until_well(&cluster, 3);
    cluster.wait_until_whole("together");
    let summary = load.finish();
    report(&format!("a_minority_decides_nothing: {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
}

/// The first one too, which would found the cluster if there were none.
#[test]
fn disks_are_lost() {
    let mut cluster = start(3);
    create(&cluster, "before");
    let load = Load::start(&cluster, APP, 20, &LOAD);
    for (round, name) in [METAS[0], METAS[2]].into_iter().enumerate() {
        let id = |cluster: &Cluster| {
            let servers = cluster.meta_servers().unwrap_or_default();
            servers.into_iter().find(|server| server.name == name).map(|server| server.id)
        };
        let old = id(&cluster);
        cluster.kill(name);
        fs::remove_dir_all(cluster.data(name)).expect("its data");
        cluster.restart(name);
        wait_for("its place", || if id(&cluster) == old { Err("as before".to_owned()) } else { Ok(()) });
        wait_until_well(&cluster, 3);
        // It counts: with it and one other there is a majority.
        cluster.kill(METAS[1]);
        create(&cluster, &format!("after{round}"));
        cluster.restart(METAS[1]);
        wait_until_well(&cluster, 3);
    }
    let summary = load.finish();
    report(&format!("disks_are_lost: {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
    for app in ["before", "after0", "after1"] {
        cluster.wait_until_whole(app);
    }
}

#[test]
fn there_are_more_and_fewer() {
    let mut cluster = Cluster::prepare_metas(1);
    cluster.restart("meta1");
    // All others are told where meta servers will be.
    cluster.set("apps.meta.count=5");
    for name in REPLICAS {
        cluster.restart(name);
    }
    cluster.wait_until_whole(APP);
    let address = |cluster: &Cluster, index: u16| {
        let ports = cluster.overrides().iter().find_map(|setting| setting.strip_prefix("apps.meta.ports="));
        let port: u16 = ports.and_then(|port| port.parse().ok()).expect("the first port");
        format!("127.0.0.1:{}", port + index)
    };
    let load = Load::start(&cluster, APP, 25, &LOAD);
    for (index, name) in (1..).zip(&METAS[1..]) {
        cluster.restart(name);
        let address = address(&cluster, index);
        wait_for("it to be started", || {
            let answer = cluster.admin(&["meta", "add", name, &address]);
            if answer.code == 0 { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
    let leader = wait_until_well(&cluster, 5);
    create(&cluster, "of-five");
    cluster.kill(leader);
    create(&cluster, "of-four");
    cluster.restart(leader);
    let leader = wait_until_well(&cluster, 5);
    // The one that leads first.
    let others = METAS.into_iter().filter(|name| *name != leader);
    let to_go: Vec<&'static str> = std::iter::once(leader).chain(others.take(3)).collect();
    for name in &to_go {
        wait_for("it to be removed", || {
            let answer = cluster.admin(&["meta", "remove", name]);
            let is_done = answer.code == 0 || answer.stderr.contains("no meta server `");
            if is_done { Ok(()) } else { Err(format!("{answer:?}")) }
        });
        cluster.kill(name);
    }
    wait_until_well(&cluster, 1);
    create(&cluster, "of-one");
    let summary = load.finish();
    report(&format!("there_are_more_and_fewer: {summary:?}"));
    assert_eq!(summary.errors, 0, "{summary:?}");
    for app in ["of-five", "of-four", "of-one"] {
        cluster.wait_until_whole(app);
    }
}

#[test]
fn mistakes_about_meta_servers_change_nothing() {
    let cluster = start(1);
    for (arguments, code, says) in [
        (&["meta", "add", "meta2", "nowhere"][..], 2, "HOST:PORT"),
        (&["meta", "add", "meta 2", "127.0.0.1:1"], 2, "letters, digits"),
        (&["meta", "add", "meta2", "127.0.0.1:1"], 1, "no meta server answers at 127.0.0.1:1"),
        (&["meta", "remove", "meta7"], 2, "no meta server `meta7`; there are meta1"),
        (&["meta", "remove", "meta1"], 1, "meta1 is the only meta server"),
    ] {
        let answer = cluster.admin(arguments);
        assert_eq!(answer.code, code, "{arguments:?}: {answer:?}");
        assert!(answer.stderr.contains(says), "{arguments:?}: {answer:?}");
    }
    assert_eq!(wait_until_well(&cluster, 1), "meta1");
}
