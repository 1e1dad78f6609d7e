//! What a meta server needs to know to run.

use std::path::PathBuf;
use std::time::Duration;

use meta_core::MetaSettings;
use settings::{Server, Settings, SettingsError};

/// What a meta server needs to know to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name in `config.ini`.
    pub name: String,
    /// Where the others reach it, as `host:port`.
    pub address: String,
    /// Where it keeps its state; made if it is not there.
    pub data_dir: PathBuf,
    /// What it decides by.
    pub settings: MetaSettings,
    /// The app that it creates when it starts for the first time.
    pub first_app: Option<FirstApp>,
    /// All meta servers of `config.ini`, this one among them. They found the cluster together; afterwards the
    /// members are what operators made of them, and these are only whom to ask.
    pub servers: Vec<Server>,
    /// When meta servers hear of each other.
    pub timers: Timers,
}

/// How soon a meta server that leads is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Between two signs of life of the one that leads.
    pub heartbeat: Duration,
    /// It is followed for so long after each; then another one is elected within once more that time.
    pub election_timeout: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { heartbeat: Duration::from_millis(150), election_timeout: Duration::from_millis(500) }
    }
}

/// An app to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstApp {
    /// Its name.
    pub name: String,
    /// Its type.
    pub app_type: String,
    /// Number of partitions.
    pub partition_count: u32,
    /// Replicas for each partition.
    pub replica_count: u32,
}

impl Options {
    /// What the settings say for the meta server of this name.
    ///
    /// # Errors
    /// If they name no such meta server.
    pub fn from_settings(settings: &Settings, name: &str) -> Result<Self, SettingsError> {
        let server = settings.server(name)?;
        let app = &settings.new_app;
        let first_app = (!app.app_name.is_empty()).then(|| FirstApp {
            name: app.app_name.clone(),
            app_type: app.app_type.clone(),
            partition_count: app.partition_count,
            replica_count: app.max_replica_count,
        });
        Ok(Self {
            name: server.name,
            address: server.address,
            data_dir: settings.data_dir(name),
            settings: meta_settings(settings),
            first_app,
            servers: settings.meta_servers(),
            timers: Timers {
                heartbeat: Duration::from_millis(settings.meta_server.raft_heartbeat_ms),
                election_timeout: Duration::from_millis(settings.meta_server.election_timeout_ms),
            },
        })
    }

    /// The same as the only meta server.
    ///
    /// # Errors
    /// If the settings name no such meta server.
    pub fn alone(settings: &Settings, name: &str) -> Result<Self, SettingsError> {
        let mut options = Self::from_settings(settings, name)?;
        options.servers.retain(|server| server.name == name);
        Ok(options)
    }
}

fn meta_settings(settings: &Settings) -> MetaSettings {
    let meta = &settings.meta_server;
    let replication = &settings.replication;
    MetaSettings {
        failure_timeout: Duration::from_millis(replication.failure_timeout_ms),
        reconnect_grace: Duration::from_millis(meta.reconnect_grace_ms),
        ask_again: Duration::from_millis(meta.ask_again_ms),
        learn_timeout: Duration::from_millis(replication.learn_timeout_ms),
        replica_assign_delay: Duration::from_millis(meta.replica_assign_delay_ms_for_dropouts),
        mutation_2pc_min_replica_count: replication.mutation_2pc_min_replica_count,
        sweep: Duration::from_millis(meta.sweep_ms),
        hold_seconds_for_dropped_app: meta.hold_seconds_for_dropped_app,
        balancer_moves_in_flight: meta.balancer_moves_in_flight,
        balancer_pause: Duration::from_millis(meta.balancer_pause_ms),
        stable_rs_min_running: Duration::from_secs(meta.stable_rs_min_running_seconds),
        max_successive_unstable_restart: meta.max_successive_unstable_restart,
        replica_white_list: meta.replica_white_list.0.clone(),
        app_types: meta.app_types.0.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_ship_are_the_cores_defaults() {
        let settings = Settings::from_defaults(&[]).expect("the defaults are fine");
        assert_eq!(format!("{:?}", meta_settings(&settings)), format!("{:?}", MetaSettings::default()));
    }
}
