//! The meta server's state machine.

use words::Time;

use crate::{AppRoute, MetaEvent, MetaOutput, MetaSettings, MetaState};

/// The meta server without I/O: durable state and what is known besides.
#[derive(Debug)]
pub struct MetaCore {
    state: MetaState,
    settings: MetaSettings,
}

impl MetaCore {
    /// A meta server that has just started: every node known gets a fresh grace before it can be taken for dead.
    #[must_use]
    pub fn new(state: MetaState, settings: MetaSettings, now: Time) -> Self {
        let _ = now;
        Self { state, settings }
    }

    /// Takes one event; what is owed for it is appended to `out`.
    pub fn step(&mut self, now: Time, event: MetaEvent, out: &mut MetaOutput) {
        let _ = (now, event, out, &self.settings);
    }

    /// When [`MetaEvent::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        Time::NEVER
    }

    /// The durable state.
    #[must_use]
    pub fn state(&self) -> &MetaState {
        &self.state
    }

    /// What a client needs to find the partitions of the app of that name; `None` if there is none.
    #[must_use]
    pub fn query(&self, app_name: &str) -> Option<AppRoute> {
        let _ = app_name;
        None
    }
}
