//! Whether a setting is one that we know, and its value one that it takes.

use crate::SettingsError;
use crate::kind::Kind;
use crate::scan::Entry;
use crate::sections::{SECTIONS, Section, TASK_PREFIX, Task};

/// Checks one setting.
pub(crate) fn entry(entry: &Entry) -> Result<(), SettingsError> {
    let Entry { place, section, key, value } = entry;
    let Some(known) = find(section) else {
        let name = nearest(section, SECTIONS.iter().map(|it| it.name)).unwrap_or_default();
        let problem = format!("there is no section [{section}]; the nearest known one is [{name}]");
        return Err(SettingsError::new(place, problem));
    };
    let Some(kind) = known.kind(key) else {
        let problem = format!("[{section}] has no key `{key}`; {}", suggestion(known, key));
        return Err(SettingsError::new(place, problem));
    };
    let wrong = |wanted| {
        SettingsError::new(place, format!("[{section}] {key} = {value} makes no sense: write {wanted}"))
    };
    kind.check(value).map_err(wrong)
}

fn find(name: &str) -> Option<&'static Section> {
    let code = name.strip_prefix(TASK_PREFIX);
    if code.is_some_and(|code| !code.is_empty() && code.chars().all(is_of_code)) {
        return Some(&Task::SECTION);
    }
    SECTIONS.iter().copied().find(|section| section.name == name)
}

/// Task codes are what rDSN's macros make of a name: `RPC_COUNTER_COUNTER_READ`.
fn is_of_code(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

/// Where the key belongs; or if nowhere, the key of this section that is nearest.
fn suggestion(section: &Section, key: &str) -> String {
    let elsewhere = SECTIONS.iter().find(|other| other.kind(key).is_some());
    if let Some(other) = elsewhere {
        return format!("it belongs in [{}]", other.name);
    }
    let keys = section.keys.iter().map(|(name, _)| *name);
    format!("the nearest known key is `{}`", nearest(key, keys).unwrap_or_default())
}

fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|name| distance(text, name))
}

/// How many letters must be put in, taken out or changed to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

impl Section {
    fn kind(&self, key: &str) -> Option<Kind> {
        self.keys.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind)
    }
}
