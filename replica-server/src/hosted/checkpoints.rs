//! Checkpoints of the apps: written one at a time for each app, and offered to learners.

use std::io;
use std::sync::Arc;

use replica_core::Event;
use words::{Decree, Gpid, MutationId, Signature};

use super::app::{HostedApp, LinkedCheckpoint};
use super::folder::ReplicaFolder;
use super::offers::Offers;
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
        if let Err(error) = &result {
            tracing::warn!(%gpid, %error, "a checkpoint failed; the older one still counts");
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
        if let Err(error) = &result {
            for (signature, _) in slot.offers_wanted.drain(..) {
                let error = io::Error::new(error.kind(), error.to_string());
                events.push(Event::CheckpointOffered { gpid, signature, result: Err(error) });
            }
        }
        if std::mem::take(&mut slot.checkpoint.wanted) {
            events.push(Event::CheckpointDone { gpid, result });
        }
        self.serve_offers(gpid, events);
    }

    /// Links what is durable for those that it is enough for; begins a checkpoint for the others. Not while a
    /// checkpoint is being written: it may remove the files of the one before.
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
        slot.offers_wanted = waiting;
        for (signature, at_least) in hopeless {
            let error = format!("nothing is applied at {at_least} or further: {applied} is the last");
            let result = Err(io::Error::new(io::ErrorKind::NotFound, error));
            events.push(Event::CheckpointOffered { gpid, signature, result });
        }
        for (signature, _) in ready {
            self.offer_durable(gpid, signature, events);
        }
        if self.slots.get(&gpid).is_some_and(|slot| !slot.offers_wanted.is_empty()) {
            self.begin_checkpoint(gpid, events);
        }
    }

    /// Links the newest durable checkpoint, and lets a worker make an offer of it.
    fn offer_durable(&self, gpid: Gpid, signature: Signature, events: &mut Vec<Event>) {
        let Some((slot, app)) = self.slots.get(&gpid).and_then(|slot| Some((slot, slot.app.as_ref()?)))
        else {
            return;
        };
        match link_offer(&self.offers, &slot.folder, app) {
            Ok((number, linked)) => {
                let offers = Arc::clone(&self.offers);
                self.workers.use_disk(
                    move || offers.add(gpid, number, linked).map(|identity| (identity, number)),
                    move |result| WorkDone::Event(Event::CheckpointOffered { gpid, signature, result }),
                );
            }
            Err(error) => {
                tracing::warn!(%gpid, %error, "a checkpoint can't be offered");
                events.push(Event::CheckpointOffered { gpid, signature, result: Err(error) });
            }
        }
    }
}

fn link_offer(
    offers: &Offers,
    folder: &ReplicaFolder,
    app: &HostedApp,
) -> io::Result<(u64, LinkedCheckpoint)> {
    let number = offers.new_number()?;
    let offer = folder.offer(number);
    match app.link_checkpoint(&offer) {
        Ok(linked) => Ok((number, linked)),
        Err(error) => {
            let _ = removal::remove_folder(&offer);
            Err(error)
        }
    }
}
