//! What must hold between settings: each of them makes sense alone, and together they don't.

use std::collections::BTreeMap;

use crate::sections::{AppsMeta, AppsReplica, MetaServer, Replication};
use crate::{List, Settings, SettingsError};

/// Checks all relations.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    let error = |problem| SettingsError::new(&settings.origin, problem);
    times(&settings.replication).map_err(error)?;
    elections(&settings.meta_server).map_err(error)?;
    let AppsMeta { ports, count, host } = &settings.apps_meta;
    lists("apps.meta", *count, host, ports).map_err(error)?;
    let AppsReplica { ports, count, host } = &settings.apps_replica;
    lists("apps.replica", *count, host, ports).map_err(error)?;
    addresses(settings).map_err(error)
}

fn times(replication: &Replication) -> Result<(), String> {
    let heartbeat = ("heartbeat_ms", replication.heartbeat_ms);
    let lease = ("lease_ms", replication.lease_ms);
    let failure = ("failure_timeout_ms", replication.failure_timeout_ms);
    let resend = ("resend_ms", replication.resend_ms);
    // A lease that ends before the next heartbeat is acknowledged leaves a gap in which no read is served.
    above(lease, heartbeat)?;
    // Otherwise one slow heartbeat costs a node its place, while its peers still count on its lease.
    above(failure, lease)?;
    above(failure, ("beacon_ms", replication.beacon_ms))?;
    // A message that was lost must get a second chance before its receiver is proposed out.
    above(("prepare_timeout_ms", replication.prepare_timeout_ms), resend)?;
    above(("learn_timeout_ms", replication.learn_timeout_ms), resend)
}

fn above(high: (&str, u64), low: (&str, u64)) -> Result<(), String> {
    if high.1 > low.1 {
        return Ok(());
    }
    Err(format!("[replication] {} = {} must be above {} = {}; raise it", high.0, high.1, low.0, low.1))
}

/// One sign of life that is late must not cost a meta server its lead.
fn elections(meta: &MetaServer) -> Result<(), String> {
    let MetaServer { raft_heartbeat_ms: heartbeat, election_timeout_ms: timeout, .. } = *meta;
    if timeout >= heartbeat * 3 {
        return Ok(());
    }
    Err(format!(
        "[meta_server] election_timeout_ms = {timeout} must be at least three times raft_heartbeat_ms = \
         {heartbeat}; raise it"
    ))
}

fn lists(section: &str, count: usize, hosts: &List<String>, ports: &List<u16>) -> Result<(), String> {
    for (key, length) in [("host", hosts.0.len()), ("ports", ports.0.len())] {
        if length != 1 && length != count {
            return Err(format!(
                "[{section}] {key} has {length} items; write one, or count = {count} of them"
            ));
        }
    }
    if let [first] = ports.0[..]
        && usize::from(first) + count > usize::from(u16::MAX) + 1
    {
        return Err(format!("[{section}] ports = {first} with count = {count} goes beyond 65535; lower it"));
    }
    Ok(())
}

fn addresses(settings: &Settings) -> Result<(), String> {
    let mut taken = BTreeMap::new();
    for server in settings.meta_servers().into_iter().chain(settings.replica_servers()) {
        if let Some(other) = taken.insert(server.address.clone(), server.name.clone()) {
            let (name, address) = (server.name, server.address);
            return Err(format!(
                "{other} and {name} would both be at {address}; change `ports` of one of them"
            ));
        }
    }
    Ok(())
}
