//! Moving replicas by hand, by rDSN's names.

use clap::Args;
use clap::builder::PossibleValuesParser;
use proto::pb;
use words::Gpid;

use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

const PROPOSALS: [&str; 7] = [
    "assign_primary",
    "upgrade_to_primary",
    "add_secondary",
    "upgrade_to_secondary",
    "downgrade_to_secondary",
    "downgrade_to_inactive",
    "remove",
];

const BALANCES: [&str; 3] = ["move_pri", "copy_pri", "copy_sec"];

/// One step of reconfiguration of a partition
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin propose --gpid 1.0 --type upgrade_to_primary --node replica2
  admin propose --gpid 1.0 --type add_secondary --node 127.0.0.1:34803

Fields of --json:
  accepted  what will happen, for people")]
pub(crate) struct Propose {
    /// The partition, for example 1.0
    #[arg(long)]
    gpid: Gpid,
    /// What shall become of the node
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(PROPOSALS))]
    action: String,
    /// The node's name, address or id
    #[arg(long)]
    node: String,
}

impl Propose {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::ProposeRequest {
            gpid: Some(self.gpid.into()),
            r#type: self.action.clone(),
            node: self.node.clone(),
        };
        let reply = admin.ask(async |mut admin| admin.propose(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

/// Move or copy one replica of a partition
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin balance --gpid 1.0 --type move_pri --from replica1 --to replica2
  admin balance --gpid 1.0 --type copy_sec --from replica2 --to replica4

Fields of --json:
  accepted  what will happen, for people")]
pub(crate) struct Balance {
    /// The partition, for example 1.0
    #[arg(long)]
    gpid: Gpid,
    /// The primary's role to a secondary, or the primary's or a secondary's replica to a node that has none
    #[arg(long = "type", value_name = "TYPE", value_parser = PossibleValuesParser::new(BALANCES))]
    action: String,
    /// The node that has it: name, address or id
    #[arg(long)]
    from: String,
    /// The node that gets it: name, address or id
    #[arg(long)]
    to: String,
}

impl Balance {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::BalanceRequest {
            gpid: Some(self.gpid.into()),
            r#type: self.action.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
        };
        let reply = admin.ask(async |mut admin| admin.balance(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}
