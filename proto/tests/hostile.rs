//! Messages from peers, clients and servers that are anything: no panic, and no more memory than their length
//! justifies.

use bytes::Bytes;
use hostile::{harmed, noise, peak};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::{Malformed, Operation, envelopes, pb};
use words::{
    AppInfo, ChangePage, Configuration, DamagedWrites, HIGHEST_COUNT, MetaToNode, Mutation, NodeAddress,
    NodeToMeta, Refusal, Reply, SessionStamp, Watch, Write, WriteKind, Writes,
};

#[global_allocator]
static ALLOCATOR: hostile::Counting = hostile::Counting;

/// Two bytes announce an empty part of a message, and each part has its place in a vector, twice while that
/// grows, and once more converted. The largest part is an envelope.
const TIMES: usize = 512;

/// Decodes and converts; whether it was well formed.
fn take<P: Message + Default, T>(
    bytes: &[u8],
    convert: impl FnOnce(P) -> Result<T, Malformed>,
) -> Result<bool, TestCaseError> {
    let (taken, peak) = peak(|| P::decode(bytes).ok().and_then(|message| convert(message).ok()));
    let most = TIMES * bytes.len() + (64 << 10);
    prop_assert!(peak <= most, "{peak} bytes for {} of {}", bytes.len(), std::any::type_name::<P>());
    Ok(taken.is_some())
}

/// For messages whose fields are looked at where they are used.
fn only_decode<P: Message + Default>(bytes: &[u8]) -> Result<bool, TestCaseError> {
    take::<P, P>(bytes, Ok)
}

/// Every message that a server or a client receives by itself.
fn take_as_anything(bytes: &[u8]) -> Result<(), TestCaseError> {
    // peer.proto
    take(bytes, envelopes)?;
    only_decode::<pb::FetchCheckpointRequest>(bytes)?;
    only_decode::<pb::CheckpointChunk>(bytes)?;
    // client.proto
    take(bytes, |frame: pb::RequestFrame| {
        frame.operations.into_iter().map(Operation::try_from).collect::<Result<Vec<_>, _>>()
    })?;
    take(bytes, |frame: pb::ReplyFrame| {
        frame.replies.into_iter().map(<(u64, Reply)>::try_from).collect::<Result<Vec<_>, _>>()
    })?;
    only_decode::<pb::WriteRequest>(bytes)?;
    only_decode::<pb::ReadRequest>(bytes)?;
    take(bytes, |watch: pb::WatchRequest| Watch::try_from(watch))?;
    take(bytes, |told: pb::WatchReply| Result::<ChangePage, Refusal>::try_from(told))?;
    // meta.proto
    take(bytes, |message: pb::NodeToMeta| NodeToMeta::try_from(message))?;
    take(bytes, |message: pb::MetaToNode| MetaToNode::try_from(message))?;
    only_decode::<pb::QueryConfigurationRequest>(bytes)?;
    take(bytes, |reply: pb::QueryConfigurationReply| {
        reply.partitions.into_iter().try_for_each(|it| Configuration::try_from(it).map(drop))?;
        reply.nodes.into_iter().try_for_each(|it| NodeAddress::try_from(it).map(drop))?;
        Ok(reply.app.map(AppInfo::from))
    })?;
    // admin.proto
    only_decode::<pb::ListNodesReply>(bytes)?;
    only_decode::<pb::ListAppsReply>(bytes)?;
    only_decode::<pb::DescribeAppRequest>(bytes)?;
    only_decode::<pb::DescribeAppReply>(bytes)?;
    only_decode::<pb::CreateAppRequest>(bytes)?;
    only_decode::<pb::DropAppRequest>(bytes)?;
    only_decode::<pb::ProposeRequest>(bytes)?;
    only_decode::<pb::BalanceRequest>(bytes)?;
    only_decode::<pb::ProposeReply>(bytes)?;
    // raft.proto
    only_decode::<pb::RaftMessage>(bytes)?;
    only_decode::<pb::RaftAnswer>(bytes)?;
    only_decode::<pb::SnapshotPart>(bytes)?;
    only_decode::<pb::IntroduceRequest>(bytes)?;
    only_decode::<pb::Introduction>(bytes)?;
    only_decode::<pb::JoinRequest>(bytes)?;
    // What is inside of others.
    take(bytes, |mutation: pb::Mutation| {
        // Whoever took it looks at each write without looking for damage.
        Mutation::try_from(mutation)
            .inspect(|mutation| assert_eq!(mutation.writes.iter().count(), mutation.writes.len()))
    })?;
    Ok(())
}

/// One message of each kind that nests deeply, as it is sent.
fn messages() -> Vec<Vec<u8>> {
    let gpid = Some(pb::Gpid { app_id: 1, partition_index: 2 });
    let id = Some(pb::MutationId { ballot: 3, decree: 4 });
    let write = pb::WriteOp {
        session: Some(pb::SessionStamp { session: 5, sequence: 6, first_incomplete: 6 }),
        payload: vec![7; 20].into(),
        ..pb::WriteOp::default()
    };
    let mutation = pb::Mutation { id, timestamp_us: 9, writes: packed().into() };
    let node: Bytes = vec![1; 16].into();
    let message = |body| pb::PeerMessage { body: Some(body) };
    let prepare =
        pb::Prepare { gpid, ballot: 3, mutation: Some(mutation.clone()), previous: id, ..Default::default() };
    let learn = pb::LearnMutations { gpid, ballot: 3, mutations: vec![mutation; 2], ..Default::default() };
    let claim = pb::Claim { gpid, ballot: 3, last_committed: 4 };
    let heartbeat = pb::Heartbeat { sequence: 1, claims: vec![claim; 3] };
    let envelope = pb::Envelope {
        from: node.clone(),
        from_life: 1,
        to: node.clone(),
        to_life: 1,
        messages: vec![
            message(pb::peer_message::Body::Prepare(prepare)),
            message(pb::peer_message::Body::LearnMutations(learn)),
            message(pb::peer_message::Body::Heartbeat(heartbeat)),
        ],
    };
    let frame = pb::PeerFrame { envelopes: vec![envelope; 2] };
    let operation =
        pb::Operation { id: 1, gpid, what: Some(pb::operation::What::Write(write)), timeout_ms: 0 };
    let configuration =
        pb::Configuration { ballot: 3, primary: node.clone(), secondaries: vec![node.clone(); 2] };
    let reply = pb::QueryConfigurationReply {
        app: Some(pb::AppInfo { name: "counter".to_owned(), partition_count: 1, ..Default::default() }),
        partitions: vec![configuration.clone()],
        nodes: vec![pb::NodeAddress { node, name: "replica1".to_owned(), address: "a:1".to_owned() }],
    };
    let report = pb::ReplicaReport { gpid, ..Default::default() };
    let change = pb::WatchedChange { decree: 3, key: vec![1; 3].into(), value: vec![2; 9].into() };
    let told = pb::WatchReply { decree: 4, changes: vec![change; 3], refusal: None };
    vec![
        frame.encode_to_vec(),
        pb::RequestFrame { operations: vec![operation; 2] }.encode_to_vec(),
        reply.encode_to_vec(),
        pb::Report { node: vec![1; 16].into(), life: 1, replicas: vec![report; 2] }.encode_to_vec(),
        configuration.encode_to_vec(),
        told.encode_to_vec(),
    ]
}

/// As many parts as fit: each field number, empty, again and again, and that inside of each other.
fn swarm() -> impl Strategy<Value = Vec<u8>> {
    (1_u8..16, 1_u8..16, 0..4_usize, 1..20_000_usize).prop_map(|(outer, inner, nested, count)| {
        let inside: Vec<u8> = (0..nested).flat_map(|_| [inner << 3 | 2, 0]).collect();
        let part = [&[outer << 3 | 2, inside.len() as u8], &inside[..]].concat();
        part.repeat(count / part.len() + 1)
    })
}

/// Messages share their envelope's addresses, so one of them can be next to nothing and still a message.
#[test]
fn an_envelope_full_of_greetings() {
    let node: Bytes = vec![1; 16].into();
    let hello = pb::PeerMessage { body: Some(pb::peer_message::Body::Hello(pb::Empty {})) };
    let (from, to) = (node.clone(), node);
    let envelope = pb::Envelope { from, from_life: 1, to, to_life: 1, messages: vec![hello; 20_000] };
    let bytes = pb::PeerFrame { envelopes: vec![envelope] }.encode_to_vec();
    assert!(take(&bytes, envelopes).expect("little memory"), "it is well formed");
}

#[test]
fn what_the_test_begins_with_is_well_formed() {
    let messages = messages();
    let frame = take(&messages[0], envelopes).expect("little memory");
    let operations = take(&messages[1], |frame: pb::RequestFrame| {
        frame.operations.into_iter().try_for_each(|operation| Operation::try_from(operation).map(drop))
    });
    let reply = take(&messages[2], |reply: pb::QueryConfigurationReply| {
        reply.partitions.into_iter().try_for_each(|it| Configuration::try_from(it).map(drop))
    });
    assert!(frame && operations.expect("little memory") && reply.expect("little memory"));
}

fn packed() -> Vec<u8> {
    let stamp = SessionStamp { session: u64::MAX, sequence: 6, first_incomplete: 6 };
    let write = |session, kind, payload: &'static [u8]| Write { session, kind, payload: payload.into() };
    let writes = vec![
        write(Some(stamp), WriteKind::Update, &[7; 200]),
        write(None, WriteKind::OpenSession, &[]),
        write(None, WriteKind::Read, &[1; 3]),
    ];
    Writes::from(writes).packed().to_vec()
}

#[test]
fn counts_that_a_peer_makes_up_are_refused() {
    let packed = |sequence, first_incomplete| {
        let session = Some(SessionStamp { session: 1, sequence, first_incomplete });
        let write = Write { session, kind: WriteKind::Update, payload: Bytes::new() };
        Writes::from(vec![write]).packed().clone()
    };
    assert!(Writes::unpack(packed(HIGHEST_COUNT, HIGHEST_COUNT)).is_ok());
    for (sequence, first_incomplete) in [(1, HIGHEST_COUNT + 1), (u64::MAX, 1)] {
        assert_eq!(Writes::unpack(packed(sequence, first_incomplete)), Err(DamagedWrites));
    }
}

#[test]
fn more_writes_than_a_mutation_has_are_refused() {
    let write = Write { session: None, kind: WriteKind::OpenSession, payload: Bytes::new() };
    let one = Writes::from(vec![write]).packed().clone();
    assert_eq!(Writes::unpack(one.repeat(Writes::MOST).into()).map(|writes| writes.len()), Ok(Writes::MOST));
    assert_eq!(Writes::unpack(one.repeat(Writes::MOST + 1).into()), Err(DamagedWrites));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// What is taken can be looked at; and nothing is made of it before.
    #[test]
    fn packed_writes(bytes in prop_oneof![noise(), harmed(Just(packed()))]) {
        let packed = Bytes::from(bytes);
        let (taken, peak) = peak(|| Writes::unpack(packed));
        prop_assert_eq!(peak, 0);
        if let Ok(writes) = taken {
            prop_assert_eq!(writes.iter().count(), writes.len());
        }
    }

    #[test]
    fn any_bytes(bytes in noise()) {
        take_as_anything(&bytes)?;
    }

    #[test]
    fn changed_bytes(bytes in harmed(prop::sample::select(messages()))) {
        take_as_anything(&bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn many_small_parts(bytes in swarm(), more in vec(any::<u8>(), 0..3)) {
        take_as_anything(&[bytes, more].concat())?;
    }
}
