//! Running steps on replicas, and what the node takes over from them afterwards.

use words::{Gpid, Now, Refusal, Reply};

use super::NodeCore;
use crate::replica::Replica;
use crate::step::Step;
use crate::{Output, Token};

impl NodeCore {
    /// What changed about replicas is taken over by the node.
    pub(super) fn settle_touched(&mut self, now: Now) {
        let mut touched = std::mem::take(&mut self.touched);
        for gpid in touched.drain(..) {
            self.settle(now, gpid);
        }
        self.touched = touched;
    }

    fn settle(&mut self, now: Now, gpid: Gpid) {
        let Some(replica) = self.replicas.get_mut(&gpid) else { return };
        replica.touched = false;
        self.report_due |= std::mem::take(&mut replica.report_due);
        // A call that turns out to be too early finds nothing due, and a later one is asked for then: that costs less
        // than to move it with each write that is prepared and each that is acknowledged.
        let time = replica.deadline(&self.settings);
        if time < replica.call_at {
            self.calls.remove(&(replica.call_at, gpid));
            self.calls.insert((time, gpid));
            replica.call_at = time;
        }
        if std::mem::take(&mut replica.partners_changed) {
            let partners = replica.lease_partners();
            self.peers.set_partners(now.time, gpid, &partners);
        }
        if std::mem::take(&mut replica.heartbeat_due) {
            self.peers.beat_now(now.time, &replica.lease_partners());
        }
    }

    /// Runs `act` with a step, and takes over what it appended and wants to send.
    pub(super) fn with_step<T>(
        &mut self,
        now: Now,
        out: &mut Output,
        act: impl FnOnce(&mut Step<'_>) -> T,
    ) -> T {
        let (appended, me, settings) = (out.append.len(), self.identity.node, &self.settings);
        let disk_is_low = self.disk.is_low;
        let (counters, outbox) = (&mut self.counters, &mut self.outbox);
        let result = act(&mut Step { now, me, settings, disk_is_low, counters, out, outbox });
        self.take_over(now, appended, out);
        result
    }

    /// What a step appended, after so many records, and what it wants to send.
    fn take_over(&mut self, now: Now, appended: usize, out: &mut Output) {
        self.in_log.extend(out.append[appended..].iter().map(|(number, record)| (*number, record.gpid())));
        for (to, body) in self.outbox.drain(..) {
            out.send.extend(self.peers.address(now.time, &self.settings, to, body));
        }
    }

    /// Runs `act` on one replica, if it is here.
    pub(super) fn with(
        &mut self,
        now: Now,
        gpid: Gpid,
        out: &mut Output,
        act: impl FnOnce(&mut Replica, &mut Step<'_>),
    ) {
        self.try_with(now, gpid, out, act);
    }

    /// The same; returns whether it is here.
    pub(super) fn try_with(
        &mut self,
        now: Now,
        gpid: Gpid,
        out: &mut Output,
        act: impl FnOnce(&mut Replica, &mut Step<'_>),
    ) -> bool {
        let Some(replica) = self.replicas.get_mut(&gpid) else { return false };
        let (appended, me, settings) = (out.append.len(), self.identity.node, &self.settings);
        let disk_is_low = self.disk.is_low;
        let (counters, outbox) = (&mut self.counters, &mut self.outbox);
        act(replica, &mut Step { now, me, settings, disk_is_low, counters, out, outbox });
        if !std::mem::replace(&mut replica.touched, true) {
            self.touched.push(gpid);
        }
        self.take_over(now, appended, out);
        true
    }

    pub(super) fn with_all(
        &mut self,
        now: Now,
        out: &mut Output,
        mut act: impl FnMut(&mut Replica, &mut Step<'_>),
    ) {
        let all: Vec<Gpid> = self.replicas.keys().copied().collect();
        for gpid in all {
            self.with(now, gpid, out, &mut act);
        }
    }

    /// Runs `act` on the replica that a client asked, or refuses.
    pub(super) fn with_asked(
        &mut self,
        now: Now,
        gpid: Gpid,
        token: Token,
        out: &mut Output,
        act: impl FnOnce(&mut Replica, &mut Step<'_>),
    ) {
        if !self.try_with(now, gpid, out, act) {
            out.replies.push((token, Reply::Refused(Refusal::UnknownPartition)));
        }
    }
}
