//! The store on simulated clusters with faults, held against a plain model (docs/test-your-app.md).

use std::collections::BTreeMap;
use std::io;

use kv::request::{Condition, MALFORMED, Read, Request, Write};
use kv::{Change, KvType, State, Value};
use replicated_app::{AppAnswer, AppType, Bytes, Rejection, ReplicatedApp};
use simulator::{Dice, Home, Model, Sometimes, Subject, check};

/// What a store should do. Keys that expire are written here and never read with a lease: a reader does not see
/// the partition's time in its history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cells {
    cells: BTreeMap<Vec<u8>, Cell>,
    decided: BTreeMap<(Vec<u8>, u64), Vec<u8>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Cell {
    version: u64,
    /// The value, and when it expires.
    value: Option<(Vec<u8>, Option<u64>)>,
}

fn no(code: u32) -> Rejection {
    Rejection { code, message: String::new() }
}

impl Cells {
    fn cell(&self, key: &[u8], now_us: u64) -> Cell {
        let mut cell = self.cells.get(key).cloned().unwrap_or_default();
        if matches!(cell.value, Some((_, Some(at_us))) if at_us <= now_us) {
            cell = Cell { version: cell.version + 1, value: None };
        }
        cell
    }

    fn change(
        &mut self,
        key: &[u8],
        now_us: u64,
        condition: Condition<'_>,
        value: impl FnOnce(Option<Vec<u8>>) -> Option<(Vec<u8>, Option<u64>)>,
    ) -> Change {
        let cell = self.cell(key, now_us);
        let old = cell.value.as_ref().map(|(value, _)| value.clone());
        let holds = match condition {
            Condition::None => true,
            Condition::Version(version) => cell.version == version,
            Condition::Value(wanted) => old.as_deref() == Some(wanted),
            Condition::Absent => old.is_none(),
        };
        if !holds {
            return Change::Refused(state(&cell));
        }
        let version = cell.version + 1;
        self.cells.insert(key.to_vec(), Cell { version, value: value(old) });
        Change::Made(version)
    }
}

fn state(cell: &Cell) -> State {
    let value = cell.value.clone().map(|(bytes, expires_us)| Value { bytes: bytes.into(), expires_us });
    State { version: cell.version, value }
}

/// Answers as bytes, by docs/apps/kv.md and not by the code under test.
fn state_bytes(state: &State) -> Vec<u8> {
    let mut bytes = vec![u8::from(state.value.is_some())];
    bytes.extend(state.version.to_le_bytes());
    if let Some(value) = &state.value {
        bytes.extend(value.expires_us.unwrap_or(0).to_le_bytes());
        bytes.extend(&value.bytes[..]);
    }
    bytes
}

fn change_bytes(change: &Change) -> Bytes {
    match change {
        Change::Made(version) => [&[0][..], &version.to_le_bytes()].concat().into(),
        Change::Refused(state) => [&[1][..], &state_bytes(state)].concat().into(),
    }
}

fn decided_bytes(value: Option<&Vec<u8>>) -> Bytes {
    value.map_or(vec![0], |value| [&[1][..], value].concat()).into()
}

impl Model for Cells {
    fn apply(&mut self, request: &[u8], timestamp_us: u64) -> AppAnswer {
        let Ok(Request::Write(write)) = Request::decode(request) else { return Err(no(MALFORMED)) };
        let at = |ttl_us: u64| (ttl_us > 0).then(|| timestamp_us + ttl_us);
        Ok(match write {
            Write::Put { key, value, condition, ttl_us } => {
                change_bytes(
                    &self.change(key, timestamp_us, condition, |_| Some((value.to_vec(), at(ttl_us)))),
                )
            }
            Write::Delete { key, condition } => {
                change_bytes(&self.change(key, timestamp_us, condition, |_| None))
            }
            Write::SetTtl { key, ttl_us } => {
                let cell = self.cell(key, timestamp_us);
                change_bytes(&if cell.value.is_none() {
                    Change::Refused(state(&cell))
                } else {
                    self.change(key, timestamp_us, Condition::None, |old| Some((old?, at(ttl_us))))
                })
            }
            Write::MultiPut { pairs } => {
                let mut versions = Vec::new();
                for (key, value) in pairs {
                    let put = |_| Some((value.to_vec(), None));
                    let Change::Made(version) = self.change(key, timestamp_us, Condition::None, put) else {
                        panic!("there is no condition");
                    };
                    versions.extend(version.to_le_bytes());
                }
                versions.into()
            }
            Write::SetOnce { key, version, value } => {
                let before = self.decided.get(&(key.to_vec(), version));
                let answer = decided_bytes(before);
                self.decided.entry((key.to_vec(), version)).or_insert_with(|| value.to_vec());
                answer
            }
        })
    }

    fn read(&self, request: &[u8]) -> AppAnswer {
        match Request::decode(request) {
            Ok(Request::Read(Read::Get { key })) => {
                Ok(state_bytes(&state(&self.cells.get(key).cloned().unwrap_or_default())).into())
            }
            Ok(Request::Read(Read::GetAt { key, version })) => {
                Ok(decided_bytes(self.decided.get(&(key.to_vec(), version))))
            }
            _ => Err(no(MALFORMED)),
        }
    }
}

struct Kv(KvType);

/// The one key whose values expire.
const EXPIRING: u8 = 0;

/// A value that the store keeps apart from its key.
const LARGE: [u8; 5_000] = [b'l'; 5_000];

impl Subject for Kv {
    type Model = Cells;

    fn open(&self, home: &Home) -> io::Result<Box<dyn ReplicatedApp>> {
        self.0.open(&home.context())
    }

    fn write(&self, number: u8, dice: &mut Dice) -> Bytes {
        let name = format!("k{number}");
        let key = name.as_bytes();
        let value = dice.pick(&[&b"a"[..], b"b", &LARGE]);
        let condition = match dice.index(5) {
            0 => Condition::Version(dice.index(30) as u64),
            1 => Condition::Value(b"a"),
            2 => Condition::Absent,
            _ => Condition::None,
        };
        let ttl_us = if number == EXPIRING { dice.pick(&[0, 1, 20_000, 300_000]) } else { 0 };
        let write = match dice.index(8) {
            0 => Write::Delete { key, condition },
            1 => Write::SetTtl { key, ttl_us },
            2 => Write::MultiPut { pairs: vec![(key, value), (key, b"twice")] },
            3 => Write::SetOnce { key, version: dice.index(9) as u64, value },
            4 => Write::Put { key: b"", value, condition, ttl_us },
            _ => Write::Put { key, value, condition, ttl_us },
        };
        write.encode()
    }

    fn read(&self, number: u8, dice: &mut Dice) -> Bytes {
        let name = format!("k{number}");
        let key = name.as_bytes();
        if number == EXPIRING || dice.index(4) == 0 {
            return Read::GetAt { key, version: dice.index(9) as u64 }.encode();
        }
        Read::Get { key }.encode()
    }

    fn show_request(&self, request: &[u8]) -> String {
        Request::decode(request).map_or_else(|no| no.message, |request| format!("{request:?}"))
    }
}

#[test]
fn the_store_does_what_its_model_does() {
    // Few, since each opens a hundred databases; and some more, if they have not had a bit of everything.
    const WANTED: [Sometimes; 4] =
        [Sometimes::LearnByCheckpoint, Sometimes::CheckpointDone, Sometimes::AppLost, Sometimes::ReadLate];
    // What is in files is in no cache.
    let kv = Kv(KvType::with_cache(0));
    let mut tally = check(&kv, 20..26);
    for seed in 26..46 {
        if WANTED.iter().any(|&what| tally.of(what) == 0) {
            tally.add(&check(&kv, seed..seed + 1));
        }
    }
    for what in [Sometimes::WriteDone, Sometimes::ReadDone, Sometimes::RetryAnswered] {
        assert!(tally.of(what) > 20, "{what:?} happened only {} times", tally.of(what));
    }
    for what in WANTED {
        assert!(tally.of(what) > 0, "{what:?} never happened");
    }
}
