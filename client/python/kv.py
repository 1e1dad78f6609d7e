"""Values by key, as apps/kv/src/request.rs and answer.rs say them in bytes.

    python kv.py META_ADDRESS put KEY VALUE [VERSION]
    python kv.py META_ADDRESS get KEY
    python kv.py META_ADDRESS delete KEY [VERSION]
"""

import struct

import holdfast

PUT, DELETE, GET = b"\x01", b"\x02", b"\x10"


class Conflict(holdfast.NotDone):
    """The key has another version than was asked for; nothing changed."""

    def __init__(self, version, value):
        super().__init__(f"the version is {version}")
        self.version, self.value = version, value


class Kv:
    def __init__(self, app):
        self.app = app

    def put(self, key: bytes, value: bytes, version=None) -> int:
        """Stores a value, if the key has that version (0: it never was); returns its new version."""
        no_ttl = struct.pack("<Q", 0)
        return self.change(key, PUT + condition(version) + no_ttl + struct.pack("<I", len(key)) + key + value)

    def delete(self, key: bytes, version=None) -> int:
        """Takes a value away, if the key has that version; the version stays, one higher."""
        return self.change(key, DELETE + condition(version) + key)

    def get(self, key: bytes):
        """The version of a key, and its value or None."""
        _, answer = self.app.read(key, GET + key)
        return state(answer)

    def change(self, key, request):
        _, answer = self.app.write(key, request)
        if answer[0] == 0:
            return struct.unpack("<Q", answer[1:])[0]
        raise Conflict(*state(answer[1:]))


def condition(version) -> bytes:
    return b"\x00" if version is None else b"\x01" + struct.pack("<Q", version)


def state(answer: bytes):
    there, version = struct.unpack_from("<BQ", answer)
    # Before the value stands when it expires.
    return version, answer[17:] if there else None


def main(address, verb, key, *more):
    kv = Kv(holdfast.App.open([address], "kv.instance0"))
    key = key.encode()
    if verb == "get":
        version, value = kv.get(key)
        print(version, "no value" if value is None else value.decode(errors="replace"))
    elif verb == "put":
        value, *version = more
        print(kv.put(key, value.encode(), *map(int, version)))
    elif verb == "delete":
        print(kv.delete(key, *map(int, more)))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    holdfast.command_line(main, __doc__)
