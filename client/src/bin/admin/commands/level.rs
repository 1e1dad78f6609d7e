//! How much the meta server does by itself.

use clap::Args;
use clap::builder::PossibleValuesParser;
use proto::pb;
use serde_json::json;

use crate::answer::Answer;
use crate::ask::Admin;
use crate::failure::Failure;

const LEVELS: [&str; 5] = ["stopped", "blind", "freezed", "steady", "lively"];

/// How much the meta server does by itself, or change that
///
/// lively: it cures and balances. steady: it cures. freezed: it does neither; primaries still leave out secondaries
/// that do not answer. blind: no configuration changes. stopped: nothing changes, whoever asks. At each level nodes
/// are heard, clients find their partitions, and reads and writes go on.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin level
  admin level steady

Fields of --json:
  level     what holds now: stopped, blind, freezed, steady or lively
  set       what operators set; it can be higher
  why       what is left out, and why
  accepted  instead of these, if a level is given: what holds from now on, for people")]
pub(crate) struct Level {
    /// What shall hold from now on
    #[arg(value_parser = PossibleValuesParser::new(LEVELS))]
    level: Option<String>,
}

impl Level {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let Some(level) = &self.level else {
            let holds = admin.look(async |mut admin| admin.get_level(pb::GetLevelRequest {}).await).await?;
            let fields = json!({ "level": holds.level, "set": holds.set, "why": holds.why });
            return Ok(Answer::new(fields, line(&holds)));
        };
        let request = pb::SetLevelRequest { level: level.clone() };
        let reply = admin.ask(async |mut admin| admin.set_level(request.clone()).await).await?;
        Ok(Answer::said("accepted", &reply.accepted))
    }
}

fn line(level: &pb::Level) -> String {
    format!("level: {} ({})", level.level, level.why)
}

/// Below whatever is shown of the cluster: something is left out, unless the level is the usual one.
pub(crate) fn loudly(answer: Answer, level: Option<&pb::Level>) -> Answer {
    match level.filter(|level| level.level != "lively") {
        Some(level) => answer.and_below(&line(level)),
        None => answer,
    }
}
