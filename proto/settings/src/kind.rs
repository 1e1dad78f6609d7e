//! What a value may look like.

use crate::List;

/// The values that a key takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A whole number between two bounds, both included.
    Number(u64, u64),
    /// `true` or `false`.
    Switch,
    /// A path.
    Path,
    /// A name.
    Name,
    /// A name, or nothing.
    NameOrNone,
    /// Names, with commas.
    Names,
    /// Names, with commas, or nothing.
    NamesOrNone,
    /// Host names or addresses, with commas.
    Hosts,
    /// TCP ports, with commas.
    Ports,
}

impl Kind {
    /// Whether it takes this value; if not, what to write instead.
    pub(crate) fn check(self, value: &str) -> Result<(), String> {
        let fits = match self {
            Self::Number(lowest, highest) => {
                value.parse().is_ok_and(|number: u64| (lowest..=highest).contains(&number))
            }
            Self::Switch => matches!(value, "true" | "false"),
            Self::Path => !value.is_empty(),
            Self::Name => is_name(value),
            Self::NameOrNone => value.is_empty() || is_name(value),
            Self::Names => value.split(',').all(|name| is_name(name.trim())),
            Self::NamesOrNone => value.is_empty() || Self::Names.check(value).is_ok(),
            Self::Hosts => value.split(',').all(|host| is_host(host.trim())),
            Self::Ports => {
                value.parse().is_ok_and(|ports: List<u16>| !ports.0.contains(&0) && !ports.0.is_empty())
            }
        };
        if fits { Ok(()) } else { Err(self.wanted()) }
    }

    fn wanted(self) -> String {
        match self {
            Self::Number(lowest, highest) => format!("a whole number from {lowest} to {highest}"),
            Self::Switch => "true or false".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Name => "a name of letters, digits and _ . -".to_owned(),
            Self::NameOrNone => "a name of letters, digits and _ . -, or nothing".to_owned(),
            Self::Names => "names of letters, digits and _ . -, with commas between them".to_owned(),
            Self::NamesOrNone => format!("{}, or nothing", Self::Names.wanted()),
            Self::Hosts => "host names or IP addresses ([::1] for IPv6), with commas between them".to_owned(),
            Self::Ports => "TCP ports from 1 to 65535, with commas between them".to_owned(),
        }
    }
}

/// Names go into paths and messages, so they are plain, and none is `.` or `..`.
pub(crate) fn is_name(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bracketed.map_or_else(|| is_name(text), |address| address.parse::<std::net::Ipv6Addr>().is_ok())
}
