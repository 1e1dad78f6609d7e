//! Why a server does not start, in one line.

/// Why a server does not start: one line that names what is wrong and the fix. The process exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self(line.into())
    }
}

impl From<settings::SettingsError> for StartError {
    fn from(error: settings::SettingsError) -> Self {
        Self(error.to_string())
    }
}
