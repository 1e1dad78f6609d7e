//! An app's environment: what operators set for it while it runs, by Pegasus's names.
//!
//! The meta server keeps the words as they were written and checks them; a replica server makes rules of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Writes a second, of the whole app: `2000*delay*100,20000*reject*200`.
const WRITE_THROTTLING: &str = "replica.write_throttling";
/// Bytes of writes a second, of the whole app: `10M*delay*100,20M*reject*200`.
const WRITE_THROTTLING_BY_SIZE: &str = "replica.write_throttling_by_size";
/// Requests that are not served: `reject*write`.
const DENY_CLIENT_REQUEST: &str = "replica.deny_client_request";

const THROTTLING_FORM: &str = "write `UNITS*delay*MS`, `UNITS*reject*MS`, or both with a comma between them, for example \
                               2000*delay*100,20000*reject*200: UNITS a second for the whole app, with K or M for \
                               thousands or millions, MS from 0 to 10000";
const DENIAL_FORM: &str = "write `HOW*WHAT`, for example reject*write: HOW is reject, timeout or reconfig, WHAT is read, \
                           write or all";

/// The longest pause that can be asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A key that there is.
struct Key {
    name: &'static str,
    /// What its values look like, for people.
    form: &'static str,
    is_well_formed: fn(&str) -> bool,
}

const KEYS: [Key; 3] = [
    Key { name: WRITE_THROTTLING, form: THROTTLING_FORM, is_well_formed: |value| throttle(value).is_some() },
    Key {
        name: WRITE_THROTTLING_BY_SIZE,
        form: THROTTLING_FORM,
        is_well_formed: |value| throttle(value).is_some(),
    },
    Key { name: DENY_CLIENT_REQUEST, form: DENIAL_FORM, is_well_formed: |value| denial(value).is_some() },
];

/// An app's environment: known keys with values of their forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEnvs(BTreeMap<String, String>);

/// Why a key or a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadEnv {
    /// Nobody knows the key.
    Key(String),
    /// The value has not the form that the key wants.
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The form.
        form: &'static str,
    },
}

impl AppEnvs {
    /// The names of all keys that there are.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|key| key.name)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// There is no such key, or the value has another form.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), BadEnv> {
        let key = known(key)?;
        if !(key.is_well_formed)(value) {
            let value = value.chars().take(128).collect();
            return Err(BadEnv::Value { key: key.name, value, form: key.form });
        }
        self.0.insert(key.name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Removes a key; whether it was set.
    ///
    /// # Errors
    /// There is no such key.
    pub fn remove(&mut self, key: &str) -> Result<bool, BadEnv> {
        known(key).map(|key| self.0.remove(key.name).is_some())
    }

    /// All that is set, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What a replica server does by it. What it can't read, say from a newer meta server, is no rule.
    #[must_use]
    pub fn rules(&self) -> EnvRules {
        let value = |key| self.0.get(key).map(String::as_str);
        EnvRules {
            by_count: value(WRITE_THROTTLING).and_then(throttle).unwrap_or_default(),
            by_size: value(WRITE_THROTTLING_BY_SIZE).and_then(throttle).unwrap_or_default(),
            denial: value(DENY_CLIENT_REQUEST).and_then(denial),
        }
    }
}

/// As it came over the wire.
impl FromIterator<(String, String)> for AppEnvs {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

fn known(name: &str) -> Result<&'static Key, BadEnv> {
    KEYS.iter().find(|key| key.name == name).ok_or_else(|| BadEnv::Key(name.chars().take(128).collect()))
}

impl std::error::Error for BadEnv {}

impl fmt::Display for BadEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => {
                let keys: Vec<&str> = AppEnvs::keys().collect();
                write!(f, "no environment key `{key}`; there are {}", keys.join(", "))
            }
            Self::Value { key, value, form } => write!(f, "{key} = `{value}` makes no sense: {form}"),
        }
    }
}

/// What a replica server does by an app's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvRules {
    /// Writes a second.
    pub by_count: Throttle,
    /// Bytes of writes a second.
    pub by_size: Throttle,
    /// Requests that are not served.
    pub denial: Option<Denial>,
}

/// How writes are slowed down: first they are delayed, then refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// What goes beyond this is delayed.
    pub delay: Option<Limit>,
    /// What goes beyond this is refused.
    pub reject: Option<Limit>,
}

/// So much a second, and how long what goes beyond it waits: for its turn, or for its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Units a second of the whole app.
    pub units: u64,
    /// How long.
    pub pause: Duration,
}

/// Requests that are not served, and how that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// How.
    pub how: Denied,
    /// Reads are meant.
    pub reads: bool,
    /// Writes are meant.
    pub writes: bool,
}

/// How a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// At once, and for good.
    Reject,
    /// Not before the client has most likely given up.
    Timeout,
    /// As if the role had moved: the client asks the meta server, and tries again.
    Reconfig,
}

/// `2000*delay*100,20000*reject*200`: either, or both.
fn throttle(value: &str) -> Option<Throttle> {
    let mut throttle = Throttle::default();
    for part in value.split(',') {
        let mut words = part.trim().split('*');
        let (units, what, pause) = (words.next()?, words.next()?, words.next()?);
        let pause = Duration::from_millis(pause.parse().ok()?);
        let limit = Limit { units: self::units(units)?, pause };
        let place = match what {
            "delay" => &mut throttle.delay,
            "reject" => &mut throttle.reject,
            _ => return None,
        };
        if words.next().is_some() || pause > LONGEST_PAUSE || place.replace(limit).is_some() {
            return None;
        }
    }
    Some(throttle)
}

/// `20000`, `20K`, `1M`: at least one.
fn units(text: &str) -> Option<u64> {
    let (digits, times) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1_000),
        b'M' | b'm' => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let units = digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(times)?;
    (1..=1 << 50).contains(&units).then_some(units)
}

/// `reject*write`.
fn denial(value: &str) -> Option<Denial> {
    let (how, what) = value.split_once('*')?;
    let how = match how {
        "reject" => Denied::Reject,
        "timeout" => Denied::Timeout,
        "reconfig" => Denied::Reconfig,
        _ => return None,
    };
    let (reads, writes) = match what {
        "read" => (true, false),
        "write" => (false, true),
        "all" => (true, true),
        _ => return None,
    };
    Some(Denial { how, reads, writes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(units: u64, ms: u64) -> Option<Limit> {
        Some(Limit { units, pause: Duration::from_millis(ms) })
    }

    #[test]
    fn a_throttle_delays_or_refuses_or_both() {
        for (value, delay, reject) in [
            ("2000*delay*100", limit(2000, 100), None),
            ("20K*reject*0", None, limit(20_000, 0)),
            ("2000*delay*100,3M*reject*200", limit(2000, 100), limit(3_000_000, 200)),
            ("3m*reject*200, 2k*delay*10000", limit(2000, 10_000), limit(3_000_000, 200)),
        ] {
            assert_eq!(throttle(value), Some(Throttle { delay, reject }), "{value}");
        }
        for value in [
            "",
            "2000",
            "*delay*1",
            "2000*delay",
            "2000*delay*1*1",
            "2000*stop*1",
            "0*delay*1",
            "-1*delay*1",
            "+1*delay*1",
            "K*delay*1",
            "1*delay*10001",
            "1*delay*x",
            "1*delay*1,",
            "1*delay*1,2*delay*2",
            "99999999999999999999*delay*1",
            "99999999999999999M*delay*1",
        ] {
            assert_eq!(throttle(value), None, "{value}");
        }
    }

    #[test]
    fn a_denial_says_how_and_what() {
        let denial_of = |how, reads, writes| Some(Denial { how, reads, writes });
        assert_eq!(denial("reject*write"), denial_of(Denied::Reject, false, true));
        assert_eq!(denial("timeout*all"), denial_of(Denied::Timeout, true, true));
        assert_eq!(denial("reconfig*read"), denial_of(Denied::Reconfig, true, false));
        for value in ["", "reject", "reject*", "*write", "reject*write*", "drop*all", "reject*everything"] {
            assert_eq!(denial(value), None, "{value}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let mut envs = AppEnvs::default();
        envs.set("replica.write_throttling", "5*reject*10").expect("it makes sense");
        let before = envs.clone();
        let unknown = envs.set("default_ttl", "60").expect_err("not ours");
        assert_eq!(
            unknown.to_string(),
            "no environment key `default_ttl`; there are replica.write_throttling, \
             replica.write_throttling_by_size, replica.deny_client_request"
        );
        let bad = envs.set("replica.deny_client_request", "reject").expect_err("half of it is missing");
        assert_eq!(
            bad.to_string(),
            "replica.deny_client_request = `reject` makes no sense: write `HOW*WHAT`, for example reject*write: HOW is \
             reject, timeout or reconfig, WHAT is read, write or all"
        );
        assert!(envs.remove("default_ttl").is_err());
        assert_eq!(envs, before);
        assert_eq!(envs.remove("replica.deny_client_request"), Ok(false));
        assert_eq!(envs.remove("replica.write_throttling"), Ok(true));
        assert_eq!(envs, AppEnvs::default());
    }

    #[test]
    fn what_is_not_understood_is_no_rule() {
        let foreign = [("replica.write_throttling", "soon"), ("replica.new", "1")];
        let envs: AppEnvs =
            foreign.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        assert_eq!(envs.rules(), EnvRules::default());
        assert_eq!(envs.iter().count(), 2);
    }
}
