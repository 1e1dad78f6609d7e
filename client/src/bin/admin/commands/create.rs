//! An app comes to be.

use clap::Args;
use proto::pb;

use super::app::info;
use super::wait::Wait;
use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

/// Create an app, and wait until each of its partitions serves, with all the replicas that there are servers for
///
/// Says on standard error how far it is. Interrupt it if you don't want to wait: the app comes to be all the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin create scores.instance0 -t counter -p 8 -r 3
  admin create scores.instance0 -t counter -p 8 -r 3 --within 30
  admin create scores.instance0 --type counter --partitions 8 --replicas 3 --no-wait

Fields of --json:
  app_id           its number, never used again
  name             its name
  app_type         what the replica servers run for it
  partition_count  how many partitions it has
  replica_count    how many replicas each shall have")]
pub(crate) struct Create {
    /// Its name, not that of another app: a-z, 0-9 and `._-`
    name: String,
    /// The app type, which the replica servers must have registered
    #[arg(short, long = "type", value_name = "TYPE")]
    type_name: String,
    /// How many partitions, for good
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// How many replicas of each, 1 to 9
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    #[command(flatten)]
    wait: Wait,
}

impl Create {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::CreateAppRequest {
            name: self.name.clone(),
            app_type: self.type_name.clone(),
            partition_count: self.partitions,
            replica_count: self.replicas,
        };
        let reply = admin.ask(async |mut admin| admin.create_app(request.clone()).await).await?;
        let app = reply.app.unwrap_or_default();
        self.wait.until_it_is_up(admin, &app.name).await?;
        Ok(Answer::new(info(Some(&app)), format!("created app {} `{}`", app.app_id, app.name)))
    }
}
