//! What a cluster says of itself, as its commands show it, and waiting until it says the right thing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::{Cluster, PATIENCE, REPLICAS, wait_for, wait_for_long};

/// One meta server, as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaServer {
    /// `meta1`.
    pub name: String,
    /// Drawn with its data.
    pub id: String,
    /// `leader`, `follower`, ...; empty if it can't be reached.
    pub role: String,
    /// Whether it counts for a majority.
    pub votes: bool,
}

impl MetaServer {
    fn parse(shown: &Value) -> Self {
        let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), id: text("id"), role: text("role"), votes: shown["votes"] == true }
    }
}

/// One partition's members, by the servers' names.
#[derive(Debug)]
pub struct Partition {
    /// `1.0`.
    pub gpid: String,
    /// Its ballot.
    pub ballot: u64,
    /// The primary, if there is one.
    pub primary: Option<String>,
    /// The secondaries.
    pub secondaries: Vec<String>,
    /// What each node last reported to have committed, by its name.
    pub committed: BTreeMap<String, u64>,
    /// Whether every member has reported its role in the present ballot.
    pub in_roles: bool,
}

impl Partition {
    /// Whether all members have committed as much as they last reported.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        let members = self.primary.iter().chain(&self.secondaries);
        let committed: BTreeSet<_> = members.map(|name| self.committed.get(name)).collect();
        committed.len() == 1 && !committed.contains(&None)
    }

    fn parse(shown: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let replicas = shown["replicas"].as_array().into_iter().flatten();
        let reports = replicas.filter_map(|at| Some((text(&at["node"])?, at["last_committed"].as_u64()?)));
        let mut committed = BTreeMap::new();
        for (name, decree) in reports {
            // A server that lost its disk is another node of the same name: the old one's last word stays.
            let latest = committed.entry(name).or_default();
            *latest = decree.max(*latest);
        }
        let ballot = &shown["ballot"];
        let reported = |name: &Value, role: &str| {
            let replicas = shown["replicas"].as_array().into_iter().flatten();
            replicas.filter(|at| at["node"] == *name).any(|at| at["role"] == role && at["ballot"] == *ballot)
        };
        let mut secondaries = shown["secondaries"].as_array().into_iter().flatten();
        let in_roles =
            reported(&shown["primary"], "primary") && secondaries.all(|it| reported(it, "secondary"));
        Self {
            committed,
            in_roles,
            gpid: text(&shown["gpid"]).unwrap_or_default(),
            ballot: shown["ballot"].as_u64().unwrap_or_default(),
            primary: text(&shown["primary"]),
            secondaries: shown["secondaries"].as_array().into_iter().flatten().filter_map(text).collect(),
        }
    }
}

impl Cluster {
    /// The partitions of an app as `admin app -d --json` shows them.
    ///
    /// # Errors
    /// What `admin` said instead.
    pub fn partitions(&self, app: &str) -> Result<Vec<Partition>, String> {
        let answer = self.admin(&["app", app, "-d", "--json"]);
        let shown: Value = serde_json::from_str(&answer.stdout).map_err(|_| format!("{answer:?}"))?;
        let partitions = shown["partitions"].as_array().ok_or_else(|| format!("{answer:?}"))?;
        Ok(partitions.iter().map(Partition::parse).collect())
    }

    /// The id of the live node of that name, and how many replicas it is a member with.
    ///
    /// # Errors
    /// If there is none, or what `admin` said instead.
    pub fn node(&self, name: &str) -> Result<(String, u64), String> {
        let answer = self.admin(&["nodes", "--json"]);
        let shown: Value = serde_json::from_str(&answer.stdout).map_err(|_| format!("{answer:?}"))?;
        let nodes = shown.as_array().into_iter().flatten();
        let mut alive = nodes.filter(|node| node["name"] == name && node["alive"] == true);
        let node = alive.next().ok_or_else(|| format!("{name} is not alive: {shown}"))?;
        let count = |role: &str| node[role].as_u64().unwrap_or_default();
        let id = node["node"].as_str().unwrap_or_default().to_owned();
        Ok((id, count("primaries") + count("secondaries")))
    }

    /// The meta servers as `admin meta ls --json` shows them.
    ///
    /// # Errors
    /// What `admin` said instead.
    pub fn meta_servers(&self) -> Result<Vec<MetaServer>, String> {
        let answer = self.admin(&["meta", "ls", "--json"]);
        let shown: Value = serde_json::from_str(&answer.stdout).map_err(|_| format!("{answer:?}"))?;
        let servers = shown.as_array().ok_or_else(|| format!("{answer:?}"))?;
        Ok(servers.iter().map(MetaServer::parse).collect())
    }

    /// Waits until all replica servers are alive, and every partition of these apps is served by a primary and two
    /// secondaries that know it.
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub fn wait_until_serving(&self, apps: &[&str]) {
        self.wait_until_servers_serve(&REPLICAS, apps, 3, PATIENCE);
    }

    /// The same with these servers, and so many replicas of each partition.
    ///
    /// # Panics
    /// If that takes longer than the patience.
    pub fn wait_until_servers_serve(
        &self,
        servers: &[&str],
        apps: &[&str],
        replicas: usize,
        patience: Duration,
    ) {
        wait_for_long(patience, "all replicas, in their roles", || {
            for name in servers {
                self.node(name)?;
            }
            for app in apps {
                let partitions = self.partitions(app)?;
                let is_whole = |it: &Partition| it.in_roles && it.secondaries.len() + 1 == replicas;
                let missing: Vec<&Partition> = partitions.iter().filter(|it| !is_whole(it)).collect();
                if let Some(first) = missing.first() {
                    return Err(format!("{} of {}, the first {first:?}", missing.len(), partitions.len()));
                }
            }
            Ok(())
        });
    }

    /// Waits until every partition of an app has a primary and two secondaries.
    ///
    /// # Panics
    /// If that takes more than a minute.
    pub fn wait_until_whole(&self, app: &str) {
        wait_for(&format!("all replicas of {app}"), || {
            let partitions = self.partitions(app)?;
            let whole = partitions.iter().all(|p| p.primary.is_some() && p.secondaries.len() == 2);
            if whole && !partitions.is_empty() { Ok(()) } else { Err(format!("{partitions:?}")) }
        });
    }
}
