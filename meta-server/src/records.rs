//! How the durable state is stored: one key for each app, partition and node, so that a change writes little.

use meta_core::{AppRecord, Change, EVENTS_KEPT, Event, STEPS_KEPT, Step};
use words::{AppId, Configuration, Gpid, NodeAddress};

use crate::storage::encoded;

/// Beginnings of keys; what follows is a number, big-endian, so that keys sort as numbers do.
const APP: &[u8] = b"app/";
const PARTITION: &[u8] = b"partition/";
const NODE: &[u8] = b"node/";
const STEP: &[u8] = b"step/";
const EVENT: &[u8] = b"event/";
const LEVEL_KEY: &[u8] = b"level";
const BLACK_LIST_KEY: &[u8] = b"black_list";
const DRAINED_KEY: &[u8] = b"drained";

/// The key of a change and its value, if it has one from then on.
pub(crate) fn encode(change: &Change) -> (Vec<u8>, Option<Vec<u8>>) {
    match change {
        Change::App(app) => ([APP, &app.info.id.0.to_be_bytes()].concat(), Some(encoded(app))),
        Change::Configuration { gpid, configuration } => {
            ([PARTITION, &gpid_key(*gpid)].concat(), Some(encoded(configuration)))
        }
        Change::Node(address) => ([NODE, &address.node.0.to_be_bytes()].concat(), Some(encoded(address))),
        Change::NodeRemoved(node) => ([NODE, &node.0.to_be_bytes()].concat(), None),
        Change::Level(level) => (LEVEL_KEY.to_vec(), Some(encoded(level))),
        Change::BlackList(nodes) => (BLACK_LIST_KEY.to_vec(), Some(encoded(nodes))),
        Change::Drained(nodes) => (DRAINED_KEY.to_vec(), Some(encoded(nodes))),
        // In place of the one that is kept no longer.
        Change::Step { gpid, step } => {
            let place = step.configuration.ballot.0 % STEPS_KEPT;
            ([STEP, &gpid_key(*gpid), &place.to_be_bytes()].concat(), Some(encoded(step)))
        }
        Change::Event(event) => {
            ([EVENT, &(event.number % EVENTS_KEPT).to_be_bytes()].concat(), Some(encoded(event)))
        }
    }
}

fn gpid_key(gpid: Gpid) -> Vec<u8> {
    [gpid.app.0.to_be_bytes(), gpid.partition.to_be_bytes()].concat()
}

/// What was stored; `None` if it can't be that.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Change> {
    match key {
        LEVEL_KEY => return postcard::from_bytes(value).ok().map(Change::Level),
        BLACK_LIST_KEY => return postcard::from_bytes(value).ok().map(Change::BlackList),
        DRAINED_KEY => return postcard::from_bytes(value).ok().map(Change::Drained),
        _ => {}
    }
    if let Some(id) = key.strip_prefix(APP) {
        let app: AppRecord = postcard::from_bytes(value).ok()?;
        return (app.info.id.0.to_be_bytes() == *id).then_some(Change::App(app));
    }
    if let Some(gpid) = key.strip_prefix(PARTITION) {
        let (app, partition) = gpid.split_first_chunk::<4>()?;
        let partition = u32::from_be_bytes(partition.try_into().ok()?);
        let gpid = Gpid { app: AppId(u32::from_be_bytes(*app)), partition };
        let configuration: Configuration = postcard::from_bytes(value).ok()?;
        return Some(Change::Configuration { gpid, configuration });
    }
    if let Some(place) = key.strip_prefix(STEP) {
        let (app, place) = place.split_first_chunk::<4>()?;
        let (partition, place) = place.split_first_chunk::<4>()?;
        let gpid = Gpid { app: AppId(u32::from_be_bytes(*app)), partition: u32::from_be_bytes(*partition) };
        let step: Step = postcard::from_bytes(value).ok()?;
        let expected = (step.configuration.ballot.0 % STEPS_KEPT).to_be_bytes();
        return (expected == *place).then_some(Change::Step { gpid, step });
    }
    if let Some(place) = key.strip_prefix(EVENT) {
        let event: Event = postcard::from_bytes(value).ok()?;
        return ((event.number % EVENTS_KEPT).to_be_bytes() == *place).then_some(Change::Event(event));
    }
    let id = key.strip_prefix(NODE)?;
    let address: NodeAddress = postcard::from_bytes(value).ok()?;
    (address.node.0.to_be_bytes() == *id).then_some(Change::Node(address))
}
