//! A look at the text before the parser gets it, for what a parser of INI files swallows: what is written twice,
//! stands outside of a section, or is no setting at all.

use std::collections::BTreeMap;
use std::fmt;

use crate::SettingsError;

/// Where a setting is written.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In a file, on this line, from 1.
    Line(String, usize),
    /// On the command line.
    Override(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(file, line) => write!(f, "{file}:{line}"),
            Self::Override(text) => write!(f, "--set {text}"),
        }
    }
}

/// One setting as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) section: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// All settings of a file, in their order.
pub(crate) fn entries(file: &str, text: &str) -> Result<Vec<Entry>, SettingsError> {
    let mut scan = Scan { file, sections: BTreeMap::new(), keys: BTreeMap::new(), entries: Vec::new() };
    let mut section = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(scan.error(number, "has a control character in it; remove it"));
        }
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            section = Some(scan.section(number, line)?);
        } else {
            scan.setting(number, section.as_deref(), line)?;
        }
    }
    Ok(scan.entries)
}

struct Scan<'a> {
    file: &'a str,
    /// On which line each section begins.
    sections: BTreeMap<String, usize>,
    /// On which line each key of the current section stands.
    keys: BTreeMap<String, usize>,
    entries: Vec<Entry>,
}

impl Scan<'_> {
    fn section(&mut self, number: usize, line: &str) -> Result<String, SettingsError> {
        let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or_default();
        if !is_word(name) {
            return Err(self.error(number, format!("`{line}` is no section; write [NAME] alone on its line")));
        }
        if let Some(first) = self.sections.insert(name.to_owned(), number) {
            let problem = format!("section [{name}] began on line {first} already; merge the two");
            return Err(self.error(number, problem));
        }
        self.keys.clear();
        Ok(name.to_owned())
    }

    fn setting(&mut self, number: usize, section: Option<&str>, line: &str) -> Result<(), SettingsError> {
        let Some((key, value)) = line.split_once('=') else {
            let problem = format!("`{line}` is no setting; write KEY = VALUE, or # before a comment");
            return Err(self.error(number, problem));
        };
        let (key, value) = (key.trim(), value.trim());
        if !is_word(key) {
            return Err(self.error(number, format!("`{key}` is no key; write KEY = VALUE")));
        }
        let Some(section) = section else {
            return Err(
                self.error(number, format!("key `{key}` stands before any [section]; move it into one"))
            );
        };
        if let Some(first) = self.keys.insert(key.to_owned(), number) {
            let problem = format!("[{section}] {key} is set on line {first} already; remove one of the two");
            return Err(self.error(number, problem));
        }
        check_value(value).map_err(|problem| self.error(number, format!("[{section}] {key}: {problem}")))?;
        self.entries.push(Entry {
            place: Place::Line(self.file.to_owned(), number),
            section: section.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        Ok(())
    }

    fn error(&self, number: usize, problem: impl Into<String>) -> SettingsError {
        SettingsError::new(Place::Line(self.file.to_owned(), number), problem)
    }
}

/// `SECTION.KEY=VALUE`; a section's name can have dots in it.
pub(crate) fn override_entry(text: &str) -> Result<Entry, SettingsError> {
    let place = Place::Override(text.to_owned());
    let parts =
        text.split_once('=').and_then(|(name, value)| Some((name.trim().rsplit_once('.')?, value.trim())));
    let Some(((section, key), value)) = parts.filter(|((section, key), _)| is_word(section) && is_word(key))
    else {
        return Err(SettingsError::new(
            place,
            "write SECTION.KEY=VALUE, for example replication.lease_ms=300",
        ));
    };
    let (section, key, value) = (section.to_owned(), key.to_owned(), value.to_owned());
    Ok(Entry { place, section, key, value })
}

/// What the parser would read as something else than it says.
fn check_value(value: &str) -> Result<(), &'static str> {
    if value.contains(['"', '\'', '\\']) {
        Err("quotes and backslashes have no use here; remove them")
    } else if value.contains([';', '#']) {
        Err("a comment begins on a line of its own; move it above the key")
    } else {
        Ok(())
    }
}

/// What sections and keys are made of.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
