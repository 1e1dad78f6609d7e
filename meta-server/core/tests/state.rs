//! The durable state by itself: what a command changes, and that a refused one changes nothing. It is the last
//! to judge, whatever proposed the command.

use meta_core::{AppStatus, Change, Command, EnvChange, MetaState, Refused, WallTime};
use words::{AppId, BadEnv, Ballot, Configuration, Gpid, IllegalStep, NodeAddress, NodeId};

fn create(name: &str) -> Command {
    let (name, app_type) = (name.to_owned(), "counter".to_owned());
    Command::CreateApp { name, app_type, partition_count: 2, replica_count: 3 }
}

fn drop(name: &str) -> Command {
    Command::DropApp { name: name.to_owned(), hold_seconds: 3 }
}

fn recall(new_name: Option<&str>) -> Command {
    Command::RecallApp { id: AppId(1), new_name: new_name.map(str::to_owned) }
}

fn expire(expires: u64) -> Command {
    Command::ExpireApp { id: AppId(1), expires: WallTime(expires) }
}

fn rename(name: &str, new_name: &str) -> Command {
    Command::RenameApp { name: name.to_owned(), new_name: new_name.to_owned() }
}

fn set_env(key: &str, value: &str) -> Command {
    let change = EnvChange::Set { key: key.to_owned(), value: value.to_owned() };
    Command::ChangeEnvs { name: "a".to_owned(), change }
}

fn register(node: u128) -> Command {
    let (name, address) = (format!("replica{node}"), format!("host:{node}"));
    Command::RegisterNode(NodeAddress { node: NodeId(node), name, address })
}

fn set(ballot: u64, primary: u128, secondaries: &[u128]) -> Command {
    let configuration = Configuration {
        ballot: Ballot(ballot),
        primary: Some(NodeId(primary)),
        secondaries: secondaries.iter().map(|&node| NodeId(node)).collect(),
    };
    Command::SetConfiguration { gpid: Gpid::new(1, 0), configuration, cause: "a test".to_owned() }
}

fn lose(ballot: u64, primary: u128, secondaries: &[u128]) -> Command {
    let Command::SetConfiguration { gpid, configuration, cause } = set(ballot, primary, secondaries) else {
        unreachable!("as it was made")
    };
    Command::AcceptLoss { gpid, configuration, cause }
}

fn state(commands: &[Command]) -> MetaState {
    let mut state = MetaState::default();
    for command in commands {
        state.apply(command, WallTime(7)).expect("it is legal");
    }
    state
}

#[test]
fn of_two_changes_based_on_one_ballot_the_second_is_refused() {
    let mut state =
        state(&[create("a"), register(1), register(2), register(3), set(1, 1, &[]), set(2, 1, &[2])]);
    state.apply(&set(3, 2, &[]), WallTime(7)).expect("the guardian's");
    let late = state.apply(&set(3, 1, &[2, 3]), WallTime(7)).expect_err("the primary's");
    assert_eq!(late, Refused::IllegalStep { gpid: Gpid::new(1, 0), why: IllegalStep::Ballot });
    assert_eq!(state.configuration(Gpid::new(1, 0)).expect("it is there").to_string(), "{3,r2,[]}");
}

#[test]
fn a_refused_command_changes_nothing() {
    let before =
        state(&[create("a"), register(1), register(2), register(3), set(1, 1, &[]), set(2, 1, &[2])]);
    let step = |why| Refused::IllegalStep { gpid: Gpid::new(1, 0), why };
    for (command, refused) in [
        (set(2, 1, &[]), step(IllegalStep::Ballot)),
        (set(4, 1, &[]), step(IllegalStep::Ballot)),
        (set(3, 3, &[1]), step(IllegalStep::PrimaryWasNoMember)),
        (set(3, 1, &[2, 2]), step(IllegalStep::Twice)),
        (set(3, 2, &[1, 3]), step(IllegalStep::MoreThanOneChange)),
        (set(3, 1, &[2, 9]), Refused::UnknownNode(NodeId(9))),
        (lose(3, 9, &[]), Refused::UnknownNode(NodeId(9))),
        (lose(2, 3, &[]), step(IllegalStep::Ballot)),
        (lose(4, 3, &[]), step(IllegalStep::Ballot)),
        (lose(3, 3, &[1]), step(IllegalStep::MoreThanOneChange)),
        (Command::SetReplicaCount { name: "a".to_owned(), count: 0 }, Refused::ReplicaCount(0)),
        (Command::SetReplicaCount { name: "b".to_owned(), count: 2 }, Refused::NoSuchApp("b".to_owned())),
        (create("a"), Refused::AppExists("a".to_owned())),
        (drop("b"), Refused::NoSuchApp("b".to_owned())),
        (recall(None), Refused::NotDropped(AppId(1))),
        (expire(0), Refused::NotExpired(AppId(1))),
        (rename("b", "c"), Refused::NoSuchApp("b".to_owned())),
        (rename("a", "a"), Refused::AppExists("a".to_owned())),
        (set_env("ttl", "1"), Refused::Env(BadEnv::Key("ttl".to_owned()))),
    ] {
        let mut state = before.clone();
        assert_eq!(state.apply(&command, WallTime(7)), Err(refused), "{command:?}");
        assert_eq!(state, before, "{command:?}");
    }
}

#[test]
fn a_dropped_app_keeps_its_ballots_and_its_number() {
    let mut state = state(&[create("a"), register(1), set(1, 1, &[]), drop("a")]);
    assert_eq!(state.apply(&set(2, 1, &[]), WallTime(7)), Err(Refused::NoSuchPartition(Gpid::new(1, 0))));
    assert_eq!(
        state.configuration(Gpid::new(1, 0)).map(|configuration| configuration.ballot),
        Some(Ballot(1))
    );
    assert!(state.app_named("a").is_none());
    state.apply(&create("a"), WallTime(7)).expect("the name is free");
    assert_eq!(state.app_named("a").map(|app| app.info.id), Some(AppId(2)));
}

/// Every meta server, and every restart, comes to the same state: by the commands, by the changes that storage
/// keeps, and by the values read back.
#[test]
fn commands_changes_and_values_lead_to_one_state() {
    let more = Command::SetReplicaCount { name: "a".to_owned(), count: 5 };
    let [one, two] = [register(1), register(2)];
    let env = set_env("replica.deny_client_request", "reject*read");
    let mut commands =
        vec![create("a"), one, two, set(1, 1, &[]), lose(2, 2, &[]), create("b"), more, register(1)];
    commands.extend([env, drop("a"), recall(Some("c")), rename("b", "a"), rename("c", "d"), drop("d")]);
    let mut by_commands = MetaState::default();
    let mut by_changes = MetaState::default();
    for command in &commands {
        let changes: Vec<Change> = by_commands.apply(command, WallTime(7)).expect("it is legal");
        changes.into_iter().for_each(|change| by_changes.put(change));
    }
    let mut by_values = MetaState::default();
    by_commands.values().for_each(|value| by_values.put(value));
    assert_eq!(by_changes, by_commands);
    assert_eq!(by_values, by_commands);
    assert_eq!(state(&commands), by_commands);
}

#[test]
fn a_dropped_app_expires_in_its_time_and_not_for_an_earlier_drop() {
    let mut state = state(&[create("a"), register(1), set(1, 1, &[]), drop("a")]);
    let mut apply = |command: &Command, at| state.apply(command, WallTime(at)).map(|_| ());
    let dropped_at_7 = 3007;
    assert_eq!(apply(&expire(dropped_at_7), 3006), Err(Refused::NotExpired(AppId(1))), "too early");
    assert_eq!(apply(&recall(None), 3007), Ok(()), "whoever is first");
    assert_eq!(apply(&drop("a"), 3008), Ok(()));
    assert_eq!(apply(&expire(dropped_at_7), 9999), Err(Refused::NotExpired(AppId(1))), "of the first drop");
    assert_eq!(apply(&expire(6008), 6008), Ok(()));
    let gone = Refused::Expired { id: AppId(1), name: "a".to_owned() };
    assert_eq!(apply(&recall(None), 6009), Err(gone));
    assert_eq!(apply(&expire(6008), 6010), Err(Refused::NotExpired(AppId(1))), "only once");
    assert_eq!(state.app(AppId(1)).map(|app| app.status), Some(AppStatus::Gone));
}

#[test]
fn a_recalled_app_needs_a_name_that_is_free() {
    let mut state = state(&[create("a"), drop("a"), create("a")]);
    let mut apply = |command: &Command| state.apply(command, WallTime(8)).map(|_| ());
    assert_eq!(apply(&recall(None)), Err(Refused::AppExists("a".to_owned())));
    assert!(matches!(apply(&recall(Some("../a"))), Err(Refused::Name { .. })));
    assert_eq!(apply(&recall(Some("b"))), Ok(()));
    assert_eq!(state.app_named("b").map(|app| app.info.id), Some(AppId(1)));
}

#[test]
fn who_is_not_there_may_be_elsewhere() {
    let mut state = state(&[create("a"), rename("a", "b"), create("c"), drop("c")]);
    assert_eq!(state.why_not_there("a"), "app `a` is called `b` now");
    assert_eq!(state.why_not_there("c"), "app `c` was dropped; `admin recall 2` brings it back");
    assert_eq!(state.why_not_there("d"), "no app `d`; `admin ls` lists the apps");
    // A name that was given again says nothing about who had it before; former names are bounded.
    for number in 0..20 {
        let (name, new_name) = (format!("n{number}"), format!("n{}", number + 1));
        let name = if number == 0 { "b" } else { name.as_str() };
        state.apply(&rename(name, &new_name), WallTime(9)).expect("it is legal");
    }
    assert_eq!(state.app_named("n20").map(|app| app.former_names.len()), Some(8));
    assert_eq!(state.why_not_there("n13"), "app `n13` is called `n20` now");
}
