//! The decision table, case by case: what is seen on the left, what is done on the right.
//!
//! A node is written as its id and then any of: `dead` (since second 0), `suspected`, `leaving`, `replaced`, `low` (disk), `flaps` (for 40 s more),
//! `black` (listed), `?` (has not reported), a replica as `role:ballot.prepared`, `x5` (holds five replicas), `p2` (leads two).

use super::*;

/// Everything is looked at at second 60, with three replicas wanted and two needed to write.
const NOW: Time = Time(60_000_000_000);

#[derive(Default)]
struct Case {
    partition: u32,
    configuration: &'static str,
    nodes: &'static str,
    level: Level,
    no_copies: Option<&'static str>,
    goal: Option<Goal>,
    adding: Option<u128>,
    learners: &'static [u128],
    /// Who left, and how many seconds ago.
    dropped: &'static [(u128, u64)],
    avoid: &'static [u128],
    /// For how many seconds other nodes can be expected to arrive.
    more_may_come: u64,
}

impl Case {
    fn look<T>(&self, look: impl FnOnce(&View<'_>) -> T) -> T {
        let configuration = configuration(self.configuration);
        let learners: Vec<NodeId> = self.learners.iter().map(|&node| NodeId(node)).collect();
        let dropped = self
            .dropped
            .iter()
            .map(|&(node, ago)| (NodeId(node), Time(NOW.0 - ago * 1_000_000_000)))
            .collect();
        look(&View {
            now: NOW,
            gpid: Gpid::new(1, self.partition),
            level: self.level,
            no_copies: self.no_copies.map(str::to_owned),
            replica_count: 3,
            enough: 2,
            replica_assign_delay: Duration::from_secs(10),
            more_may_come: NOW + Duration::from_secs(self.more_may_come),
            configuration: &configuration,
            nodes: self.nodes.split(';').map(node).collect(),
            goal: self.goal,
            goal_by: "an operator",
            adding: self.adding.map(NodeId),
            learners: &learners,
            dropped: &dropped,
            avoid: self.avoid.iter().map(|&node| NodeId(node)).collect(),
        })
    }

    /// The decision's action, printed, and its reason.
    fn decide(&self) -> (String, String) {
        let Decision { action, reason, rule: _ } = self.look(decide);
        let action = match action {
            Action::Nothing => "nothing".to_owned(),
            Action::Wait(until) => format!("wait {}s", until.since(NOW).as_secs()),
            Action::NeedsNode => "needs a node".to_owned(),
            Action::Set(configuration) => format!("set {configuration}"),
            Action::Ask(Order::AddSecondary(node)) => format!("add {node}"),
            Action::Ask(Order::Remove(node)) => format!("remove {node}"),
            Action::Ask(Order::HandOver(node)) => format!("hand over to {node}"),
        };
        (action, reason)
    }

    #[track_caller]
    fn gives(&self, action: &str, reason: &str) {
        assert_eq!(self.decide(), (action.to_owned(), reason.to_owned()));
    }

    #[track_caller]
    fn collects(&self, nodes: &[u128]) {
        let expected: Vec<NodeId> = nodes.iter().map(|&node| NodeId(node)).collect();
        assert_eq!(self.look(collectable), expected);
    }
}

fn id(text: &str) -> NodeId {
    NodeId(text.trim().strip_prefix('r').expect("a node is written r1").parse().expect("a number"))
}

fn configuration(text: &str) -> Configuration {
    if text.is_empty() {
        return Configuration::default();
    }
    let (ballot, rest) = text.trim_matches(['{', '}']).split_once(',').expect("a ballot");
    let (primary, secondaries) = rest.split_once(",[").expect("secondaries");
    let secondaries = secondaries.trim_end_matches(']').split(',').filter(|node| !node.is_empty());
    Configuration {
        ballot: Ballot(ballot.parse().expect("a number")),
        primary: Some(id(primary)),
        secondaries: secondaries.map(id).collect(),
    }
}

fn node(text: &str) -> NodeView {
    let mut words = text.split_whitespace();
    let mut view = NodeView {
        node: id(words.next().expect("a node")),
        standing: Standing::Alive,
        leaving: false,
        replaced: false,
        disk_is_low: false,
        unstable_until: None,
        black_listed: false,
        drained: false,
        replica: Replica::Absent,
        primaries: 0,
        replicas: 0,
    };
    for word in words {
        match word {
            "dead" => view.standing = Standing::Dead(Time(0)),
            "died" => view.standing = Standing::Dead(NOW),
            "suspected" => view.standing = Standing::Suspected,
            "leaving" => view.leaving = true,
            "low" => view.disk_is_low = true,
            "replaced" => view.replaced = true,
            "flaps" => view.unstable_until = Some(NOW + Duration::from_secs(40)),
            "black" => view.black_listed = true,
            "drained" => view.drained = true,
            "?" => view.replica = Replica::Unknown,
            _ if word.starts_with('x') => view.replicas = word[1..].parse().expect("a number"),
            _ if word.contains(':') => view.replica = replica(word),
            _ => view.primaries = word.strip_prefix('p').expect(word).parse().expect("a number"),
        }
    }
    view
}

fn replica(text: &str) -> Replica {
    let (role, identity) = text.split_once(':').expect("a role");
    let (ballot, prepared) = identity.split_once('.').expect("a ballot");
    let role = match role {
        "pri" => RoleName::Primary,
        "sec" => RoleName::Secondary,
        "pot" => RoleName::Learner,
        "ina" => RoleName::Inactive,
        "err" => RoleName::Error,
        _ => panic!("unknown role {role}"),
    };
    Replica::Held {
        role,
        ballot: Ballot(ballot.parse().expect("a number")),
        last_prepared: Decree(prepared.parse().expect("a number")),
    }
}

#[test]
fn a_new_partition_begins_on_the_node_that_leads_least() {
    Case { nodes: "r1 p2 x2; r2 p1 x9; r3 p1 x3; r4 leaving; r5 dead; r6 suspected", ..Case::default() }
        .gives("set {1,r3,[]}", "a new partition begins on r3");
    // While a cluster starts, the first node does not get them all.
    Case { nodes: "r1; r2", more_may_come: 1, ..Case::default() }
        .gives("wait 1s", "waits for more nodes to arrive");
    Case { nodes: "r1; r2; r3", more_may_come: 1, ..Case::default() }
        .gives("set {1,r1,[]}", "a new partition begins on r1");
    Case { nodes: "r1 dead; r2 leaving", ..Case::default() }
        .gives("needs a node", "no live node to begin on");
}

#[test]
fn a_dead_primary_is_replaced_by_the_most_prepared_live_secondary() {
    let configuration = "{3,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 died; r2 sec:3.10; r3 sec:3.12", ..Case::default() }
        .gives("set {4,r3,[r2]}", "r1 is dead; r3 takes over");
    // A higher ballot counts for more than a higher decree: what is above may never have been committed.
    Case { configuration, nodes: "r1 died; r2 sec:3.10; r3 sec:2.12", ..Case::default() }
        .gives("set {4,r2,[r3]}", "r1 is dead; r2 takes over");
    // A tie goes to the node that leads less.
    Case { configuration, nodes: "r1 died; r2 sec:3.10 p4; r3 sec:3.10 p3", ..Case::default() }
        .gives("set {4,r3,[r2]}", "r1 is dead; r3 takes over");
    // One that is stopping is taken only if there is no other.
    Case { configuration, nodes: "r1 died; r2 sec:3.9; r3 sec:3.12 leaving", ..Case::default() }
        .gives("set {4,r2,[r3]}", "r1 is dead; r2 takes over");
}

/// Cure 2, and what leaves with the primary.
#[test]
fn dead_and_broken_secondaries_leave_in_the_same_step() {
    let configuration = "{3,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 dead; r2 sec:3.10; r3 died", ..Case::default() }
        .gives("set {4,r2,[]}", "r1 is dead; r2 takes over");
    Case { configuration, nodes: "r1 dead; r2 sec:3.10; r3 err:3.12", ..Case::default() }
        .gives("set {4,r2,[]}", "r1 is dead; r2 takes over");
    // One whose session has just broken may be back at once: it stays a member but is not chosen.
    Case { configuration, nodes: "r1 dead; r2 sec:3.10; r3 suspected sec:3.12", ..Case::default() }
        .gives("set {4,r2,[r3]}", "r1 is dead; r2 takes over");
}

#[test]
fn a_primary_that_can_not_be_trusted_or_has_no_replica_is_replaced() {
    let configuration = "{3,r1,[r2]}";
    Case { configuration, nodes: "r1 err:3.10; r2 sec:3.10", ..Case::default() }
        .gives("set {4,r2,[]}", "the replica on r1 can't be trusted; r2 takes over");
    Case { configuration, nodes: "r1; r2 sec:3.10", ..Case::default() }
        .gives("set {4,r2,[]}", "r1 has no replica; r2 takes over");
    Case { configuration, nodes: "r1 ?; r2 sec:3.10; r3", ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added");
}

/// Cures 7 to 13 and 15: nothing is chosen but a member of the latest configuration, which has everything.
#[test]
fn without_a_live_member_nothing_is_chosen() {
    let configuration = "{3,r1,[r2]}";
    let lost = "r1 is dead and no secondary is live; one of r1, r2 must return with its data";
    Case { configuration, nodes: "r1 dead; r2 dead; r3; r4", ..Case::default() }.gives("nothing", lost);
    // Not a former member either, however much it has prepared; not one that lost its replica; not yet one whose
    // session has just broken.
    Case { configuration, nodes: "r1 dead; r2 dead; r3 ina:2.99", ..Case::default() }.gives("nothing", lost);
    Case { configuration, nodes: "r1 dead; r2; r3", ..Case::default() }.gives("nothing", lost);
    Case { configuration, nodes: "r1 dead; r2 err:3.9; r3", ..Case::default() }.gives("nothing", lost);
    Case { configuration, nodes: "r1 dead; r2 suspected ?", ..Case::default() }.gives("nothing", lost);
    // Nor one that has not said what it has: were it broken, the others would have left for nothing.
    Case { configuration, nodes: "r1 dead; r2 ?; r3", ..Case::default() }.gives("nothing", lost);
    // One that returns with its data takes over; the only member that there was goes on by itself.
    Case { configuration, nodes: "r1 dead; r2 ina:3.10; r3", ..Case::default() }
        .gives("set {4,r2,[]}", "r1 is dead; r2 takes over");
    Case { configuration: "{3,r1,[]}", nodes: "r1 ina:3.10; r2; r3", ..Case::default() }
        .gives("add r2", "1 of 3 members; r2 is added");
}

#[test]
fn a_suspected_primary_is_waited_for() {
    Case { configuration: "{3,r1,[r2]}", nodes: "r1 suspected ?; r2 sec:3.10; r3", ..Case::default() }
        .gives("nothing", "waits for r1 to open a session again");
}

#[test]
fn who_has_data_is_added_first_then_the_least_loaded() {
    let configuration = "{5,r1,[r2]}";
    let members = "r1 pri:5.20; r2 sec:5.20";
    let nodes = |others: &str| -> &'static str { format!("{members}; {others}").leak() };
    Case { configuration, nodes: nodes("r3 x4; r4 x2"), ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    Case { configuration, nodes: nodes("r3 x4 ina:4.18; r4 x2; r5 ina:4.11"), ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added again, it has data");
    // A node that just opened its session and was a member has its data, surely, though it hasn't said so yet.
    Case { configuration, nodes: nodes("r3 x4 ?; r4 x2"), dropped: &[(3, 1)], ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added again, it has data");
    Case { configuration, nodes: nodes("r3 dead; r4 leaving; r5 err:5.1; r6 suspected"), ..Case::default() }
        .gives("needs a node", "2 of 3 members; no other live node can be added");
}

/// There is room for what a replica missed, not for another one.
#[test]
fn a_node_whose_disk_is_low_gets_no_new_replica() {
    let configuration = "{5,r1,[r2]}";
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 low; r4 x9", ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 low ina:4.18; r4", ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added again, it has data");
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 low", ..Case::default() }
        .gives("needs a node", "2 of 3 members; no other live node can be added");
    // It leads only if nobody else can: it would take no writes.
    let configuration = "{5,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 dead; r2 low sec:5.20; r3 sec:5.19", ..Case::default() }
        .gives("set {6,r3,[r2]}", "r1 is dead; r3 takes over");
    Case { configuration, nodes: "r1 dead; r2 low sec:5.20; r3 dead", ..Case::default() }
        .gives("set {6,r2,[]}", "r1 is dead; r2 takes over");
}

#[test]
fn a_node_on_the_black_list_is_given_nothing_and_leads_what_it_has() {
    let configuration = "{5,r1,[r2]}";
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 black; r4 x9", ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 black ina:5.20", ..Case::default() }
        .gives("needs a node", "2 of 3 members; no other live node can be added");
    Case { configuration, nodes: "r1 dead; r2 black sec:5.20; r3", ..Case::default() }
        .gives("set {6,r2,[]}", "r1 is dead; r2 takes over");
}

#[test]
fn a_node_that_flaps_catches_up_but_gets_no_copy() {
    let configuration = "{5,r1,[r2]}";
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 flaps; r4 x9", ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 flaps ina:5.9; r4", ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added again, it has data");
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 flaps", ..Case::default() }.gives(
        "wait 40s",
        "2 of 3 members; r3 starts again and again, and is added once it has run for a while",
    );
    // It leads if no stable one can, and begins a new partition if nobody else is there.
    let configuration = "{5,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 dead; r2 flaps sec:5.20; r3 sec:5.19", ..Case::default() }
        .gives("set {6,r3,[r2]}", "r1 is dead; r3 takes over");
    Case { nodes: "r1 flaps; r2 dead", ..Case::default() }
        .gives("set {1,r1,[]}", "a new partition begins on r1");
}

#[test]
fn while_too_few_are_alive_nothing_is_copied_and_all_else_goes_on() {
    let no_copies = Some("no copies are made: 2 of 5 nodes are alive");
    let configuration = "{5,r1,[r2]}";
    Case { no_copies, configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3", ..Case::default() }
        .gives("needs a node", "2 of 3 members; no copies are made: 2 of 5 nodes are alive");
    Case { no_copies, configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 ina:5.9", ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is added again, it has data");
    Case { no_copies, configuration, nodes: "r1 dead; r2 sec:5.20; r3", ..Case::default() }
        .gives("set {6,r2,[]}", "r1 is dead; r2 takes over");
}

#[test]
fn below_steady_only_what_an_operator_wants_is_done() {
    let (configuration, level) = ("{3,r1,[r2,r3]}", Level::Freezed);
    let reason = "the level is freezed: no cures and no balancing";
    Case { level, configuration, nodes: "r1 dead; r2 sec:3.1; r3 sec:3.1", ..Case::default() }
        .gives("nothing", reason);
    Case { level, nodes: "r1; r2; r3", ..Case::default() }.gives("nothing", reason);
    let (nodes, goal) = ("r1 pri:3.1; r2 sec:3.1; r3 sec:3.1; r4 err:1.1", Some(Goal::Primary(NodeId(2))));
    Case { level, configuration, nodes, goal, ..Case::default() }
        .gives("hand over to r2", "an operator wants r2 to be primary");
    Case { level, configuration, nodes, ..Case::default() }.collects(&[]);
}

/// Cures 3 and 5, and the tenth validation.
#[test]
fn one_node_is_added_at_a_time_and_one_given_up_is_the_last_choice() {
    let configuration = "{5,r1,[r2]}";
    let nodes = "r1 pri:5.20; r2 sec:5.20; r3 x9 pot:5.1; r4 x2";
    Case { configuration, nodes, adding: Some(3), ..Case::default() }
        .gives("add r3", "2 of 3 members; r3 is learning");
    Case { configuration, nodes, avoid: &[3], ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    Case { configuration, nodes, avoid: &[3, 4], ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
}

#[test]
fn a_member_that_left_is_waited_for_if_writes_go_on_without_it() {
    let configuration = "{5,r1,[r2]}";
    let nodes = "r1 pri:5.20; r2 sec:5.20; r3 dead; r4";
    Case { configuration, nodes, dropped: &[(3, 4)], ..Case::default() }
        .gives("wait 6s", "2 of 3 members; waits for r3 to return");
    Case { configuration, nodes, dropped: &[(3, 10)], ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
    // Too few to write: nobody is waited for.
    let alone = "r1 pri:5.20; r2 dead; r3 dead; r4";
    Case { configuration: "{5,r1,[]}", nodes: alone, dropped: &[(3, 4), (2, 4)], ..Case::default() }
        .gives("add r4", "1 of 3 members; r4 is added");
    // Another node has its address: it will not be back.
    let replaced = "r1 pri:5.20; r2 sec:5.20; r3 dead replaced; r4";
    Case { configuration, nodes: replaced, dropped: &[(3, 4)], ..Case::default() }
        .gives("add r4", "2 of 3 members; r4 is added");
}

#[test]
fn a_broken_secondary_is_removed_by_the_primary() {
    let configuration = "{5,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 err:5.9", ..Case::default() }
        .gives("remove r3", "the replica on r3 can't be trusted");
    Case { configuration, nodes: "r1 pri:5.20; r2; r3 sec:5.20", ..Case::default() }
        .gives("remove r2", "r2 has no replica");
    // A dead one is the primary's to remove, unless that does not happen.
    Case { configuration, nodes: "r1 pri:5.20; r2 died; r3 sec:5.20", ..Case::default() }
        .gives("nothing", "1 of 3 members not heard");
    Case { configuration, nodes: "r1 pri:5.20; r2 dead; r3 sec:5.20", ..Case::default() }
        .gives("remove r2", "r2 is dead");
}

#[test]
fn a_primary_whose_disk_is_low_hands_over_to_one_that_has_room() {
    let configuration = "{5,r1,[r2,r3]}";
    let why = "the disk of r1 is almost full, so it takes no writes";
    let both = "r1 low pri:5.20; r2 sec:5.20; r3 sec:5.20";
    Case { configuration, nodes: both, ..Case::default() }
        .gives("hand over to r2", &format!("{why}; r2 takes over"));
    // Of another partition somebody else takes over.
    Case { configuration, nodes: both, partition: 1, ..Case::default() }
        .gives("hand over to r3", &format!("{why}; r3 takes over"));
    for worse in ["low", "leaving", "drained", "black", "flaps", "dead", "suspected"] {
        let nodes: &str = format!("r1 low pri:5.20; r2 sec:5.20 {worse}; r3 sec:5.20").leak();
        let (action, reason) =
            Case { configuration, nodes, level: Level::Steady, ..Case::default() }.decide();
        match worse {
            "dead" => assert_eq!(action, "remove r2", "{reason}"),
            _ => assert_eq!(action, "hand over to r3", "{worse}"),
        }
    }
    // Who may leave soon, or again, still takes writes; who has not said that it follows may not.
    for (other, action) in [
        ("sec:5.20 drained", "hand over to r2"),
        ("sec:5.20 black", "hand over to r2"),
        ("sec:5.20 flaps", "hand over to r2"),
        ("sec:5.20 low", "nothing"),
        ("sec:5.20 leaving", "nothing"),
        ("sec:4.20", "nothing"),
        ("?", "nothing"),
    ] {
        let nodes: &str = format!("r1 low pri:5.20; r2 {other}; r3 low sec:5.20").leak();
        let decided = Case { configuration, nodes, ..Case::default() }.decide().0;
        assert_eq!(decided, action, "{other}");
    }
    // Before a third member is looked for.
    Case { configuration: "{5,r1,[r2]}", nodes: "r1 low pri:5.20; r2 sec:5.20; r3", ..Case::default() }
        .gives("hand over to r2", &format!("{why}; r2 takes over"));
}

#[test]
fn the_least_useful_of_too_many_members_leaves() {
    let configuration = "{7,r1,[r2,r3,r4]}";
    let reason = "4 members, 3 wanted";
    Case { configuration, nodes: "r1 pri:7.1; r2 sec:7.1 x3; r3 sec:7.1 x8; r4 sec:7.1", ..Case::default() }
        .gives("remove r3", reason);
    Case {
        configuration,
        nodes: "r1 pri:7.1; r2 sec:7.1 leaving; r3 sec:7.1 x8; r4 sec:7.1",
        ..Case::default()
    }
    .gives("remove r2", reason);
}

#[test]
fn what_an_operator_wants_comes_after_a_lost_primary_and_before_all_else() {
    let configuration = "{7,r1,[r2,r3,r4]}";
    let goal = Some(Goal::Primary(NodeId(2)));
    let nodes = "r1 pri:7.1; r2 sec:7.1; r3 sec:7.1; r4 sec:7.1";
    Case { configuration, nodes, goal, ..Case::default() }
        .gives("hand over to r2", "an operator wants r2 to be primary");
    let nodes = "r1 dead; r2 sec:7.1; r3 sec:7.2; r4 sec:7.1";
    Case { configuration, nodes, goal, ..Case::default() }
        .gives("set {8,r3,[r2,r4]}", "r1 is dead; r3 takes over");
}

#[test]
fn healthy_is_healthy() {
    let configuration = "{5,r1,[r2,r3]}";
    Case { configuration, nodes: "r1 pri:5.20; r2 sec:5.20; r3 sec:5.19; r4", ..Case::default() }
        .gives("nothing", "healthy");
}

#[test]
fn what_is_left_over_is_collected_once_all_members_are_healthy() {
    let configuration = "{5,r1,[r2,r3]}";
    let healthy = "r1 pri:5.20; r2 sec:5.20; r3 sec:5.20; r4 ina:2.7; r5 err:2.7; r6 pot:5.9; r7 sec:4.1";
    Case { configuration, nodes: healthy, ..Case::default() }.collects(&[4, 5]);
    Case { configuration, nodes: healthy, adding: Some(4), learners: &[5], ..Case::default() }.collects(&[]);
    Case { configuration, nodes: healthy, goal: Some(Goal::Member(NodeId(4))), ..Case::default() }
        .collects(&[5]);
    // Not while a member is missing, or behind, or not as it should be: then the data may be of use.
    for nodes in [
        "r1 pri:5.20; r2 dead; r3 sec:5.20; r4 ina:2.7",
        "r1 pri:5.20; r2 sec:4.20; r3 sec:5.20; r4 ina:2.7",
        "r1 pri:5.20; r2 ?; r3 sec:5.20; r4 ina:2.7",
        "r1 ina:5.20; r2 sec:5.20; r3 sec:5.20; r4 ina:2.7",
        "r1 dead; r2 sec:5.20; r3 sec:5.20; r4 err:2.7",
    ] {
        Case { configuration, nodes, ..Case::default() }.collects(&[]);
    }
    // A broken replica of a partition that is served is of no use to anyone.
    Case {
        configuration: "{5,r1,[r2]}",
        nodes: "r1 pri:5.20; r2 dead; r4 ina:2.7; r5 err:2.7",
        ..Case::default()
    }
    .collects(&[5]);
}
