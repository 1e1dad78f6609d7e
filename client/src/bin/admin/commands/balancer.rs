//! What moves by itself to spread the load.

use clap::Args;
use proto::pb;
use serde_json::{Value, json};

use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::{Names, gpid};
use crate::watch::Watch;

const COLUMNS: [&str; 5] = ["gpid", "type", "from", "to", "reason"];

/// What the balancer does, what is in its way, and what is left
///
/// It spreads replicas and primaries evenly over the nodes, for each app and in all, in proportion to their disks: a
/// few moves at a time, each of which adds before it removes. It waits until the level is lively and everything is
/// healthy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin balancer
  admin balancer --watch 2
  admin balancer --dry-run

Fields of --json:
  in_the_way  why nothing is balanced now; null if nothing is in the way
  under_way   what is moving, a list of:
    gpid        the partition
    type        move_pri: the primary's role; copy_pri, copy_sec: a replica
    from        the node that has it
    to          the node that gets it
    reason      why
  left        moves that have not begun; with --dry-run: all moves that there would be
  stuck       replicas on drained nodes that no other node can take
  moves       with --dry-run, instead of under_way: the first thousand of what would move")]
pub(crate) struct Balancer {
    /// What would move if it could move everything now; nothing is begun
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

impl Balancer {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        if self.dry_run { plan(admin).await } else { status(admin).await }
    }
}

async fn plan(admin: &Admin) -> Result<Answer, Failure> {
    let reply = admin.ask(async |mut admin| admin.balance_plan(pb::BalancePlanRequest {}).await).await?;
    let moves = rows(&reply.moves, &Names::of(&reply.nodes));
    let said = match (reply.count, &reply.in_the_way) {
        (0, _) => "nothing would move".to_owned(),
        (count, why) if why.is_empty() => format!("{count} moves"),
        (count, why) => format!("{count} moves, but not now: {why}"),
    };
    let json = json!({
        "in_the_way": text(&reply.in_the_way), "moves": moves, "left": reply.count, "stuck": reply.stuck,
    });
    Ok(Answer::new(json, shown(&said, &moves, reply.stuck)))
}

async fn status(admin: &Admin) -> Result<Answer, Failure> {
    let reply =
        admin.ask(async |mut admin| admin.balancer_status(pb::BalancerStatusRequest {}).await).await?;
    let moves = rows(&reply.under_way, &Names::of(&reply.nodes));
    let said = match (moves.is_empty() && reply.left == 0, &reply.in_the_way) {
        (true, why) if why.is_empty() => "nothing has to move".to_owned(),
        (true, why) => format!("waits: {why}"),
        (false, _) => format!("{} moves under way, {} left", moves.len(), reply.left),
    };
    let json = json!({
        "in_the_way": text(&reply.in_the_way), "under_way": moves, "left": reply.left, "stuck": reply.stuck,
    });
    Ok(Answer::new(json, shown(&said, &moves, reply.stuck)))
}

fn text(given: &str) -> Value {
    if given.is_empty() { Value::Null } else { given.into() }
}

fn rows(moves: &[pb::Move], names: &Names) -> Vec<Value> {
    let row = |order: &pb::Move| {
        json!({
            "gpid": gpid(order.gpid), "type": order.r#type, "from": names.get(&order.from),
            "to": names.get(&order.to), "reason": order.reason,
        })
    };
    moves.iter().map(row).collect()
}

fn shown(said: &str, moves: &[Value], stuck: u64) -> String {
    let mut shown = said.to_owned();
    if stuck > 0 {
        shown += &format!("\n{stuck} replicas on drained nodes can go nowhere: add a node, or end the drain");
    }
    if !moves.is_empty() {
        shown = format!("{shown}\n{}", table(moves, &COLUMNS));
    }
    shown
}
