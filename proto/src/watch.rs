//! Watches (`client.proto`).

use ::words::{Change, ChangePage, Decree, KeyFilter, Refusal, Watch};

use crate::malformed::{count, required};
use crate::{Malformed, pb};

impl From<Watch> for pb::WatchRequest {
    fn from(watch: Watch) -> Self {
        let filter = match watch.filter {
            KeyFilter::Key(key) => pb::watch_request::Filter::Key(key),
            KeyFilter::Prefix(prefix) => pb::watch_request::Filter::Prefix(prefix),
        };
        let from_decree = watch.from.map_or(0, |from| from.0);
        Self { gpid: Some(watch.gpid.into()), filter: Some(filter), from_decree }
    }
}

impl TryFrom<pb::WatchRequest> for Watch {
    type Error = Malformed;

    fn try_from(message: pb::WatchRequest) -> Result<Self, Malformed> {
        let filter = match message.filter {
            Some(pb::watch_request::Filter::Key(key)) => KeyFilter::Key(key),
            Some(pb::watch_request::Filter::Prefix(prefix)) => KeyFilter::Prefix(prefix),
            None => KeyFilter::ALL,
        };
        let from = count(Decree, message.from_decree, "WatchRequest.from_decree")?;
        let from = (from > Decree::ZERO).then_some(from);
        Ok(Self { gpid: required(message.gpid, "WatchRequest.gpid")?, filter, from })
    }
}

/// What a watcher is told: more, or why it is over.
impl From<Result<ChangePage, Refusal>> for pb::WatchReply {
    fn from(told: Result<ChangePage, Refusal>) -> Self {
        let changed = |(decree, Change { key, value }): (Decree, Change)| pb::WatchedChange {
            decree: decree.0,
            key,
            value,
        };
        match told {
            Ok(ChangePage { through, changes }) => {
                Self { decree: through.0, changes: changes.into_iter().map(changed).collect(), refusal: None }
            }
            Err(refusal) => Self { refusal: Some(refusal.into()), ..Self::default() },
        }
    }
}

/// What a watcher is told: more, or why it is over.
impl TryFrom<pb::WatchReply> for Result<ChangePage, Refusal> {
    type Error = Malformed;

    fn try_from(message: pb::WatchReply) -> Result<Self, Malformed> {
        if let Some(refusal) = message.refusal {
            return Ok(Err(refusal.try_into()?));
        }
        let through = count(Decree, message.decree, "WatchReply.decree")?;
        let mut changes = Vec::with_capacity(message.changes.len());
        let mut last = Decree::ZERO;
        for pb::WatchedChange { decree, key, value } in message.changes {
            let decree = Decree(decree);
            if decree < last || decree > through {
                return Err(Malformed { field: "WatchReply.changes", problem: "are not in order" });
            }
            last = decree;
            changes.push((decree, Change { key, value }));
        }
        Ok(Ok(ChangePage { through, changes }))
    }
}
