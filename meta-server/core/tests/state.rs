//! The durable state by itself: what a command changes, and that a refused one changes nothing. It is the last
//! to judge, whatever proposed the command.

use meta_core::{Change, Command, MetaState, Refused, WallTime};
use words::{AppId, Ballot, Configuration, Gpid, IllegalStep, NodeAddress, NodeId};

fn create(name: &str) -> Command {
    let (name, app_type) = (name.to_owned(), "counter".to_owned());
    Command::CreateApp { name, app_type, partition_count: 2, replica_count: 3 }
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
        (Command::DropApp { name: "b".to_owned() }, Refused::NoSuchApp("b".to_owned())),
    ] {
        let mut state = before.clone();
        assert_eq!(state.apply(&command, WallTime(7)), Err(refused), "{command:?}");
        assert_eq!(state, before, "{command:?}");
    }
}

#[test]
fn a_dropped_app_keeps_its_ballots_and_its_number() {
    let mut state =
        state(&[create("a"), register(1), set(1, 1, &[]), Command::DropApp { name: "a".to_owned() }]);
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
    let commands = [create("a"), one, two, set(1, 1, &[]), lose(2, 2, &[]), create("b"), more, register(1)];
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
