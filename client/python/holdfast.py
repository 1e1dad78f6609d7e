"""A Holdfast client in one file, made from the .proto files and docs/client-protocol.md alone; copy it.

    pip install grpcio grpcio-tools

    app = App.open(["127.0.0.1:34601"], "counter.instance0")
    decree, answer = app.write(key, payload)  # takes effect once, however often it is sent
    decree, answer = app.read(key, payload)  # linearizable

What a key and a payload are, the app says: counter.py is for one. Each call either returns, or raises `Rejected`,
`NotDone` or `Unknown`. Calls from several threads are fine; writes to one partition go one after another.
"""

import pathlib
import random
import sys
import threading
import time

import grpc

PROTOS = pathlib.Path(__file__).resolve().parents[2] / "proto" / "proto"

# Compiled when this is imported; `python -m grpc_tools.protoc` would write files instead.
sys.path.append(str(PROTOS))
words, _ = grpc.protos_and_services("words.proto")
meta, meta_services = grpc.protos_and_services("meta.proto")
replica, replica_services = grpc.protos_and_services("client.proto")

# A server that is silent for so many seconds may be frozen: look whether another one leads by now.
ATTEMPT = 0.5
META_ATTEMPT = 1.0
# Pauses between attempts, in seconds: the first, and what they grow to.
PAUSE, LONGEST_PAUSE = 0.01, 0.2
MASK = (1 << 64) - 1
# gRPC waits for up to two minutes before it tries a server again that was down.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 << 20),
]


class NotDone(Exception):
    """It surely did not take effect, and never will."""


class Rejected(NotDone):
    """The app refused it, and nothing changed."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Unknown(Exception):
    """It takes effect once or not at all, now or later."""


def key_hash(key: bytes) -> int:
    """Section 1 of the protocol: FNV-1a, then splitmix64's finalizer."""
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x00000100000001B3 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


def connect(address):
    return grpc.insecure_channel(address, options=CHANNEL)


class Session:
    """Numbers the writes to one partition, so that each takes effect once (section 4)."""

    def __init__(self):
        self.lock = threading.Lock()  # one write at a time: the one under way is the first incomplete
        self.number = None
        self.sequence = 0

    def stamp(self):
        self.sequence += 1
        return words.SessionStamp(
            session=self.number, sequence=self.sequence, first_incomplete=self.sequence
        )


class App:
    """One app of a cluster."""

    def __init__(self, meta_addresses, name, timeout):
        self.metas = [meta_services.MetaStub(connect(address)) for address in meta_addresses]
        self.name, self.timeout = name, timeout
        self.lock = threading.Lock()
        self.app_id = 0  # not known yet
        self.partitions = []  # by index, each the configuration of the highest ballot that was heard of
        self.addresses = {}  # by node id
        self.servers = {}  # stubs by address

    @classmethod
    def open(cls, meta_addresses, name, timeout=5.0):
        """Finds an app. A call may take `timeout` seconds, all attempts together."""
        app = cls(meta_addresses, name, timeout)
        deadline = time.monotonic() + timeout
        while not app.refresh():
            if time.monotonic() > deadline:
                raise NotDone(f"no meta server answers at {', '.join(meta_addresses)}")
            time.sleep(PAUSE)
        app.sessions = [Session() for _ in app.partitions]
        return app

    def write(self, key: bytes, payload: bytes):
        index = self.partition(key)
        session = self.sessions[index]
        operation = Operation(self, index)
        with session.lock:
            while True:
                if session.number is None:
                    opened = operation.run(kind=words.WRITE_KIND_OPEN_SESSION)
                    session.number, session.sequence = int.from_bytes(opened.answer, "little"), 0
                reply = operation.run(
                    kind=words.WRITE_KIND_UPDATE, session=session.stamp(), payload=payload
                )
                if reply.refusal.code not in ("session_expired", "sequence_out_of_window"):
                    return answer(reply)
                session.number = None
                if operation.uncertain:
                    raise Unknown("the session ended before it was answered")

    def read(self, key: bytes, payload: bytes):
        return answer(Operation(self, self.partition(key)).run(payload=payload))

    def partition(self, key: bytes) -> int:
        return key_hash(key) % len(self.sessions)

    def primary(self, index):
        """Who leads a partition, as far as is known: a stub, or None."""
        with self.lock:
            address = self.addresses.get(self.partitions[index].primary)
            if address and address not in self.servers:
                self.servers[address] = replica_services.ReplicaStub(connect(address))
            return self.servers.get(address)

    def heard_of(self, index, ballot, primary):
        """A server that does not lead has said who does; whether that is news that helps."""
        with self.lock:
            known = self.partitions[index]
            if ballot <= known.ballot or primary not in self.addresses:
                return False
            self.partitions[index] = words.Configuration(ballot=ballot, primary=primary)
            return True

    def refresh(self) -> bool:
        """Asks the meta servers who leads what; whether one has answered."""
        request = meta.QueryConfigurationRequest(app_name=self.name, app_id=self.app_id)
        for stub in self.metas:
            try:
                reply = stub.QueryConfiguration(request, timeout=META_ATTEMPT)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.NOT_FOUND:
                    raise NotDone(error.details()) from None
                continue
            with self.lock:
                self.app_id = reply.app.app_id
                self.addresses.update((node.node, node.address) for node in reply.nodes)
                known = self.partitions or reply.partitions
                newest = [max(pair, key=lambda it: it.ballot) for pair in zip(known, reply.partitions)]
                self.partitions = newest
            return True
        return False


class Operation:
    """One operation on one partition, sent until its end is known or its time is over."""

    def __init__(self, app, index):
        self.app, self.index = app, index
        self.deadline = time.monotonic() + app.timeout
        self.uncertain = False  # whether one of its sendings may have taken effect
        self.last = "never sent"

    def run(self, **write):
        """The reply that ends it: done, or a session that does not know it. A write has a `kind`, a read none."""
        pause = PAUSE
        while time.monotonic() < self.deadline:
            server = self.app.primary(self.index)
            reply = self.send(server, write) if server else None
            if reply is not None and reply.outcome == replica.OUTCOME_DONE:
                return reply
            if reply is not None and reply.outcome == replica.OUTCOME_NOT_DONE:
                refusal = reply.refusal
                self.last = f"{refusal.code}: {refusal.message}"
                if refusal.code in ("session_expired", "sequence_out_of_window"):
                    return reply
                if refusal.code == "not_primary":
                    if self.app.heard_of(self.index, refusal.ballot, refusal.primary):
                        continue
                elif not refusal.retry_can_help and refusal.code != "unknown_partition":
                    self.give_up()
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)
            self.app.refresh()
        self.give_up()

    def send(self, server, write):
        """Sends it once: the reply, or None if nobody knows what became of it."""
        gpid = words.Gpid(app_id=self.app.app_id, partition_index=self.index)
        # Neither a read nor a session that nobody uses is an effect.
        matters = write.get("kind") == words.WRITE_KIND_UPDATE
        patience = max(min(ATTEMPT, self.deadline - time.monotonic()), 0.001)
        try:
            if "kind" in write:
                request = replica.WriteRequest(gpid=gpid, write=words.WriteOp(**write))
                reply = server.Write(request, timeout=patience)
            else:
                reply = server.Read(replica.ReadRequest(gpid=gpid, payload=write["payload"]), timeout=patience)
        except grpc.RpcError as error:
            self.last = error.details()
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                self.give_up()
            self.uncertain |= matters
            return None
        self.uncertain |= matters and reply.outcome == replica.OUTCOME_UNKNOWN
        return reply

    def give_up(self):
        raise Unknown(self.last) if self.uncertain else NotDone(self.last)


def answer(reply):
    if reply.HasField("rejection"):
        raise Rejected(reply.rejection.code, reply.rejection.message)
    return reply.decree, reply.answer


def command_line(main, usage):
    """Calls `main` with the arguments. Exit code 1: surely not done; 2: usage; 3: nobody knows."""
    if len(sys.argv) < 4:
        print(usage, file=sys.stderr)
        sys.exit(2)
    try:
        main(*sys.argv[1:])
    except NotDone as error:
        sys.exit(f"surely not done: {error}")
    except Unknown as error:
        print(f"the outcome is unknown: {error}", file=sys.stderr)
        sys.exit(3)
