//! Which servers there are, and where.

use crate::{List, Settings, SettingsError};

/// A server that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `meta1`, `replica1`, ...
    pub name: String,
    /// `host:port`
    pub address: String,
}

impl Settings {
    /// The meta servers: meta1, meta2, ...
    #[must_use]
    pub fn meta_servers(&self) -> Vec<Server> {
        let apps = &self.apps_meta;
        servers("meta", apps.count, &apps.host, &apps.ports)
    }

    /// The replica servers: replica1, replica2, ...
    #[must_use]
    pub fn replica_servers(&self) -> Vec<Server> {
        let apps = &self.apps_replica;
        servers("replica", apps.count, &apps.host, &apps.ports)
    }

    /// The server of this name.
    ///
    /// # Errors
    /// If there is none; lists the names that there are.
    pub fn server(&self, name: &str) -> Result<Server, SettingsError> {
        let known = || self.meta_servers().into_iter().chain(self.replica_servers());
        known().find(|server| server.name == name).ok_or_else(|| {
            let names: Vec<String> = known().map(|server| server.name).collect();
            let problem = format!("names no server `{name}`; there are {}", names.join(", "));
            SettingsError::new(&self.origin, problem)
        })
    }
}

/// `relations` has made sure that the lists have one item or `count`, and that no port is beyond the last one.
fn servers(kind: &str, count: usize, hosts: &List<String>, ports: &List<u16>) -> Vec<Server> {
    let host = |index: usize| &hosts.0[if hosts.0.len() == 1 { 0 } else { index }];
    let port = |index: usize| match ports.0[..] {
        [first] => {
            let before = (0..index).filter(|&other| host(other) == host(index)).count();
            usize::from(first) + before
        }
        _ => usize::from(ports.0[index]),
    };
    (0..count)
        .map(|index| Server {
            name: format!("{kind}{}", index + 1),
            address: format!("{}:{}", host(index), port(index)),
        })
        .collect()
}
