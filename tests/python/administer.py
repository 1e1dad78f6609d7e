"""Drives the whole administration of a running cluster by gRPC, with nothing of ours but the .proto files.

    python administer.py PROTO_FOLDER WORK_FOLDER META_ADDRESS [META_ADDRESS ...] -- REPLICA_ADDRESS ...

Ends with 0 and a line that says what it did, or with a traceback.
"""

import importlib
import pathlib
import sys
import time

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

DEADLINE = 10.0
APP = "python.instance0"
# What a request that makes no sense may be answered with; anything else is a hole.
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
}


def generate(protos: pathlib.Path, out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    files = [str(path) for path in sorted(protos.glob("*.proto"))]
    arguments = ["protoc", f"-I{protos}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    if protoc.main(arguments) != 0:
        raise SystemExit("the .proto files don't compile")
    sys.path.insert(0, str(out))


def wait_for(what, ask):
    """Asks until the answer is true; fails after a minute."""
    deadline = time.monotonic() + 60
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited a minute for {what}")
        time.sleep(0.05)


class Cluster:
    """The meta servers; a call goes to the first that serves it."""

    def __init__(self, addresses, services):
        self.stubs = [services.AdminStub(grpc.insecure_channel(address)) for address in addresses]

    def __call__(self, method, **fields):
        """Calls a method with a request of these fields."""
        request = REQUESTS[method](**fields)
        for stub in self.stubs:
            try:
                return getattr(stub, method)(request, timeout=DEADLINE)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or stub is self.stubs[-1]:
                    raise

    def refuses(self, code, method, **fields):
        try:
            self(method, **fields)
        except grpc.RpcError as error:
            assert error.code() == code, (method, fields, error.code(), error.details())
            assert error.details() and "\n" not in error.details(), (method, error.details())
            return error.details()
        raise AssertionError(f"{method} {fields} was not refused")


# The class of each call's request.
REQUESTS = {}


def methods_of(messages):
    service = messages.DESCRIPTOR.services_by_name["Admin"]
    REQUESTS.update({method.name: GetMessageClass(method.input_type) for method in service.methods})
    return [method.name for method in service.methods if not method.server_streaming]


def look_at_health_and_reflection(address, services):
    channel = grpc.insecure_channel(address)
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", *services]:
        status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE).status
        assert status == health_pb2.HealthCheckResponse.SERVING, (address, service, status)
    reflection = ProtoReflectionDescriptorDatabase(channel)
    listed = reflection.get_services()
    for service in services:
        assert service in listed, (address, listed)
        described = descriptor_pool.DescriptorPool(reflection).FindServiceByName(service)
        assert len(described.methods) > 0, service


def ask_everything_empty(cluster, methods):
    """Every call with nothing in it is answered, or refused with a reason; none breaks."""
    for method in methods:
        try:
            cluster(method)
        except grpc.RpcError as error:
            assert error.code() in REFUSALS, (method, error.code(), error.details())
            assert error.details(), method


def administer(cluster):
    nodes = wait_for("three live nodes", lambda: live_nodes(cluster))
    created = cluster("CreateApp", name=APP, app_type="counter", partition_count=2, replica_count=2).app
    assert created.app_id > 0 and created.name == APP, created
    cluster.refuses(
        grpc.StatusCode.ALREADY_EXISTS,
        "CreateApp", name=APP, app_type="counter", partition_count=2, replica_count=2,
    )
    cluster.refuses(
        grpc.StatusCode.INVALID_ARGUMENT,
        "CreateApp", name="Bad name", app_type="counter", partition_count=2, replica_count=2,
    )
    assert APP in [status.app.name for status in cluster("ListApps").apps]
    wait_for("two members of each partition", lambda: members(cluster) == [2, 2])

    partition = cluster("DescribeApp", name=APP).partitions[0]
    primary, (secondary,) = partition.configuration.primary, partition.configuration.secondaries
    names = {node.node.node: node.node.name for node in nodes}
    accepted = cluster(
        "Balance", gpid=partition.gpid, type="move_pri", **{"from": names[primary], "to": names[secondary]}
    )
    assert accepted.accepted, "it says what will happen"
    wait_for("the primary to move", lambda: configuration(cluster, 0).primary == secondary)
    other = next(node for node in names if node not in (primary, secondary))
    wait_for("a replica to be added by hand", lambda: proposes(cluster, partition.gpid, "add_secondary", names[other]))
    cluster("SetReplicaCount", name=APP, replica_count=3)
    wait_for("three members of each partition", lambda: members(cluster) == [3, 3])

    cluster.refuses(
        grpc.StatusCode.FAILED_PRECONDITION,
        "AcceptLoss", gpid=partition.gpid, node=names[other], others_are_stopped=True,
    )
    diagnosis = cluster("Diagnose")
    assert not diagnosis.lost and not diagnosis.unknown, diagnosis

    envs = {"replica.deny_client_request": "reject*write"}
    reply = cluster("SetAppEnv", name=APP, key="replica.deny_client_request", value="reject*write")
    assert dict(reply.envs) == envs, reply
    assert dict(cluster("DescribeApp", name=APP).envs) == envs
    cluster.refuses(grpc.StatusCode.INVALID_ARGUMENT, "SetAppEnv", name=APP, key="color", value="blue")
    assert not cluster("RemoveAppEnv", name=APP, key="replica.deny_client_request").envs
    assert not cluster("ClearAppEnvs", name=APP).envs
    cluster("RenameApp", name=APP, new_name="renamed.by.python")
    dropped = cluster("DropApp", name="renamed.by.python", hold_seconds=3600)
    assert dropped.app.app_id == created.app_id and dropped.expires_ms > 0, dropped
    assert [status.expires_ms for status in cluster("ListApps", all=True).apps][-1] == dropped.expires_ms
    assert cluster("RecallApp", app_id=created.app_id, new_name=APP).app.name == APP

    cluster("DropApp", name=APP, hold_seconds=0)
    assert APP not in [status.app.name for status in cluster("ListApps").apps]
    cluster.refuses(grpc.StatusCode.NOT_FOUND, "DescribeApp", name=APP)


def live_nodes(cluster):
    nodes = [node for node in cluster("ListNodes").nodes if node.alive]
    return nodes if len(nodes) == 3 else None


def members(cluster):
    partitions = cluster("DescribeApp", name=APP).partitions
    led = [partition.configuration for partition in partitions]
    return [len(one.secondaries) + bool(one.primary) for one in led]


def configuration(cluster, index):
    return cluster("DescribeApp", name=APP).partitions[index].configuration


def proposes(cluster, gpid, kind, node):
    """True once the node is a member; a change that is under way makes a proposal wait."""
    try:
        cluster("Propose", gpid=gpid, type=kind, node=node)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    return len(configuration(cluster, gpid.partition_index).secondaries) == 2


def main():
    protos, work = (pathlib.Path(argument) for argument in sys.argv[1:3])
    split = sys.argv.index("--")
    metas, replicas = sys.argv[3:split], sys.argv[split + 1 :]
    generate(protos, work)
    messages, services = (importlib.import_module(name) for name in ("admin_pb2", "admin_pb2_grpc"))
    methods = methods_of(messages)
    for address in metas:
        look_at_health_and_reflection(address, ["holdfast.v1.Admin", "holdfast.v1.Meta"])
    for address in replicas:
        look_at_health_and_reflection(address, ["holdfast.v1.Replica", "holdfast.v1.Peer"])
    cluster = Cluster(metas, services)
    ask_everything_empty(cluster, methods)
    administer(cluster)
    print(f"{len(methods)} calls of the administration, {len(metas) + len(replicas)} servers")


main()
