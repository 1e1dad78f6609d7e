//! Every type of `words` comes back from the wire as it was, and bytes that nobody wrote never cause a panic.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use proto::{Malformed, Operation, OperationKind, envelopes, pb, peer_frame};
use words::{
    AddLearner, AppId, AppInfo, AppTerms, Ballot, Change, ChangePage, Claim, Command, Configuration,
    CopyProgress, Decree, DiskSpace, Envelope, Gpid, Heartbeat, HeartbeatAck, KeyFilter, Learn,
    LearnCheckpoint, LearnFailed, LearnFromList, LearnMutations, LearnStartOver, Life, MetaToNode, Mutation,
    MutationId, NodeAddress, NodeId, NodeToMeta, PartitionConfiguration, PeerMessage, Prepare, PrepareAck,
    PrepareRefused, Proposal, Refusal, Rejection, ReplicaDescription, ReplicaReport, Reply, RoleName,
    SessionStamp, Signature, StepDown, Watch, Write, WriteKind,
};

/// Counting numbers as the wire takes them.
fn count() -> impl Strategy<Value = u64> {
    0..=1_u64 << 62
}

fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<u128>().prop_map(NodeId)
}

fn gpid() -> impl Strategy<Value = Gpid> {
    any::<(u32, u32)>().prop_map(|(app, partition)| Gpid::new(app, partition))
}

fn ballot() -> impl Strategy<Value = Ballot> {
    count().prop_map(Ballot)
}

fn decree() -> impl Strategy<Value = Decree> {
    count().prop_map(Decree)
}

fn life() -> impl Strategy<Value = Life> {
    count().prop_map(Life)
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<u64>().prop_map(Signature)
}

fn mutation_id() -> impl Strategy<Value = MutationId> {
    (ballot(), decree()).prop_map(|(ballot, decree)| MutationId { ballot, decree })
}

fn app() -> impl Strategy<Value = AppInfo> {
    (any::<(u32, u32, u32)>(), text(), text()).prop_map(
        |((id, partition_count, replica_count), name, app_type)| AppInfo {
            id: AppId(id),
            name,
            app_type,
            partition_count,
            replica_count,
        },
    )
}

fn configuration() -> impl Strategy<Value = Configuration> {
    (ballot(), option::of(node()), vec(node(), 0..4))
        .prop_map(|(ballot, primary, secondaries)| Configuration { ballot, primary, secondaries })
}

fn stamp() -> impl Strategy<Value = SessionStamp> {
    (any::<u64>(), count(), count()).prop_map(|(session, sequence, first_incomplete)| SessionStamp {
        session,
        sequence,
        first_incomplete,
    })
}

fn write() -> impl Strategy<Value = Write> {
    let kind = prop_oneof![Just(WriteKind::Update), Just(WriteKind::Read), Just(WriteKind::OpenSession)];
    (option::of(stamp()), kind, payload()).prop_map(|(session, kind, payload)| Write {
        session,
        kind,
        payload,
    })
}

fn mutation() -> impl Strategy<Value = Arc<Mutation>> {
    (mutation_id(), count(), vec(write(), 0..4))
        .prop_map(|(id, timestamp_us, writes)| Arc::new(Mutation { id, timestamp_us, writes: writes.into() }))
}

fn prepares() -> impl Strategy<Value = PeerMessage> {
    let learning = || option::of(signature());
    let prepare = (gpid(), ballot(), mutation(), mutation_id(), decree(), learning());
    prop_oneof![
        Just(PeerMessage::Hello),
        Just(PeerMessage::Welcome),
        prepare.prop_map(|(gpid, ballot, mutation, previous, last_committed, learning)| {
            PeerMessage::Prepare(Prepare { gpid, ballot, mutation, previous, last_committed, learning })
        }),
        (gpid(), ballot(), decree(), learning()).prop_map(|(gpid, ballot, confirmed, learning)| {
            PeerMessage::PrepareAck(PrepareAck { gpid, ballot, confirmed, learning })
        }),
        (gpid(), ballot(), decree(), any::<bool>(), learning()).prop_map(
            |(gpid, ballot, confirmed, unable, learning)| {
                PeerMessage::PrepareRefused(PrepareRefused { gpid, ballot, confirmed, unable, learning })
            }
        ),
    ]
}

fn heartbeats() -> impl Strategy<Value = PeerMessage> {
    let claim = (gpid(), ballot(), decree()).prop_map(|(gpid, ballot, last_committed)| Claim {
        gpid,
        ballot,
        last_committed,
    });
    prop_oneof![
        (any::<u64>(), vec(claim, 0..4))
            .prop_map(|(sequence, claims)| PeerMessage::Heartbeat(Heartbeat { sequence, claims })),
        (any::<u64>(), vec(gpid(), 0..4)).prop_map(|(sequence, exceptions)| PeerMessage::HeartbeatAck(
            HeartbeatAck { sequence, exceptions }
        )),
        (gpid(), ballot()).prop_map(|(gpid, ballot)| PeerMessage::StepDown(StepDown { gpid, ballot })),
    ]
}

fn learning() -> impl Strategy<Value = PeerMessage> {
    let head = || (gpid(), ballot(), signature());
    prop_oneof![
        (head(), app()).prop_map(|((gpid, ballot, signature), app)| {
            PeerMessage::AddLearner(AddLearner { gpid, ballot, signature, app })
        }),
        (head(), mutation_id()).prop_map(|((gpid, ballot, signature), last_committed)| {
            PeerMessage::Learn(Learn { gpid, ballot, signature, last_committed })
        }),
        head().prop_map(|(gpid, ballot, signature)| {
            PeerMessage::LearnFromList(LearnFromList { gpid, ballot, signature })
        }),
        (head(), vec(mutation(), 0..3)).prop_map(|((gpid, ballot, signature), mutations)| {
            PeerMessage::LearnMutations(LearnMutations { gpid, ballot, signature, mutations })
        }),
        (head(), mutation_id(), any::<u64>()).prop_map(
            |((gpid, ballot, signature), checkpoint, transfer)| {
                PeerMessage::LearnCheckpoint(LearnCheckpoint {
                    gpid,
                    ballot,
                    signature,
                    checkpoint,
                    transfer,
                })
            }
        ),
        head().prop_map(|(gpid, ballot, signature)| {
            PeerMessage::LearnStartOver(LearnStartOver { gpid, ballot, signature })
        }),
        (gpid(), signature())
            .prop_map(|(gpid, signature)| PeerMessage::LearnFailed(LearnFailed { gpid, signature })),
    ]
}

/// Some in a row between the same two lives, as most are.
fn envelopes_of(lives: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Envelope>> {
    let bodies = vec(prop_oneof![prepares(), heartbeats(), learning()], 1..4);
    let row = (node(), life(), node(), life(), bodies).prop_map(|(from, from_life, to, to_life, bodies)| {
        bodies.into_iter().map(move |body| Envelope { from, from_life, to, to_life, body })
    });
    vec(row, lives).prop_map(|rows| rows.into_iter().flatten().collect())
}

fn report() -> impl Strategy<Value = ReplicaReport> {
    let role = prop_oneof![
        Just(RoleName::Primary),
        Just(RoleName::Secondary),
        Just(RoleName::Learner),
        Just(RoleName::Inactive),
        Just(RoleName::Error)
    ];
    let copying = (any::<u64>(), any::<u64>()).prop_map(|(bytes, of_bytes)| CopyProgress { bytes, of_bytes });
    let copying = option::of(copying);
    (gpid(), role, ballot(), decree(), decree(), decree(), vec(node(), 0..3), copying).prop_map(
        |(gpid, role, ballot, last_committed, last_prepared, last_durable, learners, copying)| {
            ReplicaReport {
                gpid,
                role,
                ballot,
                last_committed,
                last_prepared,
                last_durable,
                learners,
                copying,
            }
        },
    )
}

fn terms() -> impl Strategy<Value = AppTerms> {
    (any::<u64>(), any::<bool>(), vec((text(), text()), 0..3)).prop_map(|(revision, dropped, envs)| {
        AppTerms { revision, dropped, envs: envs.into_iter().collect() }
    })
}

fn description() -> impl Strategy<Value = ReplicaDescription> {
    (report(), app(), terms(), configuration(), decree()).prop_map(
        |(report, app, terms, configuration, confirmed)| ReplicaDescription {
            report,
            app,
            terms,
            configuration,
            confirmed,
        },
    )
}

fn disk() -> impl Strategy<Value = DiskSpace> {
    (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(capacity, available, is_low)| DiskSpace {
        capacity,
        available,
        is_low,
    })
}

fn to_meta() -> impl Strategy<Value = NodeToMeta> {
    prop_oneof![
        (node(), life(), text(), text(), any::<bool>(), disk()).prop_map(
            |(node, life, name, address, leaving, disk)| NodeToMeta::Beacon {
                node,
                life,
                name,
                address,
                leaving,
                disk
            }
        ),
        (node(), life(), vec(report(), 0..3)).prop_map(|(node, life, replicas)| NodeToMeta::Report {
            node,
            life,
            replicas
        }),
        (gpid(), node(), configuration()).prop_map(|(gpid, node, proposed)| NodeToMeta::Propose(Proposal {
            gpid,
            node,
            proposed
        })),
        gpid().prop_map(|gpid| NodeToMeta::Query { gpid }),
        description().prop_map(NodeToMeta::Describe),
    ]
}

fn to_node() -> impl Strategy<Value = MetaToNode> {
    let address =
        (node(), text(), text()).prop_map(|(node, name, address)| NodeAddress { node, name, address });
    let command = prop_oneof![
        node().prop_map(Command::AddSecondary),
        node().prop_map(Command::Remove),
        node().prop_map(Command::HandOver)
    ];
    prop_oneof![
        Just(MetaToNode::BeaconAck),
        vec(address, 0..4).prop_map(MetaToNode::Nodes),
        (gpid(), app(), terms(), configuration()).prop_map(|(gpid, app, terms, configuration)| {
            MetaToNode::Configuration(PartitionConfiguration { gpid, app, terms, configuration })
        }),
        (gpid(), ballot(), command).prop_map(|(gpid, ballot, command)| MetaToNode::Command {
            gpid,
            ballot,
            command
        }),
        (gpid(), ballot()).prop_map(|(gpid, ballot)| MetaToNode::Collect { gpid, ballot }),
        gpid().prop_map(|gpid| MetaToNode::Describe { gpid }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (ballot(), option::of(node())).prop_map(|(ballot, primary)| Refusal::NotPrimary { ballot, primary }),
        Just(Refusal::Busy),
        Just(Refusal::NotEnoughReplicas),
        Just(Refusal::NotReady),
        Just(Refusal::NoLease),
        Just(Refusal::UnknownPartition),
        Just(Refusal::SessionExpired),
        Just(Refusal::SequenceOutOfWindow),
        any::<u64>().prop_map(|limit| Refusal::TooLarge { limit }),
        Just(Refusal::StorageUnavailable),
        Just(Refusal::DiskFull),
        Just(Refusal::Throttled),
        Just(Refusal::Denied),
        decree().prop_map(|oldest| Refusal::Compacted { oldest }),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let rejection = (any::<u32>(), text()).prop_map(|(code, message)| Rejection { code, message });
    let answer = prop_oneof![payload().prop_map(Ok), rejection.prop_map(Err)];
    prop_oneof![
        (decree(), answer).prop_map(|(decree, answer)| Reply::Done { decree, answer }),
        refusal().prop_map(Reply::Refused),
        Just(Reply::Unknown),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![write().prop_map(OperationKind::Write), payload().prop_map(OperationKind::Read)];
    let patience = option::of((1..=u64::from(u32::MAX)).prop_map(Duration::from_millis));
    (any::<u64>(), gpid(), kind, patience).prop_map(|(id, gpid, kind, patience)| Operation {
        id,
        gpid,
        kind,
        patience,
    })
}

fn watch() -> impl Strategy<Value = Watch> {
    let filter = prop_oneof![payload().prop_map(KeyFilter::Key), payload().prop_map(KeyFilter::Prefix)];
    let from = option::of((1..=1_u64 << 62).prop_map(Decree));
    (gpid(), filter, from).prop_map(|(gpid, filter, from)| Watch { gpid, filter, from })
}

fn page() -> impl Strategy<Value = Result<ChangePage, Refusal>> {
    let change = (payload(), payload()).prop_map(|(key, value)| Change { key, value });
    let changes = vec((0..=1_u64 << 40, change), 0..5).prop_map(|mut changes| {
        changes.sort_by_key(|(decree, _)| *decree);
        changes.into_iter().map(|(decree, change)| (Decree(decree), change)).collect()
    });
    let page = (1_u64 << 40..=1 << 62, changes)
        .prop_map(|(through, changes)| ChangePage { through: Decree(through), changes });
    prop_oneof![page.prop_map(Ok), refusal().prop_map(Err)]
}

/// Through the message, its bytes, and back.
fn comes_back<W, P>(value: &W) -> Result<(), TestCaseError>
where
    W: Clone + PartialEq + Debug + TryFrom<P, Error = Malformed>,
    P: From<W> + Message + Default,
{
    let bytes = P::from(value.clone()).encode_to_vec();
    let message = P::decode(bytes.as_slice()).expect("what was encoded can be decoded");
    prop_assert_eq!(&W::try_from(message).expect("what we send is well formed"), value);
    Ok(())
}

/// Whatever comes of it, no panic.
fn decode_any<W: TryFrom<P>, P: Message + Default>(bytes: &[u8]) {
    let _ = P::decode(bytes).map(W::try_from);
}

proptest! {
    #[test]
    fn envelopes_come_back(sent in envelopes_of(0..4)) {
        let bytes = peer_frame(sent.clone()).encode_to_vec();
        let frame = pb::PeerFrame::decode(bytes.as_slice()).expect("decodes");
        prop_assert_eq!(envelopes(frame), Ok(sent));
    }

    #[test]
    fn what_nodes_tell_the_meta_server_comes_back(message in to_meta()) {
        comes_back::<_, pb::NodeToMeta>(&message)?;
    }

    #[test]
    fn what_the_meta_server_tells_nodes_comes_back(message in to_node()) {
        comes_back::<_, pb::MetaToNode>(&message)?;
    }

    #[test]
    fn operations_come_back(operation in operation()) {
        comes_back::<_, pb::Operation>(&operation)?;
    }

    #[test]
    fn replies_come_back(reply in (any::<u64>(), reply())) {
        comes_back::<_, pb::OperationReply>(&reply)?;
    }

    #[test]
    fn watches_come_back(watch in watch(), page in page()) {
        comes_back::<_, pb::WatchRequest>(&watch)?;
        comes_back::<_, pb::WatchReply>(&page)?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = pb::PeerFrame::decode(bytes.as_slice()).map(envelopes);
        decode_any::<NodeToMeta, pb::NodeToMeta>(&bytes);
        decode_any::<MetaToNode, pb::MetaToNode>(&bytes);
        decode_any::<Operation, pb::Operation>(&bytes);
        decode_any::<(u64, Reply), pb::OperationReply>(&bytes);
        decode_any::<Watch, pb::WatchRequest>(&bytes);
        decode_any::<Result<ChangePage, Refusal>, pb::WatchReply>(&bytes);
    }

    /// Damage to a real frame gets further into the conversions than noise does.
    #[test]
    fn a_damaged_frame_never_panics(
        sent in envelopes_of(1..3),
        reply in (any::<u64>(), reply()),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = peer_frame(sent).encode_to_vec();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        let _ = pb::PeerFrame::decode(bytes.as_slice()).map(envelopes);

        let mut bytes = pb::OperationReply::from(reply).encode_to_vec();
        if !bytes.is_empty() {
            let position = at.index(bytes.len());
            bytes[position] = byte;
        }
        decode_any::<(u64, Reply), pb::OperationReply>(&bytes);
    }
}
