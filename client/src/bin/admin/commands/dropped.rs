//! An app goes, and may come back.

use clap::Args;
use proto::pb;
use serde_json::json;

use super::app::info;
use super::wait::Wait;
use crate::answer::Answer;
use crate::ask::Admin;
use crate::clock::utc;
use crate::failure::Failure;

/// Drop an app: nobody is served any more, and after a while its data is deleted
///
/// Until then its data stays where it is, and `admin recall` brings the app back. `admin apps --all` shows until when.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin drop scores.instance0
  admin drop scores.instance0 --hold 3600

Fields of --json:
  dropped     the app's name
  app_id      its number, by which it can be recalled
  expires_ms  until when it can be recalled, in milliseconds since 1970")]
pub(crate) struct Drop {
    /// The app's name
    name: String,
    /// How long it can be recalled, in seconds [default: hold_seconds_for_dropped_app of config.ini, a week]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=1 << 32))]
    hold: Option<u64>,
}

impl Drop {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::DropAppRequest { name: self.name.clone(), hold_seconds: self.hold };
        let reply = admin.ask(async |mut admin| admin.drop_app(request.clone()).await).await?;
        let (id, expires_ms) = (reply.app.unwrap_or_default().app_id, reply.expires_ms);
        let until = utc(expires_ms);
        Ok(Answer::new(
            json!({ "dropped": self.name, "app_id": id, "expires_ms": expires_ms }),
            format!("dropped: {} (`admin recall {id}` brings it back until {until})", self.name),
        ))
    }
}

/// Bring a dropped app back with its data, and wait until each of its partitions serves, with all its replicas
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin recall 3
  admin recall 3 scores.instance1 --no-wait

Fields of --json:
  app_id           its number, never used again
  name             its name
  app_type         what the replica servers run for it
  partition_count  how many partitions it has
  replica_count    how many replicas each shall have")]
pub(crate) struct Recall {
    /// The app's number; `admin apps --all` shows it
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    app_id: u32,
    /// What it shall be called, if its name is taken meanwhile, or another one is wanted
    new_name: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

impl Recall {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let new_name = self.new_name.clone().unwrap_or_default();
        let request = pb::RecallAppRequest { app_id: self.app_id, new_name };
        let reply = admin.ask(async |mut admin| admin.recall_app(request.clone()).await).await?;
        let app = reply.app.unwrap_or_default();
        self.wait.until_it_is_up(admin, &app.name).await?;
        Ok(Answer::new(info(Some(&app)), format!("recalled app {} `{}`", app.app_id, app.name)))
    }
}
