//! The card server as a caller sees it.

use client::meta::MetaError;
use client::{App, Cluster, Copies, Outcome};

use crate::request::{self, Card, Request};

const APP_TYPE: &str = "card";

/// The cards of one app. Clones share connections; calls may run concurrently.
#[derive(Clone, Debug)]
pub struct Cards {
    app: App,
}

impl Cards {
    /// Opens the app `app_name`.
    ///
    /// # Errors
    /// [`MetaError::NotFound`] if there is no such app, [`MetaError::Invalid`] if it is of another type,
    /// [`MetaError::Unreachable`] if no meta server answers in time.
    pub async fn open(cluster: &Cluster, app_name: &str) -> Result<Self, MetaError> {
        Ok(Self { app: App::open_of_type(cluster, app_name, APP_TYPE).await? })
    }

    /// A new card, once. Refused if there is one of that id.
    pub async fn insert(&self, id: u64, card: Card) -> Outcome<()> {
        self.write(id, &Request::Insert(id, card)).await.and_then(|answer| answer.is_empty().then_some(()))
    }

    /// So much more, or less, on a card, once; the new balance. Refused if it would fall below zero.
    pub async fn update(&self, id: u64, delta: i64) -> Outcome<u64> {
        self.write(id, &Request::Update(id, delta)).await.and_then(|answer| request::decode_balance(&answer))
    }

    /// The card is gone. Refused if there is none.
    pub async fn delete(&self, id: u64) -> Outcome<()> {
        self.write(id, &Request::Delete(id)).await.and_then(|answer| answer.is_empty().then_some(()))
    }

    /// What is on a card. Linearizable. Never ends as unknown.
    pub async fn select(&self, id: u64) -> Outcome<Card> {
        let outcome = self.app.read(&request::key(id), Request::Select(id).encode()).await;
        outcome.and_then(|answer| request::decode_card(&answer).ok())
    }

    /// Who has a copy of the partition that a card is in, and who is making one.
    ///
    /// # Errors
    /// What the meta server says, or that none answers.
    pub async fn copies(&self, id: u64) -> Result<Copies, MetaError> {
        self.app.copies(&request::key(id)).await
    }

    async fn write(&self, id: u64, request: &Request) -> Outcome<bytes::Bytes> {
        self.app.write(&request::key(id), request.encode()).await
    }
}
