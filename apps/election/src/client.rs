//! An election as a caller sees it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::meta::MetaError;
use client::{App, Cluster, Failure, Outcome};
use settings::Settings;

use crate::candidate::stretched;
use crate::request::{Answer, Record, Request, check_election};
use crate::{CampaignFailure, Guard, Observation};

const APP_TYPE: &str = "election";
/// Renewals come a few times a lease; so many in a row meanwhile are no accident.
const REVOCATIONS: u32 = 10;

/// One election of an app. Clones share connections.
#[derive(Clone, Debug)]
pub struct Election {
    pub(crate) app: App,
    pub(crate) name: Arc<str>,
    pub(crate) clock_ratio_permille: u32,
}

impl Election {
    /// The election `name` of the app `app_name`. An election is there once somebody campaigns.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app, [`MetaError::Invalid`] if it is of another type or `name`
    /// can't name an election, [`MetaError::Unreachable`] if no meta server answers in time.
    pub async fn open(
        cluster: &Cluster,
        settings: &Settings,
        app_name: &str,
        name: &str,
    ) -> Result<Self, MetaError> {
        check_election(name.as_bytes()).map_err(|no| MetaError::Invalid(no.message))?;
        let app = App::open(cluster, app_name).await?;
        let app_type = &app.info().app_type;
        if app_type != APP_TYPE {
            let message = format!("app `{app_name}` is of type `{app_type}`, it holds no elections");
            return Err(MetaError::Invalid(message));
        }
        Ok(Self { app, name: name.into(), clock_ratio_permille: settings.replication.clock_ratio_permille })
    }

    /// Who was elected last. Linearizable; whether its lease is still running, only time tells.
    pub async fn read(&self) -> Outcome<Record> {
        let request = Request::Read { election: &self.name }.encode();
        self.app.read(self.key(), request).await.and_then(|answer| Record::decode(&answer))
    }

    /// Every record from now on, the present one first.
    #[must_use]
    pub fn observe(&self) -> Observation {
        Observation::new(self.clone())
    }

    /// Waits until this caller is master, under that name. Dropping the future, or the guard, ends the campaign.
    ///
    /// # Errors
    /// What makes no sense, or can't be served for good. Servers that are not there are waited for.
    pub async fn campaign(&self, name: &str, lease: Duration) -> Result<Guard, CampaignFailure> {
        Guard::campaign(self.clone(), name, lease).await
    }

    /// Forbids the present master to renew its lease: it ends then by itself. Not accepted if there is none.
    pub async fn revoke(&self) -> Outcome<Answer> {
        let mut version = match self.read().await {
            Outcome::Done { answer, .. } => answer.version,
            Outcome::Failed(failure) => return Outcome::Failed(failure),
            Outcome::Unknown => return Outcome::Unknown,
        };
        for _ in 0..REVOCATIONS {
            let request = Request::Revoke { version, election: &self.name };
            match self.change(request.encode()).await {
                // It was renewed meanwhile.
                Outcome::Done { answer, .. } if !answer.accepted && answer.record.version > version => {
                    version = answer.record.version;
                }
                outcome => return outcome,
            }
        }
        Outcome::Failed(Failure::NotUnderstood("it is renewed again and again".into()))
    }

    /// After how long, from when a record was seen, its master's lease is over for sure.
    #[must_use]
    pub fn longest(&self, lease: Duration) -> Duration {
        stretched(lease, self.clock_ratio_permille)
    }

    pub(crate) async fn change(&self, request: Bytes) -> Outcome<Answer> {
        self.app.write(self.key(), request).await.and_then(|answer| Answer::decode(&answer))
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.name.as_bytes()
    }
}
