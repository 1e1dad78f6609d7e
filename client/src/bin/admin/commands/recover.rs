//! Rebuilding a meta server that lost its state.

use clap::Args;
use proto::pb;
use serde_json::{Value, json};

use super::app::{INFO, info};
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;
use crate::names::{Names, gpid};

/// Rebuild an empty meta server from what the replica servers hold
///
/// For the day on which every meta server lost its disk. Start them empty, let the replica servers connect, look at the
/// plan (--dry-run), and carry it out. Apps get the numbers and names that they had, partitions go on above every
/// ballot that any server has seen, with the members that surely have all that was acknowledged. Where those are not
/// all there, the copy that knows most leads, and you have to state that the servers that are missing are stopped for
/// good: what only they have is lost. Nothing is deleted by this. Refused by a meta server that knows any app.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin recover --dry-run
  admin recover
  admin recover --leave-out scores.instance0 --the-others-are-stopped

Fields of --json (without --dry-run only `accepted`):
  accepted     what is known again, for people
  obstacles    what stands against it; refused until nothing does
  apps         what was found, each:
    app_id, name, app_type, partition_count, replica_count: as `admin app` has them
    left_out     as you asked, or because it was dropped
    notes        what is doubtful about it
    partitions   each that has a replica:
      gpid           the partition
      highest_ballot that was reported
      ballot         that it goes on with; null, like the next two, if nobody has a copy that can be trusted
      primary        who leads
      secondaries    who follows at once; others are added later
      certain        whether everybody who can have acted is here, so that nothing is lost
      notes          what is doubtful about it")]
pub(crate) struct Recover {
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave an app alone, by name or number; can be repeated
    #[arg(long, value_name = "APP")]
    leave_out: Vec<String>,
    /// States that servers that had a replica and are not here are stopped for good
    #[arg(long)]
    the_others_are_stopped: bool,
}

impl Recover {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let leave_out = self.leave_out.clone();
        if self.dry_run {
            let request = pb::PlanRecoveryRequest { leave_out };
            let plan = admin.look(async |mut admin| admin.plan_recovery(request.clone()).await).await?;
            return Ok(show(&plan));
        }
        let request = pb::RecoverRequest { leave_out, others_are_stopped: self.the_others_are_stopped };
        let reply = admin.ask(async |mut admin| admin.recover(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

fn show(plan: &pb::RecoveryPlan) -> Answer {
    let names = Names::of(&plan.nodes);
    let mut apps: Vec<Value> = vec![];
    let mut text = vec![];
    for app in &plan.apps {
        let partitions: Vec<Value> = app.partitions.iter().map(|partition| row(&names, partition)).collect();
        let mut row = info(app.app.as_ref());
        row["left_out"] = app.left_out.into();
        row["notes"] = app.notes.clone().into();
        text.push(table(std::slice::from_ref(&row), &[&INFO[..], &["left_out", "notes"]].concat()));
        text.push(table(
            &partitions,
            &["gpid", "highest_ballot", "ballot", "primary", "secondaries", "certain", "notes"],
        ));
        row["partitions"] = partitions.into();
        apps.push(row);
    }
    text.extend(plan.obstacles.iter().map(|obstacle| format!("stands against it: {obstacle}")));
    Answer::new(json!({ "apps": apps, "obstacles": plan.obstacles }), text.join("\n"))
}

fn row(names: &Names, partition: &pb::PlannedPartition) -> Value {
    let configuration = partition.configuration.as_ref();
    json!({
        "gpid": gpid(partition.gpid),
        "highest_ballot": partition.highest_ballot,
        "ballot": configuration.map(|next| next.ballot),
        "primary": configuration.map(|next| names.get(&next.primary)),
        "secondaries": configuration.map(|next| names.all(&next.secondaries)),
        "certain": partition.certain,
        "notes": partition.notes,
    })
}
