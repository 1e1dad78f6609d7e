//! When things are lost.

use clap::Args;
use proto::pb;
use words::Gpid;

use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

/// Give up the members of a partition that are lost for good
///
/// The named node leads with what it has. What only the lost members had is gone, also if they were to return.
/// Refused as long as a member that may have everything is there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin accept-loss 1.0 replica2 --the-others-are-stopped

Fields of --json:
  accepted  what is lost, for people")]
pub(crate) struct AcceptLoss {
    /// The partition, for example 1.0
    gpid: Gpid,
    /// Who shall lead: a node's name, address or id
    node: String,
    /// States that nobody else who had the partition runs: one that is merely cut off could go on serving it
    #[arg(long)]
    the_others_are_stopped: bool,
}

impl AcceptLoss {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::AcceptLossRequest {
            gpid: Some(self.gpid.into()),
            node: self.node.clone(),
            others_are_stopped: self.the_others_are_stopped,
        };
        let reply = admin.ask(async |mut admin| admin.accept_loss(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}
