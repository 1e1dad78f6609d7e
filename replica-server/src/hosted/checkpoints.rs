//! Checkpoints of the apps: written, or offered to learners, one at a time for each app.

use std::io;
use std::sync::Arc;

use replica_core::Event;
use words::{Decree, Gpid, MutationId, Signature};

use super::app::HostedApp;
use super::{Apps, WorkDone, gone};

impl Apps {
    /// Writes a checkpoint of what is applied now.
    pub(crate) fn checkpoint(&mut self, gpid: Gpid, events: &mut Vec<Event>) {
        match self.slots.get_mut(&gpid) {
            Some(slot) => {
                slot.checkpoint.wanted = true;
                self.begin_checkpoint(gpid, events);
            }
            None => events.push(Event::CheckpointDone { gpid, result: Err(gone()) }),
        }
    }

    /// Makes a checkpoint at `at_least` or further ready to be fetched.
    pub(crate) fn offer(
        &mut self,
        gpid: Gpid,
        signature: Signature,
        at_least: Decree,
        events: &mut Vec<Event>,
    ) {
        match self.slots.get_mut(&gpid) {
            Some(slot) => {
                slot.offers_wanted.push((signature, at_least));
                self.serve_offers(gpid, events);
            }
            None => events.push(Event::CheckpointOffered { gpid, signature, result: Err(gone()) }),
        }
    }

    /// Begins a checkpoint unless one is running: its end then begins another if need be.
    fn begin_checkpoint(&mut self, gpid: Gpid, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.get_mut(&gpid) else { return };
        if slot.checkpoint.running {
            return;
        }
        let generation = slot.generation;
        let begun = slot.app.as_mut().ok_or_else(gone).and_then(HostedApp::begin_checkpoint);
        match begun {
            Ok(Some(pending)) => {
                slot.checkpoint.running = true;
                self.workers.use_disk(
                    move || pending.run(),
                    move |result| WorkDone::Checkpointed { gpid, generation, result },
                );
            }
            Ok(None) => {
                let durable = slot.app.as_ref().map(HostedApp::durable).ok_or_else(gone);
                self.report_checkpoint(gpid, durable, events);
            }
            Err(error) => self.report_checkpoint(gpid, Err(error), events),
        }
    }

    pub(super) fn checkpoint_done(
        &mut self,
        gpid: Gpid,
        generation: u64,
        result: io::Result<MutationId>,
        events: &mut Vec<Event>,
    ) {
        let Some(slot) = self.slots.get_mut(&gpid).filter(|slot| slot.generation == generation) else {
            return;
        };
        slot.checkpoint.running = false;
        if let (Ok(identity), Some(app)) = (&result, &mut slot.app) {
            app.checkpoint_is_durable(*identity);
        }
        self.report_checkpoint(gpid, result, events);
    }

    /// Tells everybody who waited for a checkpoint how it ended.
    pub(super) fn report_checkpoint(
        &mut self,
        gpid: Gpid,
        result: io::Result<MutationId>,
        events: &mut Vec<Event>,
    ) {
        let Some(slot) = self.slots.get_mut(&gpid) else { return };
        match &result {
            // What is said of a full disk each few seconds, by each replica, hides all else that is said.
            Err(error) if !std::mem::replace(&mut slot.checkpoint.failing, true) => {
                tracing::warn!(%gpid, %error, "a checkpoint failed; the older one still counts, and it is tried again");
            }
            Ok(_) if std::mem::take(&mut slot.checkpoint.failing) => {
                tracing::info!(%gpid, "checkpoints succeed again");
            }
            Ok(_) | Err(_) => {}
        }
        if let Err(error) = &result {
            for (signature, _) in slot.offers_wanted.drain(..) {
                events.push(Event::CheckpointOffered { gpid, signature, result: Err(again(error)) });
            }
        }
        if std::mem::take(&mut slot.checkpoint.wanted) {
            events.push(Event::CheckpointDone { gpid, result });
        }
        self.serve_offers(gpid, events);
    }

    /// Offers what is durable to those that it is enough for; otherwise begins a checkpoint. Not while one is being
    /// written, which may remove the files of the one before, or offered, which needs those.
    fn serve_offers(&mut self, gpid: Gpid, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.get_mut(&gpid) else { return };
        if slot.checkpoint.running || slot.offers_wanted.is_empty() {
            return;
        }
        let Some(app) = &slot.app else {
            self.report_checkpoint(gpid, Err(gone()), events);
            return;
        };
        let (durable, applied) = (app.durable().decree, app.applied().decree);
        let (ready, wanting): (Vec<_>, Vec<_>) = std::mem::take(&mut slot.offers_wanted)
            .into_iter()
            .partition(|&(_, at_least)| durable != Decree::ZERO && at_least <= durable);
        let (waiting, hopeless): (Vec<_>, Vec<_>) =
            wanting.into_iter().partition(|&(_, at_least)| durable < applied && at_least <= applied);
        let need_another = !waiting.is_empty();
        slot.offers_wanted = waiting;
        for (signature, at_least) in hopeless {
            let error = format!("nothing is applied at {at_least} or further: {applied} is the last");
            let result = Err(io::Error::new(io::ErrorKind::NotFound, error));
            events.push(Event::CheckpointOffered { gpid, signature, result });
        }
        if !ready.is_empty() {
            self.offer_durable(gpid, ready.into_iter().map(|(signature, _)| signature).collect(), events);
        }
        if need_another {
            self.begin_checkpoint(gpid, events);
        }
    }

    /// Lets a worker make one offer of the newest durable checkpoint for all of these.
    fn offer_durable(&mut self, gpid: Gpid, signatures: Vec<Signature>, events: &mut Vec<Event>) {
        let Some(slot) = self.slots.get_mut(&gpid) else { return };
        let (generation, folder) = (slot.generation, slot.folder.clone());
        match slot.app.as_ref().ok_or_else(gone).and_then(HostedApp::durable_checkpoint) {
            Ok(checkpoint) => {
                slot.checkpoint.running = true;
                let offers = Arc::clone(&self.offers);
                self.workers.use_disk(
                    move || offers.add(gpid, &folder, checkpoint),
                    move |result| WorkDone::Offered { gpid, generation, signatures, result },
                );
            }
            Err(error) => report_offer(gpid, signatures, &Err(error), events),
        }
    }

    pub(super) fn offered(
        &mut self,
        gpid: Gpid,
        generation: u64,
        signatures: Vec<Signature>,
        result: &io::Result<(MutationId, u64)>,
        events: &mut Vec<Event>,
    ) {
        report_offer(gpid, signatures, result, events);
        let Some(slot) = self.slots.get_mut(&gpid).filter(|slot| slot.generation == generation) else {
            return;
        };
        slot.checkpoint.running = false;
        if slot.checkpoint.wanted {
            self.begin_checkpoint(gpid, events);
        }
        self.serve_offers(gpid, events);
    }
}

fn report_offer(
    gpid: Gpid,
    signatures: Vec<Signature>,
    result: &io::Result<(MutationId, u64)>,
    events: &mut Vec<Event>,
) {
    if let Err(error) = result {
        tracing::warn!(%gpid, %error, "a checkpoint can't be offered");
    }
    events.extend(signatures.into_iter().map(|signature| Event::CheckpointOffered {
        gpid,
        signature,
        result: result.as_ref().map(|&offer| offer).map_err(again),
    }));
}

/// The same error, for another one who waits.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
