//! What of a seed's run is left out, so that what is left can be understood.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A seed's run with something left out. The default leaves out nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Only these troubles happen, by their numbers; `None` for all of them.
    pub only: Option<Numbers>,
    /// These clients, counted from 0, do nothing before the calm.
    pub silent: Numbers,
    /// The calm begins then, if not earlier.
    pub calm: Option<Duration>,
    /// No message is lost, late, doubled or out of order by chance.
    pub fair: bool,
    /// Clients ask no more at once than a search can judge, and afterwards one does.
    pub searchable: bool,
}

impl Mask {
    /// Whether a trouble happens.
    #[must_use]
    pub(crate) fn admits(&self, trouble: u32) -> bool {
        self.only.as_ref().is_none_or(|only| only.0.contains(&trouble))
    }

    /// Whether a client does nothing before the calm.
    #[must_use]
    pub(crate) fn silences(&self, client: usize) -> bool {
        u32::try_from(client).is_ok_and(|client| self.silent.0.contains(&client))
    }
}

/// The options of the command line that leave out the same.
impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(only) = &self.only {
            write!(f, " --only {only}")?;
        }
        if !self.silent.0.is_empty() {
            write!(f, " --silent {}", self.silent)?;
        }
        if let Some(calm) = self.calm {
            write!(f, " --calm-ms {}", calm.as_millis())?;
        }
        if self.fair {
            write!(f, " --fair")?;
        }
        if self.searchable {
            write!(f, " --search")?;
        }
        Ok(())
    }
}

/// A set of numbers, written `3,5-9`, or `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(pub BTreeSet<u32>);

/// No list on a command line means more than so many.
const MOST: usize = 100_000;

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut separator = "";
        if numbers.peek().is_none() {
            return f.write_str("none");
        }
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|&next| next == last + 1) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',').filter(|_| text != "none") {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{part:?} is no number"));
            let (first, last) = (number(first)?, number(last)?);
            if last < first || (last - first) as usize >= MOST {
                return Err(format!("{part:?} is no range"));
            }
            numbers.extend(first..=last);
        }
        Ok(Self(numbers))
    }
}

/// A trouble that happened in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Its number.
    pub number: u32,
    /// When it struck.
    pub at: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for text in ["none", "3", "3,5-9", "0-1,7,9-10"] {
            assert_eq!(text.parse::<Numbers>().expect("valid").to_string(), text);
        }
        assert_eq!("1,2,3,5".parse::<Numbers>().expect("valid").to_string(), "1-3,5");
        for text in ["", "a", "3-", "5-3", "1,,2", "0-4000000000", "-1"] {
            text.parse::<Numbers>().expect_err("no numbers");
        }
    }
}
