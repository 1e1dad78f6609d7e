//! What can be asked, at the command line and at the prompt.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{OsStringValueParser, TypedValueParser};
use client::command_line::app::not_done;
use client::command_line::{EXIT_MISTAKE, EXIT_NOT_DONE, complain};
use client::{Decree, Failure, Outcome};
use kv::request::{Condition, check_key};
use kv::{Kv, behind_prefix, states};

use crate::printed::{Form, Named, Told, worst};

/// Bytes as an argument: whatever the system hands over.
#[derive(Clone, Debug)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

/// One operation.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store VALUE at KEY
    Put {
        #[arg(value_parser = key())]
        key: Raw,
        #[arg(value_parser = raw(), required_unless_present = "file", allow_hyphen_values = true)]
        value: Option<Raw>,
        /// Take the value from this file
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
        /// Only if KEY has this version; 0: it never was there
        #[arg(long, value_name = "V")]
        version: Option<u64>,
        /// For so many seconds, a fraction of one too
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        ttl: Option<Duration>,
    },
    /// Print the value of KEY
    Get {
        #[arg(value_parser = key())]
        key: Raw,
    },
    /// Print the value of KEY as one node has it, which may be an old one
    Getlocal {
        #[arg(value_parser = key())]
        key: Raw,
        /// The node, by its name in `config.ini`, for example replica1
        #[arg(long)]
        node: String,
    },
    /// The same as `get`
    Getglobal {
        #[arg(value_parser = key())]
        key: Raw,
    },
    /// Take the value of KEY away; its version stays, one higher
    Delete {
        #[arg(value_parser = key())]
        key: Raw,
        /// Only if KEY has this version
        #[arg(long, value_name = "V")]
        version: Option<u64>,
    },
    /// Store VALUE at KEY if it has another value now, or none
    Cas {
        #[arg(value_parser = key())]
        key: Raw,
        #[arg(value_parser = raw(), allow_hyphen_values = true)]
        value: Raw,
        /// The value that KEY must have; if this is left out KEY must have none
        #[arg(long, value_name = "VALUE", value_parser = raw(), allow_hyphen_values = true)]
        expect: Option<Raw>,
    },
    /// Store several values at once: all or none, if their keys are in one partition
    MultiPut {
        /// KEY=VALUE
        #[arg(required = true, value_parser = pair())]
        pairs: Vec<(Raw, Raw)>,
        /// If they are not, put what is in each partition at once, and one part after another
        #[arg(long)]
        split: bool,
    },
    /// Print keys and values in the order of the keys: those that begin with PREFIX, or FROM..TO without TO
    Scan {
        #[arg(value_name = "PREFIX|FROM..TO", default_value = "", value_parser = raw())]
        range: Raw,
        /// How many at most
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// Print every change of keys that begin with PREFIX, from now on until Ctrl-C
    Watch {
        #[arg(value_name = "PREFIX", default_value = "", value_parser = raw())]
        prefix: Raw,
        /// In each partition from this decree on, instead of from now on
        #[arg(long, value_name = "DECREE", value_parser = clap::value_parser!(u64).range(1..=1 << 62))]
        from: Option<u64>,
        /// End after so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Print how long the value of KEY will be there; or set it
    Ttl {
        #[arg(value_parser = key())]
        key: Raw,
        /// From now on
        #[arg(value_name = "SECONDS", value_parser = seconds, conflicts_with = "never")]
        set: Option<Duration>,
        /// It stays until it is deleted
        #[arg(long)]
        never: bool,
    },
    /// Decide the value of KEY at VERSION, or print which one was decided
    SetOnce {
        #[arg(value_parser = key())]
        key: Raw,
        version: u64,
        #[arg(value_parser = raw(), allow_hyphen_values = true)]
        value: Raw,
    },
    /// Print the value that was decided for KEY at VERSION
    GetAt {
        #[arg(value_parser = key())]
        key: Raw,
        version: u64,
    },
}

impl Command {
    /// Does it, and prints what came of it.
    pub(crate) async fn carry_out(self, kv: &Kv, form: Form) -> ExitCode {
        match self {
            Self::Put { key, value, file, version, ttl } => {
                let value = match read(value, file) {
                    Ok(value) => value,
                    Err(code) => return code,
                };
                let condition = version.map_or(Condition::None, Condition::Version);
                let outcome = kv.put(&key.0, &value.0, condition, ttl).await;
                Told::change("Put", "version", &key.0, &outcome).with_value(&value.0).print(form)
            }
            Self::Get { key } => Told::state("Get", &key.0, &kv.get(&key.0).await).print(form),
            Self::Getglobal { key } => Told::state("GetGlobal", &key.0, &kv.get(&key.0).await).print(form),
            Self::Getlocal { key, node } => {
                Told::state("GetLocal", &key.0, &kv.get_local(&node, &key.0).await).print(form)
            }
            Self::Delete { key, version } => {
                let condition = version.map_or(Condition::None, Condition::Version);
                Told::change("Delete", "version", &key.0, &kv.delete(&key.0, condition).await).print(form)
            }
            Self::Cas { key, value, expect } => {
                let condition = expect.as_ref().map_or(Condition::Absent, |value| Condition::Value(&value.0));
                let outcome = kv.put(&key.0, &value.0, condition, None).await;
                Told::change("Cas", "value", &key.0, &outcome).with_value(&value.0).print(form)
            }
            Self::MultiPut { pairs, split } => multi_put(kv, &pairs, split, form).await,
            Self::Scan { range, limit } => scan(kv, &range.0, limit, form).await,
            Self::Watch { prefix, from, count } => watch(kv, &prefix.0, from, count, form).await,
            Self::Ttl { key, set: None, never: false } => {
                Told::remaining(&key.0, &kv.ttl(&key.0).await).print(form)
            }
            Self::Ttl { key, set, .. } => {
                Told::change("Ttl", "value", &key.0, &kv.set_ttl(&key.0, set).await).print(form)
            }
            Self::SetOnce { key, version, value } => {
                let outcome = kv.set_once(&key.0, version, &value.0).await;
                Told::decided(Named { key: &key.0, version }, &value.0, &outcome).print(form)
            }
            Self::GetAt { key, version } => {
                let outcome = kv.get_at(&key.0, version).await;
                Told::decided_value(Named { key: &key.0, version }, &outcome).print(form)
            }
        }
    }
}

async fn multi_put(kv: &Kv, pairs: &[(Raw, Raw)], split: bool, form: Form) -> ExitCode {
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(key, value)| (&key.0[..], &value.0[..])).collect();
    let parts = kv.by_partition(&pairs);
    if parts.len() > 1 && !split {
        let what = "the keys are in several partitions, and only within one can they be put at once";
        return complain(EXIT_MISTAKE, format!("{what}; --split puts what is in each by itself"));
    }
    let mut codes = Vec::new();
    for part in parts {
        let outcome = kv.multi_put(&part).await;
        codes.push(match outcome {
            Outcome::Done { decree, answer } => {
                for (&(key, value), version) in part.iter().zip(answer) {
                    Told::made("MultiPut", key, version, decree).with_value(value).print(form);
                }
                0
            }
            Outcome::Failed(ref failure) => Told::failed(failure).print_code(form),
            Outcome::Unknown => Told::unknown().print_code(form),
        });
    }
    worst(&codes)
}

async fn scan(kv: &Kv, range: &[u8], limit: u64, form: Form) -> ExitCode {
    let dots = range.windows(2).position(|two| two == b"..");
    let (from, to) = match dots {
        Some(at) => (&range[..at], Some(range[at + 2..].to_vec()).filter(|to| !to.is_empty())),
        None => (range, behind_prefix(range)),
    };
    let mut scan = kv.scan(from, to.as_deref()).expecting(u32::try_from(limit).unwrap_or(u32::MAX));
    let mut found = 0;
    while found < limit {
        match scan.next().await {
            Ok(Some(entry)) => Told::entry(&entry).print(form),
            Ok(None) => break,
            Err(failure) => return not_done(&failure),
        };
        found += 1;
    }
    if form == Form::Lines {
        client::command_line::print_line(format_args!("{found} keys"));
    }
    ExitCode::SUCCESS
}

/// Ends when the reader of its output has gone away, too.
async fn watch(kv: &Kv, prefix: &[u8], from: Option<u64>, count: Option<u64>, form: Form) -> ExitCode {
    let from = from.map(|decree| (0..kv.partition_count()).map(move |partition| (partition, Decree(decree))));
    let mut watch = kv.watch(prefix, &from.into_iter().flatten().collect());
    let mut left = count.unwrap_or(u64::MAX);
    while let Some(watched) = watch.next().await {
        let watched = match watched {
            Ok(watched) => watched,
            Err(failure) => return complain(EXIT_NOT_DONE, failure),
        };
        for (decree, key, state) in states(&watched) {
            left -= 1;
            if !Told::changed(key, &state, decree.0).show(form) || left == 0 {
                return ExitCode::SUCCESS;
            }
        }
    }
    ExitCode::SUCCESS
}

fn read(value: Option<Raw>, file: Option<PathBuf>) -> Result<Raw, ExitCode> {
    match (value, file) {
        (Some(value), _) => Ok(value),
        (None, Some(file)) => fs::read(&file)
            .map(Raw)
            .map_err(|error| complain(EXIT_MISTAKE, format!("{}: {error}", file.display()))),
        (None, None) => Err(not_done(&Failure::NotUnderstood("there is no value".into()))),
    }
}

fn raw() -> impl TypedValueParser<Value = Raw> {
    OsStringValueParser::new().map(|text: OsString| Raw(text.into_vec()))
}

fn key() -> impl TypedValueParser<Value = Raw> {
    OsStringValueParser::new().try_map(|text: OsString| checked(text.into_vec()))
}

fn pair() -> impl TypedValueParser<Value = (Raw, Raw)> {
    OsStringValueParser::new().try_map(|text: OsString| {
        let text = text.into_vec();
        let at = text.iter().position(|&byte| byte == b'=').ok_or("write KEY=VALUE")?;
        Ok::<_, String>((checked(text[..at].to_vec())?, Raw(text[at + 1..].to_vec())))
    })
}

fn checked(key: Vec<u8>) -> Result<Raw, String> {
    check_key(&key).map_err(|rejection| rejection.message)?;
    Ok(Raw(key))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds".to_owned())?;
    let span = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if span.is_zero() { Err("it can't be 0: delete the key".into()) } else { Ok(span) }
}
