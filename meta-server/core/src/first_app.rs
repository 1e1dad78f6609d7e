//! The app that a new cluster begins with.

use words::Time;

use crate::{AdminReply, AdminToken, Command, MetaCore, MetaOutput, RefusalKind};

/// It waits until it is clear that the cluster is new.
#[derive(Debug)]
pub(crate) struct FirstApp {
    pub(crate) create: Command,
    /// So many that have nothing are enough to tell.
    pub(crate) nodes: usize,
    /// Whom to answer.
    pub(crate) token: AdminToken,
}

impl MetaCore {
    /// A meta server without apps is new, or lost its state. Nodes tell which: where one holds a replica, nothing is
    /// created by itself (§4.9). Enough of them are asked, or all that come within the failure timeout.
    pub(crate) fn create_first_app_if_due(&mut self, now: Time, out: &mut MetaOutput) {
        let Some(first) = &self.first_app else { return };
        let reported = self.nodes.iter().filter(|(_, entry)| entry.reported.is_some()).count();
        let all_came = reported > 0 && now >= self.nodes.last_arrival() + self.settings.failure_timeout;
        let is_new = self.state.apps().next().is_none();
        if is_new && (!self.strangers.is_empty() || !(all_came || reported >= first.nodes)) {
            return;
        }
        let FirstApp { create, token, .. } = self.first_app.take().expect("it was just there");
        if is_new {
            return self.commit(create, Some(token), out);
        }
        let message = "there are apps already".to_owned();
        out.replies.push((token, AdminReply::refused(RefusalKind::AlreadyExists, message)));
    }
}
