//! One file, `config.ini`, configures every process; this is what it can say.
//!
//! A key that is not written has its default. Whatever nobody would notice otherwise is an error of one line
//! that names the file, the key and the fix: an unknown section or key, a value out of range, a key or section
//! written twice, a line that is neither, a file without any setting.
//!
//! ```
//! let settings = settings::Settings::from_defaults(&["replication.lease_ms=300".to_owned()])?;
//! assert_eq!(settings.replication.lease_ms, 300);
//! assert_eq!(settings.server("replica2")?.address, "127.0.0.1:34802");
//! # Ok::<(), settings::SettingsError>(())
//! ```

mod check;
mod kind;
mod list;
mod relations;
mod scan;
mod sections;
mod servers;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, File, FileFormat};
use serde::de::DeserializeOwned;

pub use list::List;
pub use sections::{AppsMeta, AppsReplica, Client, Core, MetaServer, NewApp, Replication, Task};
pub use servers::Server;

use scan::Entry;
use sections::TASK_PREFIX;

/// Why settings can't be used: one line that names the file (or the command line), the key and the fix. A
/// process that gets one exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SettingsError {
    place: String,
    problem: String,
}

impl SettingsError {
    pub(crate) fn new(place: impl Display, problem: impl Into<String>) -> Self {
        Self { place: on_one_line(&place.to_string()), problem: on_one_line(&problem.into()) }
    }
}

/// What somebody wrote comes back in messages: whatever it holds, a message stays one line.
fn on_one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// All settings, by section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[apps.meta]`; see [`Settings::meta_servers`].
    pub apps_meta: AppsMeta,
    /// `[apps.replica]`; see [`Settings::replica_servers`].
    pub apps_replica: AppsReplica,
    /// `[core]`; see [`Settings::data_dir`].
    pub core: Core,
    /// `[meta_server]`
    pub meta_server: MetaServer,
    /// `[replication]`
    pub replication: Replication,
    /// `[replication.app]`; see [`Settings::app`].
    pub new_app: NewApp,
    /// `[client]`
    pub client: Client,
    /// `[task.CODE]`, by code; see [`Settings::task`].
    pub tasks: BTreeMap<String, Task>,
    /// Where they come from, for messages.
    origin: String,
}

impl Settings {
    /// Reads a file. Each of `overrides` is `SECTION.KEY=VALUE` and counts instead of what the file says.
    ///
    /// # Errors
    /// If the file can't be read, or if it or an override makes no sense.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, SettingsError> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            SettingsError::new(&file, format!("can't be read: {error}; is the path right?"))
        })?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| SettingsError::new(&file, "is not text in UTF-8; save it as such"))?;
        Self::parse(&file, text, overrides)
    }

    /// Without a file: the defaults and these overrides.
    ///
    /// # Errors
    /// If an override makes no sense.
    pub fn from_defaults(overrides: &[String]) -> Result<Self, SettingsError> {
        Self::build("the settings", "", &[], overrides)
    }

    /// Reads the text of a file; `file` is its name, for messages.
    ///
    /// # Errors
    /// If the text or an override makes no sense.
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, SettingsError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let entries = scan::entries(file, text)?;
        if entries.is_empty() {
            return Err(SettingsError::new(
                file,
                "has no setting in it; start from the config.ini that ships",
            ));
        }
        Self::build(file, text, &entries, overrides)
    }

    fn build(file: &str, text: &str, entries: &[Entry], overrides: &[String]) -> Result<Self, SettingsError> {
        let overrides =
            overrides.iter().map(|text| scan::override_entry(text)).collect::<Result<Vec<_>, _>>()?;
        entries.iter().chain(&overrides).try_for_each(check::entry)?;

        let refused = |error: ConfigError| SettingsError::new(file, error.to_string());
        // The parser would take an indented comment for a key.
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut builder = Config::builder().add_source(File::from_str(&lines.join("\n"), FileFormat::Ini));
        for Entry { section, key, value, .. } in overrides {
            builder = builder.set_override(format!("{section}.{key}"), value).map_err(refused)?;
        }
        let settings = Self::from_config(file, &builder.build().map_err(refused)?).map_err(refused)?;
        relations::check(&settings)?;
        Ok(settings)
    }

    fn from_config(file: &str, config: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            apps_meta: section(config, AppsMeta::SECTION.name)?,
            apps_replica: section(config, AppsReplica::SECTION.name)?,
            core: section(config, Core::SECTION.name)?,
            meta_server: section(config, MetaServer::SECTION.name)?,
            replication: section(config, Replication::SECTION.name)?,
            new_app: section(config, NewApp::SECTION.name)?,
            client: section(config, Client::SECTION.name)?,
            tasks: section(config, TASK_PREFIX.trim_end_matches('.'))?,
            origin: file.to_owned(),
        })
    }

    /// Where the process of this name keeps its data; relative to the working directory unless `data_dir` is
    /// absolute.
    #[must_use]
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.core.data_dir.join(name)
    }

    /// The app that the meta server creates when it starts for the first time, if any.
    #[must_use]
    pub fn app(&self) -> Option<&NewApp> {
        Some(&self.new_app).filter(|app| !app.app_name.is_empty())
    }

    /// What is set for the requests of this code, for example `RPC_COUNTER_COUNTER_READ`.
    #[must_use]
    pub fn task(&self, code: &str) -> Task {
        self.tasks.get(code).cloned().unwrap_or_default()
    }
}

/// One section, or its defaults if it is not there.
fn section<T: DeserializeOwned + Default>(config: &Config, name: &str) -> Result<T, ConfigError> {
    match config.get(name) {
        Err(ConfigError::NotFound(_)) => Ok(T::default()),
        found => found,
    }
}
