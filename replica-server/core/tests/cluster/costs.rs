//! What operations cost, counted: a busy machine changes nothing of that. Limits are what it is now; whoever finds a
//! way to do with less lowers them.

use bytes::Bytes;
use hostile::allocations;
use words::{Reply, SessionStamp, Write, WriteKind};

use crate::harness::{Cluster, Cost};
use crate::{R1, three};

fn open_session(cluster: &mut Cluster) -> u64 {
    let open = Write { session: None, kind: WriteKind::OpenSession, payload: Bytes::new() };
    let reply = cluster.write_in_one_turn(R1, vec![open]).remove(0);
    let Some(Reply::Done { answer: Ok(number), .. }) = reply else { panic!("{reply:?}") };
    u64::from_le_bytes(number[..].try_into().unwrap())
}

/// So many writes of a session; all before them were answered.
fn writes(session: u64, first: u64, count: u64) -> Vec<Write> {
    let write = |sequence| {
        let session = Some(SessionStamp { session, sequence, first_incomplete: first });
        Write { session, kind: WriteKind::Update, payload: Bytes::from_static(&[1]) }
    };
    (first..first + count).map(write).collect()
}

#[test]
fn writes_that_are_taken_together_cost_as_many_records_syncs_and_messages_as_one() {
    let mut cluster = three();
    let session = open_session(&mut cluster);
    for (first, count) in [(1, 1), (2, 64), (66, 1000)] {
        let before = std::mem::take(&mut cluster.cost);
        assert_ne!(before, Cost::default());
        let replies = cluster.write_in_one_turn(R1, writes(session, first, count));
        assert!(replies.iter().all(|reply| matches!(reply, Some(Reply::Done { .. }))), "{replies:?}");
        // A record and a sync on each of three nodes; a prepare to each of two, and its acknowledgement.
        assert_eq!(cluster.cost, Cost { records: 3, appends: 3, messages: 4 }, "{count} writes");
    }
}

#[test]
fn a_read_costs_nobody_else_anything() {
    let mut cluster = three();
    cluster.cost = Cost::default();
    assert_eq!(cluster.read(R1), Ok(0));
    assert_eq!(cluster.cost, Cost::default());
}

#[test]
fn writes_allocate_little() {
    const WRITES: u64 = 512;
    let mut cluster = three();
    let session = open_session(&mut cluster);
    cluster.write_in_one_turn(R1, writes(session, 1, WRITES));
    let batch = writes(session, 1 + WRITES, WRITES);
    let (replies, count) = allocations(|| cluster.write_in_one_turn(R1, batch));
    assert_eq!(replies.len() as u64, WRITES);
    // In the cores, the sessions and the test's app of all three nodes together.
    let for_each = count as f64 / WRITES as f64;
    assert!(for_each < 1.0, "{for_each} allocations a write");
}
