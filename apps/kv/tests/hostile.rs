//! Requests from any client, and answers from any server.

use bytes::Bytes;
use hostile::{harmed, justified, noise, peak};
use kv::request::{Condition, Read, Request, Write};
use kv::{Change, Decided, KvType, Page, Remaining, State};
use proptest::prelude::*;
use replicated_app::{AppInfo, AppType, Batch, Decree, Gpid, OpenContext};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

type Blob = Vec<u8>;

fn blob() -> impl Strategy<Value = Blob> {
    prop::collection::vec(any::<u8>(), 1..9)
}

fn valid() -> impl Strategy<Value = Vec<u8>> {
    (0..9, blob(), blob(), any::<u64>(), 0..4, any::<bool>()).prop_map(
        |(kind, key, value, number, condition, more)| {
            let condition = match condition {
                0 => Condition::None,
                1 => Condition::Version(number),
                2 => Condition::Value(&value),
                _ => Condition::Absent,
            };
            let to = more.then_some(&value[..]);
            let (key, value) = (&key[..], &value[..]);
            let read = |read: Read<'_>| {
                assert_eq!(Request::decode(&read.encode()), Ok(Request::Read(read)));
                read.encode().to_vec()
            };
            let write = |write: Write<'_>| {
                assert_eq!(Request::decode(&write.encode()), Ok(Request::Write(write.clone())));
                write.encode().to_vec()
            };
            match kind {
                0 => write(Write::Put { key, value, condition, ttl_us: number }),
                1 => write(Write::Delete { key, condition }),
                2 => write(Write::MultiPut { pairs: vec![(key, value), (value, key)] }),
                3 => write(Write::SetTtl { key, ttl_us: number }),
                4 => write(Write::SetOnce { key, version: number, value }),
                5 => read(Read::Get { key }),
                6 => read(Read::Scan { limit: number as u32, from: key, to }),
                7 => read(Read::Ttl { key }),
                _ => read(Read::GetAt { key, version: number }),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_are_a_request_or_refused(bytes in prop_oneof![noise(), harmed(valid())]) {
        let (decoded, peak) = peak(|| Request::decode(&bytes).is_ok());
        prop_assert!(peak <= justified(bytes.len()), "{peak} bytes for {}", bytes.len());
        if decoded {
            // What is understood says the same again.
            let again = match Request::decode(&bytes).expect("it was") {
                Request::Read(read) => read.encode(),
                Request::Write(write) => write.encode(),
            };
            prop_assert_eq!(&again[..], &bytes[..]);
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_none(bytes in noise()) {
        let length = bytes.len();
        let bytes = Bytes::from(bytes);
        let ((), peak) = peak(|| {
            let _ = (State::decode(&bytes), Change::decode(&bytes), Decided::decode(&bytes));
            let _ = (Page::decode(&bytes), Remaining::decode(&bytes));
        });
        prop_assert!(peak <= justified(length), "{peak} bytes for {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn any_request_is_answered(batches in prop::collection::vec(prop::collection::vec(prop_oneof![noise(), valid(), harmed(valid())], 1..9), 9)) {
        let folder = tempfile::tempdir().expect("a folder");
        let context = OpenContext { gpid: Gpid::new(1, 0), app: &AppInfo::default(), folder: folder.path() };
        let mut app = KvType::default().open(&context).expect("opens");
        for (decree, requests) in (1..).zip(batches) {
            let requests: Vec<Bytes> = requests.into_iter().map(Bytes::from).collect();
            let before = app.digest();
            let read: Vec<_> = requests.iter().map(|request| app.read(request)).collect();
            prop_assert_eq!(app.digest(), before, "a read changes nothing");
            let applied = app.apply(&Batch { decree: Decree(decree), timestamp_us: decree, requests: &requests });
            prop_assert_eq!(applied.len(), read.len());
            prop_assert_eq!(app.failure(), None);
        }
    }
}
