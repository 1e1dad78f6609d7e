//! An app's environment: what its replicas do while it runs, by Pegasus's names.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use client::meta::MetaError;
use proto::pb;
use serde_json::{Value, json};
use words::AppEnvs;

use super::app::describe;
use crate::answer::{Answer, table};
use crate::ask::Admin;
use crate::failure::Failure;

/// What can be asked of, or done to, an app's environment.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    Get(Get),
    Set(Set),
    Del(Del),
    Clear(Clear),
}

impl Env {
    pub(crate) async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        match self {
            Self::Get(command) => command.run(admin).await,
            Self::Set(command) => command.run(admin).await,
            Self::Del(command) => command.run(admin).await,
            Self::Clear(command) => command.run(admin).await,
        }
    }
}

/// What is set for an app
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin env get scores.instance0
  admin env get scores.instance0 replica.write_throttling --json

Fields of --json:
  each key that is set, with its value")]
pub(crate) struct Get {
    /// The app's name
    app: String,
    /// One key only
    key: Option<String>,
}

impl Get {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let mut envs = describe(admin, &self.app).await?.envs;
        if let Some(key) = &self.key {
            if !AppEnvs::keys().any(|known| known == key) {
                let known: Vec<&str> = AppEnvs::keys().collect();
                let message = format!("no environment key `{key}`; there are {}", known.join(", "));
                return Err(MetaError::NotFound(message).into());
            }
            envs.retain(|set, _| set == key);
        }
        Ok(answer(envs))
    }
}

/// Set a key of an app's environment; its replicas follow at once
///
/// replica.write_throttling: UNITS*delay*MS, UNITS*reject*MS, or both with a comma between them. What is written beyond
/// the first number of units a second is delayed by that many milliseconds, what is beyond the second one is refused
/// as `throttled` after that many milliseconds. The units are of the whole app, K and M stand for thousands and
/// millions; each partition has an equal part of them. replica.write_throttling_by_size: the same, in bytes.
/// replica.deny_client_request: HOW*WHAT turns requests away. WHAT is read, write or all. HOW is reject (refused as
/// `denied`), timeout (not answered for so long that the client gives up) or reconfig (sent to ask who is primary, again
/// and again).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin env set scores.instance0 replica.write_throttling 2000*delay*100,20000*reject*200
  admin env set scores.instance0 replica.write_throttling_by_size 10M*delay*100
  admin env set scores.instance0 replica.deny_client_request reject*write

Fields of --json:
  each key that is set now, with its value")]
pub(crate) struct Set {
    /// The app's name
    app: String,
    /// replica.write_throttling, replica.write_throttling_by_size or replica.deny_client_request
    key: String,
    /// Its value
    value: String,
}

impl Set {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let (name, key, value) = (self.app.clone(), self.key.clone(), self.value.clone());
        let request = pb::SetAppEnvRequest { name, key, value };
        Ok(answer(admin.ask(async |mut admin| admin.set_app_env(request.clone()).await).await?.envs))
    }
}

/// Remove a key from an app's environment
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin env del scores.instance0 replica.write_throttling

Fields of --json:
  each key that is set now, with its value")]
pub(crate) struct Del {
    /// The app's name
    app: String,
    /// The key
    key: String,
}

impl Del {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::RemoveAppEnvRequest { name: self.app.clone(), key: self.key.clone() };
        Ok(answer(admin.ask(async |mut admin| admin.remove_app_env(request.clone()).await).await?.envs))
    }
}

/// Remove all keys from an app's environment
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  admin env clear scores.instance0

Fields of --json:
  none: an empty object")]
pub(crate) struct Clear {
    /// The app's name
    app: String,
}

impl Clear {
    async fn run(&self, admin: &Admin) -> Result<Answer, Failure> {
        let request = pb::ClearAppEnvsRequest { name: self.app.clone() };
        Ok(answer(admin.ask(async |mut admin| admin.clear_app_envs(request.clone()).await).await?.envs))
    }
}

fn answer(envs: HashMap<String, String>) -> Answer {
    let mut envs: Vec<(String, String)> = envs.into_iter().collect();
    envs.sort();
    let rows: Vec<Value> = envs.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let object: serde_json::Map<String, Value> =
        envs.into_iter().map(|(key, value)| (key, value.into())).collect();
    Answer::new(object.into(), table(&rows, &["key", "value"]))
}
