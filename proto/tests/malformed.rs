//! What is wrong with a message is said by the name of its field.

use bytes::Bytes;
use prost::Message;
use proto::{Malformed, Operation, malformed_reply, pb};
use words::{Configuration, MetaToNode, Mutation, NodeId, Refusal, ReplicaReport, Reply, Write};

fn problem<W: TryFrom<P, Error = Malformed>, P>(message: P) -> String {
    match W::try_from(message) {
        Ok(_) => "nothing".to_owned(),
        Err(malformed) => malformed.to_string(),
    }
}

#[test]
fn a_missing_field_is_named() {
    assert_eq!(
        problem::<Operation, _>(pb::Operation::default()),
        "malformed message: Operation.what is missing"
    );
    assert_eq!(problem::<Mutation, _>(pb::Mutation::default()), "malformed message: Mutation.id is missing");
    assert_eq!(
        problem::<MetaToNode, _>(pb::MetaToNode::default()),
        "malformed message: MetaToNode.what is missing"
    );
}

#[test]
fn a_node_id_is_16_bytes_big_endian_or_none() {
    let configuration = |primary: Bytes| pb::Configuration { ballot: 1, primary, secondaries: vec![] };
    let id = Bytes::from_static(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    let node = NodeId((1 << 112) + 2);
    assert_eq!(proto::node_bytes(node), id);
    let primary = |bytes| Configuration::try_from(configuration(bytes)).map(|it| it.primary);
    assert_eq!(primary(id), Ok(Some(node)));
    assert_eq!(primary(Bytes::new()), Ok(None));
    assert_eq!(
        problem::<Configuration, _>(configuration(Bytes::from_static(b"r1"))),
        "malformed message: Configuration.primary is not 16 bytes long"
    );
    let frame = pb::PeerFrame { envelopes: vec![pb::Envelope::default()] };
    let problem = proto::envelopes(frame).expect_err("no ids").to_string();
    assert_eq!(problem, "malformed message: Envelope.from is not 16 bytes long");
}

/// Behind the wire, ballots and decrees are counted up: one next to the largest number would overflow there.
#[test]
fn a_number_that_counting_never_reaches_is_refused() {
    let message = pb::Configuration { ballot: u64::MAX, ..Default::default() };
    assert_eq!(
        problem::<Configuration, _>(message),
        "malformed message: Configuration.ballot is out of range"
    );
}

#[test]
fn unknown_kinds_are_refused() {
    assert_eq!(
        problem::<Write, _>(pb::WriteOp { kind: 7, ..Default::default() }),
        "malformed message: WriteOp.kind is no kind of write"
    );
    assert_eq!(
        problem::<ReplicaReport, _>(pb::ReplicaReport { role: 0, ..Default::default() }),
        "malformed message: ReplicaReport.gpid is missing"
    );
    assert_eq!(
        problem::<Refusal, _>(pb::Refusal { code: "moon_phase".to_owned(), ..Default::default() }),
        "malformed message: Refusal.code is no code that we know"
    );
}

#[test]
fn a_refusal_carries_its_code_and_whether_a_retry_helps() {
    let message = pb::Refusal::from(Refusal::TooLarge { limit: 9 });
    assert_eq!((message.code.as_str(), message.limit, message.retry_can_help), ("too_large", 9, false));
    let message = pb::Refusal::from(Refusal::Busy);
    assert_eq!((message.code.as_str(), message.retry_can_help), ("busy", true));
}

#[test]
fn whose_operation_makes_no_sense_is_told_that_it_was_not_done() {
    let malformed = Operation::try_from(pb::Operation { id: 5, ..Default::default() }).unwrap_err();
    let reply = malformed_reply(5, &malformed);
    assert_eq!((reply.id, reply.outcome()), (5, pb::Outcome::NotDone));
    let refusal = reply.refusal.expect("says why");
    assert_eq!((refusal.code.as_str(), refusal.retry_can_help), ("malformed", false));
}

/// A reply without an outcome must never read as done.
#[test]
fn an_empty_reply_is_an_unknown_outcome() {
    let message = pb::OperationReply::decode(&[][..]).expect("an empty message");
    assert_eq!(<(u64, Reply)>::try_from(message), Ok((0, Reply::Unknown)));
}

#[test]
fn the_descriptors_cover_every_service() {
    let names = String::from_utf8_lossy(proto::FILE_DESCRIPTOR_SET);
    for method in ["Operate", "FetchCheckpoint", "NodeSession", "DescribeApp"] {
        assert!(names.contains(method), "{method}");
    }
}
