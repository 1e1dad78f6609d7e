"""Counters, as apps/counter/src/request.rs says them in bytes.

    python counter.py META_ADDRESS add NAME N
    python counter.py META_ADDRESS read NAME
"""

import struct

import holdfast


class Counter:
    def __init__(self, app):
        self.app = app

    def add(self, name: str, operand: int) -> int:
        """Adds to a counter, exactly once; returns the sum."""
        key = name.encode()
        _, answer = self.app.write(key, b"\x01" + struct.pack("<q", operand) + key)
        return struct.unpack("<q", answer)[0]

    def read(self, name: str) -> int:
        """The value of a counter, 0 if there is none."""
        key = name.encode()
        _, answer = self.app.read(key, b"\x02" + key)
        return struct.unpack("<q", answer)[0]


def main(address, verb, name, operand=None):
    counter = Counter(holdfast.App.open([address], "counter.instance0"))
    if verb == "add" and operand is not None:
        print(counter.add(name, int(operand)))
    elif verb == "read" and operand is None:
        print(counter.read(name))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    holdfast.command_line(main, __doc__)
